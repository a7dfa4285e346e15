//! The indexes of a partition and the rows they lead to: nbtree's pages read and filled, scans of a query, rows fetched.
//!
//! It decides about visibility, never about conditions. It locks one page at a time. It uses `row`, `pg` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/index.md"))]

pub mod check;
pub mod descent;
pub mod entry;
pub mod fetch;
pub mod leaf;
pub mod lookup;
pub mod page;
pub mod reader;
pub mod scan;
pub mod survey;
pub mod union;
