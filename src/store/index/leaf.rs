//! Entries into leaves that have room for them: what most inserts into an index are.
//!
//! nbtree's own insert takes one entry at a time, each by a new descent that calls a comparison function
//! through the function manager at every step. Here sorted entries that belong to one leaf go there in
//! one visit, compared in place. Pages and WAL are nbtree's: the record of an insert into a leaf, or the
//! image of the whole page where that is the smaller. What is more than that (a split, a split to be
//! completed, the first page, an entry that may be there already) is left to nbtree.
//!
//! This is exact for the reasons that hold for nbtree: the leaf whose range includes an entry is locked
//! exclusively before it is looked at, and an entry is put where the order has it. A leaf that was met by
//! a guess includes an entry if it holds one before and has no end, or an end beyond.

use pgrx::pg_sys::{self, Buffer, Datum, IndexInfo, ItemPointerData, Relation};

use super::descent::{Descent, Lock, descend, guess, raw, remember};
use super::entry::{Entry, Tree, id_half};
use super::page::View;

#[cfg(feature = "in-process-tests")]
pub mod tests;

/// An entry to be: its place in the order, and its row.
#[derive(Clone, Copy)]
pub(in crate::store) struct New {
    /// Where it belongs in the order.
    pub(in crate::store) at: Entry,
    /// The tid of its row.
    pub(in crate::store) row: ItemPointerData,
}

impl New {
    /// An entry of the key index.
    pub(in crate::store) fn of_key(key: i64, position: i64, row: ItemPointerData) -> Self {
        let tid = super::entry::tid_number(&row);
        let at = Entry { key, position, tid };
        Self { at, row }
    }

    /// An entry of the index on position.
    pub(in crate::store) fn of_position(position: i64, row: ItemPointerData) -> Self {
        Self::of_key(0, position, row)
    }

    /// An entry of the index on id.
    pub(in crate::store) fn of_id(id: &[u8; 16], row: ItemPointerData) -> Self {
        let [first, last] = halves(id);
        Self::of_key(id_half(first), id_half(last), row)
    }
}

fn halves(id: &[u8; 16]) -> [[u8; 8]; 2] {
    let (first, last) = id.split_at(8);
    [first, last].map(|half| half.try_into().unwrap_or_default())
}

/// An entry as it stands on a leaf: IndexTupleData, then one attribute or two.
#[repr(C)]
struct Tuple {
    row: ItemPointerData,
    info: u16,
    attributes: [[u8; 8]; 2],
}

const _: () = assert!(size_of::<Tuple>() == 24);

impl Tuple {
    fn of(tree: Tree, entry: &New) -> Self {
        let Entry { key, position, .. } = entry.at;
        // The inverse of id_half.
        let half = |number: i64| ((number as u64) ^ (1 << 63)).to_be_bytes();
        Self {
            row: entry.row,
            info: bytes_of_tuple(tree) as u16,
            attributes: match tree {
                Tree::Keys => [key.to_ne_bytes(), position.to_ne_bytes()],
                Tree::Positions => [position.to_ne_bytes(), [0; 8]],
                Tree::Ids => [half(key), half(position)],
            },
        }
    }
}

fn bytes_of_tuple(tree: Tree) -> usize {
    match tree {
        Tree::Keys | Tree::Ids => 24,
        Tree::Positions => 16,
    }
}

/// From so many entries on one page its image takes less WAL than their records of some 72 bytes.
const WHOLE_PAGE_FROM: usize = 112;

/// Inserts entries, which should be in ascending order: those of one leaf go there in one visit.
pub(in crate::store) fn insert_all(
    index: Relation,
    heap: Relation,
    info: *mut IndexInfo,
    tree: Tree,
    entries: &[New],
) {
    // SAFETY: index and heap are open and locked for writing. The closure holds nothing with a
    // destructor, so an error may leave it by longjmp; one guard serves the whole batch.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            let mut rest = entries;
            while let [first, after_first @ ..] = rest {
                if pg_sys::InterruptPending != 0 {
                    raw::ProcessInterrupts();
                }
                let done = insert(index, tree, rest);
                if done > 0 {
                    rest = rest.get_unchecked(done..);
                } else {
                    insert_by_nbtree(index, heap, info, tree, first);
                    rest = after_first;
                }
            }
        });
    }
}

