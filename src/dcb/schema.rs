//! JSON Schemas: compiled once, then asked about documents in PostgreSQL's binary form, which are read in
//! place.
//!
//! Nothing is fetched from anywhere: a schema is complete in itself. Patterns run in linear time, so no text
//! that a client sends can keep an append busy.

use std::fmt::Write;

use jsonschema::json::Jsonb;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::error::{Error, Result, SqlState};
use super::limits;

/// Bytes of a fault's text.
const FAULT_BYTES: usize = 200;

/// A schema that is ready to check documents.
#[derive(Debug)]
pub struct Schema(Validator<Jsonb>);

/// Where a document does not fit its schema, and why. The document's own values are not shown: errors end
/// up in logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A JSON pointer into the document; empty: the document as a whole.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

impl Schema {
    /// Compiles a schema; `argument` names it in errors. Drafts 4, 6, 7, 2019-09 and 2020-12, as `$schema`
    /// says, otherwise the last one; formats are checked.
    ///
    /// # Errors
    /// 22023 with the JSON pointer of what is wrong, 54000 where it is too large.
    pub fn compile(text: &str, argument: &str) -> Result<Self> {
        if text.len() > limits::SCHEMA_BYTES {
            return Err(Error::new(
                SqlState::LimitExceeded,
                format!("{argument} is longer than {} bytes", limits::SCHEMA_BYTES),
            ));
        }
        let invalid = |pointer: &str, reason: String| {
            Error::new(
                SqlState::InvalidParameter,
                format!("{argument} is not a JSON Schema that can be used"),
            )
            .detail(format!("At {}: {reason}.", shown(pointer)))
        };
        let document: Value =
            serde_json::from_str(text).map_err(|e| invalid("", shortened(&e.to_string())))?;
        let built = jsonschema::options_for::<Jsonb>()
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .offline()
            .build(&document);
        built.map(Self).map_err(|e| {
            let reason = e.masked_with("the value").to_string();
            let error = invalid(e.instance_path().as_str(), shortened(&reason));
            if reason.contains("\"regex\"") {
                error.hint("Patterns are matched in linear time: look-around and backreferences are not known, and a pattern has a limited size.")
            } else if reason.contains("retriev") {
                error.hint("A schema must be complete in itself: references to others are not followed.")
            } else {
                error
            }
        })
    }

    /// What is wrong with a document, at most so many faults; none: it fits. The document is that of a jsonb
    /// value, from its first container on.
    pub fn faults(&self, document: &[u8], at_most: usize) -> Vec<Fault> {
        if depth_exceeds(document, limits::CHECKED_DEPTH) {
            return vec![Fault {
                pointer: String::new(),
                reason: format!("is nested deeper than {} levels", limits::CHECKED_DEPTH),
            }];
        }
        let root = Jsonb::root(document);
        if self.0.is_valid(root) {
            return Vec::new();
        }
        let errors = self.0.iter_errors(root).take(at_most);
        errors
            .map(|e| Fault {
                pointer: shortened(e.instance_path().as_str()),
                reason: shortened(&e.masked_with("value").to_string()),
            })
            .collect()
    }
}

/// Faults as sentences, one a line.
pub fn told(faults: &[(&str, Fault)]) -> String {
    let mut out = String::new();
    for (n, (part, fault)) in faults.iter().enumerate() {
        let end = if n == 0 { "" } else { "\n" };
        // Writing to a text cannot fail.
        let _ = write!(out, "{end}{part}{}: {}.", fault.pointer, fault.reason);
    }
    out
}

fn shown(pointer: &str) -> String {
    if pointer.is_empty() {
        "the root".to_owned()
    } else {
        shortened(pointer)
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= FAULT_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(FAULT_BYTES);
    format!("{}…", &text[..end])
}

/// Whether containers are nested deeper than so many levels: what walks them recurses.
fn depth_exceeds(document: &[u8], limit: usize) -> bool {
    use jsonschema::json::{Array, Node, Object};
    let mut level = vec![Jsonb::root(document)];
    for _ in 0..=limit {
        let mut next = Vec::new();
        for node in level {
            if let Some(array) = node.as_array() {
                next.extend(array.elements().filter(is_container));
            } else if let Some(object) = node.as_object() {
                next.extend(
                    object
                        .members()
                        .map(|(_, value)| value)
                        .filter(is_container),
                );
            }
        }
        if next.is_empty() {
            return false;
        }
        level = next;
    }
    true
}

fn is_container(node: &jsonschema::json::JsonbNode) -> bool {
    use jsonschema::json::Node;
    node.as_array().is_some() || node.as_object().is_some()
}
