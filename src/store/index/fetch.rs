//! Rows of a partition's table, found by their tids without the executor.
//!
//! A row has one version, until its event is erased: then it has a new one, beside the old one on its page or on
//! another.

use std::mem::MaybeUninit;

use pgrx::pg_sys::{self, Buffer, Datum, ItemPointerData};

use crate::store::row::event::{COLUMNS, Row};
use crate::store::row::table::Opened;

use super::entry::{Entry, tid_number};

/// Fetches rows by their tid, keeping the page of the last one pinned.
pub struct Fetcher<'t> {
    table: &'t Opened,
    buffer: Buffer,
    block: u32,
    /// The position of the row that was found last.
    found: i64,
    /// The row that was fetched last; its values point into the pinned page.
    pub row: Row,
}

impl<'t> Fetcher<'t> {
    /// Nothing is pinned yet.
    pub fn new(table: &'t Opened) -> Self {
        let row = Row {
            values: [Datum::from(0); COLUMNS],
            nulls: [true; COLUMNS],
            // SAFETY: all zero is PostgreSQL's own way of saying that there is no tuple.
            stored: unsafe { MaybeUninit::zeroed().assume_init() },
            stored_type: None,
        };
        Self {
            table,
            buffer: 0,
            block: pg_sys::InvalidBlockNumber,
            found: 0,
            row,
        }
    }

    /// Lets go of the page; the row is not to be used any more.
    pub fn unpin(&mut self) {
        if self.buffer != 0 {
            // SAFETY: pinned by `fetch`, released once.
            unsafe { pg_sys::ReleaseBuffer(self.buffer) };
            self.buffer = 0;
            self.block = pg_sys::InvalidBlockNumber;
        }
    }

    /// Fetches the row of an index entry into `row`, if it is there: committed by now, or the
    /// transaction's own; with `own_only` only the latter. Of several entries that lead to one row, only
    /// the first one finds it: callers come in the order of positions.
    ///
    /// This is PostgreSQL's self snapshot. What makes it exact is that callers either look only below
    /// the frontier, or hold the locks of the keys they look for. It takes no predicate locks.
    ///
    /// An erased event has a new tid, and entries that lead there. Who has read the old entries only is
    /// led on from tid to tid: nothing else would tell him of the event.
    pub fn fetch(&mut self, entry: Entry, own_only: bool) -> bool {
        if entry.position == self.found || !self.follow(entry.tid, own_only) {
            return false;
        }
        // The tid may have been given to another row since the entry was read.
        let is_it = self.row.position() == entry.position;
        if is_it {
            self.found = entry.position;
        }
        is_it
    }

    /// Fetches the row of an entry that says nothing of the position, and whose page is kept from vacuum.
    pub fn fetch_at(&mut self, tid: u64) -> bool {
        let is_new = self.follow(tid, false) && self.row.position() != self.found;
        if is_new {
            self.found = self.row.position();
        }
        is_new
    }

    fn follow(&mut self, tid: u64, own_only: bool) -> bool {
        let mut found = self.version(tid, own_only, None);
        while let Found::Moved { tid, by } = found {
            found = self.version(tid, own_only, Some(by));
        }
        found == Found::Here(Spot::Row)
    }

    /// Looks at a tid in the table as an index's entries mean it: what is there, and the row in `row`.
    pub fn look(&mut self, tid: u64) -> Spot {
        match self.version(tid, false, None) {
            Found::Here(spot) => spot,
            Found::Moved { .. } => Spot::Unseen,
        }
    }

