//! The stack. What recurses further than PostgreSQL's own code would must not run past its end: that would
//! take the whole server down.

use std::panic::resume_unwind;
use std::{ptr, thread};

use pgrx::pg_sys;

use crate::dcb::error::{Error, Result, SqlState};

/// Ends by an error where the stack is nearly used up, or where the session is to stop what it does.
///
/// # Panics
/// With PostgreSQL's error: 54001, 57014 and the like.
pub fn look() {
    // SAFETY: looks at the stack and raises an error where it is too deep.
    unsafe { pg_sys::check_stack_depth() };
    pgrx::check_for_interrupts!();
}

/// Runs with a stack of its own, of so many bytes, most of which are never touched. The body must not call
/// PostgreSQL, and cannot be interrupted.
///
/// # Errors
/// 53200 where there is no room for it.
pub fn with_own<T: Send>(bytes: usize, body: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let blocked = Blocked::all();
        let started = thread::Builder::new()
            .stack_size(bytes)
            .spawn_scoped(scope, body);
        drop(blocked);
        let thread = started.map_err(|e| {
            Error::new(SqlState::OutOfMemory, "there is no room for another stack")
                .detail(format!("The system says: {e}."))
        })?;
        thread.join().map_err(|payload| resume_unwind(payload))
    })
}

/// While it lives, no signal reaches the thread, nor those that it starts as long as they live: PostgreSQL's
/// handlers are made for its one thread.
struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    fn all() -> Self {
        // SAFETY: a set of signals is plain data, and filled by sigfillset(); the mask is the thread's own.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: gives back what the thread had.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}
