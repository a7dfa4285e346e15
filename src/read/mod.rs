//! Reading: the events of a query up to its frontier, and all that follows from it: streams, times, causes, waiting.
//!
//! It stores nothing and decides nothing about appends. It uses `upcast`, `store` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/reads.md"))]

pub mod catch_up;
pub mod context;
pub mod estimate;
pub mod frontier;
pub mod inventory;
pub mod partitions;
mod question;
mod reading;
pub mod stream;
pub mod time;
pub mod trace;
pub mod view;
pub mod wait;
mod writers;

pub use question::{by_id, count, exists, head, is_anything_in, last, row_by_id};
pub use reading::{Options, PAGE_BYTES, Reading};
pub use view::View;
