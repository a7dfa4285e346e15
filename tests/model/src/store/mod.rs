//! The engine's floors that the protocol is on.

pub mod lock;
pub mod log;
pub mod memory;
pub mod pg;
pub mod session;

pub use crate::pg_sys::Oid;
