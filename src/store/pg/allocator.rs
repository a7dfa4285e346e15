//! The memory of Rust's own values, where the system has none left.
//!
//! Rust would abort the process, and PostgreSQL would then restart all sessions of the server. Here the session ends alone,
//! with an error (FATAL, 53200). An error that only ends the transaction is not possible: an allocator must not unwind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::SeqCst};

use pgrx::pg_sys;

use super::guard;

/// Whether the session ends for want of memory.
static ENDS: AtomicBool = AtomicBool::new(false);
/// Given back where there is no other memory, so that the errors that tell so, and the end of a session, find some.
static RESERVE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// pgrx copies an error at each call from Rust into PostgreSQL that the error passes, and where that fails PostgreSQL has one
/// error more to report: five of them, one within the other, end all sessions of the server with a PANIC. A memory context
/// that has grown asks the system for no less than 1 MiB. Nothing is written into the reserve, so no page of it is in use.
const RESERVE_LAYOUT: Layout = match Layout::from_size_align(2 << 20, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("a valid layout"),
};

/// The system's allocator, but for what it does when there is no memory.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Keeps some memory for a time when there is none.
#[inline]
pub fn keep_reserve() {
    if RESERVE.load(SeqCst).is_null() {
        allocate_reserve();
    }
}

#[cold]
fn allocate_reserve() {
    // SAFETY: its size is not zero.
    RESERVE.store(unsafe { System.alloc(RESERVE_LAYOUT) }, SeqCst);
}

/// Now is that time.
pub(super) fn give_reserve_back() {
    let reserve = RESERVE.swap(ptr::null_mut(), SeqCst);
    if !reserve.is_null() {
        // SAFETY: it was allocated in this way, and nobody else has it any more.
        unsafe { System.dealloc(reserve, RESERVE_LAYOUT) };
    }
}

// SAFETY: it is the system's allocator. It does not unwind: where that one gives nothing, this one does not return, or
// gives nothing either.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe { or_end_session(System.alloc(layout), layout.size()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe { or_end_session(System.alloc_zeroed(layout), layout.size()) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe { or_end_session(System.realloc(memory, layout, size), size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[inline]
fn or_end_session(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        end_session(bytes);
    }
    memory
}

#[cold]
#[inline(never)]
fn end_session(bytes: usize) {
    if ENDS.swap(true, SeqCst) {
        // Even the reserve is used up.
        return;
    }
    give_reserve_back();
    // SAFETY: a report of level FATAL does not come back: it runs PostgreSQL's callbacks for the end of a process, which abort
    // the transaction, and exits.
    unsafe {
        // Callbacks that add CONTEXT could raise errors of their own, which would unwind from here.
        pg_sys::error_context_stack = ptr::null_mut();
        guard::end_session_without_memory(bytes);
    }
}
