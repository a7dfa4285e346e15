//! Memory that is freed at once: what one row, or one page of rows, needs for a moment.

use pgrx::pg_sys;

/// A memory context for the rows of one chunk.
pub struct Scratch(pg_sys::MemoryContext);

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// A new one below the current context.
    pub fn new() -> Self {
        // SAFETY: a child of the current context: an error deletes it with its parent.
        Self(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"en57 rows".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        })
    }

    /// Runs with it as the current context.
    pub fn run<T>(&self, body: impl FnOnce() -> T) -> T {
        // SAFETY: the context lives as long as self; after an error PostgreSQL sets its own.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.0);
            let result = body();
            pg_sys::MemoryContextSwitchTo(before);
            result
        }
    }

    /// Frees all that was allocated in it.
    pub fn reset(&self) {
        // SAFETY: nothing allocated in it is used after a reset: callers borrow it only in between.
        unsafe { pg_sys::MemoryContextReset(self.0) };
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by `new`, deleted once, and not current: `run` has switched back.
            unsafe { pg_sys::MemoryContextDelete(self.0) };
        }
    }
}