    /// Looks for the version of a row that counts, among those on one page that an entry stands for. Where
    /// the row was put there by `moved_by`, nothing else at the tid is meant.
    fn version(
        &mut self,
        tid: u64,
        own_only: bool,
        moved_by: Option<pg_sys::TransactionId>,
    ) -> Found {
        pgrx::check_for_interrupts!();
        let block = (tid >> 16) as u32;
        // Damage. PostgreSQL takes this number for a page that is to be made, and here it says that none is pinned.
        if block == pg_sys::InvalidBlockNumber {
            return Found::Here(Spot::Beyond);
        }
        let relation = self.table.relation();
        // SAFETY: the table is open and locked. The tuple is looked at under the page's share lock and
        // read afterwards under the pin alone, as heap scans do: rows are never changed in place, and
        // pruning needs the pin for itself.
        unsafe {
            if block != self.block {
                self.buffer = pg_sys::ReleaseAndReadBuffer(self.buffer, relation, block);
                self.block = block;
            }
            pg_sys::LockBuffer(self.buffer, pg_sys::BUFFER_LOCK_SHARE as _);
            let mut tuple: pg_sys::HeapTupleData = MaybeUninit::zeroed().assume_init();
            tuple.t_tableOid = (*relation).rd_id;
            let found = version_on_page(self.buffer, tid, own_only, moved_by, &mut tuple);
            pg_sys::LockBuffer(self.buffer, pg_sys::BUFFER_LOCK_UNLOCK as _);
            if found == Found::Here(Spot::Row) {
                deform(&mut tuple, (*relation).rd_att, &mut self.row);
                self.row.stored = tuple;
            }
            found
        }
    }
}

