//! Lookups in the indexes that are plain B-trees, with PostgreSQL's own index scans: of an event by its
//! id, and of the streams by name.
//!
//! What they show is committed by now, or own. They leave no predicate locks.

use std::mem::MaybeUninit;

use pgrx::pg_sys::{self, Datum, Oid, ScanKeyData, TupleTableSlot};

use crate::dcb::error::Result;
use crate::store::pg::fmgr;
use crate::store::row::event::Row;
use crate::store::row::table::{Index, IndexRole, Opened};

use super::entry::{Entry, tid_number};
use super::fetch::Fetcher;

/// The row with an id, through the index on id: (position, tid), if it is there.
///
/// # Errors
/// 55000 where the index is missing.
pub fn find_id(table: &Opened, id: &[u8; 16]) -> Result<Option<Entry>> {
    let key = Condition {
        strategy: pg_sys::BTEqualStrategyNumber,
        function: pg_sys::F_UUID_EQ,
        value: fmgr::make_uuid(id),
    };
    let mut found = None;
    each_event(table, table.index(IndexRole::Id)?, key, |tid, row| {
        let (key, position) = (0, row.position());
        found = Some(Entry { key, position, tid });
        Ok(false)
    })?;
    Ok(found)
}

/// Where a list of streams begins.
#[derive(Clone, Copy)]
pub enum From<'a> {
    /// With this name, or the next one.
    At(&'a str),
    /// With the next name.
    Beyond(&'a str),
}

/// Hands the names of streams whose first event is committed by now, or the transaction's own, to `found`
/// in the order of their bytes, until it says that this is enough.
///
/// # Errors
/// 55000 where the index is missing; 22P02 where a name is not UTF-8; those of `found`.
pub fn streams(
    table: &Opened,
    from: From,
    mut found: impl FnMut(&str) -> Result<bool>,
) -> Result<()> {
    let (strategy, function, name) = match from {
        From::At(name) => (
            pg_sys::BTGreaterEqualStrategyNumber,
            pg_sys::F_TEXT_GE,
            name,
        ),
        From::Beyond(name) => (pg_sys::BTGreaterStrategyNumber, pg_sys::F_TEXT_GT, name),
    };
    let key = Condition {
        strategy,
        function,
        value: fmgr::make_varlena(name.as_bytes()),
    };
    each_event(table, table.index(IndexRole::Stream)?, key, |_, row| {
        found(row.stream()?.unwrap_or_default())
    })
}

/// Hands the events that an index scan finds to `found`, with the entries' tids, in the index's order, until it
/// says enough: each once, also one that is given another tid meanwhile.
fn each_event(
    table: &Opened,
    index: &Index,
    condition: Condition,
    mut found: impl FnMut(u64, &Row) -> Result<bool>,
) -> Result<()> {
    let mut fetcher = Fetcher::new(table);
    // SAFETY: the snapshot is static. The entry's tid is read at once; since the snapshot is none of the
    // kind that keeps rows, the scan keeps vacuum from the page that the entry is on.
    unsafe {
        let any = &raw mut pg_sys::SnapshotAnyData;
        scan(table, index, condition, any, |scan, forward| {
            let tid = pg_sys::index_getnext_tid(scan, forward);
            if tid.is_null() {
                return Ok(false);
            }
            let tid = tid_number(&*tid);
            match fetcher.fetch_at(tid) {
                true => found(tid, &fetcher.row),
                false => Ok(true),
            }
        })
    }
}

/// A condition on an index's only column.
pub(in crate::store) struct Condition {
    /// The operator's strategy number.
    pub strategy: u32,
    /// The operator's function.
    pub function: u32,
    /// What the column is compared with.
    pub value: Datum,
}

/// Hands the rows that an index scan finds to `found`, in the index's order, until it says enough: those that
/// are committed by now, or the transaction's own. The caller keeps others from changing them.
pub(in crate::store) fn each(
    table: &Opened,
    index: &Index,
    condition: Condition,
    mut found: impl FnMut(*mut TupleTableSlot) -> Result<bool>,
) -> Result<()> {
    // SAFETY: the table is open; the slot lives within this function, an error leaves it to the transaction's
    // abort. The snapshot is static.
    unsafe {
        let own = &raw mut pg_sys::SnapshotSelfData;
        let slot = pg_sys::table_slot_create(table.relation(), std::ptr::null_mut());
        let outcome = scan(table, index, condition, own, |scan, forward| {
            Ok(pg_sys::index_getnext_slot(scan, forward, slot) && found(slot)?)
        });
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        outcome
    }
}

/// Goes through the entries of an index that fulfil a condition, as long as `step` says that there may be more.
fn scan(
    table: &Opened,
    index: &Index,
    condition: Condition,
    snapshot: pg_sys::Snapshot,
    mut step: impl FnMut(pg_sys::IndexScanDesc, pg_sys::ScanDirection::Type) -> Result<bool>,
) -> Result<()> {
    // SAFETY: table and index are open and locked; scan and key live within this function and
    // are ended in it; an error leaves them to the transaction's abort. The snapshot is static.
    // ScanKeyInit compares in the collation C, which is that of the columns.
    unsafe {
        let mut key: ScanKeyData = MaybeUninit::zeroed().assume_init();
        pg_sys::ScanKeyInit(
            &mut key,
            1,
            condition.strategy as _,
            Oid::from(condition.function),
            condition.value,
        );
        #[cfg(not(feature = "pg18"))]
        let scan = pg_sys::index_beginscan(table.relation(), index.relation(), snapshot, 1, 0);
        #[cfg(feature = "pg18")]
        let scan = pg_sys::index_beginscan(
            table.relation(),
            index.relation(),
            snapshot,
            std::ptr::null_mut(),
            1,
            0,
        );
        pg_sys::index_rescan(scan, &mut key, 1, std::ptr::null_mut(), 0);
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        let mut outcome = Ok(true);
        while matches!(outcome, Ok(true)) {
            outcome = step(scan, forward);
        }
        pg_sys::index_endscan(scan);
        outcome.map(|_| ())
    }
}