/// Inserts one entry as nbtree itself does.
unsafe fn insert_by_nbtree(
    index: Relation,
    heap: Relation,
    info: *mut IndexInfo,
    tree: Tree,
    entry: &New,
) {
    let tuple = Tuple::of(tree, entry);
    let (mut values, check) = match tree {
        Tree::Keys => (
            [Datum::from(entry.at.key), Datum::from(entry.at.position)],
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
        ),
        Tree::Positions => (
            [Datum::from(entry.at.position), Datum::from(0)],
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
        ),
        Tree::Ids => (
            [Datum::from(&raw const tuple.attributes), Datum::from(0)],
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
        ),
    };
    let mut nulls = [false, false];
    let mut row = entry.row;
    // SAFETY: as `insert`; nbtree reads as many values as the index has columns, and keeps none.
    unsafe {
        raw::btinsert(
            index,
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
            &mut row,
            heap,
            check,
            false,
            info,
        );
    }
}

/// Inserts as many of the entries as go to the leaf of the first one; they should be in ascending order.
/// Returns how many: none where nbtree has to do it.
///
/// What has an equal in a unique index is left to nbtree, which knows whether that is alive. An equal one
/// stands next to where the entry belongs, on the same leaf: what separates two leaves lies between
/// different values, or between two equal ones with the entry on the one side or the other.
///
/// # Safety
/// The index is open and locked for writing; the caller is inside a guard.
unsafe fn insert(index: Relation, tree: Tree, entries: &[New]) -> usize {
    let Some(first) = entries.first() else {
        return 0;
    };
    // SAFETY: the caller's contract; the leaf comes pinned and locked exclusively, and is released here.
    unsafe {
        let Some((buffer, high)) = leaf_of(index, tree, first.at) else {
            return 0;
        };
        let page = View::of(buffer);
        let place = page.place_of(tree, first.at, 0);
        let fitting = fitting(&page, tree, place, high, entries);
        if !fitting.is_empty() {
            write(index, tree, buffer, &page, place, fitting);
        }
        raw::UnlockReleaseBuffer(buffer);
        fitting.len()
    }
}

/// The leaf to which an entry goes, pinned and locked exclusively, with its high key; `None` where it is for nbtree to make
/// or to report one. Indexes that grow at their end alone are asked for their last leaf first.
///
/// # Safety
/// As [`insert`].
unsafe fn leaf_of(index: Relation, tree: Tree, entry: Entry) -> Option<(Buffer, Option<Entry>)> {
    let grows_at_end = tree != Tree::Keys;
    // SAFETY: the caller's contract.
    let found = unsafe {
        let guessed = if grows_at_end {
            guess(index, tree, entry)
        } else {
            None
        };
        guessed.unwrap_or_else(|| descend(index, tree, entry, Lock::Exclusive))
    };
    let Descent::Leaf {
        block,
        buffer,
        high,
        ..
    } = found
    else {
        return None;
    };
    if high.is_none() && grows_at_end {
        // SAFETY: the caller's contract.
        unsafe { remember(index, block) };
    }
    Some((buffer, high))
}

