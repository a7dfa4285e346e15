//! What the triggers on the events' tables say.

use std::cell::Cell;

use pgrx::pg_sys;

use crate::dcb::error::{Error, Result, SqlState};

use super::fmgr::Args;

thread_local! {
    /// The table that en57 itself is about to truncate.
    static LET: Cell<Option<pg_sys::Oid>> = const { Cell::new(None) };
}

/// Runs a command that truncates a table, which the guard lets through: this table, and once.
pub(super) fn letting_truncate<T>(table: pg_sys::Oid, body: impl FnOnce() -> T) -> T {
    /// Takes the leave back, also where an error unwinds.
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            LET.set(None);
        }
    }
    let _leave = Leave;
    LET.set(Some(table));
    body()
}

/// Refuses the statement that fired the trigger: events are immutable; rows come in by `en57_append`,
/// or by a restore run by the table's owner.
///
/// # Errors
/// 55000 for UPDATE, DELETE and TRUNCATE; 42501 for an INSERT by others than the owner.
pub fn guard(args: &Args) -> Result<()> {
    // SAFETY: PostgreSQL sets `context` to the trigger's data when it calls a trigger function.
    unsafe {
        let data = (*args.raw()).context.cast::<pg_sys::TriggerData>();
        if data.is_null() || (*data).type_ != pg_sys::NodeTag::T_TriggerData {
            return Err(Error::new(
                SqlState::NotSupported,
                "this function is called by triggers alone",
            ));
        }
        let event = (*data).tg_event & pg_sys::TRIGGER_EVENT_OPMASK;
        let table = (*(*data).tg_relation).rd_id;
        if event == pg_sys::TRIGGER_EVENT_TRUNCATE && LET.get() == Some(table) {
            LET.set(None);
            return Ok(());
        }
        if event == pg_sys::TRIGGER_EVENT_INSERT {
            if pg_sys::superuser() || owns(table) {
                return Ok(());
            }
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                "rows cannot be inserted into tables of en57 directly",
            )
            .hint("Call en57_append()."));
        }
        let what = match event {
            pg_sys::TRIGGER_EVENT_UPDATE => "updated",
            pg_sys::TRIGGER_EVENT_DELETE => "deleted",
            _ => "truncated",
        };
        Err(Error::new(
            SqlState::NotInPrerequisiteState,
            format!("events cannot be {what}"),
        )
        .hint("Events are immutable. Append an event that says what has changed."))
    }
}

#[cfg(feature = "pg15")]
unsafe fn owns(table: pg_sys::Oid) -> bool {
    // SAFETY: a lookup in the system caches.
    unsafe { pg_sys::pg_class_ownercheck(table, pg_sys::GetUserId()) }
}

#[cfg(not(feature = "pg15"))]
unsafe fn owns(table: pg_sys::Oid) -> bool {
    // SAFETY: a lookup in the system caches.
    unsafe { pg_sys::object_ownercheck(pg_sys::RelationRelationId, table, pg_sys::GetUserId()) }
}
