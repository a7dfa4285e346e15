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
    fn geterrcode() -> c_int;
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

/// A copy of the report that PostgreSQL makes just now; null where the context is.
///
/// # Safety
/// Called from a callback for reports: there, CopyErrorData() is allowed in any context but ErrorContext.
pub(in crate::store) unsafe fn copy_of_report(
    context: pg_sys::MemoryContext,
) -> *mut pg_sys::ErrorData {
    // SAFETY: the caller's contract.
    unsafe {
        if context.is_null() {
            return ptr::null_mut();
        }
        find_memory_for_report();
        let before = pg_sys::MemoryContextSwitchTo(context);
        let copy = CopyErrorData();
        pg_sys::MemoryContextSwitchTo(before);
        copy
    }
}

/// Gives the reserve back where the report tells of a lack of memory. Without it, a copy raises an error in the report of an
/// error, and its own report calls the callback again.
///
/// # Safety
/// Called from a callback for reports.
pub(in crate::store) unsafe fn find_memory_for_report() {
    // SAFETY: reads the code of the report.
    if unsafe { geterrcode() } == sqlstate(SqlState::OutOfMemory.code()) {
        allocator::give_reserve_back();
    }
}
