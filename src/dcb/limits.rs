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
