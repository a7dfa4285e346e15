//! The locks of en57: of keys, of what is administered, and of subscriptions.
//!
//! It reads no table. It uses `session`, `memory`, `pg` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/locks.md"))]

pub mod keys;
pub mod manager;
pub mod plan;
pub mod subscription;
mod wait;
