//! Whether tables, indexes and shared memory agree, and what is kept beside the log.
//!
//! It runs beside writers. A row that is visible was committed, so all its entries are there: the table is
//! walked first, and each row looks for its entries. An entry may belong to a row that is not committed or
//! was undone, but never to no row at all; where it seems to, the entry is looked for again, since vacuum
//! takes entries away before it frees the rows' line pointers.
//!
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/check.md"))]

pub mod dependents;
pub mod frontier;
mod pages;
mod row;
pub mod seen_positions;
pub mod table;

use std::collections::HashMap;

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::partition::ALL;
use crate::store::index::check;
use crate::store::index::entry::{Direction, Entry};
use crate::store::index::fetch::{Fetcher, Spot};
use crate::store::index::reader::Reader;
use crate::store::log::catalog;
use crate::store::log::partition::{Access, Partition};
use crate::store::log::position::Counter;
use crate::store::pg::fmgr;
use crate::store::pg::scratch::Scratch;
use crate::store::row::event::{Column, Row};
use crate::store::row::table::{IndexRole, Opened};
use crate::store::state::fold_snapshots::Gate;

use seen_positions::SeenPositions;
use table::faults;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Data or answers are wrong, or will be.
    Error,
    /// Something that protects them is missing.
    Warning,
}

/// What is wrong.
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// With what.
    pub object: String,
    /// In words.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

/// Takes what is found.
pub type Sink<'a> = &'a mut dyn FnMut(Finding) -> Result<()>;

const REINDEX: &str = "REINDEX it.";
const RESTORE: &str = "Restore the table from a backup.";
const RESTORE_OR_REINDEX: &str = "If the other indexes say the same, the row is lost: restore the table from a backup. Otherwise REINDEX it.";
/// What is wrong with an entry, where either the entry is wrong or its row is lost.
const LOST: [&str; 2] = [
    "its row lies beyond the end of the table",
    "there is no row in its place",
];

