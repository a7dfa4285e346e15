//! The surface: SQL functions as sql/*.sql declares them. Each takes its arguments, asks the engine
//! and makes the result. Nothing is decided here.

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
mod stream;
mod subscription;
mod types;
pub mod views;
mod worker;
