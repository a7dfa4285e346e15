//! Importing: events that were recorded elsewhere, with their ids, times and versions, and with their positions if the
//! caller wants that. It has no condition, and nobody appends meanwhile.

use std::collections::HashMap;

use crate::dcb::error::{self, Error, Result};
use crate::invariant::Rules;
use crate::projection;
use crate::read::{PAGE_BYTES, stream};
use crate::store::lock::plan::Plan;
use crate::store::log::catalog;
use crate::store::log::insert::{Assigned, Batch};
use crate::store::log::partition::Access;
use crate::store::log::position::Counter;
use crate::store::pg::json::{Jsonb, Value};
use crate::store::pg::scratch::Scratch;
use crate::store::pg::{clock, composite, fmgr};
use crate::store::row::event::{self, EVENT_COLUMNS, NewEvent};
use crate::store::row::table::Opened;
use crate::store::session::{definitions, transaction};
use crate::store::{Datum, Oid};
use crate::upcast;

use super::{fit, parse};

/// An event that was recorded elsewhere.
pub struct Recorded<'a> {
    /// What an append takes.
    pub event: NewEvent<'a>,
    /// Its position in the source.
    pub position: Option<i64>,
    /// When it was recorded, in PostgreSQL's microseconds.
    pub recorded_at_us: Option<i64>,
    /// Its version in the stream.
    pub stream_version: Option<i64>,
}

/// What is to be imported.
pub struct Import<'a> {
    /// In the order of their positions.
    pub events: Vec<Recorded<'a>>,
    /// The partition's name, if it is not the session's.
    pub partition: Option<&'a str>,
    /// Whether the events keep their positions.
    pub keep_positions: bool,
    /// Whether the events must fit their types, as appended ones must.
    pub check_types: bool,
}

/// Imports the events; returns how many.
///
/// # Errors
/// As an append; 22023 if a position or a stream's version does not follow the one before it.
pub fn import(import: &Import) -> Result<i64> {
    catalog::demand_writable("en57_import()")?;
    let events = &import.events;
    if events.is_empty() {
        return Ok(0);
    }
    let store = catalog::store()?;
    let partition = store.partition(import.partition, Access::Append)?;
    let counter = Counter::of(store)?;
    let table = partition.open_to_append(events.iter().any(|e| e.event.stream.is_some()))?;
    let keys: Vec<Vec<i64>> = events.iter().map(|e| e.event.keys()).collect();
    // It may write any key and any stream, so it locks all of them.
    let mut plan = Plan::default();
    plan.check_all();
    plan.acquire(partition.oid)?;
    definitions::accept_changes();
    demand_each(events, &|some| {
        fit::demand(some.iter().map(|e| &e.event), import.check_types)
    })?;
    let new = |n: usize| &events[n].event;
    let rules = Rules::new(&partition.name, events.len(), &new, &*upcast::known()?)?;

    let versions = versions(&table, events)?;
    let (positions, stable) = positions(&counter, partition.oid, import)?;
    let now_us = clock::now_us();
    let assigned = |i: usize| {
        let event = &events[i];
        Assigned {
            position: positions[i],
            recorded_at_us: event.recorded_at_us.unwrap_or(now_us),
            stream: event.event.stream.zip(versions[i]),
        }
    };
    let recorded = |i: usize| (&events[i].event, assigned(i).recorded_at_us);
    let batch = Batch {
        partition: &partition,
        table: &table,
        stable,
        assigned: &assigned,
        ids: &event::ids((0..events.len()).map(recorded)),
    };
    rules.check(&batch)?;
    let new: Vec<&NewEvent> = events.iter().map(|e| &e.event).collect();
    batch.insert(&new, &keys)?;
    let last = positions.last().copied().unwrap_or_default();
    let written = keys
        .iter()
        .zip(&positions)
        .flat_map(|(keys, p)| keys.iter().map(move |k| (*k, *p)));
    transaction::wrote(partition.oid, written, last);
    // Nobody else appends: all events from the first to the last are of this import.
    let first = positions.first().copied().unwrap_or_default();
    projection::catch_up(&partition.name, first - 1, last)?;
    Ok(events.len() as i64)
}

