//! The border between PostgreSQL's error handling and Rust's.
//!
//! Every SQL function runs inside [`call`]. It turns an [`Error`] into a report with its own SQLSTATE,
//! passes an error of PostgreSQL's through with every field it had, and hides the text of a panic from
//! the client. pgrx alone would lose private SQLSTATEs, constraint names and contexts, and would put a
//! Rust backtrace into DETAIL where RUST_BACKTRACE is set.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr;

use pgrx::pg_sys;

use crate::dcb::error::{Error, Result, SqlState};

use super::allocator;
use super::language::told_before;
use super::witness::Witness;

// PostgreSQL's reporting functions; pgrx leaves them out of its bindings.
unsafe extern "C-unwind" {
    fn errstart(elevel: c_int, domain: *const c_char) -> bool;
    fn errcode(sqlstate: c_int) -> c_int;
    fn errmsg(format: *const c_char, ...) -> c_int;
    fn errdetail(format: *const c_char, ...) -> c_int;
    fn errdetail_log(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
    fn err_generic_string(field: c_int, text: *const c_char) -> c_int;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

/// The level of a report that ends what runs.
pub(super) const ERROR: c_int = pgrx::PgLogLevel::ERROR as c_int;

mod raw {
    //! Unguarded: they run where no Rust frame may be unwound.
    use pgrx::pg_sys;
    unsafe extern "C-unwind" {
        pub(in crate::store) fn ReThrowError(edata: *mut pg_sys::ErrorData) -> !;
        pub(in crate::store) fn ThrowErrorData(edata: *mut pg_sys::ErrorData);
    }
}

/// Why a call has failed.
pub(in crate::store) enum Failure {
    /// An error of PostgreSQL's.
    Postgres(*mut pg_sys::ErrorData),
    /// One of en57's own.
    Ours(Box<Error>),
    /// What cannot happen.
    Panic(CString),
}

thread_local! {
    /// The CONTEXT of the error that was passed on last.
    static PASSED_ON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs the body of a function that PostgreSQL called.
///
/// # Safety
/// The caller's frames up to PostgreSQL must hold nothing with a destructor: on failure this leaves by
/// longjmp.
pub unsafe fn call<T>(body: impl FnOnce() -> Result<T>) -> T {
    allocator::keep_reserve();
    // SAFETY: the callback is pushed on PostgreSQL's list and popped before this frame ends, on every
    // way out: errors of PostgreSQL's become panics inside (pgrx guards each call), and panics end in
    // catch_unwind.
    let outcome = unsafe {
        let mut seen = Witness::new();
        let mut callback = seen.callback();
        let previous = callback.previous;
        pg_sys::error_context_stack = &raw mut callback;
        let outcome = catch_unwind(AssertUnwindSafe(body));
        pg_sys::error_context_stack = previous;
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::Ours(Box::new(error))),
            Err(payload) => Err(failure(payload, seen.seen())),
        }
    };
    match outcome {
        Ok(value) => value,
        // SAFETY: as this function's own contract; `failure` has been moved out of its frame.
        Err(failure) => unsafe { throw(failure) },
    }
}

/// What a caught panic was.
pub(in crate::store) fn failure(
    payload: Box<dyn Any + Send>,
    seen: *mut pg_sys::ErrorData,
) -> Failure {
    use pg_sys::panic::CaughtError;
    match payload.downcast::<CaughtError>() {
        Ok(caught) => match *caught {
            CaughtError::PostgresError(_) if !seen.is_null() => Failure::Postgres(seen),
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
                Failure::Panic(text(report.message()))
            }
            CaughtError::RustPanic { ereport, .. } => Failure::Panic(text(ereport.message())),
        },
        Err(payload) => {
            let message = payload
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned());
            match payload.downcast::<Error>() {
                Ok(error) => Failure::Ours(error),
                Err(_) => Failure::Panic(text(message.as_deref().unwrap_or("unknown panic"))),
            }
        }
    }
}

