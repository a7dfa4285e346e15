//! Trying something in a subtransaction: what fails is undone, and told.

use std::any::Any;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use pgrx::pg_sys;

use crate::dcb::error::{Error, Result};

use super::guard::{self, Witness};

/// Why an attempt failed.
pub struct Failure {
    /// The SQLSTATE.
    pub state: String,
    /// The error's message.
    pub message: String,
    /// Its DETAIL.
    pub detail: Option<String>,
    /// Its HINT.
    pub hint: Option<String>,
    /// Its CONTEXT.
    pub context: Option<String>,
    cause: Cause,
}

enum Cause {
    Ours(Error),
    Unwound(Box<dyn Any + Send>),
}

impl Failure {
    /// Fails with it after all.
    ///
    /// # Errors
    /// Always: the error as it was, or it unwinds as before.
    pub fn raise<T>(self) -> Result<T> {
        match self.cause {
            Cause::Ours(error) => Err(error),
            Cause::Unwound(payload) => resume_unwind(payload),
        }
    }
}

/// Runs `body` in a subtransaction, which is kept where it succeeds and undone where it fails.
///
/// # Errors
/// None of the body's: they are the inner result.
pub fn attempt<T>(body: impl FnOnce() -> Result<T>) -> Result<std::result::Result<T, Failure>> {
    let mut seen = Witness::new();
    // SAFETY: as PL/pgSQL does it for a block with EXCEPTION: memory context and resource owner are those
    // from before on both ways out. The witness is taken off PostgreSQL's list before this frame ends.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let mut callback = seen.callback();
        let previous = callback.previous;
        pg_sys::error_context_stack = &raw mut callback;
        let outcome = catch_unwind(AssertUnwindSafe(body));
        pg_sys::error_context_stack = previous;
        let failure = match outcome {
            Ok(Ok(value)) => {
                pg_sys::ReleaseCurrentSubTransaction();
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::CurrentResourceOwner = owner;
                return Ok(Ok(value));
            }
            Ok(Err(error)) => ours(error),
            Err(payload) => unwound(payload, seen.seen()),
        };
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        Ok(Err(failure))
    }
}

fn ours(error: Error) -> Failure {
    Failure {
        state: error.state.code().to_owned(),
        message: error.message.clone(),
        detail: error.detail.clone(),
        hint: error.hint.clone(),
        context: None,
        cause: Cause::Ours(error),
    }
}

/// What a caught panic was: an error of PostgreSQL's that the witness has seen, or one of en57's own.
fn unwound(payload: Box<dyn Any + Send>, seen: *mut pg_sys::ErrorData) -> Failure {
    if !payload.is::<pg_sys::panic::CaughtError>() || seen.is_null() {
        // A panic of en57's own is no failure of what was tried.
        resume_unwind(payload);
    }
    // SAFETY: the copy lives in the transaction's context; its texts are null or NUL-terminated.
    unsafe {
        let text = |t: *const c_char| {
            (!t.is_null()).then(|| CStr::from_ptr(t).to_string_lossy().into_owned())
        };
        Failure {
            state: guard::unpacked((*seen).sqlerrcode),
            message: text((*seen).message).unwrap_or_default(),
            detail: text((*seen).detail),
            hint: text((*seen).hint),
            context: text((*seen).context),
            cause: Cause::Unwound(payload),
        }
    }
}
