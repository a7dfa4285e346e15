//! From the JSON that a client sends to events, with errors that name the event and the key.

use std::collections::HashSet;

use crate::dcb::error::{Error, Result, SqlState, invalid, nearest};
use crate::dcb::limits;
use crate::read::stream::{self, Expected};
use crate::store::Datum;
use crate::store::pg::array::TextArray;
use crate::store::pg::json::{self, Jsonb, Value};
use crate::store::pg::{clock, fmgr, settings};
use crate::store::row::event::{NewEvent, meta_text};

use super::fit::newest;

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
/// 22023 for whatever an event must not be, 22P02 for a text that is no uuid, 54000 for what is too
/// long or too much.
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

/// One that is to be appended.
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

/// An id may stand in a batch once.
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

/// Reads the n-th event, with `ambient` metadata below its own; `other` is asked whether it takes a key that
/// an append does not know.
///
/// # Errors
/// As [`events`].
pub fn event<'a>(
    object: Jsonb<'a>,
    n: usize,
    ambient: Option<Datum>,
    other: &mut dyn FnMut(&str, Value<'a>) -> Result<bool>,
) -> Result<NewEvent<'a>> {
    let mut event = NewEvent {
        id: None,
        event_type: "",
        tags: Vec::new(),
        data: None,
        meta: None,
        schema_version: 1,
        occurred_at_us: None,
        correlation_id: None,
        causation_id: None,
        stream: None,
        expected_version: None,
    };
    let mut said = None;
    // In PostgreSQL's order of keys: by length.
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
            ("schema_version", value) => said = Some(schema_version(value, n)?),
            ("occurred_at", value) => {
                let place = format!("event {n}: \"occurred_at\": ");
                let text = text(value, n, key, limits::TEXT_BYTES)?;
                event.occurred_at_us = Some(clock::parse_us(text, &place)?);
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
    event.schema_version = said.map_or_else(|| newest(event.event_type), Ok)?;
    finish_meta(&mut event, &named, ambient, n)?;
    Ok(event)
}

/// Merges the metadata: the session's below the event's own, the event's named ids above both.
///
/// # Errors
/// 22023 where a named id and the same key in `meta` differ.
fn finish_meta(
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

/// `en57.meta` as a jsonb object.
///
/// # Errors
/// 22023 where it is none.
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

fn text<'a>(value: Value<'a>, n: usize, key: &str, max_bytes: usize) -> Result<&'a str> {
    match value {
        Value::String("") => Err(invalid(format!(
            "event {n}: \"{key}\" must not be an empty string"
        ))),
        Value::String(s) if s.len() > max_bytes => Err(too_long(n, key, max_bytes)),
        Value::String(s) => Ok(s),
        other => Err(not_a_string(other, n, key)),
    }
}

fn not_a_string(value: Value, n: usize, key: &str) -> Error {
    invalid(format!(
        "event {n}: \"{key}\" must be a string, not {}",
        value.kind()
    ))
}

/// An expected version, which an append takes and no import.
///
/// # Errors
/// 22023 for what is no version.
fn expected_version(value: Value, n: usize) -> Result<i64> {
    let Value::Number(_) = value else {
        return Err(invalid(format!(
            "event {n}: \"expected_version\" must be a number, not {}",
            value.kind()
        )));
    };
    let version = value.as_i64().ok_or_else(|| {
        invalid(format!(
            "event {n}: \"expected_version\" must be an integer"
        ))
    })?;
    Expected::new(Some(version)).map_err(|e| Error {
        message: format!("event {n}: {}", e.message),
        ..e
    })?;
    Ok(version)
}

fn tags(value: Value<'_>, n: usize) -> Result<Vec<&str>> {
    let Value::Container(array) = value else {
        return Err(invalid(format!(
            "event {n}: \"tags\" must be an array of strings, not {}",
            value.kind()
        )));
    };
    if !array.is_array() {
        return Err(invalid(format!(
            "event {n}: \"tags\" must be an array of strings, not an object"
        )));
    }
    let mut tags = Vec::with_capacity(array.count());
    for (i, element) in array.elements().enumerate() {
        match element? {
            Value::String(tag) => tags.push(tag),
            other => {
                return Err(invalid(format!(
                    "event {n}: \"tags\", element {}: must be a string, not {}",
                    i + 1,
                    other.kind()
                )));
            }
        }
    }
    checked_tags(tags, n)
}

