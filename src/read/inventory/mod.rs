//! An inventory: which types and tags there are, how many events have them, and since when.
//!
//! The indexes have keys, not names. But all events of a name stand under one key, so one of them tells the name, and
//! beside it only the last one is looked at. Two names that share a key would be told as one.

mod tags;
mod types;

pub use tags::{Wanted, tags};
pub use types::types;

use std::collections::BTreeMap;

use crate::dcb::error::Result;
use crate::store::index::entry::{Direction, Entry};
use crate::store::index::fetch::Fetcher;
use crate::store::index::scan::{Range, StreamScan};
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::row::event::Row;
use crate::store::row::table::Opened;

use super::partitions::Partitions;
use super::view::View;

/// What is known of the events of a name.
#[derive(Clone, Copy)]
pub struct Events {
    /// How many there are, with those of rolled-back appends until vacuum takes them away.
    pub count: i64,
    /// Position and time of recording, in PostgreSQL's microseconds, of the first one.
    pub first: (i64, i64),
    /// Position and time of recording of the last one.
    pub last: (i64, i64),
}

impl Events {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// Names, in the order of their bytes.
pub type Inventory = BTreeMap<String, Events>;

fn add(inventory: &mut Inventory, name: String, events: Events) {
    match inventory.get_mut(&name) {
        Some(known) => known.add(events),
        None => drop(inventory.insert(name, events)),
    }
}

/// Looks at each partition as it stands; nobody is waited for.
fn each_place(
    partition: Option<&str>,
    mut look: impl FnMut(&Opened, View) -> Result<()>,
) -> Result<()> {
    let store = catalog::store()?;
    let view = View::now(&catalog::effective_name(partition)?)?;
    for partition in Partitions::find(store, partition, Access::Read)?.iter() {
        let partition = store.partition(Some(&partition.name), Access::Read)?;
        look(&partition.open_to_read(), view)?;
    }
    Ok(())
}

/// Whether an entry counts: what is settled does, though a row that was rolled back is not looked at; beyond it the
/// transaction's own.
fn counts(table: &Opened, view: View, entry: Entry) -> bool {
    let is_own = || entry.position <= view.upto() && Fetcher::new(table).fetch(entry, true);
    !view.is_beyond(entry.position) || is_own()
}

/// A row's position, and when it was recorded.
fn told(row: &Row) -> (i64, i64) {
    (row.position(), row.recorded_at_us())
}

/// What `of` says of the first or the last event under a key: that of an entry which is likely to be it, or the next one
/// that can be seen.
fn end<T>(
    table: &Opened,
    view: View,
    likely: Entry,
    direction: Direction,
    of: impl Fn(&Row) -> Result<T>,
) -> Result<Option<T>> {
    let mut fetcher = Fetcher::new(table);
    if fetcher.fetch(likely, view.is_beyond(likely.position)) {
        return of(&fetcher.row).map(Some);
    }
    let range = Range {
        after: 0,
        upto: view.upto(),
    };
    let mut entries = StreamScan::under(table, likely.key, range, direction)?;
    while let Some(entry) = entries.next_entry()? {
        if fetcher.fetch(entry, view.is_beyond(entry.position)) {
            return of(&fetcher.row).map(Some);
        }
    }
    Ok(None)
}
