//! JSON Schemas: compiled once, then asked about documents in PostgreSQL's binary form, which are read in
//! place.
//!
//! Nothing is fetched from anywhere: a schema is complete in itself. Neither a schema nor a document can take
//! time, memory or stack without measure: a schema is measured (`shape`) before it is compiled, a check is
//! watched (`watched`), and patterns run in linear time.

mod shape;
mod watched;
mod words;

use std::fmt::Write;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ReferencingError, ValidationError, Validator};
use serde_json::Value;

use self::watched::{Node, Watch, Watched};
pub use self::words::Misspelt;
use super::error::{Error, Result, SqlState};
use super::limits;

/// Bytes of a fault's text.
const FAULT_BYTES: usize = 200;
/// The stack that [`Schema::compile`] may need: what the limits of a schema allow takes some two megabytes.
pub const STACK_BYTES: usize = 64 * 1024 * 1024;

/// What `$schema` may say.
const DRAFTS: [&str; 5] = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];

/// A schema that is ready to check documents.
#[derive(Debug)]
pub struct Schema(Validator<Watched>);

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
    /// says, otherwise the last one. Formats are checked if `formats` says so. It recurses: see [`STACK_BYTES`].
    ///
    /// # Errors
    /// 22023 with the JSON pointer of what is wrong, 54000 where it is too large or too entangled.
    pub fn compile(text: &str, argument: &str, formats: bool) -> Result<Self> {
        if text.len() > limits::SCHEMA_BYTES {
            return Err(Error::new(
                SqlState::LimitExceeded,
                format!("{argument} is longer than {} bytes", limits::SCHEMA_BYTES),
            ));
        }
        let document: Value = serde_json::from_str(text)
            .map_err(|e| unusable(argument, "", shortened(&e.to_string())))?;
        shape::check(&document).map_err(|why| too_complex(argument, why))?;
        let patterns = shape::patterns(&document);
        let room = limits::SCHEMA_PATTERNS_BYTES / patterns.len().max(1);
        build(&document, room, formats).map(Self).map_err(|e| {
            let reason = e.masked_with("the value").to_string();
            let at = e.instance_path().as_str();
            if let ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) = e.kind() {
                return unusable(argument, at, format!("{} is not part of it", shortened(uri)))
                    .hint("A schema must be complete in itself: references to others are not followed, but for one to the standard's own schema of the same draft.");
            }
            if let ValidationErrorKind::Referencing(ReferencingError::UnknownSpecification { specification }) = e.kind() {
                return unusable(argument, at, format!("\"$schema\" is {}, which is not known", shortened(specification)))
                    .hint(format!("Known are {}. Without \"$schema\" a schema is of the last one.", DRAFTS.join(", ")));
            }
            let error = unusable(argument, at, shortened(&reason));
            if !reason.contains("\"regex\"") {
                return error;
            }
            if patterns.len() > 1 && patterns.iter().all(|pattern| is_pattern(pattern)) {
                return too_complex(argument, format!(
                    "Its {} patterns take more than {} bytes.", patterns.len(), limits::SCHEMA_PATTERNS_BYTES
                )).hint("Each pattern gets an equal share.");
            }
            error.hint("Patterns are matched in linear time: look-around and backreferences are not known, and a pattern has a limited size.")
        })
    }

    /// The words of a schema that are nearly keywords, and so check nothing; at most so many.
    pub fn misspelt(text: &str, at_most: usize) -> Vec<Misspelt> {
        let document = serde_json::from_str(text);
        document.map_or_else(|_| Vec::new(), |schema| words::misspelt(&schema, at_most))
    }

    /// What is wrong with a document, at most so many faults; none: it fits. The document is that of a jsonb
    /// value, from its first container on. `look` is called now and then, so that it can end the check by an
    /// error: it is to let others interrupt it, and to see whether there is stack left.
    pub fn faults(&self, document: &[u8], at_most: usize, look: fn()) -> Vec<Fault> {
        if depth_exceeds(document, limits::CHECKED_DEPTH) {
            return whole(format!(
                "is nested deeper than {} levels",
                limits::CHECKED_DEPTH
            ));
        }
        let by_size = limits::CHECK_STEPS_PER_BYTE * document.len() as u64;
        let steps = limits::CHECK_STEPS + by_size;
        let fits = Watch::over(steps, look, |watch| {
            self.0.is_valid(Node::root(document, watch))
        });
        match fits {
            Some(true) => return Vec::new(),
            Some(false) => {}
            None => return whole(format!("takes more than {steps} steps to check")),
        }
        // For each schema of anyOf and oneOf that does not fit, all that is wrong with it is found: that can be
        // without measure where the check was quick.
        let steps = (limits::FAULT_STEPS + by_size).min(limits::FAULT_STEPS_AT_MOST);
        let found = Watch::over(steps, look, |watch| {
            let errors = self.0.iter_errors(Node::root(document, watch));
            errors.take(at_most).map(|e| Fault::of(&e)).collect()
        });
        // The first fault alone is found in a large document with many.
        let found = found.or_else(|| {
            Watch::over(steps, look, |watch| {
                let first = self.0.validate(Node::root(document, watch));
                Vec::from_iter(first.err().map(|e| Fault::of(&e)))
            })
        });
        found.unwrap_or_else(|| {
            whole("does not fit; to find out where would take too long".to_owned())
        })
    }
}

impl Fault {
    fn of(error: &ValidationError) -> Self {
        Self {
            pointer: shortened(error.instance_path().as_str()),
            reason: shortened(&error.masked_with("value").to_string()),
        }
    }
}

/// A fault of the document as a whole.
fn whole(reason: String) -> Vec<Fault> {
    let pointer = String::new();
    vec![Fault { pointer, reason }]
}

/// Compiles a schema whose patterns have so much room, each.
fn build(
    schema: &Value,
    room: usize,
    formats: bool,
) -> std::result::Result<Validator<Watched>, ValidationError<'static>> {
    let patterns = PatternOptions::regex()
        .size_limit(room.min(limits::SCHEMA_PATTERN_BYTES))
        .dfa_size_limit(room.min(limits::SCHEMA_PATTERN_CACHE_BYTES));
    jsonschema::options_for::<Watched>()
        .with_pattern_options(patterns)
        .should_validate_formats(formats)
        .offline()
        .build(schema)
}

/// Whether it is a pattern that can be used, alone.
fn is_pattern(pattern: &str) -> bool {
    let schema = serde_json::json!({ "pattern": pattern });
    build(&schema, limits::SCHEMA_PATTERNS_BYTES, false).is_ok()
}

fn unusable(argument: &str, pointer: &str, reason: String) -> Error {
    let message = format!("{argument} is not a JSON Schema that can be used");
    Error::new(SqlState::InvalidParameter, message)
        .detail(format!("At {}: {reason}.", shown(pointer)))
}

fn too_complex(argument: &str, why: String) -> Error {
    Error::new(
        SqlState::LimitExceeded,
        format!("{argument} is too complex"),
    )
    .detail(why)
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
    use jsonschema::json::{Array, Jsonb, Node, Object};
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