/// Takes a row apart. Where columns were dropped at the end, their tids are left out.
unsafe fn deform(tuple: &mut pg_sys::HeapTupleData, descriptor: pg_sys::TupleDesc, row: &mut Row) {
    // SAFETY: the tuple is of the table with this descriptor; there is room for all of its columns.
    unsafe {
        let n = (*descriptor).natts as usize;
        if n == COLUMNS {
            let (values, nulls) = (row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
            return pg_sys::heap_deform_tuple(tuple, descriptor, values, nulls);
        }
        let (mut values, mut nulls) = (vec![Datum::from(0); n], vec![true; n]);
        pg_sys::heap_deform_tuple(tuple, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        row.values.copy_from_slice(&values[..COLUMNS]);
        row.nulls.copy_from_slice(&nulls[..COLUMNS]);
    }
}

/// What has become of the row at a tid.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It is there, or nowhere.
    Here(Spot),
    /// A transaction has put it somewhere else.
    Moved { tid: u64, by: pg_sys::TransactionId },
}

/// What a line pointer of a page says.
enum Line {
    /// The page has no such one.
    None,
    /// It is free.
    Unused,
    /// Its row is gone.
    Dead,
    /// The row begins at another one.
    Redirect(u16),
    /// It leads to a tuple.
    Tuple,
}

/// Looks at a line pointer, and lets `tuple` be what it leads to, if it leads to one.
///
/// # Safety
/// The page is pinned and locked as long as the tuple is used.
unsafe fn line_at(page: pg_sys::Page, offset: u16, tuple: &mut pg_sys::HeapTupleData) -> Line {
    // SAFETY: the caller's contract; line pointers are read within the page's bounds.
    unsafe {
        if offset < 1 || offset > pg_sys::PageGetMaxOffsetNumber(page) {
            return Line::None;
        }
        let pointer = pg_sys::PageGetItemId(page, offset);
        match (*pointer).lp_flags() {
            pg_sys::LP_NORMAL => {
                tuple.t_data = pg_sys::PageGetItem(page, pointer).cast();
                tuple.t_len = (*pointer).lp_len();
                Line::Tuple
            }
            pg_sys::LP_REDIRECT => Line::Redirect((*pointer).lp_off() as u16),
            pg_sys::LP_UNUSED => Line::Unused,
            _ => Line::Dead,
        }
    }
}

/// Goes from version to version on a locked page, as `heap_hot_search_buffer` does, and lets `tuple` be the one
/// that counts.
unsafe fn version_on_page(
    buffer: Buffer,
    tid: u64,
    own_only: bool,
    moved_by: Option<pg_sys::TransactionId>,
    tuple: &mut pg_sys::HeapTupleData,
) -> Found {
    let block = (tid >> 16) as u32;
    let (mut offset, mut expected) = (tid as u16, moved_by);
    let (mut is_first, mut is_redirected) = (true, false);
    // SAFETY: the caller has locked the page; line pointers are read within its bounds, and a normal one
    // leads to a tuple.
    unsafe {
        let page = pg_sys::BufferGetPage(buffer);
        loop {
            match line_at(page, offset, tuple) {
                Line::Tuple => tuple.t_self = item_pointer(block, offset),
                Line::Redirect(to) if is_first && !is_redirected => {
                    (offset, is_redirected) = (to, true);
                    continue;
                }
                Line::None if is_first => return Found::Here(Spot::Beyond),
                Line::Unused if is_first => return Found::Here(Spot::Unused),
                _ => return Found::Here(Spot::Unseen),
            }
            let header = &*tuple.t_data;
            let is_link = u32::from(header.t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0;
            // No index has an entry for a version that is found by way of an older one alone.
            let is_another = is_first && !is_redirected && is_link
                || expected.is_some_and(|by| header.t_choice.t_heap.t_xmin != by);
            if is_another {
                return Found::Here(Spot::Unseen);
            }
            let snapshot = &raw mut pg_sys::SnapshotSelfData;
            if pg_sys::HeapTupleSatisfiesVisibility(tuple, snapshot, buffer) {
                let counts = !own_only || is_own(tuple);
                return Found::Here(if counts { Spot::Row } else { Spot::Unseen });
            }
            let Some((next, by)) = successor(tuple) else {
                return Found::Here(Spot::Unseen);
            };
            if u32::from(header.t_infomask2) & pg_sys::HEAP_HOT_UPDATED == 0 {
                return Found::Moved { tid: next, by };
            }
            (offset, expected, is_first) = (next as u16, Some(by), false);
        }
    }
}

/// Where an update has put the next version of a row, and whose update it was.
unsafe fn successor(tuple: &pg_sys::HeapTupleData) -> Option<(u64, pg_sys::TransactionId)> {
    // SAFETY: the caller's tuple points into a locked page; a set of lockers is looked up only where one of them
    // has updated the row.
    unsafe {
        let header = &*tuple.t_data;
        let mask = u32::from(header.t_infomask);
        let (this, next) = (tid_number(&tuple.t_self), tid_number(&header.t_ctid));
        if mask & (pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY) != 0 || next == this {
            return None;
        }
        let by = match mask & pg_sys::HEAP_XMAX_IS_MULTI {
            0 => header.t_choice.t_heap.t_xmax,
            _ => pg_sys::HeapTupleGetUpdateXid(tuple.t_data),
        };
        Some((next, by))
    }
}

/// What is at a tid in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// Nothing: the page has no such tid.
    Beyond,
    /// Nothing: no index may have an entry for it.
    Unused,
    /// A row that is undone, or not committed, or what is left of one.
    Unseen,
    /// A row.
    Row,
}

impl Drop for Fetcher<'_> {
    fn drop(&mut self) {
        if self.buffer != 0 && !std::thread::panicking() {
            // SAFETY: pinned by `fetch`, released once.
            unsafe { pg_sys::ReleaseBuffer(self.buffer) };
        }
    }
}

/// Whether the running transaction wrote the tuple.
unsafe fn is_own(tuple: &pg_sys::HeapTupleData) -> bool {
    // SAFETY: the caller's tuple points into a locked page.
    unsafe {
        let header = &*tuple.t_data;
        let frozen =
            u32::from(header.t_infomask) & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN;
        !frozen && pg_sys::TransactionIdIsCurrentTransactionId(header.t_choice.t_heap.t_xmin)
    }
}

fn item_pointer(block: u32, offset: u16) -> ItemPointerData {
    ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: (block >> 16) as u16,
            bi_lo: block as u16,
        },
        ip_posid: offset,
    }
}
