//! PostgreSQL as en57 calls it: errors, function calls, values, settings, rights, SPI, memory, subtransactions.
//!
//! It knows nothing of events. It uses `dcb`, for errors and queries.
//!
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/postgres.md"))]

pub mod allocator;
pub mod array;
pub mod clock;
pub mod composite;
pub mod fmgr;
pub mod guard;
#[cfg(feature = "in-process-tests")]
pub mod in_process;
pub mod json;
pub mod language;
pub mod names;
pub mod nowait;
pub mod rights;
pub mod scratch;
pub mod settings;
pub mod spi;
pub mod stack;
pub mod subtransaction;
pub mod witness;
pub mod xmin;