/// Checks the events; an error names the source's position of the first one that fails.
fn demand_each(events: &[Recorded], check: &dyn Fn(&[Recorded]) -> Result<()>) -> Result<()> {
    check(events).map_err(|error| {
        let mut each = events.iter();
        let failing = each.find(|e| check(std::slice::from_ref(*e)).is_err());
        with_position(error, failing.and_then(|e| e.position))
    })
}

/// Adds the position that the event has in the source: the event's number within a batch tells little where millions
/// are imported.
fn with_position(error: Error, position: Option<i64>) -> Error {
    let Some(position) = position else {
        return error;
    };
    let sentence = format!("Its position in the source is {position}.");
    let detail = match &error.detail {
        Some(detail) => format!("{detail} {sentence}"),
        None => sentence,
    };
    error.detail(detail)
}

/// The version of each event in its stream: one more than that of the event before it. An event may name it or not.
fn versions(table: &Opened, events: &[Recorded]) -> Result<Vec<Option<i64>>> {
    let mut heads: HashMap<&str, i64> = HashMap::new();
    let mut versions = Vec::with_capacity(events.len());
    for (i, event) in events.iter().enumerate() {
        let Some(name) = event.event.stream else {
            versions.push(None);
            continue;
        };
        let head = match heads.get_mut(name) {
            Some(head) => head,
            None => {
                let (head, _) = stream::head(table, name)?;
                heads.entry(name).or_insert(head)
            }
        };
        let next = *head + 1;
        if let Some(given) = event.stream_version.filter(|given| *given != next) {
            let error = invalid(
                i,
                format!("stream_version {given} of stream \"{name}\" does not follow {head}"),
            )
            .hint("Versions count from 1 without gaps; leave them out to have them counted anew.");
            return Err(with_position(error, event.position));
        }
        *head = next;
        versions.push(Some(next));
    }
    Ok(versions)
}

/// The positions of the events, and the partition's frontier. They are the events' own positions, beyond all that the
/// log has allotted, or new ones.
fn positions(counter: &Counter, partition: Oid, import: &Import) -> Result<(Vec<i64>, i64)> {
    let n = import.events.len() as i64;
    if !import.keep_positions {
        let (first, stable) = counter.allot(partition, n)?;
        return Ok(((first..first + n).collect(), stable));
    }
    let mut positions: Vec<i64> = Vec::with_capacity(import.events.len());
    for (i, event) in import.events.iter().enumerate() {
        let Some(position) = event.position.filter(|p| *p > 0) else {
            return Err(invalid(i, "has no position to keep".into())
                .hint("Give every event a position from 1, or leave keep_positions out."));
        };
        if positions.last().is_some_and(|before| *before >= position) {
            return Err(invalid(
                i,
                format!("position {position} does not follow the one before it"),
            )
            .hint("Order the events by position."));
        }
        positions.push(position);
    }
    let (first, last) = (positions[0], positions[positions.len() - 1]);
    let stable = counter.allot_own(partition, first, last)?;
    Ok((positions, stable))
}

/// Reads events from JSON. Beside the keys that an append takes, an event may have the other columns of en57_event.
///
/// # Errors
/// As [`parse::events`].
pub fn from_json(document: Jsonb) -> Result<Vec<Recorded>> {
    if !document.is_array() {
        return Err(error::invalid("events must be a JSON array of objects"));
    }
    let mut events = Vec::with_capacity(document.count());
    for (i, element) in document.elements().enumerate() {
        let object = match element? {
            Value::Container(object) if object.is_object() => object,
            other => {
                return Err(invalid(
                    i,
                    format!("must be an object, not {}", other.kind()),
                ));
            }
        };
        events.push(recorded(object, i)?);
    }
    Ok(events)
}

