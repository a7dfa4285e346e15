//! The parts of an event in a JSON document, one by one. Each function reads one of them, of the n-th event, from 1;
//! its errors name the event and the key.

use crate::dcb::error::{Error, Result, SqlState, invalid, shown};
use crate::dcb::limits;
use crate::read::stream::Expected;
use crate::store::Datum;
use crate::store::pg::json::Value;

/// A string that is neither empty nor too long.
///
/// # Errors
/// 22023, 54000.
pub(super) fn text<'a>(value: Value<'a>, n: usize, key: &str, max_bytes: usize) -> Result<&'a str> {
    match value {
        Value::String("") => Err(invalid(format!(
            "event {n}: \"{key}\" must not be an empty string"
        ))),
        Value::String(s) if s.len() > max_bytes => Err(too_long(n, key, max_bytes)),
        Value::String(s) => Ok(s),
        other => Err(not_a_string(other, n, key)),
    }
}

/// The error where a string is expected.
pub(super) fn not_a_string(value: Value, n: usize, key: &str) -> Error {
    invalid(format!(
        "event {n}: \"{key}\" must be a string, not {}",
        value.kind()
    ))
}

/// An expected version.
///
/// # Errors
/// 22023 if it is no version.
pub(super) fn expected_version(value: Value, n: usize) -> Result<i64> {
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

/// The tags, in canonical order.
pub(super) fn tags(value: Value<'_>, n: usize) -> Result<Vec<&str>> {
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
/// 22023 for an empty tag, 54000 if a tag is too long or if there are too many.
pub(super) fn checked_tags(mut tags: Vec<&str>, n: usize) -> Result<Vec<&str>> {
    for (i, tag) in tags.iter().enumerate() {
        let element = format_args!("event {n}: \"tags\", element {}", i + 1);
        if tag.is_empty() {
            return Err(invalid(format!("{element}: must not be an empty string")));
        }
        if tag.len() > limits::TEXT_BYTES {
            return Err(too_much(format!(
                "{element}: longer than {} bytes",
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

/// A type, if the column may have it.
///
/// # Errors
/// 22023 if it is empty, 54000 if it is too long.
pub(super) fn checked_type(event_type: &str, n: usize) -> Result<&str> {
    text(Value::String(event_type), n, "type", limits::TYPE_BYTES)
}

/// The metadata: an object.
pub(super) fn meta(value: Value, n: usize) -> Result<Datum> {
    match value {
        Value::Container(object) if object.is_object() => Ok(value.to_datum()),
        other => Err(invalid(format!(
            "event {n}: \"meta\" must be an object, not {}",
            other.kind()
        ))),
    }
}

/// The id.
pub(super) fn id(value: Value, n: usize) -> Result<[u8; 16]> {
    let is_no_uuid = |text: &str| {
        let shown = shown(text);
        Error::new(
            SqlState::InvalidText,
            format!("event {n}: \"id\" is not a uuid: \"{shown}\""),
        )
    };
    match value {
        Value::String(s) => uuid::Uuid::parse_str(s)
            .map(uuid::Uuid::into_bytes)
            .map_err(|_| is_no_uuid(s)),
        other => Err(invalid(format!(
            "event {n}: \"id\" must be a string, not {}",
            other.kind()
        ))),
    }
}

/// The version of its type.
pub(super) fn schema_version(value: Value, n: usize) -> Result<i32> {
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

/// The error where a text is too long.
pub(super) fn too_long(n: usize, key: &str, max_bytes: usize) -> Error {
    too_much(format!(
        "event {n}: \"{key}\" is longer than {max_bytes} bytes"
    ))
}

/// 54000.
pub(super) fn too_much(message: String) -> Error {
    Error::new(SqlState::LimitExceeded, message)
}
