//! The rows of a table of documents, and all its indexes, made anew in files of their own, beside those that are in
//! use. [`super::exchange`] gives the table the new files.
//!
//! They belong to a table that nobody else ever sees: it is made and dropped in one transaction. Its rows are written
//! as frozen: everybody is to see them once the files are exchanged, also who has an older snapshot, which would
//! otherwise find the table empty.
//!
//! **Invariant:** what is written here cannot be taken back by itself, since frozen rows know no abort. Where a
//! subtransaction fails that has written, the one that has made the table must fail, too.

use std::ptr;

use pgrx::pg_sys::{self, HeapTuple, ItemPointerData, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::guard;
use crate::store::row::table::{Index, Opened};

use super::exchange;
use super::table::{self, Document, Stored};

// Not in pgrx's bindings. The same from PostgreSQL 15 to 18.
unsafe extern "C-unwind" {
    fn make_new_heap(
        old: Oid,
        tablespace: Oid,
        access_method: Oid,
        persistence: std::ffi::c_char,
        lock: pg_sys::LOCKMODE,
    ) -> Oid;
}

/// Rows that go into the table, and its WAL, together.
pub const ROWS_AT_ONCE: usize = 128;

/// An index of the live table, and its new one.
#[derive(Clone, Copy)]
pub(in crate::store) struct Pair {
    /// The index that is in use.
    pub live: Oid,
    /// The one that is to take its place.
    pub new: Oid,
}

/// A table's new files.
pub struct NewFiles {
    live: Oid,
    table: Opened,
    bulk: pg_sys::BulkInsertState,
    rows: i64,
}

/// A table's new files with their indexes.
pub struct Indexed {
    live: Oid,
    table: Opened,
    key: Index,
    pairs: Vec<Pair>,
    entering: Entering,
    rows: i64,
}

impl NewFiles {
    /// Makes empty ones. The caller has locked the table so that it keeps its columns and indexes, and knows of no
    /// [`obstacle`](exchange::obstacle).
    pub fn make(live: Oid) -> Self {
        let lock = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;
        let old = Opened::table(live, lock as u32);
        // SAFETY: the table is open and locked. What is made goes with the (sub)transaction if that fails.
        unsafe {
            let class = &*(*old.relation()).rd_rel;
            let (space, method, lasting) = (class.reltablespace, class.relam, class.relpersistence);
            let new = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                make_new_heap(live, space, method, lasting, lock)
            });
            Self {
                live,
                table: Opened::table(new, pg_sys::AccessExclusiveLock),
                bulk: pg_sys::GetBulkInsertState(),
                rows: 0,
            }
        }
    }

    /// Writes documents that are not there yet, at most [`ROWS_AT_ONCE`]; what it needs for them is left in the
    /// current memory context.
    pub fn write(&mut self, documents: &[Document]) {
        let options = pg_sys::TABLE_INSERT_FROZEN | pg_sys::TABLE_INSERT_SKIP_FSM;
        // SAFETY: the table is open, locked and nobody else's; the tuples are formed after its descriptor.
        unsafe {
            let tuples: Vec<_> = documents.iter().map(|d| d.form(&self.table)).collect();
            self.table.insert(&tuples, options as i32, self.bulk);
        }
        self.rows += documents.len() as i64;
    }

    /// Gives them an index for each one of the live table.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding: 23505 where documents are not as a unique index wants them.
    pub fn with_indexes(self) -> Result<Indexed> {
        let live = Opened::table(self.live, pg_sys::AccessShareLock);
        // SAFETY: got in `make`, freed once.
        unsafe { pg_sys::FreeBulkInsertState(self.bulk) };
        let (mut pairs, mut key) = (Vec::new(), None);
        for old in live.index_list() {
            pgrx::check_for_interrupts!();
            let old = Index::open(old, pg_sys::AccessShareLock);
            let new = self.build(&old);
            pairs.push(Pair {
                // SAFETY: the index is open.
                live: unsafe { (*old.relation()).rd_id },
                new,
            });
            if key.is_none() && table::is_key(&old) {
                key = Some(Index::open(new, pg_sys::RowExclusiveLock));
            }
        }
        let key = key.ok_or_else(|| {
            let what = format!("table \"{}\" has no unique index on id", live.name());
            Error::new(SqlState::NotInPrerequisiteState, what)
        })?;
        Ok(Indexed {
            live: self.live,
            entering: Entering::new(&self.table),
            table: self.table,
            key,
            pairs,
            rows: self.rows,
        })
    }

    /// Builds an index as one of the live table's is; returns it.
    fn build(&self, index: &Index) -> Oid {
        // SAFETY: both tables are open and locked, the old index is valid; the new one is opened with a lock that
        // its making has taken, and closed again. What is made with INDEX_CREATE_CONCURRENT inside says that it is
        // not to be written yet, hence the flag.
        unsafe {
            let (table, old) = (self.table.relation(), index.relation());
            // Errors name it.
            let mut name = format!("pg_temp_{}_{}", (*old).rd_id.to_u32(), index.name());
            name.truncate(name.floor_char_boundary(pg_sys::NAMEDATALEN as usize - 1));
            let new = pg_sys::index_concurrently_create_copy(
                table,
                (*old).rd_id,
                (*(*old).rd_rel).reltablespace,
                guard::text(&name).as_ptr(),
            );
            pg_sys::CommandCounterIncrement();
            let index = Index::open(new, pg_sys::AccessExclusiveLock);
            let info = pg_sys::BuildIndexInfo(index.relation());
            pg_sys::index_build(table, index.relation(), info, false, true);
            drop(index);
            pg_sys::CommandCounterIncrement();
            let ready = pg_sys::IndexStateFlagsAction::INDEX_CREATE_SET_READY;
            pg_sys::index_set_state_flags(new, ready);
            pg_sys::CommandCounterIncrement();
            new
        }
    }
}