/// Checks a partition, or all of them.
///
/// # Errors
/// 42704 where there is no such partition, 0A000 on a standby.
pub fn check(partition: Option<&str>, sink: Sink) -> Result<()> {
    let store = catalog::store()?;
    let counter = Counter::of(store)?;
    let names = match partition {
        Some(name) if name != ALL => vec![name.to_owned()],
        _ => store.all()?.into_iter().map(|(name, _)| name).collect(),
    };
    let mut largest = 0;
    let mut damaged = HashMap::new();
    // Positions are unique in the database, so all are met together.
    let mut window = Some(SeenPositions::from(1));
    let mut is_first = true;
    while let Some(mut met) = window {
        for name in &names {
            let partition = match store.partition(Some(name), Access::Own) {
                Ok(partition) => partition,
                // It was dropped meanwhile.
                Err(e) if partition.is_none() && e.state == SqlState::UndefinedObject => continue,
                Err(e) if e.state == SqlState::NotInPrerequisiteState => {
                    if is_first {
                        sink(unusable(name, e))?;
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            // While events are erased, they have two tids.
            let _quiet = Gate::wait(partition.oid);
            let mut check = Check::of(&partition, sink);
            let lost = damaged.entry(partition.oid).or_default();
            largest = largest.max(if is_first {
                check.run(&mut met, lost)?
            } else {
                check.walk_rows(&mut met, None, lost)?
            });
        }
        is_first = false;
        window = met.beyond.map(SeenPositions::from);
    }
    check_positions(&counter, store.read_ceiling(), largest, sink)?;
    let partition = partition.filter(|name| *name != ALL);
    if partition.is_none() {
        faults(store.events, sink)?;
    }
    dependents::check(partition, sink)?;
    frontier::check(partition, sink)
}

fn unusable(partition: &str, error: Error) -> Finding {
    Finding {
        severity: Severity::Error,
        object: format!("partition {partition}"),
        problem: error.message,
        hint: error.hint.unwrap_or_default(),
    }
}

/// Whether what is stored is known to shared memory and the ceiling.
fn check_positions(counter: &Counter, ceiling: i64, largest: i64, sink: Sink) -> Result<()> {
    let next = counter.next();
    if largest >= next {
        sink(Finding {
            severity: Severity::Error,
            object: "shared memory".into(),
            problem: format!("position {largest} is stored, but {next} is the next to be allotted"),
            hint: "Restart the server: it goes on beyond what is stored.".into(),
        })?;
    }
    if largest > ceiling {
        sink(Finding {
            severity: Severity::Error,
            object: "sequence en57.position_ceiling".into(),
            problem: format!("position {largest} is stored, but the durable ceiling is {ceiling}"),
            hint: format!("Run SELECT setval('en57.position_ceiling', {largest})."),
        })?;
    }
    Ok(())
}

/// An object with what is wrong with it and what to do.
type Problem = (String, String, &'static str);

/// Which indexes are in order, so that rows can look for their entries there.
#[derive(Clone, Copy)]
struct Ready {
    keys: bool,
    positions: bool,
    ids: bool,
    streams: bool,
}

/// The check of one partition.
struct Check<'a, 's> {
    partition: &'a Partition,
    table: Opened,
    sink: Sink<'s>,
}

impl<'a, 's> Check<'a, 's> {
    fn of(partition: &'a Partition, sink: Sink<'s>) -> Self {
        let table = partition.open_to_check();
        Self {
            partition,
            table,
            sink,
        }
    }

    fn found(&mut self, object: String, problem: impl Into<String>, hint: &str) -> Result<()> {
        (self.sink)(Finding {
            severity: Severity::Error,
            object,
            problem: problem.into(),
            hint: hint.into(),
        })
    }

    fn table_name(&self) -> String {
        format!("table en57.{}", self.table.name())
    }

    /// Checks it all; returns the largest position. Notes the pages of the table that cannot be read.
    fn run(&mut self, met: &mut SeenPositions, lost: &mut Vec<u32>) -> Result<i64> {
        self.check_catalogs()?;
        self.check_indexes()?;
        *lost = self.check_pages()?;
        let ready = Ready {
            keys: self.check_tree(IndexRole::Keys)?,
            positions: self.check_tree(IndexRole::Position)?,
            ids: self.check_tree(IndexRole::Id)?,
            streams: self.check_index_pages(IndexRole::Stream)?,
        };
        // Rows and entries are compared where all rows can be read.
        let ready = Some(ready).filter(|_| lost.is_empty());
        let largest = self.walk_rows(met, ready, lost)?;
        let Some(ready) = ready else {
            return Ok(largest);
        };
        for (role, is_ready) in [
            (IndexRole::Keys, ready.keys),
            (IndexRole::Position, ready.positions),
            (IndexRole::Id, ready.ids),
        ] {
            if is_ready {
                self.check_entries(role)?;
            }
        }
        Ok(largest)
    }

    /// What the catalogs say of the table.
    fn check_catalogs(&mut self) -> Result<()> {
        faults(self.partition.oid, self.sink)
    }

    /// Whether the indexes are there.
    fn check_indexes(&mut self) -> Result<()> {
        for role in [
            IndexRole::Keys,
            IndexRole::Position,
            IndexRole::Id,
            IndexRole::Stream,
        ] {
            if let Err(lost) = self.table.index(role) {
                let problem = lost.message.rsplit(" has ").next().unwrap_or("").to_owned();
                let hint = lost.hint.unwrap_or_default();
                self.found(self.table_name(), format!("it has {problem}"), &hint)?;
            }
        }
        for name in self.partition.invalid_indexes() {
            (self.sink)(Finding {
                severity: Severity::Warning,
                object: format!("index en57.{name}"),
                problem: "it is not valid".into(),
                hint: "Unless it is being built right now, drop it, or REINDEX it.".into(),
            })?;
        }
        Ok(())
    }

    /// Whether an index is there and in order, so that it can be asked.
    fn check_tree(&mut self, role: IndexRole) -> Result<bool> {
        if !self.check_index_pages(role)? {
            return Ok(false);
        }
        let name = self.table.index(role)?.name();
        match check::walk(&reader(&self.table, role)?) {
            Ok(()) => Ok(true),
            Err(trouble) => {
                let problem = format!("page {}: {}", trouble.block, trouble.problem);
                self.found(format!("index en57.{name}"), problem, REINDEX)?;
                Ok(false)
            }
        }
    }

    /// Walks the table; returns the largest position. Notes the positions that are met, and with `ready`
    /// checks the rows.
    fn walk_rows(
        &mut self,
        met: &mut SeenPositions,
        ready: Option<Ready>,
        lost: &[u32],
    ) -> Result<i64> {
        let scratch = Scratch::new();
        let mut largest = 0;
        for block in (0..self.table.pages()).filter(|block| !lost.contains(block)) {
            scratch.run(|| {
                let mut problems = Vec::new();
                let mut fetcher = Fetcher::new(&self.table);
                for offset in 1..=u16::MAX {
                    let tid = u64::from(block) << 16 | u64::from(offset);
                    match fetcher.look(tid) {
                        Spot::Beyond => break,
                        Spot::Row => {}
                        _ => continue,
                    }
                    let position = fetcher.row.position();
                    largest = largest.max(position);
                    if met.is_second(position) {
                        let problem = format!("position {position} is there more than once");
                        problems.push((self.table_name(), problem, RESTORE));
                    }
                    if let Some(ready) = ready {
                        self.check_row(&fetcher.row, tid, ready, &mut problems);
                    }
                }
                drop(fetcher);
                problems
                    .into_iter()
                    .try_for_each(|(object, problem, hint)| self.found(object, problem, hint))
            })?;
            scratch.reset();
        }
        Ok(largest)
    }

    /// Walks an index: each entry belongs to a row that says the same, or to one that is none yet or no
    /// more.
    fn check_entries(&mut self, role: IndexRole) -> Result<()> {
        let name = format!("index en57.{}", self.table.index(role)?.name());
        let scratch = Scratch::new();
        let mut from = Some(Entry::MIN);
        while let Some(start) = from {
            from = scratch.run(|| -> Result<_> {
                let index = reader(&self.table, role)?;
                let mut entries = Vec::new();
                let rest = index.page(start, Entry::MAX, Direction::Forward, &mut entries)?;
                let mut fetcher = Fetcher::new(&self.table);
                let mut wrong = Vec::new();
                for entry in entries {
                    let problem = contradiction(&mut fetcher, &self.table, role, entry)?;
                    // Vacuum may have taken it away meanwhile, and given the tid to another row.
                    if let Some(problem) = problem
                        && has_entry(&index, entry)?
                    {
                        let hint = if LOST.contains(&problem) {
                            RESTORE_OR_REINDEX
                        } else {
                            REINDEX
                        };
                        wrong.push((format!("{}: {problem}", named(role, entry)), hint));
                    }
                }
                drop(fetcher);
                for (problem, hint) in wrong {
                    self.found(name.clone(), problem, hint)?;
                }
                Ok(rest)
            })?;
            scratch.reset();
        }
        Ok(())
    }
}

/// What a row has to do with an entry that leads to it and should not, in words.
fn contradiction(
    fetcher: &mut Fetcher,
    table: &Opened,
    role: IndexRole,
    entry: Entry,
) -> Result<Option<&'static str>> {
    let block = (entry.tid >> 16) as u32;
    if block >= table.pages() {
        return Ok(Some(LOST[0]));
    }
    Ok(match fetcher.look(entry.tid) {
        Spot::Beyond | Spot::Unused => Some(LOST[1]),
        Spot::Unseen => None,
        Spot::Row if role == IndexRole::Id => (Entry::of_id(&id_of(&fetcher.row))
            != Entry { tid: 0, ..entry })
        .then_some("the row in its place has another id"),
        Spot::Row if fetcher.row.position() != entry.position => {
            Some("the row in its place has another position")
        }
        Spot::Row if role == IndexRole::Keys && !fetcher.row.keys()?.contains(&entry.key) => {
            Some("the row in its place has no such type, tag, stream or id")
        }
        Spot::Row => None,
    })
}

fn named(role: IndexRole, entry: Entry) -> String {
    if role == IndexRole::Id {
        let bytes = entry.id();
        format!("entry for id {}", uuid::Uuid::from_bytes(bytes))
    } else {
        format!("entry for position {}", entry.position)
    }
}

fn id_of(row: &Row) -> [u8; 16] {
    row.get(Column::Id).map_or([0; 16], fmgr::uuid)
}

fn reader(table: &Opened, role: IndexRole) -> Result<Reader<'_>> {
    match role {
        IndexRole::Keys => Reader::keys(table),
        IndexRole::Id => Reader::ids(table),
        _ => Reader::positions(table),
    }
}

fn has_entry(index: &Reader, entry: Entry) -> Result<bool> {
    let mut found = Vec::new();
    index.page(entry, entry, Direction::Forward, &mut found)?;
    Ok(!found.is_empty())
}
