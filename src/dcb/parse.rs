//! Reads a [`Query`] from JSON text. Errors begin with the path to what is wrong, such as `criterion 2: `.
//!
//! A key with the value null is absent. An empty list is refused, because it may mean "none of these" or "no restriction".
//! In the form of dcb.events, which client libraries send, an empty list is the default and restricts nothing. If a key is
//! given twice, the last one counts, as in jsonb.

use serde_json::{Map, Value};

use super::error::{Error, Result, SqlState, nearest, shown};
use super::limits;
use super::query::{Criterion, Query};

const KEYS: [&str; 8] = [
    "types",
    "tags",
    "any_tags",
    "stream",
    "stream_prefix",
    "correlation_id",
    "causation_id",
    "after",
];

/// What an empty list means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    /// A mistake: somebody has forgotten to fill it.
    Refused,
    /// No restriction.
    Any,
}

/// Reads a query: a criterion, an array of them, or the form of dcb.events, `{"items": [..], "after": n}`.
///
/// # Errors
/// 22P02, with the criterion's number and the key.
pub fn query(text: &str) -> Result<Query> {
    from_json(json(text)?)
}

/// Reads a criterion of the Ruby gem, in which `after` may be negative: then it restricts nothing.
///
/// # Errors
/// As [`query`].
pub fn gem_criterion(text: &str) -> Result<Query> {
    let mut value = json(text)?;
    if let Some(after) = value.get_mut("after")
        && after.as_i64().is_some_and(|n| n < 0)
    {
        *after = Value::Null;
    }
    from_json(value)
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| {
        malformed("invalid input syntax for type en57_query")
            .detail(format!("The text is not JSON: {e}."))
    })
}

fn from_json(value: Value) -> Result<Query> {
    match value {
        Value::Array(items) => criteria(&items, Empty::Refused),
        Value::Object(object) if object.contains_key("items") => dcb_form(&object),
        Value::Object(object) => Ok(Query::new(vec![criterion(&object, "", Empty::Refused)?])),
        other => Err(malformed(format!(
            "a query is a JSON object or an array of them, not {}",
            kind(&other)
        ))),
    }
}

/// Reads `{"items": [..], "after": n}`. This `after` holds for each item in addition to its own. Without items, every event
/// matches.
fn dcb_form(object: &Map<String, Value>) -> Result<Query> {
    if let Some(key) = object.keys().find(|k| *k != "items" && *k != "after") {
        return Err(unknown_key(key, &["items", "after"], ""));
    }
    let Some(Value::Array(items)) = object.get("items") else {
        return Err(malformed(
            "\"items\" of a query must be an array of criteria",
        ));
    };
    let after = object.get("after").map_or(Ok(None), |v| position(v, ""))?;
    let mut list = criteria(items, Empty::Any)?.criteria().to_vec();
    list.iter_mut().for_each(|c| c.after = c.after.max(after));
    Ok(Query::new(list))
}

fn criteria(items: &[Value], empty: Empty) -> Result<Query> {
    if items.is_empty() && empty == Empty::Refused {
        return Err(malformed("a query needs at least one criterion")
            .hint("Write {} to match every event."));
    }
    if items.len() > limits::CRITERIA_PER_QUERY {
        return Err(malformed(format!(
            "a query has at most {} criteria",
            limits::CRITERIA_PER_QUERY
        )));
    }
    let list = items.iter().enumerate().map(|(i, item)| match item {
        Value::Object(object) => criterion(object, &format!("criterion {}: ", i + 1), empty),
        other => Err(malformed(format!(
            "criterion {}: must be an object, not {}",
            i + 1,
            kind(other)
        ))),
    });
    Ok(Query::new(list.collect::<Result<_>>()?))
}

fn criterion(object: &Map<String, Value>, path: &str, empty: Empty) -> Result<Criterion> {
    let names = |value, key, max_bytes| names(value, key, max_bytes, path, empty);
    let mut c = Criterion::default();
    for (key, value) in object {
        match key.as_str() {
            "types" => c.types = names(value, key, limits::TYPE_BYTES)?,
            "tags" => c.tags = names(value, key, limits::TEXT_BYTES)?,
            "any_tags" => c.any_tags = names(value, key, limits::TEXT_BYTES)?,
            "stream" => c.stream = text(value, key, path)?,
            "stream_prefix" => c.stream_prefix = text(value, key, path)?,
            "correlation_id" => c.correlation_id = text(value, key, path)?,
            "causation_id" => c.causation_id = text(value, key, path)?,
            "after" => c.after = position(value, path)?,
            _ => return Err(unknown_key(key, &KEYS, path)),
        }
    }
    Ok(c)
}

fn names(
    value: &Value,
    key: &str,
    max_bytes: usize,
    path: &str,
    empty: Empty,
) -> Result<Vec<String>> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => {
            return Err(malformed(format!(
                "{path}\"{key}\" must be an array of strings, not {}",
                kind(other)
            )));
        }
    };
    if items.is_empty() && empty == Empty::Refused {
        return Err(
            malformed(format!("{path}\"{key}\" must not be empty")).hint(format!(
                "Leave \"{key}\" out where it is not to restrict the query."
            )),
        );
    }
    if items.len() > limits::NAMES_PER_CRITERION {
        return Err(malformed(format!(
            "{path}\"{key}\" has more than {} elements",
            limits::NAMES_PER_CRITERION
        )));
    }
    let one = |(i, item): (usize, &Value)| match item {
        Value::String(s) => {
            checked(s, max_bytes, &format!("{path}\"{key}\", element {}", i + 1)).map(str::to_owned)
        }
        other => Err(malformed(format!(
            "{path}\"{key}\", element {}: must be a string, not {}",
            i + 1,
            kind(other)
        ))),
    };
    items.iter().enumerate().map(one).collect()
}

fn text(value: &Value, key: &str, path: &str) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(s) => {
            checked(s, limits::TEXT_BYTES, &format!("{path}\"{key}\"")).map(|s| Some(s.to_owned()))
        }
        other => Err(malformed(format!(
            "{path}\"{key}\" must be a string, not {}",
            kind(other)
        ))),
    }
}

fn position(value: &Value, path: &str) -> Result<Option<i64>> {
    match value {
        Value::Null => Ok(None),
        Value::Number(n) => match n.as_i64() {
            Some(after) if after >= 0 => Ok(Some(after)),
            _ => Err(malformed(format!(
                "{path}\"after\" must be a position, from 0 to {}",
                i64::MAX
            ))),
        },
        other => Err(malformed(format!(
            "{path}\"after\" must be a number, not {}",
            kind(other)
        ))),
    }
}

/// Checks that an event can have this text.
///
/// # Errors
/// 22P02, whose message begins with the given path.
pub fn checked<'a>(s: &'a str, max_bytes: usize, path: &str) -> Result<&'a str> {
    if s.is_empty() {
        return Err(malformed(format!("{path}: must not be an empty string")));
    }
    if s.len() > max_bytes {
        return Err(malformed(format!("{path}: longer than {max_bytes} bytes")));
    }
    if s.contains('\0') {
        return Err(malformed(format!(
            "{path}: must not contain the character U+0000"
        )));
    }
    Ok(s)
}

fn unknown_key(key: &str, known: &[&str], path: &str) -> Error {
    let error = malformed(format!("{path}unknown key \"{}\"", shown(key)));
    match nearest(key, known) {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None => error.hint(format!("Known keys are {}.", known.join(", "))),
    }
}

/// The error that a text is no query: 22P02.
fn malformed(message: impl Into<String>) -> Error {
    Error::new(SqlState::InvalidText, message)
}

/// The JSON kind of a value, with its article.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
