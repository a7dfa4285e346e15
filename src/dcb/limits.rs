//! How large things may be. The limits let a mistake fail at once with a clear error, and keep rows small enough for pages
//! and indexes.

/// Bytes of an event type.
pub const TYPE_BYTES: usize = 255;
/// Bytes of a tag, a stream's name, a correlation or causation id.
pub const TEXT_BYTES: usize = 1024;
/// Distinct tags of one event.
pub const TAGS_PER_EVENT: usize = 1000;
/// Events of one append.
pub const EVENTS_PER_APPEND: usize = 1_000_000;
/// How many requests one call of `en57_append_many` or `en57_decide_many` has at most.
pub const REQUESTS_PER_CALL: usize = 10_000;
/// Bytes of conflicting events that an answer contains in full.
pub const CONFLICTS_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of conflicting events in the DETAIL of an error, which the server also writes to its log.
pub const CONFLICTS_BYTES_OF_ERROR: usize = 8 * 1024;
/// Bytes of an invariant's state in the DETAIL of an error.
pub const STATE_BYTES_OF_ERROR: usize = 8 * 1024;
/// Criteria of one query.
pub const CRITERIA_PER_QUERY: usize = 10_000;
/// Types of one criterion; also its tags, and its alternative tags.
pub const NAMES_PER_CRITERION: usize = 10_000;
/// Bytes of a query's stored form.
pub const QUERY_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a partition's name.
pub const PARTITION_BYTES: usize = 128;
/// Bytes of a JSON Schema.
pub const SCHEMA_BYTES: usize = 1024 * 1024;
/// How deep a document may be nested that a JSON Schema checks.
pub const CHECKED_DEPTH: usize = 500;
/// Objects of a JSON Schema. This and the following limits bound the time and the stack that compiling it takes.
pub const SCHEMA_OBJECTS: usize = 5000;
/// Places of a JSON Schema with `unevaluatedProperties` or `unevaluatedItems`.
pub const SCHEMA_UNEVALUATED: usize = 100;
/// Schemas in a chain that hold for the same value of a document. A check follows the chain by recursion, and does not
/// look at the depth of the stack there, because it looks only when it reads the document.
pub const SCHEMA_CHAIN: usize = 100;
/// Chains that begin at one schema.
pub const SCHEMA_CHAINS_OF_ONE: usize = 10_000;
/// Chains that begin at schemas with `unevaluatedProperties` or `unevaluatedItems`. The schemas of a chain are compiled
/// again for each of them, and within each other.
pub const SCHEMA_UNEVALUATED_CHAINS: usize = 1000;
/// Chains of all schemas together.
pub const SCHEMA_CHAINS: usize = 1_000_000;
/// Objects of all parts with an `$id`. A part counts once for each path of references that leads to it.
pub const SCHEMA_RESOURCE_OBJECTS: usize = 50_000;
/// Bytes of all compiled regular expressions of a JSON Schema.
pub const SCHEMA_PATTERNS_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of one compiled regular expression.
pub const SCHEMA_PATTERN_BYTES: usize = 10 * 1024 * 1024;
/// Bytes of the cache for matching one regular expression.
pub const SCHEMA_PATTERN_CACHE_BYTES: usize = 2 * 1024 * 1024;
/// Steps of a check: how often it may look at a value of the document.
pub const CHECK_STEPS: u64 = 10_000_000;
/// Further steps of a check for each byte of the document.
pub const CHECK_STEPS_PER_BYTE: u64 = 100;
/// Steps for finding the faults of a document that does not fit; further steps for each byte are added as for a check.
/// They are fewer, because each fault takes memory.
pub const FAULT_STEPS: u64 = 50_000;
/// The most steps for finding the faults of a document, however large it is.
pub const FAULT_STEPS_AT_MOST: u64 = 1_000_000;
