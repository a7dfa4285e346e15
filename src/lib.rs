//! en57: the event store inside PostgreSQL. See docs/ARCHITECTURE.md for the map.
//!
//! Four ranks, `use` points downwards only: `sql` (the surface) → the engine (all that is not named here) → `store` (PostgreSQL's
//! internals, all `unsafe`) → `dcb` (the pure domain).

pub mod append;
pub mod beside;
pub mod by_key;
pub mod check;
pub mod context;
pub mod dcb;
pub mod decider;
pub mod erase;
pub mod fold;
pub mod frontier;
pub mod functions;
pub mod generate;
mod given;
pub mod glance;
pub mod import;
pub mod invariant;
pub mod inventory;
pub mod moment;
pub mod partitions;
pub mod places;
pub mod projection;
pub mod read;
pub mod schema;
pub mod sql;
pub mod status;
pub mod store;
pub mod stream;
pub mod subscription;
pub mod trace;
mod trial;
pub mod upcast;
pub mod view;
pub mod wait;
pub mod worker;

::pgrx::pg_module_magic!(name, version);

/// Called by PostgreSQL when it loads the library.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _PG_init() {
    store::settings::init();
    store::shmem::init();
    store::launch::init();
}