impl Indexed {
    /// The document with an id.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn find(&self, id: &str) -> Result<Option<Stored>> {
        table::find(&self.table, &self.key, id)
    }

    /// Removes a document, if it is there: nobody will see it, whatever his snapshot. What it needs is left in the
    /// current memory context.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn remove(&mut self, id: &str) -> Result<()> {
        let Some(stored) = self.find(id)? else {
            return Ok(());
        };
        let mut tid = stored.at.tid();
        // SAFETY: the row was found in the table, which is nobody else's. Deleting takes care of its parts that are
        // stored elsewhere, and of the page's marks of being all visible.
        unsafe { pg_sys::simple_heap_delete(self.table.relation(), &mut tid) };
        self.bury(tid);
        self.rows -= 1;
        Ok(())
    }

    /// Makes a deleted row's line pointer one of a row that nobody can see any more, as pruning would do it later. Until then
    /// snapshots from before the transaction would still see the row.
    fn bury(&self, tid: ItemPointerData) {
        let block = (u32::from(tid.ip_blkid.bi_hi) << 16) | u32::from(tid.ip_blkid.bi_lo);
        // SAFETY: the page is a heap page of a table that nobody else knows; it is changed under its exclusive lock
        // as generic WAL records allow it, by as much as pruning does to an item that indexes still point to.
        unsafe {
            let relation = self.table.relation();
            let buffer = pg_sys::ReadBuffer(relation, block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as _);
            let change = pg_sys::GenericXLogStart(relation);
            let page = pg_sys::GenericXLogRegisterBuffer(change, buffer, 0);
            let item = &mut *pg_sys::PageGetItemId(page, tid.ip_posid);
            item.set_lp_flags(pg_sys::LP_DEAD);
            item.set_lp_off(0);
            item.set_lp_len(0);
            pg_sys::GenericXLogFinish(change);
            pg_sys::UnlockReleaseBuffer(buffer);
        }
    }

    /// Writes a document that is not there. What it needs is left in the current memory context.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding: 23505.
    pub fn add(&mut self, document: &Document) {
        // SAFETY: the table is open, locked and nobody else's; the tuple is newly formed for it.
        unsafe {
            let tuple = document.form(&self.table);
            pg_sys::heap_insert(
                self.table.relation(),
                tuple,
                pg_sys::GetCurrentCommandId(true),
                pg_sys::TABLE_INSERT_FROZEN as i32,
                ptr::null_mut(),
            );
            self.entering.enter(tuple);
        }
        self.rows += 1;
    }

    /// Gives the live table these files. The caller holds it exclusively and has kept its indexes from changing
    /// since [`NewFiles::make`].
    ///
    /// # Errors
    /// 55006 where the session itself uses the table, by unwinding.
    pub fn exchange(self) -> Result<()> {
        let Self {
            live,
            table,
            key,
            pairs,
            entering,
            rows,
        } = self;
        // SAFETY: the table is open.
        let new = unsafe { (*table.relation()).rd_id };
        drop((entering, key, table));
        exchange::exchange(Pair { live, new }, &pairs, rows)
    }
}

/// What the executor needs to enter rows into indexes.
struct Entering {
    estate: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Entering {
    fn new(table: &Opened) -> Self {
        // SAFETY: the table is open and locked; all is made in the current memory context, and ended in drop() or
        // with the transaction.
        unsafe {
            let target: *mut pg_sys::ResultRelInfo =
                pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            (*target).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(target, table.relation(), 0, ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(target, false);
            Self {
                estate: pg_sys::CreateExecutorState(),
                target,
                slot: pg_sys::MakeSingleTupleTableSlot(
                    (*table.relation()).rd_att,
                    &raw const pg_sys::TTSOpsHeapTuple,
                ),
            }
        }
    }

    /// Enters a row that was just inserted.
    fn enter(&self, tuple: HeapTuple) {
        // SAFETY: the slot borrows the tuple until it is cleared.
        unsafe {
            pg_sys::ExecStoreHeapTuple(tuple, self.slot, false);
            pg_sys::ExecInsertIndexTuples(
                self.target,
                self.slot,
                self.estate,
                false,
                false,
                ptr::null_mut(),
                ptr::null_mut(),
                #[cfg(not(feature = "pg15"))]
                false,
            );
            pg_sys::ExecClearTuple(self.slot);
            let context = (*self.estate).es_per_tuple_exprcontext;
            if !context.is_null() {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            }
        }
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by `new`, ended once.
            unsafe {
                pg_sys::ExecCloseIndices(self.target);
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                pg_sys::FreeExecutorState(self.estate);
            }
        }
    }
}
