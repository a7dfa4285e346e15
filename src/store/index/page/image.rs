//! Images of nbtree's pages, made tuple by tuple as nbtree itself lays them out, for tests: in memory of their own, or
//! written over the pages of an index.

use pgrx::pg_sys;

use crate::store::index::entry::{Entry, Tree};
use crate::store::pg::in_process::fence::Fence;
use crate::store::pg::in_process::fuzz::Random;
use crate::store::row::table::Index;

use super::{ALT_TID, HEAP_TID_ATTRIBUTE, IS_POSTING, LEAF, META, PAGE, SPECIAL_START, View};

/// BTP_HALF_DEAD.
pub(in crate::store) const HALF_DEAD: u16 = 1 << 4;
/// BTP_DELETED.
pub(in crate::store) const DELETED: u16 = 1 << 2;
const NORMAL: u32 = 1;
const DEAD: u32 = 3;

/// A row's place as one number.
pub(in crate::store) fn tid(block: u32, offset: u16) -> u64 {
    u64::from(block) << 16 | u64::from(offset)
}

fn tid_bytes(tid: u64) -> [u8; 6] {
    let parts = [tid >> 32, tid >> 16, tid].map(|part| (part as u16).to_ne_bytes());
    let mut bytes = [0; 6];
    bytes.as_chunks_mut().0.copy_from_slice(&parts);
    bytes
}

/// The bytes of a tree's attributes, as many of them as said.
fn attributes(tree: Tree, at: Entry, count: usize) -> Vec<u8> {
    let id = at.id();
    let all: Vec<Vec<u8>> = match tree {
        Tree::Keys => vec![
            at.key.to_ne_bytes().to_vec(),
            at.position.to_ne_bytes().to_vec(),
        ],
        Tree::Positions => vec![at.position.to_ne_bytes().to_vec()],
        Tree::Ids => vec![id.to_vec()],
    };
    all[..count].concat()
}

/// How many attributes an entry of a tree has.
pub(in crate::store) fn columns(tree: Tree) -> usize {
    match tree {
        Tree::Keys => 2,
        Tree::Positions | Tree::Ids => 1,
    }
}

/// A tuple: the six bytes of its t_tid, its flags, and what follows.
fn tuple(t_tid: [u8; 6], flags: u16, rest: &[u8]) -> Vec<u8> {
    let size = (8 + rest.len()).next_multiple_of(8);
    let mut bytes = t_tid.to_vec();
    bytes.extend_from_slice(&(size as u16 | flags).to_ne_bytes());
    bytes.extend_from_slice(rest);
    bytes.resize(size, 0);
    bytes
}

/// An entry of a leaf: one row.
pub(in crate::store) fn entry(tree: Tree, at: Entry) -> Vec<u8> {
    tuple(tid_bytes(at.tid), 0, &attributes(tree, at, columns(tree)))
}

/// An entry of a leaf with several rows.
pub(in crate::store) fn posting(tree: Tree, at: Entry, rows: &[u64]) -> Vec<u8> {
    let mut rest = attributes(tree, at, columns(tree));
    let list = (8 + rest.len()) as u64;
    rest.extend(rows.iter().flat_map(|row| tid_bytes(*row)));
    let status = u64::from(IS_POSTING) | rows.len() as u64;
    tuple(tid_bytes(list << 16 | status), ALT_TID, &rest)
}

/// What separates two pages: as many attributes as are left of it, and the row's place where they do not suffice. On an
/// inner page it leads to a child.
pub(in crate::store) fn pivot(
    tree: Tree,
    at: Entry,
    count: usize,
    heap_tid: Option<u64>,
    child: u32,
) -> Vec<u8> {
    let mut rest = attributes(tree, at, count);
    let mut status = count as u16;
    if let Some(row) = heap_tid {
        status |= HEAP_TID_ATTRIBUTE;
        rest.extend_from_slice(&[0; 2]);
        rest.extend_from_slice(&tid_bytes(row));
    }
    tuple(tid_bytes(tid(child, status)), ALT_TID, &rest)
}

/// A pivot of all attributes, without a row's place.
pub(in crate::store) fn whole_pivot(tree: Tree, at: Entry, child: u32) -> Vec<u8> {
    pivot(tree, at, columns(tree), None, child)
}

/// The first pivot of an inner page, which stands before everything.
pub(in crate::store) fn first_pivot(child: u32) -> Vec<u8> {
    pivot(Tree::Keys, Entry::MIN, 0, None, child)
}

/// An image of a page.
#[derive(Clone)]
pub(in crate::store) struct Image {
    /// All of it.
    pub(in crate::store) bytes: [u8; PAGE],
}

impl Image {
    /// An empty page of a level.
    pub(in crate::store) fn of_level(level: u32) -> Self {
        let image = Self { bytes: [0; PAGE] };
        image
            .with_header(24, SPECIAL_START as u16, SPECIAL_START as u16)
            .put_u16(18, PAGE as u16 | 4) // pd_pagesize_version
            .put_u32(SPECIAL_START + 8, level)
            .with_flags(if level == 0 { LEAF } else { 0 })
    }

    /// An empty leaf.
    pub(in crate::store) fn leaf() -> Self {
        Self::of_level(0)
    }

    /// A metapage that leads to a root, which is the fast root, too.
    pub(in crate::store) fn meta(root: u32, level: u32) -> Self {
        let words = [0x0005_3162, 4, root, level, root, level, 0];
        let image = (0..)
            .zip(words)
            .fold(Self::of_level(0), |image, (i, word)| {
                image.put_u32(24 + i * 4, word)
            });
        let end = 24 + 48; // BTMetaPageData
        image
            .with_header(end, SPECIAL_START as u16, SPECIAL_START as u16)
            .with_flags(META)
    }

