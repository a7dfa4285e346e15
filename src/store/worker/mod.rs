//! The background worker as a process of PostgreSQL: started, stopped, asleep and woken.
//!
//! It does not know what its work is. It uses `pg`, `memory`, `session`, `lock` and `log`.

pub mod launch;
pub mod process;
