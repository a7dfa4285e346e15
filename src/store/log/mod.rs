//! The log: its partitions in the catalogs, positions, the access method of the key index, and rows inserted and erased.
//!
//! It asks nobody outside of the store what may be appended. It uses `lock`, `index`, `session`, `call`, `memory`,
//! `row`, `pg` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/partitions.md"))]

mod admin_functions;
pub mod catalog;
pub mod ceiling;
pub mod counter;
pub mod ddl;
pub mod erase;
pub mod insert;
pub mod key_index;
pub mod partition;
pub mod partition_bound;
pub mod position;
pub mod replica;
pub mod restore;
pub mod triggers;
pub mod user_objects;
pub mod version;
