//! Tags: a pass over the key index, from key to key. What stands under a key is told by its first event.

use crate::dcb::error::{Result, invalid};
use crate::dcb::key::Namespace;
use crate::store::index::entry::Direction;
use crate::store::index::survey::{Found, Survey};
use crate::store::row::event::{self, Row};
use crate::store::row::table::Opened;

use super::super::view::View;
use super::{Events, Inventory, add, counts, each_place, end, told};

/// How many are told where nothing else is said.
const MAX_COUNT: i64 = 1000;

/// Which tags to tell.
pub struct Wanted<'a> {
    /// Those that begin so.
    pub prefix: &'a str,
    /// Those that follow this one.
    pub after: Option<&'a str>,
    /// The first ones, at most so many.
    pub max_count: Option<i64>,
}

impl Wanted<'_> {
    /// The tag by which an event stands under a key, if it is one that is wanted.
    fn tag_of(&self, row: &Row, key: i64) -> Result<Option<String>> {
        let is_wanted = |tag: &&str| {
            tag.starts_with(self.prefix)
                && self.after.is_none_or(|after| *tag > after)
                && event::effective(Namespace::Tag, tag.as_bytes()) == key
        };
        let tags = row.tags()?.texts()?;
        Ok(tags.into_iter().find(is_wanted).map(str::to_owned))
    }
}

/// The tags of a partition, or of all.
///
/// # Errors
/// 42501, 42704; 22023 for a number below 0; 55000 where an index is missing.
pub fn tags(wanted: &Wanted, partition: Option<&str>) -> Result<Inventory> {
    let at_most = usize::try_from(wanted.max_count.unwrap_or(MAX_COUNT))
        .map_err(|_| invalid("max_count must not be negative"))?;
    let mut inventory = Inventory::new();
    each_place(partition, |table, view| {
        let mut survey = Survey::new(table)?;
        while let Some(found) = survey.next_key(|entry| counts(table, view, entry))? {
            let Some((tag, events)) = about(table, view, wanted, &found)? else {
                continue;
            };
            add(&mut inventory, tag, events);
            if inventory.len() > at_most {
                inventory.pop_last();
            }
        }
        Ok(())
    })?;
    Ok(inventory)
}

/// The tag of a key, if it is wanted, and its events; `None` for other keys, and where none of the events can be seen.
fn about(
    table: &Opened,
    view: View,
    wanted: &Wanted,
    found: &Found,
) -> Result<Option<(String, Events)>> {
    let of = |row: &Row| {
        let tag = wanted.tag_of(row, found.first.key)?;
        Ok(tag.map(|tag| (tag, told(row))))
    };
    let first = end(table, view, found.first, Direction::Forward, of)?;
    let Some((tag, first)) = first.flatten() else {
        return Ok(None);
    };
    let of = |row: &Row| Ok(told(row));
    let last = end(table, view, found.last, Direction::Backward, of)?;
    let events = Events {
        count: found.positions,
        first,
        last: last.unwrap_or(first),
    };
    Ok(Some((tag, events)))
}
