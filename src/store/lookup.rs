//! Lookups in the indexes that are plain B-trees, with PostgreSQL's own index scans: of an event by its
//! id, and of the streams by name.
//!
//! The snapshot is the self snapshot (committed now, or own), which leaves no predicate locks.

use std::mem::MaybeUninit;

use pgrx::pg_sys::{self, Datum, Oid, ScanKeyData, TupleTableSlot};

use crate::dcb::error::Result;

use super::btree::Entry;
use super::event::Column;
use super::fmgr;
use super::heap::tid_number;
use super::table::{Index, IndexRole, Opened};

/// The row with an id, through the index on id: (position, place), if it is there.
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
    each(table, table.index(IndexRole::Id)?, key, |slot| {
        // SAFETY: the slot holds a row of the table, whose first column is the position.
        found = Some(unsafe {
            Entry {
                key: 0,
                position: pg_sys::slot_getattr(slot, 1, &mut false).value() as i64,
                tid: tid_number(&(*slot).tts_tid),
            }
        });
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
    each(table, table.index(IndexRole::Stream)?, key, |slot| {
        let mut null = false;
        // SAFETY: the slot holds a row of the table; the index has no rows without a stream.
        let name =
            unsafe { pg_sys::slot_getattr(slot, i32::from(Column::Stream.attribute()), &mut null) };
        found(fmgr::text(name)?)
    })
}

/// A condition on an index's only column.
pub(super) struct Condition {
    pub strategy: u32,
    pub function: u32,
    pub value: Datum,
}

/// Hands the rows that an index scan finds to `found`, in the index's order, until it says enough.
pub(super) fn each(
    table: &Opened,
    index: &Index,
    condition: Condition,
    mut found: impl FnMut(*mut TupleTableSlot) -> Result<bool>,
) -> Result<()> {
    // SAFETY: table and index are open and locked; scan, slot and key live within this function and
    // are ended in it; an error leaves them to the transaction's abort. The self snapshot is static.
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
        let snapshot = &raw mut pg_sys::SnapshotSelfData;
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
        let slot = pg_sys::table_slot_create(table.relation(), std::ptr::null_mut());
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        let mut outcome = Ok(true);
        while matches!(outcome, Ok(true)) && pg_sys::index_getnext_slot(scan, forward, slot) {
            outcome = found(slot);
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::index_endscan(scan);
        outcome.map(|_| ())
    }
}
