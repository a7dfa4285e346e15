//! Types: a pass over the index on position, beside what stands under the keys of the types that are known by then. An
//! event that stands under none of these is looked at, and tells another type.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::dcb::error::Result;
use crate::dcb::key::Namespace;
use crate::dcb::query::Query;
use crate::store::index::entry::{Direction, Entry};
use crate::store::index::fetch::Fetcher;
use crate::store::index::scan::{Range, Scan, StreamScan};
use crate::store::row::event::{self, Row};
use crate::store::row::table::Opened;

use super::super::view::View;
use super::{Events, Inventory, add, counts, each_place, end, told};

/// The types of a partition's events, or of all, as they are stored.
///
/// # Errors
/// 42501, 42704; 55000 where an index is missing.
pub fn types(partition: Option<&str>) -> Result<Inventory> {
    let mut inventory = Inventory::new();
    each_place(partition, |table, view| {
        for known in of_table(table, view)? {
            let of = |row: &Row| Ok(told(row));
            let last = end(table, view, known.last, Direction::Backward, of)?;
            let events = Events {
                count: known.count,
                first: known.first,
                last: last.unwrap_or(known.first),
            };
            add(&mut inventory, known.name, events);
        }
        Ok(())
    })?;
    Ok(inventory)
}

/// A type that an event has told.
struct Known<'t> {
    name: String,
    /// What stands under its key beyond the last event.
    entries: StreamScan<'t>,
    count: i64,
    first: (i64, i64),
    last: Entry,
}

impl<'t> Known<'t> {
    /// Tells of the type of a row, which is the first one.
    fn of(table: &'t Opened, row: &Row, entry: Entry, upto: i64) -> Result<Self> {
        let name = row.event_type()?;
        let key = event::effective(Namespace::Type, name.as_bytes());
        let after = entry.position;
        let range = Range { after, upto };
        Ok(Self {
            name: name.to_owned(),
            entries: StreamScan::under(table, key, range, Direction::Forward)?,
            count: 1,
            first: told(row),
            last: Entry { key, ..entry },
        })
    }
}

fn of_table(table: &Opened, view: View) -> Result<Vec<Known<'_>>> {
    let range = Range {
        after: 0,
        upto: view.upto(),
    };
    let mut all = Scan::new(table, &Query::everything(), range, Direction::Forward)?;
    let mut fetcher = Fetcher::new(table);
    let mut known: Vec<Known> = Vec::new();
    // Where each of the known ones comes next.
    let mut next: BinaryHeap<Reverse<(Entry, usize)>> = BinaryHeap::new();
    let in_order = |entry: Entry, of: usize| Reverse((Entry { key: 0, ..entry }, of));
    while let Some(entry) = all.next_entry()? {
        let is_one = counts(table, view, entry);
        let mut is_known = !is_one;
        while let Some(Reverse((at, of))) = next.peek().copied()
            && at.position <= entry.position
        {
            next.pop();
            let one = &mut known[of];
            is_known |= at.position == entry.position;
            // An erased event has an entry for each tid that it has been in, until vacuum comes.
            if is_one && at.position != one.last.position {
                one.count += 1;
                one.last = Entry {
                    key: one.last.key,
                    ..at
                };
            }
            if let Some(beyond) = one.entries.next_entry()? {
                next.push(in_order(beyond, of));
            }
        }
        let is_seen = || known.iter().any(|k| k.last.position == entry.position);
        if is_known || is_seen() || !fetcher.fetch(entry, view.is_beyond(entry.position)) {
            continue;
        }
        let mut one = Known::of(table, &fetcher.row, entry, range.upto)?;
        if let Some(beyond) = one.entries.next_entry()? {
            next.push(in_order(beyond, known.len()));
        }
        known.push(one);
    }
    Ok(known)
}
