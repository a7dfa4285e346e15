//! How large things may be. Limits exist so that a slip is answered at once and by name, and so that
//! one row never grows past what a page and an index can serve well.

/// Bytes of an event type.
pub const TYPE_BYTES: usize = 255;
/// Bytes of a tag, a stream's name, a correlation or causation id.
pub const TEXT_BYTES: usize = 1024;
/// Distinct tags of one event.
pub const TAGS_PER_EVENT: usize = 1000;
/// Events of one append.
pub const EVENTS_PER_APPEND: usize = 1_000_000;
/// Bytes of conflicting events that are told whole.
pub const CONFLICTS_BYTES: usize = 4 * 1024 * 1024;
/// The same in an error's DETAIL, which goes into the server's log as well.
pub const CONFLICTS_BYTES_OF_ERROR: usize = 8 * 1024;
/// Bytes of a state that a refusal tells in DETAIL.
pub const STATE_BYTES_OF_ERROR: usize = 8 * 1024;
/// Criteria of one query.
pub const CRITERIA_PER_QUERY: usize = 10_000;
/// Types, and tags, of one criterion.
pub const NAMES_PER_CRITERION: usize = 10_000;
/// Bytes of a query's stored form.
pub const QUERY_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a partition's name.
pub const PARTITION_BYTES: usize = 128;
/// Bytes of a JSON Schema.
pub const SCHEMA_BYTES: usize = 1024 * 1024;
/// How deep a document may be nested that is checked against a JSON Schema.
pub const CHECKED_DEPTH: usize = 500;
/// Objects of a JSON Schema. What follows bounds the time and the stack that compiling it takes.
pub const SCHEMA_OBJECTS: usize = 5000;
/// Places of a JSON Schema with `unevaluatedProperties` or `unevaluatedItems`.
pub const SCHEMA_UNEVALUATED: usize = 100;
/// Schemas in a chain that hold for the same place of a document. Checking recurses along it without looking
/// at the document, where the stack would be looked at.
pub const SCHEMA_CHAIN: usize = 100;
/// Such chains from one schema.
pub const SCHEMA_WAYS_OF_ONE: usize = 10_000;
/// Such chains from all schemas with `unevaluatedProperties` or `unevaluatedItems`: these are compiled anew
/// for each, and within each other.
pub const SCHEMA_UNEVALUATED_WAYS: usize = 1000;
/// Such chains from all schemas.
pub const SCHEMA_WAYS: usize = 1_000_000;
/// Objects of all that is reached under an `$id`, once for each way there.
pub const SCHEMA_RESOURCE_WAYS: usize = 50_000;
/// Bytes of all regular expressions of a JSON Schema, compiled.
pub const SCHEMA_PATTERNS_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of one regular expression, compiled.
pub const SCHEMA_PATTERN_BYTES: usize = 10 * 1024 * 1024;
/// Bytes that matching one regular expression remembers.
pub const SCHEMA_PATTERN_CACHE_BYTES: usize = 2 * 1024 * 1024;
/// How often a check may look at a value of the document.
pub const CHECK_STEPS: u64 = 10_000_000;
/// And how often more for each byte of the document.
pub const CHECK_STEPS_PER_BYTE: u64 = 100;
/// How often a value may be looked at to find out where a document does not fit, which takes memory for each
/// fault; so much more for each byte.
pub const FAULT_STEPS: u64 = 50_000;
/// The bound of that for large documents.
pub const FAULT_STEPS_AT_MOST: u64 = 1_000_000;
