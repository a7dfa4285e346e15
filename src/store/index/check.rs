//! Whether an index's pages are in nbtree's order: each page's form, its entries ascending between its
//! lower bound and its high key, the links between siblings.
//!
//! Each level is walked from left to right. A page and its right sibling are looked at together, both
//! locked: nbtree changes the two links under both locks, in the same order, so what is seen is exact
//! beside writers, and no deadlock is possible. Nothing is believed of a page before its form was checked.

use pgrx::pg_sys;

use crate::store::row::table::Index;

use super::entry::{Entry, Tree};
use super::page::{ALT_TID, COUNT_MASK, HEAP_TID_ATTRIBUTE, IGNORED, LEAF, SPECIAL_START, View};
use super::reader::Reader;

#[cfg(feature = "in-process-tests")]
pub mod tests;

const MAGIC: u32 = 0x0005_3162;
/// The version from which on the place of the row is part of the order.
const VERSION: u32 = 4;
const DELETED: u16 = 1 << 2;
const HEADER_BYTES: usize = 24;
const TUPLE_HEADER_BYTES: usize = 8;

/// What is wrong with a page.
pub struct Trouble {
    /// Its number.
    pub block: u32,
    /// In words.
    pub problem: String,
}

impl Trouble {
    fn new(block: u32, problem: impl Into<String>) -> Self {
        Self {
            block,
            problem: problem.into(),
        }
    }
}

/// A page, pinned and locked for reading until it is dropped.
struct Page {
    buffer: pg_sys::Buffer,
    view: View,
}

impl Page {
    fn read(index: &Index, block: u32) -> Self {
        // SAFETY: the index is open; an error is raised by PostgreSQL. The page stays pinned and locked as
        // long as self.
        unsafe {
            let buffer = pg_sys::ReadBuffer(index.relation(), block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as _);
            let view = View::of(buffer);
            Self { buffer, view }
        }
    }
}

impl std::ops::Deref for Page {
    type Target = View;
    fn deref(&self) -> &View {
        &self.view
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // While unwinding from an error of PostgreSQL's, its abort releases lock and pin.
        if !std::thread::panicking() {
            // SAFETY: pinned and locked by `read`, released once.
            unsafe { pg_sys::UnlockReleaseBuffer(self.buffer) };
        }
    }
}

/// Walks all levels of an index, from the root down.
///
/// # Errors
/// The first trouble that is met: what lies behind it cannot be told.
pub fn walk(reader: &Reader) -> Result<(), Trouble> {
    let (mut block, mut level) = {
        if reader.index.pages() == 0 {
            return Err(Trouble::new(0, "it has no metapage"));
        }
        let meta = Page::read(reader.index, 0);
        check_frame(&meta).map_err(|p| Trouble::new(0, p))?;
        let (magic, version) = (meta.u32_at(HEADER_BYTES), meta.u32_at(HEADER_BYTES + 4));
        if !meta.is_meta() || magic != MAGIC || version != VERSION {
            return Err(Trouble::new(0, "it is no metapage of nbtree's"));
        }
        (
            meta.u32_at(HEADER_BYTES + 8),
            meta.u32_at(HEADER_BYTES + 12),
        )
    };
    while block != 0 {
        let below = walk_level(reader, block, level)?;
        match (level, below) {
            (0, _) => return Ok(()),
            (_, None) => {
                return Err(Trouble::new(
                    block,
                    "no page of its level leads further down",
                ));
            }
            (_, Some(child)) => (block, level) = (child, level - 1),
        }
    }
    Ok(())
}

/// Walks one level; returns its first child on the level below.
fn walk_level(reader: &Reader, start: u32, level: u32) -> Result<Option<u32>, Trouble> {
    let tree = reader.tree;
    let mut block = start;
    let mut child = None;
    let mut visited = 0u64;
    while block != 0 {
        pgrx::check_for_interrupts!();
        let page = read(reader, block)?;
        check_form(&page, tree, level).map_err(|p| Trouble::new(block, p))?;
        let is_deleted = page.flags() & DELETED != 0;
        if block == start && !is_deleted && page.previous() != 0 {
            return Err(Trouble::new(
                block,
                "the first page of its level has a left sibling",
            ));
        }
        if page.flags() & IGNORED == 0 {
            check_order(&page, tree).map_err(|p| Trouble::new(block, p))?;
            if level > 0 {
                child = child.or_else(|| page.child(tree, Entry::MIN).map(|(first, _)| first));
            }
        }
        let next = page.next();
        // A page that was deleted since its left sibling led here is in nobody's chain any more.
        if next != 0 && !is_deleted {
            let sibling = read(reader, next)?;
            check_siblings((&page, block), &sibling, tree, level)
                .map_err(|p| Trouble::new(next, p))?;
        }
        visited += 1;
        if visited > 2 * u64::from(reader.index.pages()) + 1000 {
            return Err(Trouble::new(next, "its level's links go in a circle"));
        }
        block = next;
    }
    Ok(child)
}

fn read(reader: &Reader, block: u32) -> Result<Page, Trouble> {
    if block >= reader.index.pages() {
        return Err(Trouble::new(
            block,
            "a link leads to it, but there is no such page",
        ));
    }
    Ok(Page::read(reader.index, block))
}

type Checked = Result<(), String>;

fn demand(holds: bool, problem: &str) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(problem.to_owned())
    }
}