/// Leaves by PostgreSQL's own way of raising errors.
unsafe fn throw(failure: Failure) -> ! {
    match failure {
        // SAFETY: the copy lives in the transaction's context; nothing with a destructor is alive here.
        Failure::Postgres(edata) => unsafe {
            let told = (*edata).context;
            let told = (!told.is_null()).then(|| CStr::from_ptr(told).to_bytes());
            PASSED_ON.with_borrow_mut(|passed| {
                passed.clear();
                passed.extend_from_slice(told.unwrap_or_default());
            });
            raw::ReThrowError(edata)
        },
        // SAFETY: see report(); the box was consumed by it before it leaves.
        Failure::Ours(error) => unsafe { report(*error) },
        Failure::Panic(message) => {
            // SAFETY: the message is copied into PostgreSQL's memory and dropped before errfinish()
            // leaves.
            unsafe {
                errstart(ERROR, ptr::null());
                errcode(sqlstate(SqlState::Internal.code()));
                errmsg(c"%s".as_ptr(), c"internal error in en57".as_ptr());
                errdetail_log(c"%s".as_ptr(), message.as_ptr());
                errhint(
                    c"%s".as_ptr(),
                    c"The server's log has the details. Please report this.".as_ptr(),
                );
                drop(message);
                let (file, line, function) = source_location(Location::caller());
                errfinish(file, line, function);
            }
            unreachable!("errfinish returned from an error")
        }
    }
}

/// Raises a failure to which functions of the extension that are not in Rust have added CONTEXT: that is taken away. What
/// stands around the call is added, as to an error that is raised here.
///
/// # Safety
/// As [`call`].
pub(in crate::store) unsafe fn throw_quietly(failure: Failure) -> ! {
    let Failure::Postgres(edata) = failure else {
        // SAFETY: the caller's contract.
        unsafe { throw(failure) }
    };
    // SAFETY: the copy, with its texts, is in memory that outlives this; what is borrowed of it here is given back before.
    unsafe {
        let told = (*edata).context;
        if !told.is_null() {
            let kept = PASSED_ON.with_borrow_mut(|passed| {
                let kept = told_before(CStr::from_ptr(told).to_bytes(), passed).len();
                passed.truncate(kept);
                kept
            });
            *told.add(kept) = 0;
            if kept == 0 {
                (*edata).context = ptr::null_mut();
            }
        }
        raw::ThrowErrorData(edata);
    }
    unreachable!("ThrowErrorData returned from an error")
}

/// Raises one of en57's own errors.
///
/// # Safety
/// As [`call`].
unsafe fn report(error: Error) -> ! {
    let Error {
        state,
        message,
        detail,
        hint,
        about,
        made_at,
    } = error;
    PASSED_ON.with_borrow_mut(Vec::clear);
    let (file, line, function) = source_location(made_at.0);
    // SAFETY: errstart() opens a report in ErrorContext, the texts are copied into it, and all Rust
    // values are dropped before errfinish() leaves by longjmp.
    unsafe {
        errstart(ERROR, ptr::null());
        errcode(sqlstate(state.code()));
        let message = text(&message);
        errmsg(c"%s".as_ptr(), message.as_ptr());
        drop(message);
        if let Some(detail) = detail {
            errdetail(c"%s".as_ptr(), text(&detail).as_ptr());
        }
        if let Some(hint) = hint {
            errhint(c"%s".as_ptr(), text(&hint).as_ptr());
        }
        if let Some(about) = about {
            name(pg_sys::PG_DIAG_SCHEMA_NAME, about.schema);
            name(pg_sys::PG_DIAG_TABLE_NAME, about.table);
            name(pg_sys::PG_DIAG_CONSTRAINT_NAME, about.constraint);
        }
        errfinish(file, line, function);
    }
    unreachable!("errfinish returned from an error")
}

/// Sets one of the fields of an error that are names.
///
/// # Safety
/// Between errstart() and errfinish().
unsafe fn name(field: u8, value: Option<String>) {
    if let Some(value) = value {
        // SAFETY: the text is copied.
        unsafe { err_generic_string(c_int::from(field), text(&value).as_ptr()) };
    }
}

