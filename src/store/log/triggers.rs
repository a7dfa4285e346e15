//! What the triggers on the events' tables say.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys;

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::fmgr::Args;

/// A trigger that keeps events from being changed.
pub struct Guard {
    /// Its name.
    pub name: &'static CStr,
    against: &'static str,
    /// The same as PostgreSQL keeps it.
    pub kind: u32,
}

/// Those of each partition, which en57_create_partition() makes.
pub static GUARDS: [Guard; 2] = [
    Guard {
        name: c"en57_guard",
        against: "INSERT OR UPDATE OR DELETE",
        kind: pg_sys::TRIGGER_TYPE_INSERT
            | pg_sys::TRIGGER_TYPE_UPDATE
            | pg_sys::TRIGGER_TYPE_DELETE,
    },
    Guard {
        name: c"en57_guard_truncate",
        against: "TRUNCATE",
        kind: pg_sys::TRIGGER_TYPE_TRUNCATE,
    },
];

impl Guard {
    /// The commands that put it on a table, whose name is quoted where it has to be; also in the place of another trigger.
    pub fn create(&self, table: &str) -> String {
        let (name, against) = (self.name.to_string_lossy(), self.against);
        format!(
            "CREATE OR REPLACE TRIGGER {name} BEFORE {against} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION en57.guard(); {};",
            self.enable(table)
        )
    }

    /// The command that lets it fire whatever the session's replication role.
    fn enable(&self, table: &str) -> String {
        let name = self.name.to_string_lossy();
        format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    }
}

/// What en57 itself does to a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Doing {
    /// It is emptied.
    Truncate,
    /// Events are erased.
    Erase,
}

thread_local! {
    /// What en57 itself is about to do to which table.
    static LET: Cell<Option<(Doing, pg_sys::Oid)>> = const { Cell::new(None) };
    /// The table in which it is erasing events.
    static ERASING: Cell<Option<pg_sys::Oid>> = const { Cell::new(None) };
}

/// Runs a command that the guard lets through: this one on this table, and once.
pub(in crate::store) fn letting<T>(what: Doing, table: pg_sys::Oid, body: impl FnOnce() -> T) -> T {
    /// Takes the leave back, also where an error unwinds.
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            LET.set(None);
            ERASING.set(None);
        }
    }
    let _leave = Leave;
    LET.set(Some((what, table)));
    ERASING.set((what == Doing::Erase).then_some(table));
    body()
}

/// Whether rows that come into a table's indexes are those of events that are being erased, and so none that
/// are appended.
pub(in crate::store) fn is_erasing(table: pg_sys::Oid) -> bool {
    ERASING.get() == Some(table)
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
        let own = match event {
            pg_sys::TRIGGER_EVENT_TRUNCATE => Some((Doing::Truncate, table)),
            pg_sys::TRIGGER_EVENT_UPDATE => Some((Doing::Erase, table)),
            _ => None,
        };
        if own.is_some() && LET.get() == own {
            LET.set(None);
            return Ok(());
        }
        // What is emptied by en57_truncate() on the publisher is emptied here, or the subscription could never go
        // on: the same positions come again.
        if event == pg_sys::TRIGGER_EVENT_TRUNCATE && pg_sys::IsLogicalWorker() {
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
        .hint(if event == pg_sys::TRIGGER_EVENT_TRUNCATE {
            "Call en57_truncate(), which empties a partition as a whole."
        } else {
            "Events are immutable. Append an event that says what has changed."
        }))
    }
}

/// Whether the caller is the owner of a table, or has his rights.
///
/// # Safety
/// Called in a transaction.
#[cfg(feature = "pg15")]
pub(in crate::store) unsafe fn owns(table: pg_sys::Oid) -> bool {
    // SAFETY: a lookup in the system caches.
    unsafe { pg_sys::pg_class_ownercheck(table, pg_sys::GetUserId()) }
}

/// Whether the caller is the owner of a table, or has his rights.
///
/// # Safety
/// Called in a transaction.
#[cfg(not(feature = "pg15"))]
pub(in crate::store) unsafe fn owns(table: pg_sys::Oid) -> bool {
    // SAFETY: a lookup in the system caches.
    unsafe { pg_sys::object_ownercheck(pg_sys::RelationRelationId, table, pg_sys::GetUserId()) }
}
