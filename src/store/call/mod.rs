//! Functions of users: found by the names that users write, described, and called with the rights of their owners; and
//! procedures of en57's own that commit.
//!
//! It does not know what a function is for. It uses `pg` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/functions.md"))]

pub mod function;
mod function_name;
pub mod procedure;