/// A line of the source as PostgreSQL tells it: file, line and, for the function, the module. Reports keep the pointers
/// as long as they like: so the texts stay, once for each line.
fn source_location(at: &'static Location<'static>) -> (*const c_char, c_int, *const c_char) {
    thread_local! {
        static KNOWN: RefCell<HashMap<&'static str, &'static [CString; 2]>> = RefCell::default();
    }
    let [file, module] = KNOWN.with_borrow_mut(|known| {
        *known.entry(at.file()).or_insert_with(|| {
            let path = at.file().trim_start_matches("src/");
            let module = path.trim_end_matches(".rs").replace('/', "::");
            Box::leak(Box::new([
                text(at.file()),
                text(module.trim_end_matches("::mod")),
            ]))
        })
    });
    let line = c_int::try_from(at.line()).unwrap_or_default();
    (file.as_ptr(), line, module.as_ptr())
}

/// Runs a call into PostgreSQL, and returns the message of the error that it raises, if it does. Locks that were held before
/// are held still. The transaction must end with an error then.
///
/// # Errors
/// What PostgreSQL says.
pub(in crate::store) fn caught<T>(body: impl FnOnce() -> T) -> std::result::Result<T, String> {
    use pg_sys::panic::CaughtError;
    // SAFETY: a variable of this process. An error sets it to 0, as if no lock were held.
    let held = unsafe { pg_sys::InterruptHoldoffCount };
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => Ok(value),
        Err(payload) => match payload.downcast::<CaughtError>() {
            Ok(caught) => match *caught {
                CaughtError::PostgresError(report) => {
                    // SAFETY: as above.
                    unsafe { pg_sys::InterruptHoldoffCount = held };
                    Err(report.message().to_owned())
                }
                other => other.rethrow(),
            },
            Err(payload) => std::panic::resume_unwind(payload),
        },
    }
}

/// Ends what runs by an error, where no result can carry one: it unwinds, as errors of PostgreSQL's do.
///
/// # Panics
/// Always.
#[cold]
pub(in crate::store) fn unwind(error: Error) -> ! {
    std::panic::resume_unwind(Box::new(error))
}

/// What a panic says that is no error of PostgreSQL's.
pub(in crate::store) fn in_words(payload: Box<dyn Any + Send>) -> String {
    match failure(payload, ptr::null_mut()) {
        Failure::Panic(message) => message.to_string_lossy().into_owned(),
        Failure::Ours(error) => error.message.clone(),
        Failure::Postgres(_) => String::new(),
    }
}

/// How much a line of the server's log matters.
#[derive(Clone, Copy, Debug)]
pub enum Severity {
    /// For the record.
    Log,
    /// For who has called.
    Notice,
    /// Somebody should look.
    Warning,
}

/// Writes to the server's log; a client sees it as he sees PostgreSQL's own.
pub fn log(severity: Severity, message: &str, detail: Option<&str>, hint: Option<&str>) {
    let level = match severity {
        Severity::Log => pgrx::PgLogLevel::LOG,
        Severity::Notice => pgrx::PgLogLevel::NOTICE,
        Severity::Warning => pgrx::PgLogLevel::WARNING,
    };
    let message = text(message);
    let [detail, hint] = [detail, hint].map(|t| t.map(text));
    // SAFETY: below ERROR errfinish() returns; the texts are copied into the report before.
    unsafe {
        if !errstart(level as c_int, ptr::null()) {
            return;
        }
        errmsg(c"%s".as_ptr(), message.as_ptr());
        if let Some(detail) = &detail {
            errdetail(c"%s".as_ptr(), detail.as_ptr());
        }
        if let Some(hint) = &hint {
            errhint(c"%s".as_ptr(), hint.as_ptr());
        }
        errfinish(c"en57".as_ptr(), 0, ptr::null());
    }
}

/// Raises an error from a callback that PostgreSQL called and that may raise.
///
/// # Safety
/// As [`call`].
pub unsafe fn raise(error: Error) -> ! {
    // SAFETY: the caller's contract.
    unsafe { report(error) }
}

