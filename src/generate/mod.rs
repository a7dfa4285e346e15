//! Types and (de)serialisers for the registered event types, as the text of a source file in one of five languages.
//!
//! This room must never use PostgreSQL, `unsafe` or global state: the same types always give the same text. It uses
//! `dcb`.
//!
//! A JSON Schema becomes shapes (`schema`, which takes `$ref` and `allOf` out of it by `merge`); alternatives become
//! unions (`unite`); `build` gives out names. The result is a model, the same for all languages, which each
//! language writes down (`language` is the table of them).
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/generate.md"))]
#![forbid(unsafe_code)]

mod build;
mod go;
mod graph;
mod language;
mod merge;
mod model;
mod names;
mod python;
mod ruby;
mod rust;
mod schema;
mod text;
mod typescript;
mod unite;

use serde_json::Value;

use crate::dcb::error::{Error, Result, SqlState, invalid};

/// A registered version of an event type. The type `*` stands for all types: its metadata schema holds for all events.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The name of the type.
    pub event_type: String,
    /// The version of its schema.
    pub version: i64,
    /// The JSON Schema of its data. `None`: any JSON value.
    pub data: Option<Value>,
    /// The JSON Schema of its metadata, in addition to that of `*`.
    pub meta: Option<Value>,
}

/// A source file for the types. `check_interrupts` is called again and again; it does not return where the work must end.
///
/// # Errors
/// 22023 for an unknown language or a module that cannot be, 54000 for a schema that becomes too large.
pub fn generate(
    language: &str,
    types: Vec<Registered>,
    module: Option<&str>,
    check_interrupts: &dyn Fn(),
) -> Result<String> {
    let language = language::find(language)?;
    language.text(&build::model(types, check_interrupts)?, module)
}

/// Reads the types from a JSON document: an array of objects `{"type", "schema_version", "data", "meta"}`.
///
/// # Errors
/// 54000 for a document that is nested too deeply, 22023 for one of another form.
pub fn registered(document: &str) -> Result<Vec<Registered>> {
    let document: Value = serde_json::from_str(document).map_err(|e| {
        let deep = Error::new(SqlState::LimitExceeded, "a schema is nested too deeply");
        deep.detail(format!("It was read up to column {}.", e.column()))
    })?;
    let schema = |one: &Value, key: &str| one.get(key).filter(|s| !s.is_null()).cloned();
    let read = |one: &Value| {
        Some(Registered {
            event_type: one.get("type")?.as_str()?.to_owned(),
            version: one.get("schema_version")?.as_i64()?,
            data: schema(one, "data"),
            meta: schema(one, "meta"),
        })
    };
    let types = document.as_array().map(|a| a.iter().map(read).collect());
    types.flatten().ok_or_else(|| {
        invalid("not a list of event types").hint(
            "Give an array of objects with the keys \"type\", \"schema_version\", \"data\" and \"meta\".",
        )
    })
}
