//! The door to the lock manager, which is `server`.

use crate::pg_sys::LockAcquireResult::{self, LOCKACQUIRE_NOT_AVAIL};
use crate::pg_sys::{self, LOCKTAG};
use crate::server::server;

#[derive(Clone, Copy)]
#[repr(u16)]
pub enum LockSpace {
    Key = 57,
    Root = 58,
    Ceiling = 59,
}

pub(in crate::store) fn tag(space: LockSpace, high: u32, low: u32) -> LOCKTAG {
    LOCKTAG {
        locktag_field1: 1,
        locktag_field2: high,
        locktag_field3: low,
        locktag_field4: space as u16,
    }
}

/// The engine asks without waiting first, and then waits. One step is as good.
pub(in crate::store) fn acquire_counted(
    tag: &LOCKTAG,
    mode: u32,
    wait: bool,
) -> LockAcquireResult::Type {
    server().acquire(tag, mode, wait)
}

pub(in crate::store) fn is_held(tag: &LOCKTAG, mode: u32) -> bool {
    server().is_held(tag, mode)
}

pub(in crate::store) fn conflicting(tag: &LOCKTAG, mode: u32) -> Vec<usize> {
    server().conflicting(tag, mode)
}

pub fn while_ceiling_is_locked(log: pg_sys::Oid, wait: bool, body: impl FnOnce()) {
    let tag = tag(LockSpace::Ceiling, log.to_u32(), 0);
    if server().acquire(&tag, pg_sys::ExclusiveLock, wait) != LOCKACQUIRE_NOT_AVAIL {
        body();
        server().release(&tag, pg_sys::ExclusiveLock);
    }
}
