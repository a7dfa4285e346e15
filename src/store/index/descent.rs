//! The way from an nbtree index's root to a leaf.
//!
//! **Invariant:** everything here runs inside one guard of the caller's and calls PostgreSQL unguarded: an
//! error leaves by longjmp. So nothing here holds a value with a destructor, and nothing panics. One page
//! is pinned and locked at a time; an error leaves it to the transaction's abort.

use pgrx::pg_sys::{self, Buffer, Relation};

use super::entry::{Entry, Tree};
use super::page::View;

#[cfg(feature = "in-process-tests")]
pub mod tests;

/// PostgreSQL's functions without pgrx's guard, which costs as much as some of them.
pub(in crate::store) mod raw {
    use std::ffi::{c_char, c_int};

    use pgrx::pg_sys::{
        BlockNumber, Buffer, Datum, ForkNumber, IndexInfo, IndexUniqueCheck, ItemPointer, Page,
        Relation,
    };

    unsafe extern "C-unwind" {
        pub fn ProcessInterrupts();
        pub fn btinsert(
            index: Relation,
            values: *mut Datum,
            nulls: *mut bool,
            row: ItemPointer,
            heap: Relation,
            check: IndexUniqueCheck::Type,
            is_unchanged: bool,
            info: *mut IndexInfo,
        ) -> bool;
        pub fn ReadBuffer(index: Relation, block: BlockNumber) -> Buffer;
        pub fn RelationGetNumberOfBlocksInFork(
            relation: Relation,
            fork: ForkNumber::Type,
        ) -> BlockNumber;
        pub fn ReadRecentBuffer(
            file: super::File,
            fork: ForkNumber::Type,
            block: BlockNumber,
            buffer: Buffer,
        ) -> bool;
        pub fn LockBuffer(buffer: Buffer, mode: c_int);
        pub fn UnlockReleaseBuffer(buffer: Buffer);
        pub fn MarkBufferDirty(buffer: Buffer);
        pub fn PageAddItemExtended(
            page: Page,
            item: *const c_char,
            size: usize,
            offset: u16,
            flags: c_int,
        ) -> u16;
        pub fn XLogBeginInsert();
        pub fn XLogRegisterData(data: *const c_char, len: u32);
        pub fn XLogRegisterBuffer(id: u8, buffer: Buffer, flags: u8);
        pub fn XLogRegisterBufData(id: u8, data: *const c_char, len: u32);
        pub fn XLogInsert(manager: u8, info: u8) -> u64;
        pub fn log_newpage_buffer(buffer: Buffer, is_standard: bool) -> u64;
    }
}

/// How a leaf is to be locked; the pages above it are locked for reading.
#[derive(Clone, Copy)]
pub(in crate::store) enum Lock {
    /// For reading.
    Share = pg_sys::BUFFER_LOCK_SHARE as isize,
    /// For changing it.
    Exclusive = pg_sys::BUFFER_LOCK_EXCLUSIVE as isize,
}

/// Where a descent ended.
pub(in crate::store) enum Descent {
    /// The tree has no pages.
    Empty,
    /// At a page that is not of nbtree's form; nothing is locked.
    Damaged(u32),
    /// At the leaf whose range, from `low` to below `high`, includes the target: pinned and locked.
    Leaf {
        block: u32,
        buffer: Buffer,
        low: Entry,
        high: Option<Entry>,
    },
}

/// Descends to the leaf whose range includes `target`.
///
/// # Safety
/// The index is open and locked; the caller is inside a guard.
pub(in crate::store) unsafe fn descend(
    index: Relation,
    tree: Tree,
    target: Entry,
    lock: Lock,
) -> Descent {
    // SAFETY: the caller's contract; each buffer is looked at while it is pinned and locked.
    unsafe {
        let (mut block, mut level, mut buffer) = match root(index, lock) {
            Ok(root) => root,
            Err(ended) => return ended,
        };
        let (mut low, mut passed) = (Entry::MIN, 0);
        loop {
            let page = View::of(buffer);
            let is_ignored = page.is_ignored();
            let high = if is_ignored {
                None
            } else {
                page.high_key(tree)
            };
            let next = page.next();
            // Right past pages that were split or deleted meanwhile.
            let goes_right = is_ignored || high.is_some_and(|h| target >= h);
            // Of a deleted page the level may be told in another way. All others must be on the level below their parent, so
            // that damaged downlinks lead to no page twice.
            let is_elsewhere =
                page.is_leaf() != (level == 0) || !is_ignored && page.level() != level;
            let step = if page.is_damaged() || is_elsewhere {
                None
            } else if goes_right {
                low = high.map_or(low, |h| low.max(h));
                (next != 0).then_some((next, level))
            } else if level == 0 {
                return Descent::Leaf {
                    block,
                    buffer,
                    low,
                    high,
                };
            } else {
                page.child(tree, target).map(|(child, child_low)| {
                    low = low.max(child_low);
                    (child, level - 1)
                })
            };
            let is_damaged = page.is_damaged();
            raw::UnlockReleaseBuffer(buffer);
            let Some(step) = step.filter(|(to, _)| !is_damaged && is_page(*to)) else {
                return Descent::Damaged(block);
            };
            if goes_right && pg_sys::InterruptPending != 0 {
                raw::ProcessInterrupts();
            }
            // Damaged links may be a circle.
            passed += u32::from(goes_right);
            if goes_right && passed.is_multiple_of(PASSED_AT_ONCE) && passed > pages(index) {
                return Descent::Damaged(block);
            }
            (block, level) = step;
            buffer = read(index, block, level, lock);
        }
    }
}