/// Runs what the library does when it is loaded. Where that fails the session ends: it would have half of the library.
pub fn at_load(body: impl FnOnce()) {
    use pg_sys::panic::CaughtError;
    // A setting that PostgreSQL warns of would let a cancel or a timeout in, and a session could not go on with half of it.
    // SAFETY: a counter of this process. It falls again below; with FATAL nothing reads it any more.
    unsafe { pg_sys::InterruptHoldoffCount += 1 };
    let loaded = catch_unwind(AssertUnwindSafe(body));
    let Err(payload) = loaded else {
        // SAFETY: as above.
        unsafe { pg_sys::InterruptHoldoffCount -= 1 };
        return;
    };
    let code = match payload.downcast_ref::<CaughtError>() {
        Some(CaughtError::PostgresError(report)) => report.sql_error_code() as c_int,
        _ => sqlstate(SqlState::Internal.code()),
    };
    let message = text(&format!("en57 cannot be loaded: {}", in_words(payload)));
    // SAFETY: a report of level FATAL, of which the text is copied; the process exits.
    unsafe {
        errstart(pgrx::PgLogLevel::FATAL as c_int, ptr::null());
        errcode(code);
        errmsg(c"%s".as_ptr(), message.as_ptr());
        errfinish(c"guard.rs".as_ptr(), 0, c"guard".as_ptr());
    }
}

/// Ends the session for want of memory. It needs none of Rust's own.
///
/// # Safety
/// No callbacks are registered that add CONTEXT.
pub(in crate::store) unsafe fn end_session_without_memory(bytes: usize) {
    // SAFETY: a report of level FATAL: it is sent from memory that PostgreSQL keeps for this, and the process exits.
    unsafe {
        errstart(pgrx::PgLogLevel::FATAL as c_int, ptr::null());
        errcode(sqlstate(SqlState::OutOfMemory.code()));
        errmsg(c"out of memory".as_ptr());
        errdetail(c"Failed on request of size %zu in en57.".as_ptr(), bytes);
        errhint(c"The session has ended. Read, import or fold less at a time, or give the server more memory.".as_ptr());
        errfinish(c"allocator.rs".as_ptr(), 0, c"allocator".as_ptr());
    }
}

/// A C string; a NUL inside ends it.
pub fn text(s: &str) -> CString {
    let end = s.find('\0').unwrap_or(s.len());
    CString::new(&s[..end]).unwrap_or_default()
}

/// The five characters as PostgreSQL packs them (MAKE_SQLSTATE).
pub(super) const fn sqlstate(code: &str) -> c_int {
    let bytes = code.as_bytes();
    let mut packed = 0;
    let mut i = 0;
    while i < 5 {
        packed |= ((bytes[i] - b'0') as c_int & 0x3F) << (6 * i);
        i += 1;
    }
    packed
}

/// The five characters of a packed SQLSTATE.
pub(in crate::store) fn unpacked(packed: c_int) -> String {
    (0..5)
        .map(|i| ((packed >> (6 * i) & 0x3F) as u8 + b'0') as char)
        .collect()
}

/// Runs a call into PostgreSQL whose error, where it is one of the caller's input, is to be told in
/// en57's words: the error's text, with `prefix` before it. The transaction must end with that error.
///
/// # Errors
/// The error that PostgreSQL raised, as an [`Error`] of state `state`.
pub fn retold<T>(state: SqlState, prefix: &str, body: impl FnOnce() -> T) -> Result<T> {
    use pg_sys::panic::CaughtError;
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => Ok(value),
        Err(payload) => match payload.downcast::<CaughtError>() {
            Ok(caught) => match *caught {
                CaughtError::PostgresError(report)
                    if report.sql_error_code() as i32 & 0xFFF == sqlstate("22000") =>
                {
                    let error = Error::new(state, format!("{prefix}{}", report.message()));
                    Err(Error {
                        detail: report.detail().map(str::to_owned),
                        ..error
                    })
                }
                other => other.rethrow(),
            },
            Err(payload) => std::panic::resume_unwind(payload),
        },
    }
}
