//! One page of an nbtree index: where things are on it (nbtree.h, bufpage.h, itup.h; the same from
//! PostgreSQL 13 on), for indexes on (bigint, bigint) and on (bigint).

use pgrx::pg_sys::{self, Buffer};

use super::btree::{Bound, Entry, Tree};
use super::table::Index;

const META: u16 = 1 << 3;
const LEAF: u16 = 1 << 0;
const IGNORED: u16 = (1 << 2) | (1 << 4);
const ALT_TID: u16 = 0x2000;
const IS_POSTING: u16 = 0x2000;
const HEAP_TID_ATTRIBUTE: u16 = 0x1000;
const COUNT_MASK: u16 = 0x0FFF;

/// A page, pinned and locked for reading until it is dropped.
pub(super) struct Page {
    buffer: Buffer,
    start: *const u8,
}

impl Drop for Page {
    fn drop(&mut self) {
        // While unwinding from an error of PostgreSQL's, its abort releases lock and pin.
        if !std::thread::panicking() {
            // SAFETY: the buffer was pinned and locked by `read`, and is released once.
            unsafe { pg_sys::UnlockReleaseBuffer(self.buffer) };
        }
    }
}

impl Page {
    pub(super) fn read(index: &Index, block: u32) -> Self {
        // SAFETY: the relation is open; an error (a block beyond the end, say) is raised by
        // PostgreSQL. The page's memory stays as long as the pin.
        unsafe {
            let buffer = pg_sys::ReadBuffer(index.relation(), block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as _);
            Self {
                buffer,
                start: pg_sys::BufferGetPage(buffer).cast(),
            }
        }
    }

