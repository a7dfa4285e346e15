//! Causes and effects: the tree that `causation_id` makes of events, each naming the id of the event that
//! caused it.
//!
//! An event has one cause, so from a root down no event is met twice, but for the root itself where causes
//! run in a circle.

use std::collections::HashSet;

use crate::dcb::error::Result;
use crate::dcb::query::{Criterion, Query};
use crate::read::{self, Options, Reading};
use crate::store::Oid;
use crate::store::event::{Column, Row, meta_text};
use crate::store::fmgr;
use crate::store::rows::{Sink, Source};
use crate::store::tuple::{self, RowType, Traced};

type Id = [u8; 16];

/// A walk through a tree, depth first, effects of one cause in position order.
pub struct Trace {
    root: Id,
    /// Who is still to be visited, the next one last: depth, cause and id.
    stack: Vec<(i32, Option<Id>, Id)>,
    partition: Option<String>,
    /// The oid of `en57_event`.
    event_type: Oid,
}

impl Trace {
    /// Starts at the first cause of an event; without such an event there is nothing to visit.
    ///
    /// # Errors
    /// As reading.
    pub fn start(id: Option<Id>, partition: Option<&str>, event_type: Oid) -> Result<Self> {
        let root = id.map_or(Ok(None), |id| root_of(id, partition))?;
        Ok(Self {
            root: root.unwrap_or_default(),
            stack: root.into_iter().map(|root| (0, None, root)).collect(),
            partition: partition.map(str::to_owned),
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
        let partition = self.partition.as_deref();
        Reading::start(Some(query), Options::default(), partition)?.each_row(|row| {
            effects.extend(id_of(row).filter(|id| *id != self.root));
            Ok(())
        })?;
        Ok(effects)
    }
}

impl Source for Trace {
    type Item = Traced;

    fn fill(&mut self, at_most: usize, sink: &mut Sink<Traced>) -> Result<bool> {
        let row_type = RowType::of(self.event_type);
        let (mut found, mut bytes) = (0, 0);
        while found < at_most && bytes < read::PAGE_BYTES {
            found += 1;
            let Some((depth, parent, id)) = self.stack.pop() else {
                return Ok(false);
            };
            for effect in self.effects(id)?.into_iter().rev() {
                self.stack.push((depth + 1, Some(id), effect));
            }
            read::by_id(&id, self.partition.as_deref(), |row| {
                bytes += row.bytes();
                let event = row_type.make(&mut tuple::event_columns(row))?;
                sink(&Traced {
                    depth,
                    parent,
                    event,
                })
            })?;
        }
        Ok(true)
    }
}

fn id_of(row: &Row) -> Option<Id> {
    row.get(Column::Id).map(fmgr::uuid)
}

/// The first cause of an event that is there: one that names no cause, or none that is there. In a circle
/// it is the earliest event of those on the way.
fn root_of(id: Id, partition: Option<&str>) -> Result<Option<Id>> {
    let mut visited = HashSet::new();
    let mut earliest: Option<(i64, Id)> = None;
    let mut root = None;
    let mut next = Some(id);
    while let Some(id) = next.take() {
        if !visited.insert(id) {
            return Ok(earliest.map(|(_, id)| id));
        }
        read::row_by_id(&id, partition, |row| {
            let this = (row.position(), id);
            earliest = Some(earliest.map_or(this, |e| e.min(this)));
            root = Some(id);
            next = cause_of(row)?;
            Ok(())
        })?;
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
