//! What all definitions have in common: names, functions of users, group keys, and what erasures mean for them.
//!
//! It reads no event. It uses `dcb` and `store`.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/functions.md"))]

pub mod erasure;
pub mod function;
pub mod group_key;
pub mod name;
