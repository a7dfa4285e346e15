//! What the backends share: the log's counters, a slot for each backend, key locks, late keys, the worker's slot, statistics.
//!
//! It never waits for a transaction, and nothing here fails at a transaction's end. It uses `pg`
//! and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/positions.md"))]

pub mod atomic;
pub mod key_locks;
pub mod key_mode;
pub mod key_table;
pub mod late_key;
pub mod layout;
pub mod shmem;
pub mod slot;
pub mod stat;
pub mod worker_slot;
