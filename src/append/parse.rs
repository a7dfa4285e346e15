//! Parsing: JSON, or the columns of a row, becomes events. Errors name the event and the key.

use std::collections::HashSet;

use crate::dcb::error::{Error, Result, SqlState, invalid, nearest, shown};
use crate::dcb::limits;
use crate::read::stream;
use crate::store::Datum;
use crate::store::pg::array::TextArray;
use crate::store::pg::json::{self, Jsonb, Value};
use crate::store::pg::{clock, fmgr, settings};
use crate::store::row::event::{NewEvent, meta_text};

use super::fields::{
    checked_tags, checked_type, expected_version, id, meta, not_a_string, schema_version, tags,
    text, too_long, too_much,
};
use super::fit::newest;

/// The keys of an event in the JSON of an append.
const KEYS: [&str; 12] = [
    "type",
    "data",
    "tags",
    "meta",
    "stream",
    "expected_version",
    "id",
    "schema_version",
    "occurred_at",
    "correlation_id",
    "causation_id",
    "trace_id",
];

/// Reads an event or an array of them.
///
/// # Errors
/// 22023 if a value is not allowed, 22P02 if an id is no uuid, 54000 if something is too long or if there is too much
/// of it.
pub fn events(document: Jsonb) -> Result<Vec<NewEvent>> {
    let ambient = ambient_meta()?;
    if document.is_object() {
        return Ok(vec![to_append(document, 1, ambient)?]);
    }
    if !document.is_array() {
        return Err(invalid(
            "events must be a JSON object or an array of objects",
        ));
    }
    if document.count() == 0 {
        return Err(invalid("events must not be an empty array"));
    }
    if document.count() > limits::EVENTS_PER_APPEND {
        return Err(too_much(format!(
            "an append has at most {} events",
            limits::EVENTS_PER_APPEND
        )));
    }
    let mut events = Vec::with_capacity(document.count());
    for (i, element) in document.elements().enumerate() {
        let n = i + 1;
        match element? {
            Value::Container(object) if object.is_object() => {
                events.push(to_append(object, n, ambient)?)
            }
            other => {
                return Err(invalid(format!(
                    "event {n}: must be an object, not {}",
                    other.kind()
                )));
            }
        }
    }
    refuse_repeated_ids(events.iter())?;
    Ok(events)
}

