//! Whether the pages of a table or an index can be read at all.

use pgrx::pg_sys::{self, Relation};

use crate::dcb::error::Result;
use crate::store::pg::subtransaction::in_subtransaction;

/// A page that cannot be read.
pub struct Unreadable {
    /// Its number.
    pub block: u32,
    /// What PostgreSQL says of it.
    pub reason: String,
}

/// The unreadable ones among the pages of an open relation; no more than a hundred of them, since a disk that is gone has
/// nothing else.
///
/// # Errors
/// PostgreSQL's own, by unwinding, where it is not about a page: a cancelled statement.
pub fn unreadable(relation: Relation) -> Result<Vec<Unreadable>> {
    const AT_MOST: usize = 100;
    // SAFETY: the relation is open.
    let pages = unsafe {
        pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM)
    };
    let mut found = Vec::new();
    let mut block = 0;
    while block < pages && found.len() < AT_MOST {
        let looked_at = &mut block;
        let outcome = in_subtransaction(|| {
            while *looked_at < pages {
                pgrx::check_for_interrupts!();
                // SAFETY: the relation is open, and has such a page; its pin is given back, by the end of the
                // subtransaction where an error is raised.
                unsafe { pg_sys::ReleaseBuffer(pg_sys::ReadBuffer(relation, *looked_at)) };
                *looked_at += 1;
            }
            Ok(())
        })?;
        if let Err(failure) = outcome {
            // XX: the data are corrupted; 58: the system cannot read them.
            if !["XX", "58"].contains(&&failure.state[..2]) {
                return failure.raise();
            }
            found.push(Unreadable {
                block,
                reason: failure.message,
            });
            block += 1;
        }
    }
    Ok(found)
}
