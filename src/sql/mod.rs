//! The surface: SQL functions as sql/*.sql declares them. Each takes its arguments, asks the engine
//! and makes the result. Nothing is decided here.
//!
//! It is used by nobody but clients. It uses `decider`, `trial`, `append`, `admin`, `projection`, `invariant`, `fold`,
//! `event_type`, `subscription`, `read`, `upcast`, `definition`, `generate`, `store` and `dcb`.

mod admin;
mod append;
mod decider;
mod erase;
mod fold;
mod gem;
mod generate;
mod import;
#[cfg(feature = "in-process-tests")]
mod in_process;
mod internals;
mod invariant;
mod partitions;
mod projection;
mod query;
mod read;
mod rebuild;
mod several;
mod stream;
mod subscription;
mod types;
mod views;
mod worker;

use crate::dcb::error::Result;
use crate::store::Datum;

/// What a function that returns void returns.
const DONE: Result<Option<Datum>> = Ok(Some(Datum::null()));

/// The functions that PostgreSQL's planner is offered scans for.
pub const SCANNED: &[crate::store::scan::Scanned] = &[read::READ, stream::READ_STREAM];
