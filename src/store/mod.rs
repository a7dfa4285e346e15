//! Everything that touches PostgreSQL's internals, behind safe functions: guards, catalogs, the key
//! index, locks, positions, scans, inserts, transaction callbacks, shared memory. All `unsafe` of the
//! project and all differences between PostgreSQL's majors live here.
//!
//! **Invariant:** nothing here keeps a lock, pin, relation or snapshot that the end of the transaction
//! would not release by itself: an error may leave any function by unwinding at any call of PostgreSQL.

pub use pgrx::pg_sys::{Datum, Oid};

pub mod array;
pub mod at_once;
pub mod attempt;
mod bound;
pub mod btree;
pub mod catalog;
mod ceiling;
pub mod clock;
pub mod ddl;
mod deadlock;
mod descent;
pub mod desk;
pub mod documents;
pub mod door;
pub mod erase;
pub mod event;
pub mod event_json;
pub mod exchange;
pub mod extras;
pub mod fetch;
pub mod fmgr;
pub mod function;
mod function_name;
pub mod guard;
pub mod heap;
pub mod holding;
pub mod json;
pub mod kept_state;
pub mod key_index;
pub mod key_lock;
mod late_key;
pub mod launch;
mod leaf;
pub mod lock_plan;
pub mod lookup;
pub mod make_way;
pub mod new_files;
mod page;
pub mod partition;
pub mod position;
pub mod procedure;
mod quiet;
mod replica;
pub mod rights;
pub mod rows;
pub mod scan;
pub mod scratch;
pub mod settings;
pub mod shmem;
pub mod sleep;
pub mod snapshot;
pub mod spi;
pub mod stack;
pub mod stat;
pub mod states;
pub mod survey;
pub mod table;
pub mod transaction;
pub mod tree_check;
pub mod triggers;
pub mod tuple;
mod union;
pub mod watch;
pub mod worker;
