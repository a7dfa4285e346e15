//! Appending: events get into a partition, all of a call or none.
//!
//! It allots no position before it holds all its locks. It uses `projection`, `invariant`, `event_type`, `read`,
//! `upcast`, `store` and `dcb`.
//!
//! `steps` has the steps of an append in their order: prepare, lock, refuse, store.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/append.md"))]

mod conflict_report;
mod conflicts;
mod demands;
mod fields;
pub mod fit;
pub mod given_events;
pub mod import;
mod lock;
pub mod many;
pub mod parse;
mod refusals;
mod repeated;
mod request;
pub mod several;
mod steps;
mod streams;
mod validate;

pub use crate::store::pg::settings::max_conflicts;
pub use conflict_report::ConflictReport;
pub use conflicts::Conflicts;
pub use lock::{lock_queries, lock_query};
pub use refusals::OnRefusal;
pub use repeated::stored_as;
pub use request::{AppendRequest, Cause, Outcome};
pub use steps::{append, append_while};
pub use streams::{demand as demand_streams, send_to};
pub use validate::validate;
