//! What errors say, kept: PostgreSQL forgets an error when Rust catches it, but for what pgrx has copied of it.
//!
//! Callbacks for reports run in the middle of an error, so they must not raise one themselves where memory is short.

use std::ffi::{c_int, c_void};
use std::ptr;

use pgrx::pg_sys;

use crate::dcb::error::SqlState;

use super::allocator;
use super::guard::{ERROR, sqlstate};

// Unguarded: they run where no Rust frame may be unwound.
unsafe extern "C-unwind" {
    fn CopyErrorData() -> *mut pg_sys::ErrorData;
    fn FreeErrorData(edata: *mut pg_sys::ErrorData);
    fn MemoryContextAllocExtended(
        context: pg_sys::MemoryContext,
        size: usize,
        flags: c_int,
    ) -> *mut c_void;
    fn geterrcode() -> c_int;
    fn pfree(memory: *mut c_void);
}

/// Keeps the newest error that PostgreSQL raised while a call runs, whole.
pub(in crate::store) struct Witness {
    seen: *mut pg_sys::ErrorData,
}

impl Witness {
    /// One that has seen nothing yet.
    pub(in crate::store) fn new() -> Self {
        Self {
            seen: ptr::null_mut(),
        }
    }

    /// What is to be pushed on PostgreSQL's list of callbacks, and taken off while self is still there.
    pub(in crate::store) fn callback(&mut self) -> pg_sys::ErrorContextCallback {
        pg_sys::ErrorContextCallback {
            // SAFETY: reads the head of the list.
            previous: unsafe { pg_sys::error_context_stack },
            callback: Some(witness),
            arg: ptr::from_mut(self).cast(),
        }
    }

    /// The error, null where there was none.
    pub(in crate::store) fn seen(&self) -> *mut pg_sys::ErrorData {
        // SAFETY: reads a field that the callback writes.
        unsafe { ptr::read_volatile(&raw const self.seen) }
    }
}

/// Called by PostgreSQL for every report; remembers errors.
unsafe extern "C-unwind" fn witness(arg: *mut c_void) {
    // SAFETY: PostgreSQL calls this inside errfinish(); `arg` is the Witness on the stack of `call`, which outlives the
    // callback's registration. Nothing here has a destructor. What is freed was copied here just now.
    unsafe {
        let seen = &mut (*(arg as *mut Witness)).seen;
        let copy = copy_of_report(pg_sys::TopTransactionContext);
        if !copy.is_null() && (*copy).elevel < ERROR {
            FreeErrorData(copy);
            return;
        }
        // What was seen before is left to its transaction, which may have ended since.
        *seen = copy;
    }
}

/// A copy of the report that PostgreSQL makes just now; null where the context is, and where there is no memory for it.
///
/// # Safety
/// Called from a callback for reports: there, CopyErrorData() is allowed in any context but ErrorContext.
pub(in crate::store) unsafe fn copy_of_report(
    context: pg_sys::MemoryContext,
) -> *mut pg_sys::ErrorData {
    // SAFETY: the caller's contract.
    unsafe {
        if context.is_null() || !makes_room_for_report(context) {
            return ptr::null_mut();
        }
        let before = pg_sys::MemoryContextSwitchTo(context);
        let copy = CopyErrorData();
        pg_sys::MemoryContextSwitchTo(before);
        copy
    }
}

/// More than most reports take.
const ROOM_FOR_REPORT: usize = 64 << 10;

/// Whether a callback for reports may ask for memory. To ask in vain raises an error in the report of an error, and its own
/// report calls the callback again. Where the report tells of a lack of memory, the reserve is given back first.
///
/// # Safety
/// Called from a callback for reports, with a context that is there.
pub(in crate::store) unsafe fn makes_room_for_report(context: pg_sys::MemoryContext) -> bool {
    // SAFETY: this raises nothing, and what it gets is freed at once. It is larger than all that a context keeps for
    // itself, so this process gets it again.
    unsafe {
        if geterrcode() == sqlstate(SqlState::OutOfMemory.code()) {
            allocator::give_reserve_back();
        }
        let flags = pg_sys::MCXT_ALLOC_NO_OOM as c_int;
        let room = MemoryContextAllocExtended(context, ROOM_FOR_REPORT, flags);
        if room.is_null() {
            return false;
        }
        pfree(room);
        true
    }
}
