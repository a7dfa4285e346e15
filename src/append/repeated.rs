//! Events that are sent again: if exactly these events are stored, they are answered as the first time.

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::index::entry::Entry;
use crate::store::index::fetch::Fetcher;
use crate::store::index::lookup::find_id;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::memory::stat::{self, Counted};
use crate::store::pg::json;
use crate::store::row::event::{Column, NewEvent, Row};
use crate::store::row::table::Opened;

use super::{AppendRequest, Outcome};

/// The outcome of the first time, if all these events are stored, one after the other.
///
/// # Errors
/// 23505 if only some of them are stored, or if other events have their ids.
pub(super) fn stored_before(table: &Opened, request: &AppendRequest) -> Result<Option<Outcome>> {
    let Some((first, others)) = request.events.split_first() else {
        return Ok(None);
    };
    if first.id.is_none() {
        return refuse_stored(table, others, request.may_repeat).map(|()| None);
    }
    // If the first event is new, the unique index refuses the ids of the others: they are not looked up here.
    let Some((id, stored)) = find(table, first)? else {
        return Ok(None);
    };
    let position = stored.position;
    let mut fetcher = Fetcher::new(table);
    let mut demand_same = |n: usize, event: &NewEvent, id, stored: Entry| {
        let is_repeated = request.may_repeat
            && stored.position == position + n as i64
            && fetcher.fetch(stored, false)
            && is_same(event, &fetcher.row)?;
        if is_repeated {
            Ok(fetcher.row.stream_version())
        } else {
            Err(is_not_new(n, id, request.may_repeat))
        }
    };
    let mut last = (id, demand_same(0, first, id, stored)?);
    for (n, event) in (1..).zip(others) {
        let Some((id, stored)) = find(table, event)? else {
            return Err(is_stored(n - 1, last.0));
        };
        last = (id, demand_same(n, event, id, stored)?);
    }
    Ok(Some(Outcome::Repeated {
        first: position,
        last: position + others.len() as i64,
        version: last.1,
        ids: request.events.iter().filter_map(|e| e.id).collect(),
    }))
}

/// The id of an event that has one, and where an event with this id is stored.
fn find(table: &Opened, event: &NewEvent) -> Result<Option<([u8; 16], Entry)>> {
    let Some(id) = event.id else {
        return Ok(None);
    };
    Ok(find_id(table, &id)?.map(|entry| (id, entry)))
}

/// Refuses events that follow a new one, if one of them is stored.
fn refuse_stored(table: &Opened, others: &[NewEvent], may_repeat: bool) -> Result<()> {
    for (n, event) in (1..).zip(others) {
        if let Some((id, _)) = find(table, event)? {
            return Err(is_not_new(n, id, may_repeat));
        }
    }
    Ok(())
}

/// An event, from 0, is stored, but it is not at the right position, or not the same.
fn is_not_new(n: usize, id: [u8; 16], may_repeat: bool) -> Error {
    let error = is_stored(n, id);
    if may_repeat {
        error.hint(
            "Send new events with new ids; to repeat an append, send exactly the same events.",
        )
    } else {
        error
    }
}

fn is_stored(n: usize, id: [u8; 16]) -> Error {
    let id = uuid::Uuid::from_bytes(id);
    Error::new(
        SqlState::UniqueViolation,
        format!("event {}: its id is known already", n + 1),
    )
    .detail(format!("An event with id {id} is stored."))
}

/// Whether a stored event has the type, tags, data and stream of a new one. Their ids are equal already.
fn is_same(new: &NewEvent, row: &Row) -> Result<bool> {
    let same_data = match (new.data, row.get(Column::Data)) {
        (None, None) => true,
        (Some(new), Some(stored)) => json::equal(new.to_datum(), stored),
        _ => false,
    };
    let tags = row.tags()?.texts()?;
    Ok(same_data
        && row.event_type()? == new.event_type
        && tags == new.tags
        && row.stream()? == new.stream)
}

/// The outcome of an append whose n-th event has the id `id_of(n)`, from 1, if it is stored.
///
/// # Errors
/// 42501, 42704.
pub fn stored_as(
    partition: Option<&str>,
    id_of: impl Fn(usize) -> [u8; 16],
) -> Result<Option<Outcome>> {
    let partition = catalog::store()?.partition(partition, Access::Lock)?;
    let table = partition.open_to_read();
    let Some(first) = find_id(&table, &id_of(1))? else {
        return Ok(None);
    };
    let mut newest = first;
    let first = first.position;
    let mut ids = vec![id_of(1)];
    for n in 2.. {
        match find_id(&table, &id_of(n))? {
            Some(next) if next.position == newest.position + 1 => newest = next,
            _ => break,
        }
        ids.push(id_of(n));
    }
    let mut fetcher = Fetcher::new(&table);
    let version = fetcher
        .fetch(newest, false)
        .then(|| fetcher.row.stream_version());
    stat::count(Counted::Repeated, 1);
    Ok(Some(Outcome::Repeated {
        first,
        last: newest.position,
        version: version.flatten(),
        ids,
    }))
}
