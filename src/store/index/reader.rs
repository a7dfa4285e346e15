//! A reader of nbtree's pages, for the key index and for the index on position.
//!
//! It looks for a place in the order (key, position, tid) and copies all that the leaf page holds from
//! there, in one visit: no scan keys, no scan descriptor, no snapshot, no predicate lock, some 5 ns an
//! entry. The next page is found by descending again, to beyond the bounds of the page that was read;
//! that is exact under concurrent splits and deletions, because a page's bounds only ever shrink to
//! the left part (whose rest a right-link leads to), or grow over an emptied neighbour.
//!
//! **Invariant:** one page is locked (shared) at a time; nothing is locked, pinned or allocated in
//! PostgreSQL's memory when a function here returns.
//!
//! A deleted page can be reused only when no running transaction's snapshot could still lead a scan to
//! it (nbtree's safexid); the statement that reads here holds such a snapshot.

use pgrx::pg_sys::{self, Buffer};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::row::table::{Index, IndexRole, Opened};

use super::descent::{Descent, Lock, descend};
use super::entry::{Direction, Entry, Tree};
use super::page::View;

#[cfg(feature = "in-process-tests")]
pub mod tests;

/// An open index, to be read.
#[derive(Clone, Copy)]
pub struct Reader<'r> {
    /// The index.
    pub(in crate::store) index: &'r Index,
    /// What it holds.
    pub(in crate::store) tree: Tree,
}

impl<'r> Reader<'r> {
    /// The partition's index on position.
    ///
    /// # Errors
    /// 55000 where it is missing.
    pub fn positions(partition: &'r Opened) -> Result<Self> {
        Ok(Self {
            index: partition.index(IndexRole::Position)?,
            tree: Tree::Positions,
        })
    }

    /// The partition's key index.
    ///
    /// # Errors
    /// 55000 where it is missing.
    pub fn keys(partition: &'r Opened) -> Result<Self> {
        Ok(Self {
            index: partition.index(IndexRole::Keys)?,
            tree: Tree::Keys,
        })
    }

    /// The partition's index on id: an id is a [`Entry`]'s key and position.
    ///
    /// # Errors
    /// 55000 where it is missing.
    pub fn ids(partition: &'r Opened) -> Result<Self> {
        Ok(Self {
            index: partition.index(IndexRole::Id)?,
            tree: Tree::Ids,
        })
    }

    /// How many pages the index has, of all kinds.
    pub fn pages(&self) -> u32 {
        // SAFETY: the index is open.
        unsafe {
            let main = pg_sys::ForkNumber::MAIN_FORKNUM;
            pg_sys::RelationGetNumberOfBlocksInFork(self.index.relation(), main)
        }
    }

    /// Appends to `out`, in the order of `direction`, the entries between `from` and `to` (both
    /// inclusive; `to` lies in the scan's direction) of the first page that has any. Returns from where
    /// to go on, `None` where nothing can follow.
    ///
    /// # Errors
    /// XX001 where a page is not of nbtree's form.
    pub fn page(
        &self,
        from: Entry,
        to: Entry,
        direction: Direction,
        out: &mut Vec<Entry>,
    ) -> Result<Option<Entry>> {
        let mut target = from;
        let start = out.len();
        while let Some(leaf) = self.leaf(target)? {
            let next = match direction {
                Direction::Forward => {
                    leaf.page.copy_forward(self.tree, target, to, out);
                    leaf.high.filter(|h| *h <= to)
                }
                Direction::Backward => {
                    leaf.page.copy_backward(self.tree, target, to, out);
                    Some(leaf.low).filter(|l| *l > to).map(Entry::before)
                }
            };
            if leaf.page.is_damaged() {
                return Err(self.damaged(leaf.block));
            }
            match next {
                Some(next) if out.len() == start => target = next,
                next => return Ok(next),
            }
        }
        Ok(None)
    }

    /// The leaf page whose range includes `target`, locked, with its bounds.
    fn leaf(&self, target: Entry) -> Result<Option<Leaf>> {
        // SAFETY: the index is open and locked; `descend` holds nothing with a destructor. The leaf
        // comes pinned and locked, and stays so as long as the value made of it.
        let ended = unsafe {
            let index = self.index.relation();
            pg_sys::ffi::pg_guard_ffi_boundary(|| descend(index, self.tree, target, Lock::Share))
        };
        match ended {
            Descent::Empty => Ok(None),
            Descent::Damaged(block) => Err(self.damaged(block)),
            Descent::Leaf {
                block,
                buffer,
                low,
                high,
            } => Ok(Some(Leaf {
                block,
                buffer,
                // SAFETY: as above.
                page: unsafe { View::of(buffer) },
                low,
                high,
            })),
        }
    }

    fn damaged(&self, block: u32) -> Error {
        Error::new(
            SqlState::DataCorrupted,
            format!("unexpected page {block} in index \"{}\"", self.index.name()),
        )
        .hint("Please REINDEX it.")
    }
}

/// A leaf that is pinned and locked for reading.
struct Leaf {
    block: u32,
    buffer: Buffer,
    page: View,
    low: Entry,
    high: Option<Entry>,
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // While unwinding from an error of PostgreSQL's, its abort releases lock and pin.
        if !std::thread::panicking() {
            // SAFETY: pinned and locked by `Reader::leaf`, released once.
            unsafe { pg_sys::UnlockReleaseBuffer(self.buffer) };
        }
    }
}
