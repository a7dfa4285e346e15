//! The pure domain: events, queries, matching, keys, limits and errors.
//!
//! This room must never use PostgreSQL, `unsafe` or global state, and it uses no other room. The tests compile it without a
//! server, and compare the engine with its matching.
#![forbid(unsafe_code)]

pub mod codec;
pub mod error;
pub mod key;
pub mod limits;
pub mod parse;
pub mod partition;
pub mod query;
pub mod refusal;
pub mod schema;
pub mod shard;
pub mod upcast;
