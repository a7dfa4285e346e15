//! JSON Schemas: a schema is compiled once, then it checks documents in PostgreSQL's binary form, without a copy.
//!
//! A schema is complete in itself: nothing is fetched from elsewhere. The time, the memory and the stack that a schema or a
//! document can take are bounded: a schema is measured before it is compiled (`shape`), a check has a budget of steps
//! (`budget`), and patterns are matched in linear time.

mod budget;
mod shape;
mod words;

use std::collections::BTreeSet;
use std::fmt::Write;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ReferencingError, ValidationError, Validator};
use serde_json::Value;

use self::budget::{Budget, Budgeted, Node};
pub use self::words::Misspelt;
use super::error::{Error, Result, SqlState, invalid};
use super::limits;

/// The most bytes of a text in the message of a fault.
const FAULT_BYTES: usize = 200;
/// The stack that [`Schema::compile`] may use. A schema within the limits uses about two megabytes.
pub const STACK_BYTES: usize = 64 * 1024 * 1024;

/// The values that `$schema` may have.
const DRAFTS: [&str; 5] = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];

/// A schema that is ready to check documents.
#[derive(Debug)]
pub struct Schema(Validator<Budgeted>);

/// Where a document does not fit its schema, and why. It does not show the values of the document, because the server
/// writes errors to its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A JSON pointer into the document. An empty one means the whole document.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

impl Schema {
    /// Compiles a schema. `argument` names it in errors; `formats` tells whether formats are checked. The draft is 4, 6, 7,
    /// 2019-09 or 2020-12, as `$schema` says, otherwise the last one. This recurses: see [`STACK_BYTES`].
    ///
    /// # Errors
    /// 22023 with the JSON pointer to what is wrong, 54000 where it is too large or too complex.
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
        let bytes = limits::SCHEMA_PATTERNS_BYTES / patterns.len().max(1);
        let built = build(&document, bytes, formats);
        built
            .map(Self)
            .map_err(|e| refused(argument, &e, &patterns))
    }

    /// Words of a schema that look like misspelt keywords, and so check nothing; at most `at_most` of them.
    pub fn misspelt(text: &str, at_most: usize) -> Vec<Misspelt> {
        let document = serde_json::from_str(text);
        document.map_or_else(|_| Vec::new(), |schema| words::misspelt(&schema, at_most))
    }

    /// The faults of a document, at most `at_most` of them; none: it fits. The document is the bytes of a jsonb value from its
    /// first container on. `check_interrupts` is called now and then, and may end the check by an error: it checks for
    /// interrupts, and whether there is stack left.
    pub fn faults(&self, document: &[u8], at_most: usize, check_interrupts: fn()) -> Vec<Fault> {
        if depth_exceeds(document, limits::CHECKED_DEPTH) {
            return whole(format!(
                "is nested deeper than {} levels",
                limits::CHECKED_DEPTH
            ));
        }
        let by_size = limits::CHECK_STEPS_PER_BYTE * document.len() as u64;
        let steps = limits::CHECK_STEPS + by_size;
        let fits = Budget::over(steps, check_interrupts, |budget| {
            self.0.is_valid(Node::root(document, budget))
        });
        match fits {
            Some(true) => return Vec::new(),
            Some(false) => {}
            None => return whole(format!("takes more than {steps} steps to check")),
        }
        // The validator finds every fault for each schema of anyOf and oneOf that does not fit. They can be very many, even
        // if the check was quick.
        let steps = (limits::FAULT_STEPS + by_size).min(limits::FAULT_STEPS_AT_MOST);
        let found = Budget::over(steps, check_interrupts, |budget| {
            let errors = self.0.iter_errors(Node::root(document, budget));
            errors.take(at_most).map(|e| Fault::of(&e)).collect()
        });
        // In a large document with many faults, only the first one is found.
        let found = found.or_else(|| {
            Budget::over(steps, check_interrupts, |budget| {
                let first = self.0.validate(Node::root(document, budget));
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

/// Compiles a schema. Each of its patterns may take so many bytes.
fn build(
    schema: &Value,
    pattern_bytes: usize,
    formats: bool,
) -> std::result::Result<Validator<Budgeted>, ValidationError<'static>> {
    let patterns = PatternOptions::regex()
        .size_limit(pattern_bytes.min(limits::SCHEMA_PATTERN_BYTES))
        .dfa_size_limit(pattern_bytes.min(limits::SCHEMA_PATTERN_CACHE_BYTES));
    jsonschema::options_for::<Budgeted>()
        .with_pattern_options(patterns)
        .should_validate_formats(formats)
        .offline()
        .build(schema)
}

/// Whether a pattern can be compiled on its own.
fn is_pattern(pattern: &str) -> bool {
    let schema = serde_json::json!({ "pattern": pattern });
    build(&schema, limits::SCHEMA_PATTERNS_BYTES, false).is_ok()
}

/// The error for a schema that the validator does not compile.
fn refused(argument: &str, error: &ValidationError, patterns: &BTreeSet<&str>) -> Error {
    let at = error.instance_path().as_str();
    match error.kind() {
        ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) => {
            let reason = format!("{} is not part of it", shortened(uri));
            return unusable(argument, at, reason).hint(
                "A schema must be complete in itself: references to others are not followed, \
                 but for one to the standard's own schema of the same draft.",
            );
        }
        ValidationErrorKind::Referencing(ReferencingError::UnknownSpecification {
            specification,
        }) => {
            let reason = format!(
                "\"$schema\" is {}, which is not known",
                shortened(specification)
            );
            return unusable(argument, at, reason).hint(format!(
                "Known are {}. Without \"$schema\" a schema is of the last one.",
                DRAFTS.join(", ")
            ));
        }
        _ => {}
    }
    let reason = error.masked_with("the value").to_string();
    let unusable = unusable(argument, at, shortened(&reason));
    if !reason.contains("\"regex\"") {
        return unusable;
    }
    if patterns.len() > 1 && patterns.iter().all(|pattern| is_pattern(pattern)) {
        let (number, bytes) = (patterns.len(), limits::SCHEMA_PATTERNS_BYTES);
        let why = format!("Its {number} patterns take more than {bytes} bytes.");
        return too_complex(argument, why).hint("Each pattern gets an equal share.");
    }
    unusable.hint(
        "Patterns are matched in linear time: look-around and backreferences are not known, \
         and a pattern has a limited size.",
    )
}

fn unusable(argument: &str, pointer: &str, reason: String) -> Error {
    invalid(format!("{argument} is not a JSON Schema that can be used"))
        .detail(format!("At {}: {reason}.", location(pointer)))
}

fn too_complex(argument: &str, why: String) -> Error {
    Error::new(
        SqlState::LimitExceeded,
        format!("{argument} is too complex"),
    )
    .detail(why)
}

/// Faults as sentences, each on its own line.
pub fn told(faults: &[(&str, Fault)]) -> String {
    let mut out = String::new();
    for (n, (part, fault)) in faults.iter().enumerate() {
        let end = if n == 0 { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = write!(out, "{end}{part}{}: {}.", fault.pointer, fault.reason);
    }
    out
}

/// A JSON pointer as a message shows it.
fn location(pointer: &str) -> String {
    if pointer.is_empty() {
        "the root".to_owned()
    } else {
        shortened(pointer)
    }
}

/// A text, at most [`FAULT_BYTES`] long.
fn shortened(text: &str) -> String {
    if text.len() <= FAULT_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(FAULT_BYTES);
    format!("{}…", &text[..end])
}

/// Whether the containers of a document are nested deeper than so many levels. A check recurses into them.
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