    /// With its pd_lower, pd_upper and pd_special.
    pub(in crate::store) fn with_header(self, lower: u16, upper: u16, special: u16) -> Self {
        let image = self.put_u16(12, lower).put_u16(14, upper);
        image.put_u16(16, special)
    }

    /// With other flags of nbtree's.
    pub(in crate::store) fn with_flags(self, flags: u16) -> Self {
        self.put_u16(SPECIAL_START + 12, flags)
    }

    /// With more flags of nbtree's.
    pub(in crate::store) fn and_flags(self, flags: u16) -> Self {
        let before = self.u16_at(SPECIAL_START + 12);
        self.with_flags(before | flags)
    }

    /// With its siblings.
    pub(in crate::store) fn between(self, previous: u32, next: u32) -> Self {
        self.put_u32(SPECIAL_START, previous)
            .put_u32(SPECIAL_START + 4, next)
    }

    /// With one more tuple, behind all others.
    pub(in crate::store) fn with(self, tuple: &[u8]) -> Self {
        let (lower, upper) = (self.u16_at(12), self.u16_at(14));
        let at = upper - tuple.len() as u16;
        assert!(lower + 4 <= at, "the page is full");
        let pointer = u32::from(at) | NORMAL << 15 | (tuple.len() as u32) << 17;
        let mut image = self.put_u32(usize::from(lower), pointer).with_header(
            lower + 4,
            at,
            SPECIAL_START as u16,
        );
        image.bytes[usize::from(at)..][..tuple.len()].copy_from_slice(tuple);
        image
    }

    /// With several more tuples.
    pub(in crate::store) fn with_all(self, tuples: impl IntoIterator<Item = Vec<u8>>) -> Self {
        tuples.into_iter().fold(self, |image, t| image.with(&t))
    }

    /// Where the n-th tuple's pointer is.
    pub(in crate::store) fn pointer(n: usize) -> usize {
        24 + (n - 1) * 4
    }

    /// Where the n-th tuple is.
    pub(in crate::store) fn start_of(&self, n: usize) -> usize {
        (self.u32_at(Self::pointer(n)) & 0x7FFF) as usize
    }

    /// With the n-th tuple marked as dead.
    pub(in crate::store) fn with_dead(self, n: usize) -> Self {
        let pointer = self.u32_at(Self::pointer(n));
        self.put_u32(Self::pointer(n), pointer & !(3 << 15) | DEAD << 15)
    }

    /// With other bytes somewhere.
    pub(in crate::store) fn put_u16(mut self, at: usize, value: u16) -> Self {
        self.bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// With other bytes somewhere.
    pub(in crate::store) fn put_u32(mut self, at: usize, value: u32) -> Self {
        self.bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// Two bytes as a number.
    pub(in crate::store) fn u16_at(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// Four bytes as a number.
    pub(in crate::store) fn u32_at(&self, at: usize) -> u32 {
        u32::from(self.u16_at(at)) | u32::from(self.u16_at(at + 2)) << 16
    }

    /// In memory of which no byte may be read before or behind the page.
    pub(in crate::store) fn fenced(&self) -> Fenced {
        Fenced::new(&self.bytes)
    }

    /// A page of an index as it is.
    pub(in crate::store) fn read(index: &Index, block: u32) -> Self {
        let mut bytes = [0; PAGE];
        // SAFETY: the index is open; the page is copied while it is pinned and locked.
        unsafe {
            let buffer = pg_sys::ReadBuffer(index.relation(), block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(buffer).cast::<u8>();
            std::ptr::copy_nonoverlapping(page, bytes.as_mut_ptr(), PAGE);
            pg_sys::UnlockReleaseBuffer(buffer);
        }
        Self { bytes }
    }

    /// Writes it over a page of an index, behind the last one where it is that one's number.
    pub(in crate::store) fn write(&self, index: &Index, block: u32) {
        let number = if block == index.pages() {
            pg_sys::InvalidBlockNumber // P_NEW
        } else {
            block
        };
        // SAFETY: the index is open and locked for writing, and made by this transaction, so nobody else sees it. The
        // page is changed while it is pinned and locked; its image is as long as a page.
        unsafe {
            let buffer = pg_sys::ReadBuffer(index.relation(), number);
            assert_eq!(pg_sys::BufferGetBlockNumber(buffer), block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
            let page = pg_sys::BufferGetPage(buffer).cast::<u8>();
            std::ptr::copy_nonoverlapping(self.bytes.as_ptr(), page, PAGE);
            pg_sys::MarkBufferDirty(buffer);
            pg_sys::UnlockReleaseBuffer(buffer);
        }
    }
}

/// A page between two others that nobody can read: who reads beyond it brings the server down.
pub(in crate::store) struct Fenced {
    start: *const u8,
    /// Keeps the memory.
    _fence: Fence,
}

impl Fenced {
    fn new(bytes: &[u8; PAGE]) -> Self {
        let mut fence = Fence::new(PAGE);
        Self {
            start: fence.put(bytes),
            _fence: fence,
        }
    }

    /// What is on it.
    pub(in crate::store) fn view(&self) -> View {
        // SAFETY: a page that nobody changes; callers drop the view before the page.
        unsafe { View::at(self.start) }
    }
}

/// A place on a page where something is decided: in the header, the pointers, the tuples, nbtree's own data.
pub(in crate::store) fn place(random: &mut Random) -> usize {
    let (start, length) = [(12, 6), (24, 40), (8000, 176), (8176, 14)][random.below(4)];
    start + random.below(length)
}
