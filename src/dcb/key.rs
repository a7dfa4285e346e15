//! Keys: the stable 64-bit hashes by which events are indexed and locked.
//!
//! **Invariant:** keys are stored, so the namespaces and the hash function never change. The function is XXH3 with the
//! namespace as its seed: its specification fixes its output, while PostgreSQL may change its own hash functions. Two texts
//! may have the same key, so a row that is found by a key is compared with the text.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a key stands for. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Namespace {
    /// An event type.
    Type = 1,
    /// A tag.
    Tag = 2,
    /// A stream's name.
    Stream = 3,
    /// A correlation id.
    Correlation = 4,
    /// A causation id.
    Causation = 5,
    /// An event's id; locked, never indexed here.
    Id = 6,
    /// A document of an inline projection; locked, never stored.
    Document = 32,
}

/// The key of a text in its namespace.
pub fn key(namespace: Namespace, text: &[u8]) -> i64 {
    xxh3_64_with_seed(text, namespace as u64) as i64
}
