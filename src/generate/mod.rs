//! Types and (de)serialisers for the registered event types, as the text of a source file in one of five languages.
//!
//! A schema becomes a model that no language has a part in (`schema`, `merge`, `unite`, `build` → `model`); a language
//! writes the model down. Nothing here knows PostgreSQL, and the same model is always the same text.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/generate.md"))]
#![forbid(unsafe_code)]

mod build;
mod go;
mod go_read;
mod go_record;
mod graph;
mod merge;
mod model;
mod names;
mod python;
mod python_event;
mod python_read;
mod python_shape;
mod ruby;
mod ruby_record;
mod rust;
mod rust_layout;
mod rust_read;
mod rust_union;
mod schema;
mod text;
mod typescript;
mod unite;

use serde_json::Value;

use crate::dcb::error::{Error, Result, SqlState, invalid, nearest};

use self::model::Model;

/// A registered version of an event type; `*` is what holds for all.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The type.
    pub event_type: String,
    /// Its version.
    pub version: i64,
    /// The JSON Schema of its data; `None`: any JSON.
    pub data: Option<Value>,
    /// The JSON Schema of its metadata, beside what holds for all.
    pub meta: Option<Value>,
}

/// How a language writes a model, in a module of the name that is given.
type Writer = fn(&Model, Option<&str>) -> Result<String>;

const LANGUAGES: [(&str, Writer); 5] = [
    ("go", go::write),
    ("python", python::write),
    ("ruby", ruby::write),
    ("rust", rust::write),
    ("typescript", typescript::write),
];

/// A source file for the types. `watch` is called again and again; it does not come back where the work is to end.
///
/// # Errors
/// 22023 for a language or a module that cannot be, 54000 for a schema that becomes too large.
pub fn generate(
    language: &str,
    types: Vec<Registered>,
    module: Option<&str>,
    watch: &dyn Fn(),
) -> Result<String> {
    let names = LANGUAGES.map(|(name, _)| name);
    let Some((_, write)) = LANGUAGES.iter().find(|(name, _)| *name == language) else {
        let shown: String = language.chars().take(64).collect();
        let near = nearest(&language.to_lowercase(), &names);
        let meant = near.map(|n| format!("Did you mean \"{n}\"? "));
        return Err(
            invalid(format!("unknown language \"{shown}\"")).hint(format!(
                "{}The languages are {}.",
                meant.unwrap_or_default(),
                names.join(", ")
            )),
        );
    };
    write(&build::model(types, watch)?, module)
}

/// The types out of a document: an array of objects `{"type", "schema_version", "data", "meta"}`.
///
/// # Errors
/// 54000 for one that is nested too deeply, 22023 for another document.
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

/// The name of a module, or the error that a language has none.
fn no_module(language: &str, module: Option<&str>) -> Result<()> {
    match module {
        None => Ok(()),
        Some(_) => Err(invalid("module must not be given for this language")
            .detail(format!("A module of {language} is named by its file."))
            .hint("Only go and ruby have modules whose name is in the text.")),
    }
}

/// The module that was asked for, if it is a name there, or the usual one.
fn module_or<'a>(
    module: Option<&'a str>,
    usual: &'a str,
    is_name: fn(&str) -> bool,
) -> Result<&'a str> {
    match module {
        None => Ok(usual),
        Some(module) if is_name(module) => Ok(module),
        Some(module) => {
            let shown: String = module.chars().take(64).collect();
            Err(invalid(format!("module \"{shown}\" is not a name"))
                .hint(format!("Give a name like \"{usual}\".")))
        }
    }
}
