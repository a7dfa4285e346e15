//! What a session remembers: of its running transaction, and of definitions; how it sleeps until others have ended.
//!
//! It never allots positions and takes no lock. It uses `memory`, `pg` and `dcb`.
//!
//! See docs/architecture/frontiers.md and, for definitions, docs/architecture/functions.md.

pub mod deadlock;
pub mod definitions;
pub mod sleep;
pub mod transaction;
