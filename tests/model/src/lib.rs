//! The protocol of slots, late keys, key locks and frontiers, under a model checker: see docs/architecture/model.md.
//!
//! The files of the protocol are the engine's own: `store` and `read` name them by their paths. What they call of
//! PostgreSQL is `pg_sys` and `server` here.
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/model.md"))]

// The engine's files name it so.
extern crate self as pgrx;

#[macro_use]
mod local;

#[cfg(feature = "broken")]
pub mod broken;
pub mod client;
pub mod dcb;
pub mod explore;
pub mod locks;
pub mod pg_sys;
pub mod read;
pub mod scenarios;
pub mod server;
pub mod store;
pub mod world;

/// As pgrx has it: nobody cancels here.
#[macro_export]
macro_rules! check_for_interrupts {
    () => {};
}

std::thread_local! {
    static BROKEN: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

/// Whether this order is the one that is broken.
pub fn is_broken(name: &str) -> bool {
    cfg!(feature = "broken") && BROKEN.get() == name
}

/// Breaks one.
pub fn set_broken(name: &'static str) {
    BROKEN.set(name);
}

#[cfg(test)]
mod tests;
