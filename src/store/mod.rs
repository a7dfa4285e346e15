//! Everything that touches PostgreSQL's internals, behind safe functions: guards, catalogs, the key
//! index, locks, positions, scans, inserts, transaction callbacks, shared memory. All `unsafe` of the
//! project and all differences between PostgreSQL's majors live here.
//!
//! **Invariant:** nothing here keeps a lock, pin, relation or snapshot that the end of the transaction
//! would not release by itself: an error may leave any function by unwinding at any call of PostgreSQL.

pub mod call;
pub mod document;
pub mod index;
pub mod lock;
pub mod log;
pub mod memory;
pub mod pg;
pub mod row;
pub mod scan;
pub mod session;
pub mod state;
pub mod worker;

pub use pgrx::pg_sys::{Datum, Oid};
