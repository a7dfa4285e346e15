//! What the engine's files name of PostgreSQL's own types and functions, as far as they do. What these do is in `server`.
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    dead_code,
    clippy::missing_safety_doc,
    clippy::upper_case_acronyms
)]

use std::ffi::c_void;

use crate::server::server;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid(u32);

impl Oid {
    pub const INVALID: Oid = Oid(0);
    pub fn to_u32(self) -> u32 {
        self.0
    }
}

impl From<u32> for Oid {
    fn from(n: u32) -> Self {
        Self(n)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LOCKTAG {
    pub locktag_field1: u32,
    pub locktag_field2: u32,
    pub locktag_field3: u32,
    pub locktag_field4: u16,
}

// As in PostgreSQL's lockdefs.h.
pub const RowShareLock: u32 = 2;
pub const RowExclusiveLock: u32 = 3;
pub const ShareLock: u32 = 5;
pub const ShareRowExclusiveLock: u32 = 6;
pub const ExclusiveLock: u32 = 7;

pub mod LockAcquireResult {
    pub type Type = u32;
    pub const LOCKACQUIRE_NOT_AVAIL: Type = 0;
    pub const LOCKACQUIRE_OK: Type = 1;
    pub const LOCKACQUIRE_ALREADY_HELD: Type = 2;
}

pub mod XactEvent {
    pub type Type = u32;
    pub const XACT_EVENT_COMMIT: Type = 0;
    pub const XACT_EVENT_ABORT: Type = 2;
    pub const XACT_EVENT_PREPARE: Type = 4;
    pub const XACT_EVENT_PRE_PREPARE: Type = 7;
}

pub mod SubXactEvent {
    pub type Type = u32;
    pub const SUBXACT_EVENT_START_SUB: Type = 0;
    pub const SUBXACT_EVENT_COMMIT_SUB: Type = 1;
    pub const SUBXACT_EVENT_ABORT_SUB: Type = 2;
}

pub mod ResourceReleasePhase {
    pub type Type = u32;
    pub const RESOURCE_RELEASE_BEFORE_LOCKS: Type = 1;
    pub const RESOURCE_RELEASE_LOCKS: Type = 2;
    pub const RESOURCE_RELEASE_AFTER_LOCKS: Type = 3;
}

pub type SubTransactionId = u32;
pub type XactCallback = Option<unsafe extern "C-unwind" fn(XactEvent::Type, *mut c_void)>;
pub type SubXactCallback = Option<
    unsafe extern "C-unwind" fn(
        SubXactEvent::Type,
        SubTransactionId,
        SubTransactionId,
        *mut c_void,
    ),
>;
pub type ResourceReleaseCallback =
    Option<unsafe extern "C-unwind" fn(ResourceReleasePhase::Type, bool, bool, *mut c_void)>;

pub unsafe fn RegisterXactCallback(callback: XactCallback, _: *mut c_void) {
    server().callbacks.borrow_mut().xact = callback;
}

pub unsafe fn RegisterSubXactCallback(callback: SubXactCallback, _: *mut c_void) {
    server().callbacks.borrow_mut().subxact = callback;
}

pub unsafe fn RegisterResourceReleaseCallback(callback: ResourceReleaseCallback, _: *mut c_void) {
    server().callbacks.borrow_mut().release = callback;
}

pub unsafe fn GetCurrentSubTransactionId() -> SubTransactionId {
    server().subtransaction()
}

pub const XACT_REPEATABLE_READ: u32 = 2;
pub static mut XactIsoLevel: i32 = 1;
pub static mut max_locks_per_xact: i32 = 64;
pub static mut MaxBackends: i32 = 100;
pub const PG_WAIT_EXTENSION: u32 = 7 << 24;

pub struct ConditionVariable;

pub unsafe fn ConditionVariablePrepareToSleep(_: *mut ConditionVariable) {
    server().prepare_to_sleep();
}

pub unsafe fn ConditionVariableTimedSleep(_: *mut ConditionVariable, _: i64, _: u32) -> bool {
    server().sleep();
    false
}

pub unsafe fn ConditionVariableCancelSleep() -> bool {
    server().cancel_sleep();
    false
}

pub unsafe fn ConditionVariableBroadcast(_: *mut ConditionVariable) {
    server().broadcast();
}