/// Those first entries that may be put on a leaf, the first one at `place`: they fit on it, belong on it, and have no equal
/// in a unique index. Behind entries that are there already, as many as fit; between them, one.
fn fitting<'e>(
    page: &View,
    tree: Tree,
    place: usize,
    high: Option<Entry>,
    entries: &'e [New],
) -> &'e [New] {
    let Some((first, _)) = entries.split_first() else {
        return &[];
    };
    let has_equal = tree != Tree::Keys
        && [place, place - 1].iter().any(|n| {
            let neighbour = page.nth(tree, *n);
            neighbour.is_some_and(|e| value(e) == value(first.at))
        });
    if page.is_half_split() || page.is_damaged() || has_equal {
        return &[];
    }
    let room = page.room_for(bytes_of_tuple(tree));
    let most = match tree == Tree::Keys || page.is_end(place) {
        true => room,
        false => room.min(1),
    };
    let mut last = None;
    let belongs = |entry: &&New| {
        // One that equals the one before it in a unique index is nbtree's, too.
        let follows = last.is_none_or(|l: Entry| match tree {
            Tree::Keys => l < entry.at,
            _ => value(l) < value(entry.at),
        });
        last = Some(entry.at);
        follows && high.is_none_or(|h| entry.at < h)
    };
    let count = entries.iter().take(most).take_while(belongs).count();
    // Not by index: nothing here may panic.
    entries.get(..count).unwrap_or_default()
}

/// What an entry stands for, wherever its row is: what a unique index holds once.
fn value(entry: Entry) -> (i64, i64) {
    (entry.key, entry.position)
}

/// Puts entries on a leaf that has room for them, and into the WAL.
unsafe fn write(
    index: Relation,
    tree: Tree,
    buffer: Buffer,
    page: &View,
    mut place: usize,
    entries: &[New],
) {
    let bytes = bytes_of_tuple(tree);
    // SAFETY: the leaf is pinned and locked exclusively. Between the change and its WAL nothing may fail:
    // that is a critical section, as in nbtree, and who cannot go on takes the server down.
    unsafe {
        let logged = needs_wal(index);
        let whole = entries.len() >= WHOLE_PAGE_FROM;
        let start = pg_sys::BufferGetPage(buffer);
        pg_sys::CritSectionCount += 1;
        raw::MarkBufferDirty(buffer);
        for (i, entry) in entries.iter().enumerate() {
            if i > 0 {
                place = page.place_of(tree, entry.at, place + 1);
            }
            let tuple = Tuple::of(tree, entry);
            let item = (&raw const tuple).cast();
            let number = place as u16;
            if raw::PageAddItemExtended(start, item, bytes, number, 0) != number {
                std::process::abort();
            }
            if logged && !whole {
                raw::XLogBeginInsert();
                // xl_btree_insert, then the tuple.
                raw::XLogRegisterData((&raw const number).cast(), 2);
                raw::XLogRegisterBuffer(0, buffer, pg_sys::REGBUF_STANDARD as u8);
                raw::XLogRegisterBufData(0, item, bytes as u32);
                let end = raw::XLogInsert(pg_sys::RmgrIds::RM_BTREE_ID as u8, INSERT_LEAF);
                set_lsn(start, end);
            }
        }
        if logged && whole {
            raw::log_newpage_buffer(buffer, true);
        }
        pg_sys::CritSectionCount -= 1;
    }
}

/// XLOG_BTREE_INSERT_LEAF.
const INSERT_LEAF: u8 = 0;

/// PageSetLSN: the high half, then the low one, at the page's start.
unsafe fn set_lsn(page: pg_sys::Page, end: u64) {
    // SAFETY: the caller has the page locked exclusively.
    unsafe {
        let lsn = page.cast::<u32>();
        lsn.write((end >> 32) as u32);
        lsn.add(1).write(end as u32);
    }
}

/// RelationNeedsWAL.
unsafe fn needs_wal(index: Relation) -> bool {
    // SAFETY: the index is open.
    unsafe {
        let relation = &*index;
        #[cfg(feature = "pg15")]
        let first = relation.rd_firstRelfilenodeSubid;
        #[cfg(not(feature = "pg15"))]
        let first = relation.rd_firstRelfilelocatorSubid;
        let is_new = relation.rd_createSubid != 0 || first != 0;
        let is_permanent =
            (*relation.rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT;
        is_permanent && (!is_new || pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32)
    }
}
