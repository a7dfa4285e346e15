//! The pure domain: events, queries, matching, keys, limits and errors.
//!
//! Nothing here knows PostgreSQL: this module is also compiled into the tests, where its matching is
//! the oracle that the engine is compared with. It must never use pgrx, `unsafe` or global state.
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
