//! States that are kept beside the log: snapshots of folds, and the states of invariants.
//!
//! It folds nothing. It uses `lock`, `session`, `pg` and `dcb`.
//!
//! See docs/architecture/folds.md and docs/architecture/invariants.md.

pub mod fold_snapshots;
pub mod invariant_states;