    /// Bytes of the page. Offsets come from its own header and line pointers, which PostgreSQL keeps
    /// within it; the assertion keeps those of a damaged page there too.
    fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        assert!(
            offset + N <= pg_sys::BLCKSZ as usize,
            "offset beyond the page"
        );
        // SAFETY: the page has BLCKSZ bytes, pinned and share-locked as long as self.
        unsafe { self.start.add(offset).cast::<[u8; N]>().read_unaligned() }
    }

    fn u16_at(&self, offset: usize) -> u16 {
        u16::from_ne_bytes(self.bytes(offset))
    }

    fn u32_at(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(offset))
    }

    fn i64_at(&self, offset: usize) -> i64 {
        i64::from_ne_bytes(self.bytes(offset))
    }

    /// The start of nbtree's own data at the page's end (pd_special).
    fn special(&self) -> usize {
        usize::from(self.u16_at(16))
    }

    pub(super) fn previous(&self) -> u32 {
        self.u32_at(self.special())
    }

    pub(super) fn level(&self) -> u32 {
        self.u32_at(self.special() + 8)
    }

    pub(super) fn next(&self) -> u32 {
        self.u32_at(self.special() + 4)
    }

    pub(super) fn is_meta(&self) -> bool {
        self.flags() & META != 0
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.flags() & LEAF != 0
    }

    /// Whether it was deleted, or is about to be: what it held is on its right.
    pub(super) fn is_ignored(&self) -> bool {
        self.flags() & IGNORED != 0
    }

    fn flags(&self) -> u16 {
        self.u16_at(self.special() + 12)
    }

    pub(super) fn meta_fast_root(&self) -> u32 {
        // BTMetaPageData behind the header: magic, version, root, level, fastroot.
        self.u32_at(24 + 16)
    }

    /// How many line pointers there are (pd_lower counts their bytes).
    fn count(&self) -> usize {
        (usize::from(self.u16_at(12)).max(24) - 24) / 4
    }

    /// Where the n-th tuple (from 1) starts; `None` if its pointer is dead.
    fn tuple(&self, n: usize) -> Option<usize> {
        let pointer = self.u32_at(24 + (n - 1) * 4);
        const NORMAL: u32 = 1;
        ((pointer >> 15) & 3 == NORMAL).then_some((pointer & 0x7FFF) as usize)
    }

    fn first_data(&self) -> usize {
        if self.next() == 0 { 1 } else { 2 }
    }

    fn tid(&self, at: usize) -> u64 {
        let block = u64::from(self.u16_at(at)) << 16 | u64::from(self.u16_at(at + 2));
        block << 16 | u64::from(self.u16_at(at + 4))
    }

    /// A pivot's place: attributes that were cut off count as before everything.
    fn pivot(&self, tree: &Tree, at: usize) -> Bound {
        let info = self.u16_at(at + 6);
        if info & ALT_TID == 0 {
            return self.entry(tree, at);
        }
        let status = self.u16_at(at + 4);
        let attributes = usize::from(status & COUNT_MASK);
        let mut values = [i64::MIN; 2];
        for (i, value) in values.iter_mut().take(attributes).enumerate() {
            *value = self.i64_at(at + 8 + i * 8);
        }
        let tid = if status & HEAP_TID_ATTRIBUTE == 0 {
            0
        } else {
            self.tid(at + usize::from(info & 0x1FFF) - 6)
        };
        if tree.has_key {
            Bound {
                key: values[0],
                position: values[1],
                tid,
            }
        } else if attributes == 0 {
            Bound::MIN
        } else {
            Bound {
                key: 0,
                position: values[0],
                tid,
            }
        }
    }

    fn entry(&self, tree: &Tree, at: usize) -> Entry {
        let first = self.i64_at(at + 8);
        let tid = self.tid(at);
        if tree.has_key {
            Bound {
                key: first,
                position: self.i64_at(at + 16),
                tid,
            }
        } else {
            Bound {
                key: 0,
                position: first,
                tid,
            }
        }
    }

    pub(super) fn high_key(&self, tree: &Tree) -> Option<Bound> {
        if self.next() == 0 || self.count() == 0 {
            None
        } else {
            self.tuple(1).map(|at| self.pivot(tree, at))
        }
    }

    /// Of an inner page: the child whose range includes `target`, and that range's lower bound.
    pub(super) fn child(&self, tree: &Tree, target: Bound) -> Option<(u32, Bound)> {
        let first = self.first_data();
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
            Bound::MIN
        } else {
            self.pivot(tree, at)
        };
        Some((block, bound))
    }

    /// The number of the first tuple of a leaf that is not before the target; a posting list stands
    /// at its first row. Dead entries keep their tuples, so they still guide the search.
    fn lower_bound(&self, tree: &Tree, target: Bound) -> usize {
        let (mut low, mut high) = (self.first_data(), self.count() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = (self.u32_at(24 + (middle - 1) * 4) & 0x7FFF) as usize;
            if self.first_of(tree, at) < target {
                low = middle + 1
            } else {
                high = middle
            }
        }
        low
    }

    pub(super) fn copy_forward(&self, tree: &Tree, from: Bound, to: Bound, out: &mut Vec<Entry>) {
        // A posting list before the first may reach beyond `from`.
        let first = (self.lower_bound(tree, from) - 1).max(self.first_data());
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

    pub(super) fn copy_backward(&self, tree: &Tree, from: Bound, to: Bound, out: &mut Vec<Entry>) {
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

    fn first_of(&self, tree: &Tree, at: usize) -> Bound {
        if self.is_posting(at) {
            let tid = self.tid(at + self.posting_offset(at));
            Bound {
                tid,
                ..self.entry(tree, at)
            }
        } else {
            self.entry(tree, at)
        }
    }

    fn is_posting(&self, at: usize) -> bool {
        self.u16_at(at + 6) & ALT_TID != 0 && self.u16_at(at + 4) & IS_POSTING != 0
    }

    fn posting_offset(&self, at: usize) -> usize {
        usize::from(self.u16_at(at)) << 16 | usize::from(self.u16_at(at + 2))
    }

    /// The entries of one tuple: one, or those of a posting list; none of a dead one.
    fn each(&self, tree: &Tree, n: usize, mut use_entry: impl FnMut(Entry)) {
        let Some(at) = self.tuple(n) else { return };
        if self.is_posting(at) {
            let rows = usize::from(self.u16_at(at + 4) & COUNT_MASK);
            let list = at + self.posting_offset(at);
            for i in 0..rows {
                use_entry(Bound {
                    tid: self.tid(list + i * 6),
                    ..self.entry(tree, at)
                });
            }
        } else {
            use_entry(self.entry(tree, at));
        }
    }
}
