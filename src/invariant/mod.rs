//! Invariants: what must hold of the events of each key after every append. A function folds the events
//! into a state, another one says what is wrong with it, and the append that makes it wrong is refused.
//!
//! It locks keys of events, and nothing of its own. It uses `fold`, `read`, `upcast`, `definition`, `store` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/invariants.md"))]

mod create;
pub mod definition;
mod erasure;
pub mod fold;
mod history;
mod manage;
mod rules;

pub use create::{NewInvariant, create};
pub use definition::{all_of, has_changed};
pub use erasure::Affected;
pub use manage::{begin_anew, disable, enable, names_of, remove};
pub use rules::{Rules, keys_checked};