/// Whether a link leads to some page. Who reads the one that is none makes a new page at the end of the index.
fn is_page(block: u32) -> bool {
    block != pg_sys::InvalidBlockNumber
}

/// After so many steps to the right it is looked at whether they can be steps forward.
const PASSED_AT_ONCE: u32 = 1024;

/// How many pages the index has.
unsafe fn pages(index: Relation) -> u32 {
    // SAFETY: as `descend`.
    unsafe { raw::RelationGetNumberOfBlocksInFork(index, pg_sys::ForkNumber::MAIN_FORKNUM) }
}

/// The page to descend from, locked, with its number and level: the fast root, below which every level
/// has one page at the least. nbtree keeps what it read of the metapage; a page found that way must still
/// be alone on its level, as nbtree itself demands.
unsafe fn root(index: Relation, lock: Lock) -> Result<(u32, u32, Buffer), Descent> {
    // SAFETY: as `descend`. rd_amcache is nbtree's copy of its BTMetaPageData, or null: magic, version,
    // root, level, fastroot, fastlevel.
    unsafe {
        let cached = (*index).rd_amcache.cast::<u32>();
        if !cached.is_null() {
            let (block, level) = (*cached.add(4), *cached.add(5));
            let buffer = read(index, block, level, lock);
            let page = View::of(buffer);
            let is_alone = page.previous() == 0 && page.next() == 0 && page.level() == level;
            if is_alone && !page.is_ignored() && !page.is_damaged() {
                return Ok((block, level, buffer));
            }
            raw::UnlockReleaseBuffer(buffer);
        }
        let buffer = read(index, 0, 1, Lock::Share);
        let meta = View::of(buffer);
        let (block, level) = meta.fast_root();
        let is_meta = meta.is_meta() && !meta.is_damaged();
        raw::UnlockReleaseBuffer(buffer);
        match block {
            _ if !is_meta || !is_page(block) => Err(Descent::Damaged(0)),
            0 => Err(Descent::Empty),
            _ => Ok((block, level, read(index, block, level, lock))),
        }
    }
}

#[cfg(feature = "pg15")]
type File = pg_sys::RelFileNode;
#[cfg(not(feature = "pg15"))]
type File = pg_sys::RelFileLocator;

fn file_of(index: &pg_sys::RelationData) -> File {
    #[cfg(feature = "pg15")]
    return index.rd_node;
    #[cfg(not(feature = "pg15"))]
    return index.rd_locator;
}

/// Where pages were met lately: block number and buffer, by the block's number and the file's. A page
/// that is there still (PostgreSQL compares) is pinned without a search in the table of buffers, which
/// is half of what a page costs that is in the cache.
const RECENT: usize = 8192;
static mut RECENT_BUFFERS: [(u32, Buffer); RECENT] = [(0, 0); RECENT];

/// Pins and locks a page of a level.
unsafe fn read(index: Relation, block: u32, level: u32, lock: Lock) -> Buffer {
    // SAFETY: as `descend`; a block beyond the end is an error of PostgreSQL's. A backend has one thread,
    // and the reference to the table ends before anything is called.
    unsafe {
        let file = file_of(&*index);
        let slot = block.wrapping_add((*index).rd_id.to_u32().wrapping_mul(0x9E37_79B1)) as usize;
        let recent = (&raw mut RECENT_BUFFERS)
            .cast::<(u32, Buffer)>()
            .add(slot % RECENT);
        let (known, mut buffer) = *recent;
        let is_there = known == block
            && buffer > 0
            && raw::ReadRecentBuffer(file, pg_sys::ForkNumber::MAIN_FORKNUM, block, buffer);
        if !is_there {
            buffer = raw::ReadBuffer(index, block);
            *recent = (block, buffer);
        }
        let lock = if level == 0 { lock } else { Lock::Share };
        raw::LockBuffer(buffer, lock as i32);
        buffer
    }
}

/// The rightmost leaf of an index that grows at its end, locked exclusively, if it is where it was last
/// and includes the target. nbtree remembers it at the same place, which is cleared when the file is cut
/// or replaced.
///
/// # Safety
/// As [`descend`].
pub(in crate::store) unsafe fn guess(
    index: Relation,
    tree: Tree,
    target: Entry,
) -> Option<Descent> {
    // SAFETY: as `read`; the file's handle is null or valid.
    unsafe {
        let file = (*index).rd_smgr;
        if file.is_null() || (*file).smgr_targblock == pg_sys::InvalidBlockNumber {
            return None;
        }
        let block = (*file).smgr_targblock;
        let buffer = read(index, block, 0, Lock::Exclusive);
        let page = View::of(buffer);
        let includes = page.is_leaf()
            && !page.is_ignored()
            && page.next() == 0
            && page.nth(tree, 1).is_some_and(|first| first < target);
        if includes && !page.is_damaged() {
            return Some(Descent::Leaf {
                block,
                buffer,
                low: Entry::MIN,
                high: None,
            });
        }
        raw::UnlockReleaseBuffer(buffer);
        None
    }
}

/// Remembers the rightmost leaf for [`guess`].
///
/// # Safety
/// As [`descend`].
pub(in crate::store) unsafe fn remember(index: Relation, block: u32) {
    // SAFETY: as `guess`.
    unsafe {
        let file = (*index).rd_smgr;
        if !file.is_null() {
            (*file).smgr_targblock = block;
        }
    }
}
