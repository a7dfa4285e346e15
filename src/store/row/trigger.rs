//! The triggers of a table of events: the guards among them, and those of somebody else's, which en57 never lets run.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::dcb::error::{Error, Result, SqlState};

use super::table::Opened;

/// What triggers would fire for.
#[derive(Clone, Copy)]
pub enum Firing {
    /// An append.
    Insert,
    /// Erasing.
    Update,
    /// Emptying.
    Truncate,
}

impl Firing {
    fn mask(self) -> u32 {
        match self {
            Self::Insert => pg_sys::TRIGGER_TYPE_INSERT,
            Self::Update => pg_sys::TRIGGER_TYPE_UPDATE,
            Self::Truncate => pg_sys::TRIGGER_TYPE_TRUNCATE,
        }
    }

    /// What is wrong with it: the message's last words, and DETAIL.
    fn reason(self) -> (&'static str, &'static str) {
        match self {
            Self::Insert => (
                "not fire",
                "en57 writes the table directly, so INSERT triggers on it have no effect.",
            ),
            Self::Update => (
                "fire with the rights of the table's owner",
                "Events are erased by an UPDATE of the owner's. Who may create triggers on the table need not have his rights.",
            ),
            Self::Truncate => (
                "fire with the caller's rights",
                "Who may create triggers on the table need not have the rights of who empties it.",
            ),
        }
    }
}

impl Opened {
    /// Whether it has a guard of this name against these events, be it in force or not. Another trigger of this name is none.
    pub fn has_guard(&self, name: &CStr, against: u32) -> bool {
        let is_it = |trigger: &pg_sys::Trigger| {
            // SAFETY: a trigger's name is NUL-terminated and lives as long as the descriptor.
            let has_name = unsafe { CStr::from_ptr(trigger.tgname) } == name;
            has_name && kind(trigger) & against == against && is_guard(trigger)
        };
        self.triggers().iter().any(is_it)
    }

    /// Refuses where a trigger of somebody else's would have to fire. What a trigger has of somebody else's is its function, or
    /// the condition of its WHEN: so it says nothing that its function is en57's.
    ///
    /// # Errors
    /// 0A000.
    pub fn refuse_triggers(&self, firing: Firing) -> Result<()> {
        let is_strange = |trigger: &&pg_sys::Trigger| {
            kind(trigger) & firing.mask() != 0
                && trigger.tgenabled as u8 != pg_sys::TRIGGER_DISABLED
                && !trigger.tgisinternal
                && !is_guard(trigger)
        };
        let Some(trigger) = self.triggers().iter().find(is_strange) else {
            return Ok(());
        };
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(trigger.tgname) }.to_string_lossy();
        let (would, detail) = firing.reason();
        let table = self.name();
        let what = format!("trigger \"{name}\" on table \"{table}\" would {would}");
        Err(Error::new(SqlState::NotSupported, what)
            .detail(detail)
            .hint("Drop the trigger."))
    }

    fn triggers(&self) -> &[pg_sys::Trigger] {
        // SAFETY: the relation is open and locked; its trigger descriptor lives as long, and has as many as it says.
        unsafe {
            let descriptor = (*self.relation()).trigdesc;
            if descriptor.is_null() {
                return &[];
            }
            std::slice::from_raw_parts((*descriptor).triggers, (*descriptor).numtriggers as usize)
        }
    }
}

/// When a trigger fires, and for what: the bits of `TRIGGER_TYPE_..`.
fn kind(trigger: &pg_sys::Trigger) -> u32 {
    u32::from(trigger.tgtype as u16)
}

/// Whether a trigger calls en57's guard, each time and before anything is changed: nothing in it is of somebody else's.
fn is_guard(trigger: &pg_sys::Trigger) -> bool {
    const WHEN: u32 = pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_BEFORE;
    if !trigger.tgqual.is_null()
        || trigger.tgnattr != 0
        || kind(trigger) & WHEN != pg_sys::TRIGGER_TYPE_BEFORE
    {
        return false;
    }
    // SAFETY: looks in the system caches; null where the function is gone. Nobody else may create functions in the schema.
    unsafe {
        let name = pg_sys::get_func_name(trigger.tgfoid);
        !name.is_null()
            && CStr::from_ptr(name) == c"guard"
            && pg_sys::get_func_namespace(trigger.tgfoid)
                == pg_sys::get_namespace_oid(c"en57".as_ptr(), true)
    }
}
