//! Indexes for tests: made by the test's transaction, so that nobody else sees them and a rollback takes them away. Their
//! pages are nbtree's own, or images that are written over them.

use pgrx::pg_sys::{self, Oid};

use crate::dcb::error::Result;
use crate::store::index::entry::{Direction, Entry, Tree};
use crate::store::index::reader::Reader;
use crate::store::pg::spi;
use crate::store::row::table::{Index, Opened};

use super::image::{Image, first_pivot, whole_pivot};

/// A table `sample (key bigint, position bigint, id uuid)` with one index, both empty and open.
pub(in crate::store) struct Sample {
    /// The table.
    pub(in crate::store) table: Opened,
    /// Its index.
    pub(in crate::store) index: Index,
    /// What the index holds.
    pub(in crate::store) tree: Tree,
}

impl Sample {
    /// With an index of this form, which is unique where it is in en57, too.
    pub(in crate::store) fn new(tree: Tree) -> Result<Self> {
        let (unique, columns) = match tree {
            Tree::Keys => ("", "key, position"),
            Tree::Positions => ("UNIQUE", "position"),
            Tree::Ids => ("UNIQUE", "id"),
        };
        Self::with(tree, unique, columns, "")
    }

    /// With an index that is not unique, so that nbtree makes posting lists where `deduplicates`.
    pub(in crate::store) fn with_duplicates(tree: Tree, deduplicates: bool) -> Result<Self> {
        let columns = match tree {
            Tree::Keys => "key, position",
            Tree::Positions => "position",
            Tree::Ids => "id",
        };
        Self::with(
            tree,
            "",
            columns,
            &format!("WITH (deduplicate_items = {deduplicates})"),
        )
    }

    fn with(tree: Tree, unique: &str, columns: &str, options: &str) -> Result<Self> {
        spi::command(&format!(
            "CREATE TABLE public.sample (key bigint, position bigint, id uuid);
             CREATE {unique} INDEX sample_index ON public.sample USING btree ({columns}) {options}"
        ))?;
        Ok(Self {
            table: Opened::table(oid_of("public.sample")?, pg_sys::RowExclusiveLock),
            index: Index::open(oid_of("public.sample_index")?, pg_sys::RowExclusiveLock),
            tree,
        })
    }

    /// Writes images over the pages from the metapage on.
    pub(in crate::store) fn write(&self, pages: &[Image]) {
        for (block, page) in (0..).zip(pages) {
            page.write(&self.index, block);
        }
    }

    /// A reader of the index.
    pub(in crate::store) fn reader(&self) -> Reader<'_> {
        Reader {
            index: &self.index,
            tree: self.tree,
        }
    }

    /// All entries in a direction, read page by page.
    pub(in crate::store) fn entries(&self, direction: Direction) -> Result<Vec<Entry>> {
        let (from, to) = match direction {
            Direction::Forward => (Entry::MIN, Entry::MAX),
            Direction::Backward => (Entry::MAX, Entry::MIN),
        };
        let (mut out, mut next) = (Vec::new(), Some(from));
        while let Some(from) = next {
            next = self.reader().page(from, to, direction, &mut out)?;
        }
        Ok(out)
    }

    /// Whether nobody has a page pinned or locked.
    pub(in crate::store) fn is_free(&self, block: u32) -> bool {
        // SAFETY: the index is open. What is pinned and locked here is released here.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.index.relation(), block);
            let is_free = pg_sys::ConditionalLockBufferForCleanup(buffer);
            if is_free {
                pg_sys::UnlockReleaseBuffer(buffer);
            } else {
                pg_sys::ReleaseBuffer(buffer);
            }
            is_free
        }
    }

    /// Whether nobody has any page pinned or locked.
    pub(in crate::store) fn is_all_free(&self) -> bool {
        (0..self.index.pages()).all(|block| self.is_free(block))
    }
}

fn oid_of(relation: &str) -> Result<Oid> {
    let rows = spi::run(
        "SELECT $1::pg_catalog.regclass::pg_catalog.oid",
        &[spi::text(relation)],
    )?;
    Ok(Oid::from(
        rows[0][0].map_or(0, |datum| datum.value() as u32),
    ))
}

/// A position as a place in the index on position, before its rows.
pub(in crate::store) fn at(position: i64) -> Entry {
    Entry::first(0, position)
}

/// A tree of two levels on position: metapage, two leaves that are parted at 5, and their parent. What is on the leaves is
/// the caller's.
pub(in crate::store) fn two_leaves(left: &[Vec<u8>], right: &[Vec<u8>]) -> Vec<Image> {
    let left_leaf = Image::leaf()
        .between(0, 2)
        .with(&whole_pivot(Tree::Positions, at(5), 0))
        .with_all(left.iter().cloned());
    let right_leaf = Image::leaf().between(1, 0).with_all(right.iter().cloned());
    let root =
        Image::of_level(1).with_all([first_pivot(1), whole_pivot(Tree::Positions, at(5), 2)]);
    vec![Image::meta(3, 1), left_leaf, right_leaf, root]
}