/// Reads one event; `i` others come before it in the document.
///
/// # Errors
/// As [`from_json`].
pub fn recorded(object: Jsonb<'_>, i: usize) -> Result<Recorded<'_>> {
    let (mut position, mut recorded_at_us, mut stream_version) = (None, None, None);
    let mut other = |key: &str, value| {
        match (key, value) {
            ("position" | "recorded_at" | "stream_version" | "partition", Value::Null) => {}
            ("position", value) => position = Some(number(value, i, key)?),
            ("stream_version", value) => stream_version = Some(number(value, i, key)?),
            ("recorded_at", Value::String(text)) => {
                recorded_at_us = Some(clock::parse_us(
                    text,
                    &format!("event {}: \"recorded_at\": ", i + 1),
                )?);
            }
            // The partition that the events came from. The one that they go to is an argument.
            ("partition", Value::String(_)) => {}
            ("recorded_at" | "partition", value) => {
                return Err(invalid(
                    i,
                    format!("\"{key}\" must be a string, not {}", value.kind()),
                ));
            }
            _ => return Ok(false),
        }
        Ok(true)
    };
    let event = parse::event(object, i + 1, None, &mut other)?;
    if stream_version.is_some() && event.stream.is_none() {
        return Err(invalid(i, "\"stream_version\" needs \"stream\"".into()));
    }
    Ok(Recorded {
        event,
        position,
        recorded_at_us,
        stream_version,
    })
}

/// Imports events from an array of `en57_event`. en57 fills in what is NULL. Large events are imported in several
/// batches. Returns how many.
///
/// # Errors
/// 22004 if an element or its type is NULL, otherwise as [`import`].
pub fn import_rows(
    array: Datum,
    partition: Option<&str>,
    keep_positions: bool,
    check_types: bool,
) -> Result<i64> {
    let composites = composite::elements(array, "event")?;
    let (scratch, mut stored) = (Scratch::new(), 0);
    loop {
        let left = &composites[stored as usize..];
        let some = scratch.run(|| {
            import(&Import {
                events: from_rows(left, stored as usize)?,
                partition,
                keep_positions,
                check_types,
            })
        })?;
        scratch.reset();
        stored += some;
        if stored as usize == composites.len() {
            return Ok(stored);
        }
    }
}

/// Reads the next events: as many as may be in memory at once, at least one. `n` others come before them.
fn from_rows<'a>(composites: &[Datum], n: usize) -> Result<Vec<Recorded<'a>>> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    for (i, composite) in (n..).zip(composites) {
        let columns = composite::columns::<EVENT_COLUMNS>(*composite)?;
        bytes += columns[3..5]
            .iter()
            .flatten()
            .map(|d| fmgr::bytes_of(*d))
            .sum::<usize>();
        let position = columns[0].map(|d: Datum| d.value() as i64);
        events.push(from_row(columns, i).map_err(|e| with_position(e, position))?);
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(events)
}

fn from_row<'a>(columns: [Option<Datum>; EVENT_COLUMNS], i: usize) -> Result<Recorded<'a>> {
    let [
        position,
        id,
        event_type,
        data,
        meta,
        tags,
        stream,
        stream_version,
        schema_version,
        occurred_at,
        recorded_at,
        _partition,
    ] = columns;
    let mut event = parse::from_columns([id, event_type, data, meta, tags], i + 1, None)?;
    event.schema_version = match schema_version.map(|d| d.value() as i32) {
        Some(version) if version < 1 => {
            return Err(invalid(i, "schema_version must be 1 or greater".into()));
        }
        Some(version) => version,
        None => fit::newest(event.event_type)?,
    };
    let stream = stream.map(fmgr::text).transpose()?;
    event.stream = stream.map(|s| stream::checked_of(s, i + 1)).transpose()?;
    if stream_version.is_some() && event.stream.is_none() {
        return Err(invalid(i, "stream_version needs stream".into()));
    }
    let number = |d: Option<Datum>| d.map(|d| d.value() as i64);
    event.occurred_at_us = number(occurred_at);
    Ok(Recorded {
        event,
        position: number(position),
        recorded_at_us: number(recorded_at),
        stream_version: number(stream_version),
    })
}

fn number(value: Value, i: usize, key: &str) -> Result<i64> {
    match value {
        Value::Number(_) => value
            .as_i64()
            .ok_or_else(|| invalid(i, format!("\"{key}\" must be an integer"))),
        other => Err(invalid(
            i,
            format!("\"{key}\" must be a number, not {}", other.kind()),
        )),
    }
}

/// The event is not as it must be; `i` others come before it.
fn invalid(i: usize, what: String) -> Error {
    error::invalid(format!("event {}: {what}", i + 1))
}
