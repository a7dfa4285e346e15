//! Causes and effects: the tree that `causation_id` makes of events, each naming the id of the event that
//! caused it.
//!
//! An event has one cause, so from a root down no event is met twice, but for the root itself where causes
//! run in a circle.

use std::collections::HashSet;

use crate::dcb::error::Result;
use crate::dcb::partition::ALL;
use crate::dcb::query::{Criterion, Query};
use crate::store::Oid;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::composite::RowType;
use crate::store::pg::fmgr;
use crate::store::row::event::{Column, Row, meta_text};
use crate::store::row::event_tuple::{self, Traced};
use crate::store::row::srf::{Sink, Source};

use super::{Options, Reading};

type Id = [u8; 16];

/// A walk through a tree, depth first, effects of one cause in position order.
pub struct Trace {
    root: Id,
    /// Who is still to be visited, the next one last: depth, cause and id.
    stack: Vec<(i32, Option<Id>, Id)>,
    /// Where effects are looked for: one partition, or all.
    partition: String,
    /// The partitions in which an event is looked for by its id.
    partitions: Vec<String>,
    /// The oid of `en57_event`.
    event_type: Oid,
}

impl Trace {
    /// Starts at the first cause of an event; without such an event there is nothing to visit.
    ///
    /// # Errors
    /// As reading.
    pub fn start(id: Option<Id>, partition: Option<&str>, event_type: Oid) -> Result<Self> {
        let partition = catalog::effective_name(partition)?;
        let partitions = partitions_of(&partition)?;
        let root = id.map_or(Ok(None), |id| root_of(id, &partitions))?;
        Ok(Self {
            root: root.unwrap_or_default(),
            stack: root.into_iter().map(|root| (0, None, root)).collect(),
            partition,
            partitions,
            event_type,
        })
    }

    /// The events that name this one as their cause, in position order.
    fn effects(&self, cause: Id) -> Result<Vec<Id>> {
        let query = Query::new(vec![Criterion {
            causation_id: Some(uuid::Uuid::from_bytes(cause).to_string()),
            ..Criterion::default()
        }]);
        let mut effects = Vec::new();
        Reading::start(Some(query), Options::default(), Some(&self.partition))?.each_row(
            |row| {
                effects.extend(id_of(row).filter(|id| *id != self.root));
                Ok(())
            },
        )?;
        Ok(effects)
    }
}

impl Source for Trace {
    type Item = Traced;

    fn fill(&mut self, at_most: usize, sink: &mut Sink<Traced>) -> Result<bool> {
        let row_type = RowType::of(self.event_type);
        let (mut found, mut bytes) = (0, 0);
        while found < at_most && bytes < super::PAGE_BYTES {
            found += 1;
            let Some((depth, parent, id)) = self.stack.pop() else {
                return Ok(false);
            };
            for effect in self.effects(id)?.into_iter().rev() {
                self.stack.push((depth + 1, Some(id), effect));
            }
            for partition in &self.partitions {
                super::by_id(&id, Some(partition), |row| {
                    bytes += row.bytes();
                    let event = row_type.make(&mut event_tuple::event_columns(row))?;
                    sink(&Traced {
                        depth,
                        parent,
                        event,
                    })
                })?;
            }
        }
        Ok(true)
    }
}

/// The partitions that a name means, as those who read by id take them: one by one.
fn partitions_of(partition: &str) -> Result<Vec<String>> {
    if partition != ALL {
        return Ok(vec![partition.to_owned()]);
    }
    let store = catalog::store()?;
    let mut readable = store.readable(&store.all()?, Access::Read)?;
    readable.sort_by_key(|partition| partition.oid.to_u32());
    Ok(readable
        .iter()
        .map(|partition| partition.name.clone())
        .collect())
}

fn id_of(row: &Row) -> Option<Id> {
    row.get(Column::Id).map(fmgr::uuid)
}

/// The first cause of an event that is there: one that names no cause, or none that is there. In a circle
/// it is the earliest event of those on the way.
fn root_of(id: Id, partitions: &[String]) -> Result<Option<Id>> {
    let mut visited = HashSet::new();
    let mut earliest: Option<(i64, Id)> = None;
    let mut root = None;
    let mut next = Some(id);
    while let Some(id) = next.take() {
        if !visited.insert(id) {
            return Ok(earliest.map(|(_, id)| id));
        }
        for partition in partitions {
            super::row_by_id(&id, Some(partition), |row| {
                let this = (row.position(), id);
                earliest = Some(earliest.map_or(this, |e| e.min(this)));
                root = Some(id);
                // In several partitions events can have one id: it is the first one's cause that counts.
                next = next.take().or(cause_of(row)?);
                Ok(())
            })?;
        }
    }
    Ok(root)
}

/// The id of an event's cause: `causation_id` where it is a uuid in PostgreSQL's own form, under which its
/// effects are found.
fn cause_of(row: &Row) -> Result<Option<Id>> {
    let text = meta_text(row.get(Column::Meta), "causation_id")?;
    Ok(text.and_then(|text| {
        let id = uuid::Uuid::parse_str(text).ok()?;
        (id.to_string() == text).then(|| id.into_bytes())
    }))
}