/// Whether header and nbtree's own data are where they belong.
fn check_frame(page: &View) -> Checked {
    demand(page.special() == SPECIAL_START, "it is no page of nbtree's")?;
    demand(
        page.lower() != HEADER_BYTES || !page.lacks_high_key(),
        "its high key is missing",
    )?;
    demand(
        !page.is_damaged() && page.lower().is_multiple_of(4),
        "its header is damaged",
    )
}

/// Whether a page of a level has the form of one, so that all of it can be read.
fn check_form(page: &View, tree: Tree, level: u32) -> Checked {
    check_frame(page)?;
    if page.flags() & DELETED != 0 {
        return Ok(()); // it holds something else than entries
    }
    let is_leaf = page.flags() & LEAF != 0;
    demand(page.level() == level, "it is of another level")?;
    demand(is_leaf == (level == 0), "leaf or not, it is the other")?;
    demand(!page.is_meta(), "it is a metapage")?;
    if page.flags() & IGNORED != 0 {
        return Ok(());
    }
    demand(
        is_leaf || page.count() >= page.first_data(),
        "it has no child",
    )?;
    for n in 1..=page.count() {
        check_tuple(page, tree, n, is_leaf && n >= page.first_data())
            .map_err(|p| format!("entry {n} {p}"))?;
    }
    Ok(())
}

/// Whether the n-th tuple lies on the page and has the form of an entry, or of a pivot.
fn check_tuple(page: &View, tree: Tree, n: usize, is_entry: bool) -> Checked {
    const UNUSED: u32 = 0;
    const REDIRECT: u32 = 2;
    const HAS_NULLS_OR_VARIABLE: u16 = 0xC000;
    let pointer = page.u32_at(HEADER_BYTES + (n - 1) * 4);
    let (at, state, length) = (pointer & 0x7FFF, pointer >> 15 & 3, pointer >> 17);
    let (at, length) = (at as usize, length as usize);
    let lies = at >= page.upper()
        && at.is_multiple_of(8)
        && length >= TUPLE_HEADER_BYTES
        && at + length <= page.special();
    demand(
        lies && state != UNUSED && state != REDIRECT,
        "is not on the page",
    )?;
    let (status, info) = (page.u16_at(at + 4), page.u16_at(at + 6));
    demand(
        usize::from(info & 0x1FFF) == length && info & HAS_NULLS_OR_VARIABLE == 0,
        "has another size than it says",
    )?;
    let (columns, width) = match tree {
        Tree::Keys => (2, 8),
        Tree::Positions => (1, 8),
        Tree::Ids => (1, 16),
    };
    let whole = TUPLE_HEADER_BYTES + columns * width;
    if info & ALT_TID == 0 {
        return demand(length == whole, "has another size than an entry");
    }
    if is_entry {
        let (list, rows) = (page.posting_offset(at), usize::from(status & COUNT_MASK));
        return demand(
            page.is_posting(tree, at) && list == whole && rows > 1 && list + rows * 6 <= length,
            "is no entry of a leaf",
        );
    }
    let attributes = usize::from(status & COUNT_MASK);
    let tid = if status & HEAP_TID_ATTRIBUTE == 0 {
        0
    } else {
        8
    };
    demand(
        !page.is_posting(tree, at)
            && attributes <= columns
            && TUPLE_HEADER_BYTES + attributes * width + tid == length,
        "is no pivot",
    )
}

/// Whether a page, locked together with its left sibling, is in its place beside it.
fn check_siblings((left, block): (&View, u32), right: &View, tree: Tree, level: u32) -> Checked {
    check_form(right, tree, level)?;
    demand(
        right.previous() == block,
        &format!(
            "its left sibling is page {block}, but it names page {}",
            right.previous()
        ),
    )?;
    demand(
        right.flags() & DELETED == 0,
        "it is deleted, but its sibling leads to it",
    )?;
    if (left.flags() | right.flags()) & IGNORED != 0 {
        return Ok(());
    }
    let first = first_in_order(right);
    let is_after = first > right.count()
        || left.high_key(tree).is_none_or(|high| {
            entries(right, tree, first)
                .first()
                .is_none_or(|entry| *entry >= high)
        });
    demand(is_after, "its entries begin before its left sibling's end")
}

/// The first tuple that has a place in the order: the first child of an inner page is before everything,
/// whatever its pivot says.
fn first_in_order(page: &View) -> usize {
    page.first_data() + usize::from(!page.is_leaf())
}

/// Whether the entries ascend up to the high key.
fn check_order(page: &View, tree: Tree) -> Checked {
    let high = page.high_key(tree);
    let mut previous = None;
    for n in first_in_order(page)..=page.count() {
        for entry in entries(page, tree, n) {
            demand(
                previous.is_none_or(|p| p < entry),
                "its entries are not in order",
            )?;
            demand(
                high.is_none_or(|h| entry < h),
                "an entry is beyond its high key",
            )?;
            previous = Some(entry);
        }
    }
    Ok(())
}

/// The places in the order that the n-th tuple stands for: one, or those of a posting list.
fn entries(page: &View, tree: Tree, n: usize) -> Vec<Entry> {
    let at = page.start_of(n);
    if !page.is_leaf() {
        return vec![page.pivot(tree, at)];
    }
    let first = page.first_of(tree, at);
    if !page.is_posting(tree, at) {
        return vec![first];
    }
    let list = at + page.posting_offset(at);
    let rows = usize::from(page.u16_at(at + 4) & COUNT_MASK);
    (0..rows)
        .map(|i| Entry {
            tid: page.tid(list + i * 6),
            ..first
        })
        .collect()
}
