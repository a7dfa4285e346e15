//! One page of an nbtree index: where things are on it (nbtree.h, bufpage.h, itup.h; the same from
//! PostgreSQL 13 on), for indexes on (bigint, bigint) and on (bigint).

use std::cell::Cell;

use pgrx::pg_sys::{self, Buffer};

use super::entry::{Entry, Tree, id_half};

#[cfg(feature = "in-process-tests")]
pub mod damage;
#[cfg(feature = "in-process-tests")]
pub mod fuzz;
#[cfg(feature = "in-process-tests")]
pub mod image;
#[cfg(feature = "in-process-tests")]
pub mod sample;
#[cfg(feature = "in-process-tests")]
pub mod tests;

const PAGE: usize = pg_sys::BLCKSZ as usize;
/// Bytes of nbtree's own data at the end of each page, and where they start.
const SPECIAL: usize = 16;
/// Where nbtree's own data start.
pub(in crate::store) const SPECIAL_START: usize = PAGE - SPECIAL;

const META: u16 = 1 << 3;
/// BTP_LEAF.
pub(in crate::store) const LEAF: u16 = 1 << 0;
const INCOMPLETE_SPLIT: u16 = 1 << 7;
/// BTP_DELETED and BTP_HALF_DEAD.
pub(in crate::store) const IGNORED: u16 = (1 << 2) | (1 << 4);
/// INDEX_ALT_TID_MASK: the tid of the tuple says something else.
pub(in crate::store) const ALT_TID: u16 = 0x2000;
const IS_POSTING: u16 = 0x2000;
/// BT_PIVOT_HEAP_TID_ATTR: a pivot has a heap tid at its end.
pub(in crate::store) const HEAP_TID_ATTRIBUTE: u16 = 0x1000;
/// BT_OFFSET_MASK: how many attributes a pivot has, or tids a posting list.
pub(in crate::store) const COUNT_MASK: u16 = 0x0FFF;

/// What is on a page that stays pinned and locked while this is used.
///
/// Nothing here raises or panics, so it may be used where no Rust frame may be unwound: what lies beyond
/// the page reads as zero, and the page counts as damaged from then on.
pub(in crate::store) struct View {
    start: *const u8,
    is_damaged: Cell<bool>,
}

impl View {
    /// # Safety
    /// The buffer is pinned, and locked at least for reading, as long as the view is used.
    pub(in crate::store) unsafe fn of(buffer: Buffer) -> Self {
        // SAFETY: the caller's contract; the page stays where it is as long as the pin.
        unsafe { Self::at(pg_sys::BufferGetPage(buffer).cast()) }
    }

    /// # Safety
    /// A page begins at `start`; it stays there and is not changed as long as the view is used.
    unsafe fn at(start: *const u8) -> Self {
        let view = Self {
            start,
            is_damaged: Cell::new(false),
        };
        let (lower, upper, special) = (view.lower(), view.upper(), view.special());
        let in_order = 24 <= lower && lower <= upper && upper <= special;
        view.is_damaged
            .set(!in_order || special != PAGE - SPECIAL || view.lacks_high_key());
        view
    }

    /// Whether it has a right sibling, but nothing that says where that one begins. Who read it would take it for the last.
    pub(super) fn lacks_high_key(&self) -> bool {
        self.next() != 0 && self.count() == 0 && !self.is_ignored()
    }

    /// Whether something was found that no page of nbtree's holds.
    pub(in crate::store) fn is_damaged(&self) -> bool {
        self.is_damaged.get()
    }

    fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        if offset > PAGE - N {
            self.is_damaged.set(true);
            return [0; N];
        }
        // SAFETY: within the page, which `at` demands to stay as it is.
        unsafe { self.start.add(offset).cast::<[u8; N]>().read_unaligned() }
    }

    /// Two bytes of the page as a number.
    pub(in crate::store) fn u16_at(&self, offset: usize) -> u16 {
        u16::from_ne_bytes(self.bytes(offset))
    }

    /// Four bytes of the page as a number.
    pub(in crate::store) fn u32_at(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(offset))
    }

    fn i64_at(&self, offset: usize) -> i64 {
        i64::from_ne_bytes(self.bytes(offset))
    }

    /// The end of the line pointers (pd_lower).
    pub(in crate::store) fn lower(&self) -> usize {
        usize::from(self.u16_at(12))
    }

    /// The start of the tuples (pd_upper).
    pub(in crate::store) fn upper(&self) -> usize {
        usize::from(self.u16_at(14))
    }

    /// The start of nbtree's own data at the page's end (pd_special).
    pub(in crate::store) fn special(&self) -> usize {
        usize::from(self.u16_at(16))
    }

    /// How many more tuples of a size fit, each with its line pointer.
    pub(in crate::store) fn room_for(&self, tuple_bytes: usize) -> usize {
        self.upper().saturating_sub(self.lower()) / (tuple_bytes + 4)
    }

    /// The number of the left sibling, 0 on the leftmost page.
    pub(in crate::store) fn previous(&self) -> u32 {
        self.u32_at(SPECIAL_START)
    }

    /// The level in the tree, 0 for leaves.
    pub(in crate::store) fn level(&self) -> u32 {
        self.u32_at(SPECIAL_START + 8)
    }

    /// The number of the right sibling, 0 on the rightmost page.
    pub(in crate::store) fn next(&self) -> u32 {
        self.u32_at(SPECIAL_START + 4)
    }

    /// Whether it is the metapage.
    pub(in crate::store) fn is_meta(&self) -> bool {
        self.flags() & META != 0
    }

    /// Whether it is a leaf.
    pub(in crate::store) fn is_leaf(&self) -> bool {
        self.flags() & LEAF != 0
    }

    /// Whether it was deleted, or is about to be: what it held is on its right.
    pub(in crate::store) fn is_ignored(&self) -> bool {
        self.flags() & IGNORED != 0
    }

    /// Whether its right sibling has no downlink yet.
    pub(in crate::store) fn is_half_split(&self) -> bool {
        self.flags() & INCOMPLETE_SPLIT != 0
    }

    /// The flags BTP_*.
    pub(in crate::store) fn flags(&self) -> u16 {
        self.u16_at(SPECIAL_START + 12)
    }

    /// Of the metapage: the fast root's number, 0 in an empty tree, and its level.
    pub(in crate::store) fn fast_root(&self) -> (u32, u32) {
        // BTMetaPageData behind the header: magic, version, root, level, fastroot, fastlevel.
        (self.u32_at(24 + 16), self.u32_at(24 + 20))
    }

    /// How many line pointers there are (pd_lower counts their bytes).
    pub(in crate::store) fn count(&self) -> usize {
        (self.lower().max(24) - 24) / 4
    }

    /// Where the n-th tuple (from 1) starts; `None` if its pointer is dead.
    fn tuple(&self, n: usize) -> Option<usize> {
        let pointer = self.u32_at(24 + (n - 1) * 4);
        const NORMAL: u32 = 1;
        ((pointer >> 15) & 3 == NORMAL).then_some((pointer & 0x7FFF) as usize)
    }

    /// The number of the first tuple that is not the high key.
    pub(in crate::store) fn first_data(&self) -> usize {
        if self.next() == 0 { 1 } else { 2 }
    }

    /// The tid at an offset, as entries have it.
    pub(in crate::store) fn tid(&self, at: usize) -> u64 {
        let block = u64::from(self.u16_at(at)) << 16 | u64::from(self.u16_at(at + 2));
        block << 16 | u64::from(self.u16_at(at + 4))
    }

    /// A pivot's place, at which its right side begins: attributes that were cut off count as before everything.
    pub(in crate::store) fn pivot(&self, tree: Tree, at: usize) -> Entry {
        let info = self.u16_at(at + 6);
        if info & ALT_TID == 0 {
            return self.entry(tree, at);
        }
        let status = self.u16_at(at + 4);
        let tid = if status & HEAP_TID_ATTRIBUTE == 0 {
            0
        } else {
            // It is that of the last entry on the left, which is not beyond it.
            self.tid((at + usize::from(info & 0x1FFF)).wrapping_sub(6)) + 1
        };
        match (tree, usize::from(status & COUNT_MASK)) {
            (_, 0) => Entry::MIN,
            (Tree::Keys, 1) => Entry {
                key: self.i64_at(at + 8),
                position: i64::MIN,
                tid,
            },
            _ => Entry {
                tid,
                ..self.entry(tree, at)
            },
        }
    }

    fn entry(&self, tree: Tree, at: usize) -> Entry {
        Entry {
            key: self.key(tree, at),
            position: match tree {
                Tree::Keys => self.i64_at(at + 16),
                Tree::Positions => self.i64_at(at + 8),
                Tree::Ids => id_half(self.bytes(at + 16)),
            },
            tid: self.tid(at),
        }
    }

    fn key(&self, tree: Tree, at: usize) -> i64 {
        match tree {
            Tree::Keys => self.i64_at(at + 8),
            Tree::Positions => 0,
            Tree::Ids => id_half(self.bytes(at + 8)),
        }
    }

    /// The high key; `None` on the rightmost page.
    pub(in crate::store) fn high_key(&self, tree: Tree) -> Option<Entry> {
        if self.next() == 0 || self.count() == 0 {
            return None;
        }
        let at = self.tuple(1);
        // A high key is never marked as dead.
        self.is_damaged.set(self.is_damaged() || at.is_none());
        at.map(|at| self.pivot(tree, at))
    }

    /// Of an inner page: the child whose range includes `target`, and that range's lower bound.
    pub(in crate::store) fn child(&self, tree: Tree, target: Entry) -> Option<(u32, Entry)> {
        let first = self.first_data();
        if first > self.count() {
            return None;
        }
        // The first downlink is before everything, whatever it holds.
        let (mut low, mut high) = (first, self.count() + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.pivot(tree, self.tuple(middle)?) <= target {
                low = middle
            } else {
                high = middle
            }
        }
        let at = self.tuple(low)?;
        let block = u32::from(self.u16_at(at)) << 16 | u32::from(self.u16_at(at + 2));
        let bound = if low == first {
            Entry::MIN
        } else {
            self.pivot(tree, at)
        };
        Some((block, bound))
    }

    /// The number of the first tuple of a leaf that is not before the target; a posting list stands
    /// at its first row. Dead entries keep their tuples, so they still guide the search.
    fn lower_bound(&self, tree: Tree, target: Entry) -> usize {
        self.search(tree, target, self.first_data())
    }

    fn search(&self, tree: Tree, target: Entry, from: usize) -> usize {
        let (mut low, mut high) = (from, self.count() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.is_before(tree, middle, target) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        low
    }

    /// Whether the n-th tuple of a leaf is before the target. Mostly the key alone tells.
    fn is_before(&self, tree: Tree, n: usize, target: Entry) -> bool {
        let at = self.start_of(n);
        let key = self.key(tree, at);
        key < target.key || key == target.key && self.first_of(tree, at) < target
    }

    /// Where on a leaf a new entry belongs, not before the `from`-th place: mostly just there, if others
    /// were put before it.
    pub(in crate::store) fn place_of(&self, tree: Tree, entry: Entry, from: usize) -> usize {
        let from = from.max(self.first_data());
        if from > self.count() || !self.is_before(tree, from, entry) {
            from
        } else {
            self.search(tree, entry, from + 1)
        }
    }

    /// Whether a new entry at this place would stand behind all others of a leaf.
    pub(in crate::store) fn is_end(&self, place: usize) -> bool {
        place > self.count()
    }

    /// The first row of the n-th tuple, if there is one.
    pub(in crate::store) fn nth(&self, tree: Tree, n: usize) -> Option<Entry> {
        (self.first_data()..=self.count())
            .contains(&n)
            .then(|| self.first_of(tree, self.start_of(n)))
    }

    /// Where the n-th tuple (from 1) starts, dead or not.
    pub(in crate::store) fn start_of(&self, n: usize) -> usize {
        (self.u32_at(24 + (n - 1) * 4) & 0x7FFF) as usize
    }

    /// Appends the entries of a leaf from `from` up to `to`, both inclusive, in ascending order.
    pub(in crate::store) fn copy_forward(
        &self,
        tree: Tree,
        from: Entry,
        to: Entry,
        out: &mut Vec<Entry>,
    ) {
        // A posting list before the first may reach beyond `from`.
        let first = (self.lower_bound(tree, from) - 1).max(self.first_data());
        out.reserve((self.count() + 1).saturating_sub(first));
        for n in first..=self.count() {
            let mut beyond = false;
            self.each(tree, n, |e| match e {
                e if e > to => beyond = true,
                e if e >= from => out.push(e),
                _ => {}
            });
            if beyond {
                return;
            }
        }
    }

    /// Appends the entries of a leaf from `from` down to `to`, both inclusive, in descending order.
    pub(in crate::store) fn copy_backward(
        &self,
        tree: Tree,
        from: Entry,
        to: Entry,
        out: &mut Vec<Entry>,
    ) {
        let last = self.lower_bound(tree, from).min(self.count());
        for n in (self.first_data()..=last).rev() {
            let start = out.len();
            let mut beyond = false;
            self.each(tree, n, |e| match e {
                e if e < to => beyond = true,
                e if e <= from => out.push(e),
                _ => {}
            });
            out[start..].reverse();
            if beyond {
                return;
            }
        }
    }

    /// The first entry of the tuple at an offset.
    pub(in crate::store) fn first_of(&self, tree: Tree, at: usize) -> Entry {
        let entry = self.entry(tree, at);
        if self.is_posting(tree, at) {
            let tid = self.tid(at + self.posting_offset(at));
            Entry { tid, ..entry }
        } else {
            entry
        }
    }

    /// Key indexes have no posting lists: they say of themselves that equal images are not all equal.
    pub(in crate::store) fn is_posting(&self, tree: Tree, at: usize) -> bool {
        tree != Tree::Keys
            && self.u16_at(at + 6) & ALT_TID != 0
            && self.u16_at(at + 4) & IS_POSTING != 0
    }

    /// Where the posting list of the tuple at an offset begins, from there.
    pub(in crate::store) fn posting_offset(&self, at: usize) -> usize {
        usize::from(self.u16_at(at)) << 16 | usize::from(self.u16_at(at + 2))
    }

    /// The entries of one tuple: one, or those of a posting list; none of a dead one.
    fn each(&self, tree: Tree, n: usize, mut use_entry: impl FnMut(Entry)) {
        let Some(at) = self.tuple(n) else { return };
        let entry = self.entry(tree, at);
        if self.is_posting(tree, at) {
            let rows = usize::from(self.u16_at(at + 4) & COUNT_MASK);
            let list = at + self.posting_offset(at);
            for i in 0..rows {
                let tid = self.tid(list + i * 6);
                use_entry(Entry { tid, ..entry });
            }
        } else {
            use_entry(entry);
        }
    }
}
