//! What DBAs do and see: partitions, erasing, the check, the state of the log.
//!
//! No append and no read needs it. It uses `projection`, `invariant`, `fold`, `subscription`, `read`, `upcast`,
//! `definition`, `store` and `dcb`.

pub mod check;
pub mod erase;
pub mod partitions;
pub mod status;
pub mod views;