/// Reads the n-th event of an append. Only appends take an expected version.
fn to_append(object: Jsonb<'_>, n: usize, ambient: Option<Datum>) -> Result<NewEvent<'_>> {
    let mut expected = None;
    let mut event = event(object, n, ambient, &mut |key, value| {
        match (key, value) {
            ("expected_version", Value::Null) => {}
            ("expected_version", value) => expected = Some(expected_version(value, n)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    event.expected_version = expected;
    Ok(event)
}

/// Refuses events of which two have the same id.
///
/// # Errors
/// 22023.
pub fn refuse_repeated_ids<'e>(events: impl Iterator<Item = &'e NewEvent<'e>>) -> Result<()> {
    let mut seen = HashSet::new();
    for (i, event) in events.enumerate() {
        if let Some(id) = event.id.filter(|id| !seen.insert(*id)) {
            let id = uuid::Uuid::from_bytes(id);
            return Err(invalid(format!("event {}: id {id} is given twice", i + 1)));
        }
    }
    Ok(())
}

/// Reads the n-th event, from 1. Keys of its metadata come before those of `ambient`. `other` gets each key that is not
/// read here, and returns whether it knows the key.
///
/// # Errors
/// As [`events`].
pub fn event<'a>(
    object: Jsonb<'a>,
    n: usize,
    ambient: Option<Datum>,
    other: &mut dyn FnMut(&str, Value<'a>) -> Result<bool>,
) -> Result<NewEvent<'a>> {
    let mut event = new_event("");
    let mut version = None;
    // In the order of jsonb, which sorts keys by length.
    let mut named: Vec<(&str, &str)> = Vec::new();
    for pair in object.pairs() {
        let (key, value) = pair?;
        match (key, value) {
            ("data", value) => event.data = Some(value),
            ("type", Value::Null) => {}
            ("type", value) => event.event_type = text(value, n, key, limits::TYPE_BYTES)?,
            (known, Value::Null) if known != "expected_version" && KEYS.contains(&known) => {}
            ("tags", value) => event.tags = tags(value, n)?,
            ("stream", Value::String(name)) => event.stream = Some(stream::checked_of(name, n)?),
            ("stream", value) => return Err(not_a_string(value, n, key)),
            ("meta", value) => event.meta = Some(meta(value, n)?),
            ("id", value) => event.id = Some(id(value, n)?),
            ("schema_version", value) => version = Some(schema_version(value, n)?),
            ("occurred_at", value) => {
                let path = format!("event {n}: \"occurred_at\": ");
                let text = text(value, n, key, limits::TEXT_BYTES)?;
                event.occurred_at_us = Some(clock::parse_us(text, &path)?);
            }
            ("correlation_id" | "causation_id" | "trace_id", value) => {
                named.push((key, text(value, n, key, limits::TEXT_BYTES)?));
            }
            (key, value) => {
                if !other(key, value)? {
                    return Err(unknown_key(key, n));
                }
            }
        }
    }
    if event.event_type.is_empty() {
        return Err(invalid(format!("event {n}: key \"type\" is missing")));
    }
    event.schema_version = version.map_or_else(|| newest(event.event_type), Ok)?;
    merge_meta(&mut event, &named, ambient, n)?;
    Ok(event)
}

/// Merges the metadata. Keys of `ambient` come last, those of the event's own `meta` before them, and the ids that are
/// keys of the event itself (`named`) first.
///
/// # Errors
/// 22023 if a named id and the same key in `meta` differ.
fn merge_meta(
    event: &mut NewEvent,
    named: &[(&str, &str)],
    ambient: Option<Datum>,
    n: usize,
) -> Result<()> {
    for (key, value) in named {
        if meta_text(event.meta, key)?.is_some_and(|own| own != *value) {
            return Err(invalid(format!(
                "event {n}: \"{key}\" and the same key in \"meta\" differ"
            )));
        }
    }
    if let Some(ambient) = ambient {
        event.meta = Some(
            event
                .meta
                .map_or(Ok(ambient), |own| json::concat(ambient, own))?,
        );
    }
    if !named.is_empty() {
        let object = json::string_object(named);
        event.meta = Some(
            event
                .meta
                .map_or(Ok(object), |own| json::concat(own, object))?,
        );
    }
    for (key, field) in [
        ("correlation_id", &mut event.correlation_id),
        ("causation_id", &mut event.causation_id),
    ] {
        // Empty texts are not indexed: no query can name them.
        *field = meta_text(event.meta, key)?
            .filter(|t| !t.is_empty())
            .map(str::to_owned);
        if field.as_ref().is_some_and(|t| t.len() > limits::TEXT_BYTES) {
            return Err(too_long(n, key, limits::TEXT_BYTES));
        }
    }
    Ok(())
}

/// The setting `en57.meta` as a jsonb object.
///
/// # Errors
/// 22023 if it is no object.
pub fn ambient_meta() -> Result<Option<Datum>> {
    let Some(source) = settings::meta() else {
        return Ok(None);
    };
    let source = source.to_string_lossy();
    let datum = json::parse(&source, "setting en57.meta: ")?;
    if !Jsonb::from_datum(datum).is_object() {
        return Err(invalid("setting en57.meta: must be a JSON object"));
    }
    Ok(Some(datum))
}

/// The n-th event, from 1, of these columns of a row: id, type, data, meta, tags. It has no other key.
///
/// # Errors
/// 22004 if the type is NULL, otherwise as [`events`].
pub fn from_columns<'a>(
    [id, event_type, data, meta, tags]: [Option<Datum>; 5],
    n: usize,
    ambient: Option<Datum>,
) -> Result<NewEvent<'a>> {
    let Some(event_type) = event_type.map(fmgr::text).transpose()? else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            format!("event {n}: type must not be NULL"),
        ));
    };
    if meta.is_some_and(|m| !Jsonb::from_datum(m).is_object()) {
        return Err(invalid(format!(
            "event {n}: meta must be a JSON object or NULL"
        )));
    }
    let path = format!("event {n}: tags ");
    let tags = tags.map_or(Ok(Vec::new()), |d| TextArray::from_datum(d, &path)?.texts())?;
    let mut event = NewEvent {
        id: id.map(fmgr::uuid),
        tags: checked_tags(tags, n)?,
        data: data.map(|d| Value::Container(Jsonb::from_datum(d))),
        meta,
        ..new_event(checked_type(event_type, n)?)
    };
    merge_meta(&mut event, &[], ambient, n)?;
    Ok(event)
}

/// An event that has nothing but a type.
fn new_event(event_type: &str) -> NewEvent<'_> {
    NewEvent {
        id: None,
        event_type,
        tags: Vec::new(),
        data: None,
        meta: None,
        schema_version: 1,
        occurred_at_us: None,
        correlation_id: None,
        causation_id: None,
        stream: None,
        expected_version: None,
    }
}

fn unknown_key(key: &str, n: usize) -> Error {
    let error = invalid(format!("event {n}: unknown key \"{}\"", shown(key)));
    if key == "expected_version" {
        return error
            .hint("It is for appends only; \"stream_version\" says which version an event has.");
    }
    match nearest(key, &KEYS) {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None => error.hint(format!("Known keys are {}.", KEYS.join(", "))),
    }
}
