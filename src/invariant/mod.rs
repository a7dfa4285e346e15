//! Invariants: conditions that hold for the events of each key after every append. A function folds the events of a key
//! into a state, another one says what is wrong with it, and an append that would make a state wrong is refused.
//!
//! The room checks appends, stores the states of keys in `en57.invariant_states`, and manages definitions. It locks keys of
//! events, and nothing of its own. It never appends an event, and during an append it never uses a state without the lock
//! of its key. It uses `fold`, `read`, `upcast`, `definition`, `store` and `dcb`.
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
