//! Events as rows and values: their columns, their JSON, the open tables in which they are, and the results of functions.
//!
//! It finds no row by itself, and writes none. It uses `pg` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/rows.md"))]

pub mod door;
pub mod event;
pub mod event_json;
pub mod event_tuple;
pub mod pages;
pub mod srf;
pub mod table;
pub mod trigger;
