//! en57: the event store inside PostgreSQL. docs/architecture/README.md is the map.
//!
//! The folders beside this file are rooms, and so are those of `store`. A room uses rooms of lower floors only; `.ci/ranks`
//! checks it. From the ground up: `dcb` is the pure domain, `store` is PostgreSQL's internals with all `unsafe` code, the
//! engine stands on it, and `sql` is the surface.

mod admin;
mod append;
mod dcb;
mod decider;
mod definition;
mod event_type;
mod fold;
mod generate;
mod invariant;
mod projection;
mod read;
mod sql;
mod store;
mod subscription;
mod trial;
mod upcast;
mod worker;

use crate::store::memory::shmem;
use crate::store::pg::{allocator, guard, settings};
use crate::store::scan;
use crate::store::worker::launch;

#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!(
    "en57 needs a little-endian machine with 64 bits: docs/architecture/portability.md says why"
);

::pgrx::pg_module_magic!(name, version);

/// Called by PostgreSQL when it loads the library.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _PG_init() {
    guard::at_load(|| {
        allocator::keep_reserve();
        settings::init();
        shmem::init();
        launch::init();
        scan::install(sql::SCANNED);
    });
}