/// Tags in canonical order, without duplicates.
///
/// # Errors
/// 22023 for an empty one, 54000 where one is too long or there are too many.
fn checked_tags(mut tags: Vec<&str>, n: usize) -> Result<Vec<&str>> {
    for (i, tag) in tags.iter().enumerate() {
        let place = format_args!("event {n}: \"tags\", element {}", i + 1);
        if tag.is_empty() {
            return Err(invalid(format!("{place}: must not be an empty string")));
        }
        if tag.len() > limits::TEXT_BYTES {
            return Err(too_much(format!(
                "{place}: longer than {} bytes",
                limits::TEXT_BYTES
            )));
        }
    }
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > limits::TAGS_PER_EVENT {
        return Err(too_much(format!(
            "event {n}: has more than {} tags",
            limits::TAGS_PER_EVENT
        )));
    }
    Ok(tags)
}

/// A type as the column takes it.
///
/// # Errors
/// 22023 where it is empty, 54000 where it is too long.
fn checked_type(event_type: &str, n: usize) -> Result<&str> {
    text(Value::String(event_type), n, "type", limits::TYPE_BYTES)
}

/// The n-th event from the columns of a row: id, type, data, meta, tags; the rest is as if left out.
///
/// # Errors
/// 22004 where the type is NULL, otherwise as [`events`].
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
    let place = format!("event {n}: tags ");
    let tags = tags.map_or(Ok(Vec::new()), |d| {
        TextArray::from_datum(d, &place)?.texts()
    })?;
    let mut event = NewEvent {
        id: id.map(fmgr::uuid),
        event_type: checked_type(event_type, n)?,
        tags: checked_tags(tags, n)?,
        data: data.map(|d| Value::Container(Jsonb::from_datum(d))),
        meta,
        schema_version: 1,
        occurred_at_us: None,
        correlation_id: None,
        causation_id: None,
        stream: None,
        expected_version: None,
    };
    finish_meta(&mut event, &[], ambient, n)?;
    Ok(event)
}

fn meta(value: Value, n: usize) -> Result<Datum> {
    match value {
        Value::Container(object) if object.is_object() => Ok(value.to_datum()),
        other => Err(invalid(format!(
            "event {n}: \"meta\" must be an object, not {}",
            other.kind()
        ))),
    }
}

fn id(value: Value, n: usize) -> Result<[u8; 16]> {
    let not_one = |shown: &str| {
        let shown: String = shown.chars().take(64).collect();
        Error::new(
            SqlState::InvalidText,
            format!("event {n}: \"id\" is not a uuid: \"{shown}\""),
        )
    };
    match value {
        Value::String(s) => uuid::Uuid::parse_str(s)
            .map(uuid::Uuid::into_bytes)
            .map_err(|_| not_one(s)),
        other => Err(invalid(format!(
            "event {n}: \"id\" must be a string, not {}",
            other.kind()
        ))),
    }
}

fn schema_version(value: Value, n: usize) -> Result<i32> {
    let Value::Number(_) = value else {
        return Err(invalid(format!(
            "event {n}: \"schema_version\" must be a number, not {}",
            value.kind()
        )));
    };
    match value.as_i64().and_then(|v| i32::try_from(v).ok()) {
        Some(version) if version >= 1 => Ok(version),
        _ => Err(invalid(format!(
            "event {n}: \"schema_version\" must be an integer from 1 to {}",
            i32::MAX
        ))),
    }
}

fn unknown_key(key: &str, n: usize) -> Error {
    let shown: String = key.chars().take(64).collect();
    let error = invalid(format!("event {n}: unknown key \"{shown}\""));
    if key == "expected_version" {
        return error
            .hint("It is for appends only; \"stream_version\" says which version an event has.");
    }
    match nearest(key, &KEYS) {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None => error.hint(format!("Known keys are {}.", KEYS.join(", "))),
    }
}

fn too_long(n: usize, key: &str, max_bytes: usize) -> Error {
    too_much(format!(
        "event {n}: \"{key}\" is longer than {max_bytes} bytes"
    ))
}

fn too_much(message: String) -> Error {
    Error::new(SqlState::LimitExceeded, message)
}
