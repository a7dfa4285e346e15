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

use crate::dcb::error::{Error, Result, SqlState};

use super::page::Page;
use super::table::{Index, IndexRole, Opened};

/// A place in the order of an index: key, position, and where the row is. An index on position alone
/// has the key 0 throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    /// The key, 0 in the index on position.
    pub key: i64,
    /// The position.
    pub position: i64,
    /// Block and offset of the row in one number.
    pub tid: u64,
}

impl Bound {
    /// Before everything.
    pub const MIN: Self = Self {
        key: i64::MIN,
        position: i64::MIN,
        tid: 0,
    };
    /// After everything.
    pub const MAX: Self = Self {
        key: i64::MAX,
        position: i64::MAX,
        tid: u64::MAX,
    };

    /// Before every row of the position under the key.
    pub fn first(key: i64, position: i64) -> Self {
        Self {
            key,
            position,
            tid: 0,
        }
    }

    /// After every row of the position under the key.
    pub fn last(key: i64, position: i64) -> Self {
        Self {
            key,
            position,
            tid: u64::MAX,
        }
    }

    /// The greatest place before this one.
    fn before(self) -> Self {
        if self.tid > 0 {
            Self {
                tid: self.tid - 1,
                ..self
            }
        } else if self.position > i64::MIN {
            Self {
                position: self.position - 1,
                tid: u64::MAX,
                ..self
            }
        } else {
            Self {
                key: self.key.saturating_sub(1),
                position: i64::MAX,
                tid: u64::MAX,
            }
        }
    }
}

/// An entry: one row under one key.
pub type Entry = Bound;

/// Where a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To greater positions.
    Forward,
    /// To smaller ones.
    Backward,
}

/// An open index.
#[derive(Clone, Copy)]
pub struct Tree<'r> {
    index: &'r Index,
    /// Whether entries have a key before the position.
    pub(super) has_key: bool,
}

impl<'r> Tree<'r> {
    /// The partition's index on position.
    ///
    /// # Errors
    /// 55000 where it is missing.
    pub fn positions(partition: &'r Opened) -> Result<Self> {
        Ok(Self {
            index: partition.index(IndexRole::Position)?,
            has_key: false,
        })
    }

    /// The partition's key index.
    ///
    /// # Errors
    /// 55000 where it is missing.
    pub fn keys(partition: &'r Opened) -> Result<Self> {
        Ok(Self {
            index: partition.index(IndexRole::Keys)?,
            has_key: true,
        })
    }

    /// Appends to `out`, in the order of `direction`, the entries between `from` and `to` (both
    /// inclusive; `to` lies in the scan's direction) of the first page that has any. Returns from where
    /// to go on, `None` where nothing can follow.
    ///
    /// # Errors
    /// XX001 where a page is not of nbtree's form.
    pub fn page(
        &self,
        from: Bound,
        to: Bound,
        direction: Direction,
        out: &mut Vec<Entry>,
    ) -> Result<Option<Bound>> {
        let mut target = from;
        let start = out.len();
        while let Some(leaf) = self.leaf(target)? {
            let next = match direction {
                Direction::Forward => {
                    leaf.page.copy_forward(self, target, to, out);
                    leaf.high.filter(|h| *h <= to)
                }
                Direction::Backward => {
                    leaf.page.copy_backward(self, target, to, out);
                    Some(leaf.low).filter(|l| *l > to).map(Bound::before)
                }
            };
            match next {
                Some(next) if out.len() == start => target = next,
                next => return Ok(next),
            }
        }
        Ok(None)
    }

    /// The leaf page whose range includes `target`, locked, with its bounds.
    fn leaf(&self, target: Bound) -> Result<Option<Leaf>> {
        let Some((mut block, root)) = self.root()? else {
            return Ok(None);
        };
        let mut low = Bound::MIN;
        let mut visited = Some(root);
        loop {
            let mut page = visited
                .take()
                .unwrap_or_else(|| Page::read(self.index, block));
            // Move right past pages that were split or deleted meanwhile.
            let high = loop {
                let ignored = page.is_ignored();
                let high = page.high_key(self);
                match (ignored, high) {
                    (false, Some(h)) if target >= h => low = low.max(h),
                    (false, high) => break high,
                    (true, _) if page.next() == 0 => return Err(self.damaged(block)),
                    (true, _) => {}
                }
                block = page.next();
                drop(page);
                page = Page::read(self.index, block);
            };
            if page.is_leaf() {
                return Ok(Some(Leaf { page, low, high }));
            }
            let (child, child_low) = page
                .child(self, target)
                .ok_or_else(|| self.damaged(block))?;
            low = low.max(child_low);
            block = child;
        }
    }

    /// The page to descend from, with its number: the fast root, below which every level has one page
    /// at the least. nbtree keeps what it read of the metapage; a page found that way must still be
    /// alone on its level, as nbtree itself demands.
    fn root(&self) -> Result<Option<(u32, Page)>> {
        if let Some((block, level)) = self.index.cached_root() {
            let page = Page::read(self.index, block);
            let alone = page.previous() == 0 && page.next() == 0 && page.level() == level;
            if alone && !page.is_ignored() {
                return Ok(Some((block, page)));
            }
        }
        let block = {
            let meta = Page::read(self.index, 0);
            if !meta.is_meta() {
                return Err(self.damaged(0));
            }
            meta.meta_fast_root()
        };
        Ok((block != 0).then(|| (block, Page::read(self.index, block))))
    }

    fn damaged(&self, block: u32) -> Error {
        Error::new(
            SqlState::DataCorrupted,
            format!("unexpected page {block} in index \"{}\"", self.index.name()),
        )
        .hint("Please REINDEX it.")
    }
}

struct Leaf {
    page: Page,
    low: Bound,
    high: Option<Bound>,
}
