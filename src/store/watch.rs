//! Whether the definitions of projections have changed: PostgreSQL's own invalidation messages say so, at
//! the same time as the change becomes visible.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::fmgr::Args;
use super::spi::Values;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static CHANGED: Cell<bool> = const { Cell::new(true) };
    static TABLE: Cell<Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

/// Takes note of what other transactions have changed by now. Cheap where nothing has.
pub fn accept_changes() {
    // SAFETY: PostgreSQL does the same at each lock of a relation.
    unsafe { pg_sys::AcceptInvalidationMessages() };
}

/// Whether what was read of the definitions may be out of date.
pub fn has_changed() -> bool {
    CHANGED.get()
}

/// From now on `has_changed` speaks of what is read after this; returns the table of the definitions.
///
/// # Errors
/// 55000 where the table is missing.
pub fn begin() -> Result<Oid> {
    if !WATCHED.replace(true) {
        // SAFETY: the callbacks are functions of this library, which is never unloaded.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(on_relation), Datum::from(0));
            let functions = pg_sys::SysCacheIdentifier::PROCOID as i32;
            pg_sys::CacheRegisterSyscacheCallback(functions, Some(on_function), Datum::from(0));
        }
    }
    CHANGED.set(false);
    TABLE.set(table(c"projections")?);
    Ok(TABLE.get())
}

/// All rows of a table that are committed by now, or the transaction's own, in the current memory context.
/// Rows that somebody changes meanwhile may be missing or come twice. Unlike a scan on a snapshot, this
/// leaves no predicate locks.
pub fn rows(table: Oid) -> Vec<Values> {
    // SAFETY: the table is open and locked until the scan is over; rows are copied before they are taken
    // apart. The self snapshot is static.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as _);
        let descriptor = (*relation).rd_att;
        let columns = (*descriptor).natts as usize;
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            &raw mut pg_sys::SnapshotSelfData,
            0,
            std::ptr::null_mut(),
        );
        let mut rows = Vec::new();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let (mut values, mut nulls) = (vec![Datum::from(0); columns], vec![true; columns]);
            pg_sys::heap_deform_tuple(
                pg_sys::heap_copytuple(tuple),
                descriptor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            let row = values.into_iter().zip(nulls);
            rows.push(row.map(|(value, null)| (!null).then_some(value)).collect());
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::NoLock as _);
        rows
    }
}

/// A table of the schema en57.
///
/// # Errors
/// 55000 where it is missing.
pub fn table(name: &CStr) -> Result<Oid> {
    // SAFETY: lookups in the system caches by static names.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(c"en57".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    if oid == pg_sys::InvalidOid {
        return Err(Error::new(
            SqlState::NotInPrerequisiteState,
            "the tables of en57 are missing",
        )
        .hint("Run CREATE EXTENSION en57."));
    }
    Ok(oid)
}

unsafe extern "C-unwind" fn on_relation(_: Datum, relation: Oid) {
    if relation == pg_sys::InvalidOid || relation == TABLE.get() {
        CHANGED.set(true);
    }
}

/// Handlers may be replaced, dropped, or given to somebody else.
unsafe extern "C-unwind" fn on_function(_: Datum, _: i32, _: u32) {
    CHANGED.set(true);
}

/// The trigger on the table of definitions: tells every backend, at commit, that they have changed.
///
/// # Errors
/// 0A000 where it is called by anything but a trigger.
pub fn announce(args: &Args) -> Result<()> {
    // SAFETY: PostgreSQL sets `context` to the trigger's data when it calls a trigger function.
    unsafe {
        let data = (*args.raw()).context.cast::<pg_sys::TriggerData>();
        if data.is_null() || (*data).type_ != pg_sys::NodeTag::T_TriggerData {
            return Err(Error::new(
                SqlState::NotSupported,
                "this function is called by triggers alone",
            ));
        }
        pg_sys::CacheInvalidateRelcacheByRelid((*(*data).tg_relation).rd_id);
    }
    Ok(())
}
