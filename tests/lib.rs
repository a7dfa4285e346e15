//! What the programs of tests/ share: random data, and the pure domain of en57 as a library without a server, which says
//! what the server must answer.

#[path = "../src/dcb/mod.rs"]
pub mod dcb;

pub mod random;

/// The words of a query, of the form of dcb.events as well.
pub const QUERY_KEYS: [&str; 9] = [
    "types",
    "tags",
    "any_tags",
    "stream",
    "stream_prefix",
    "correlation_id",
    "causation_id",
    "after",
    "items",
];
