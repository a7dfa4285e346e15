//! The background worker as a process of PostgreSQL: started, stopped, asleep and woken.
//!
//! It does not know what its work is. It uses `log`, `lock`, `session`, `memory`, `pg` and `dcb`.

pub mod launch;
pub mod process;
