//! Projections: a handler is called with the events that match, or a function folds them into documents. This happens in
//! the append's transaction (inline) or after it (async).
//!
//! It never moves a position in another transaction than that of the work up to there. It uses `fold`, `read`, `upcast`,
//! `definition`, `store` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/projections.md"))]

mod apply;
mod background;
mod create;
pub mod definition;
pub mod document;
mod erasure;
mod from_history;
mod inline;
mod manage;
pub mod rebuild;
mod replace;
mod replay;
mod reset;
mod run;
mod start;
mod status;
mod wait;

pub use background::{BatchOutcome, Standing, ToDo, move_up, note_trouble, run_batch, survey};
pub use create::{NewProjection, NewWork, create};
pub use definition::all_of;
pub use erasure::Renewals;
pub use inline::{Due, catch_up};
pub use manage::{begin_anew, names_of, pause, remove, resume};
pub use replay::replay;
pub use reset::reset;
pub use run::run;
pub use wait::wait;
