//! Trying something in a subtransaction, or in a transaction of its own: what fails is undone, and told.

use std::any::Any;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::guard;
use super::witness::Witness;

/// Why a subtransaction failed.
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
    /// Whether it may well succeed when it is tried again: others were in the way, or the server was out of
    /// something, or somebody has cancelled, or another server was not to be reached.
    pub fn is_transient(&self) -> bool {
        let classes = ["08", "40", "53", "57", "58"];
        classes.contains(&&self.state[..2])
            || ["55006", "55P03", "HV00N"].contains(&self.state.as_str())
    }

    /// The message with its SQLSTATE, for the server's log.
    pub fn in_words(&self) -> String {
        format!("{} (SQLSTATE {})", self.message, self.state)
    }

    /// One of en57's own errors.
    ///
    /// # Errors
    /// The failure, where it was another one.
    pub fn into_own(self) -> std::result::Result<Error, Box<Self>> {
        match self.cause {
            Cause::Ours(error) => Ok(error),
            cause => Err(Box::new(Self { cause, ..self })),
        }
    }

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
pub fn in_subtransaction<T>(
    body: impl FnOnce() -> Result<T>,
) -> Result<std::result::Result<T, Failure>> {
    in_subtransaction_then(|| Ok((body()?, Then::Keep)))
}

/// What becomes of what was done in a subtransaction that has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It stays.
    Keep,
    /// It is undone; what was found out is all that was wanted.
    Undo,
}

/// As [`in_subtransaction`]; the body says whether the subtransaction is kept where it succeeds.
///
/// # Errors
/// None of the body's: they are the inner result.
pub fn in_subtransaction_then<T>(
    body: impl FnOnce() -> Result<(T, Then)>,
) -> Result<std::result::Result<T, Failure>> {
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
        let (then, result) = match outcome {
            Ok(Ok((value, then))) => (then, Ok(value)),
            Ok(Err(error)) => (Then::Undo, Err(ours(error))),
            // A panic of en57's own is no failure of what was tried.
            Err(payload) => match unwound(payload, seen.seen()) {
                Ok(failure) => (Then::Undo, Err(failure)),
                Err(panic) => resume_unwind(panic),
            },
        };
        match then {
            Then::Keep => pg_sys::ReleaseCurrentSubTransaction(),
            Then::Undo => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        Ok(result)
    }
}

/// Runs `body` in a transaction of its own, with the rights of a role until it has ended, deferred triggers
/// included, or with those of the process. For processes that run no statements of clients.
///
/// # Errors
/// Whatever has kept the transaction from being committed.
pub fn in_transaction<T>(
    role: Option<Oid>,
    body: impl FnOnce() -> Result<T>,
) -> std::result::Result<T, Box<Failure>> {
    let mut seen = Witness::new();
    // SAFETY: no transaction is running, and what PostgreSQL raises ends in catch_unwind, after which the
    // transaction is aborted, as the main loop of a backend does it. The witness is taken off PostgreSQL's
    // list before this frame ends; what it has seen is copied before the abort frees it.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let (mut user, mut security) = (pg_sys::InvalidOid, 0);
        pg_sys::GetUserIdAndSecContext(&mut user, &mut security);
        let mut callback = seen.callback();
        let previous = callback.previous;
        pg_sys::error_context_stack = &raw mut callback;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            if let Some(role) = role {
                let local = pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
                pg_sys::SetUserIdAndSecContext(role, local);
            }
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let result = body()?;
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
            Ok(result)
        }));
        pg_sys::error_context_stack = previous;
        let outcome = match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Box::new(ours(error))),
            Err(payload) => Err(Box::new(ended(payload, seen.seen()))),
        };
        if outcome.is_err() {
            pg_sys::AbortCurrentTransaction();
        }
        pg_sys::SetUserIdAndSecContext(user, security);
        pg_sys::MemoryContextSwitchTo(context);
        outcome
    }
}

/// What has ended a transaction; a panic of en57's own, too.
fn ended(payload: Box<dyn Any + Send>, seen: *mut pg_sys::ErrorData) -> Failure {
    match unwound(payload, seen) {
        Ok(failure) => failure,
        Err(payload) => {
            let panic = guard::in_words(payload);
            ours(Error::new(SqlState::Internal, "internal error in en57").detail(panic))
        }
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

/// What a caught panic was: an error of PostgreSQL's that the witness has seen, or one of en57's.
///
/// # Errors
/// The panic, where it is another one.
fn unwound(
    payload: Box<dyn Any + Send>,
    seen: *mut pg_sys::ErrorData,
) -> std::result::Result<Failure, Box<dyn Any + Send>> {
    let payload = match payload.downcast::<Error>() {
        Ok(error) => return Ok(ours(*error)),
        Err(payload) => payload,
    };
    if seen.is_null() || !matches!(payload.downcast_ref(), Some(CaughtError::PostgresError(_))) {
        return Err(payload);
    }
    // SAFETY: the copy lives in the transaction's context; its texts are null or NUL-terminated.
    unsafe {
        let text = |t: *const c_char| {
            (!t.is_null()).then(|| CStr::from_ptr(t).to_string_lossy().into_owned())
        };
        Ok(Failure {
            state: guard::unpacked((*seen).sqlerrcode),
            message: text((*seen).message).unwrap_or_default(),
            detail: text((*seen).detail),
            hint: text((*seen).hint),
            context: text((*seen).context),
            cause: Cause::Unwound(payload),
        })
    }
}
