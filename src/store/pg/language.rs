//! The language of the extension's own procedural functions: PL/pgSQL, whose errors do not tell where in these functions
//! they were raised. A client would see one to four lines of CONTEXT about functions that are not his.
//!
//! What a function that users wrote has told in CONTEXT before stays, and so does what stands around the call.
//!
//! The language also tells which of the extension's own functions is at work: only superusers can write functions in it.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;

use pgrx::pg_sys::{self, Datum, Oid};

use super::{fmgr, guard, witness};

thread_local! {
    /// The innermost procedural function at work, where it is one of the extension's own.
    static AT_WORK: Cell<Oid> = const { Cell::new(Oid::INVALID) };
}

/// Whether the procedural function at work is one of the extension's own that asks for tickets. Others of them run code of
/// users, as an import does that reads a view: that code must not get what the function itself does not ask for.
pub(in crate::store) fn asks_for_tickets() -> bool {
    let function = AT_WORK.get();
    if function == Oid::INVALID {
        return false;
    }
    let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
    // SAFETY: a row of pg_proc, and its text, which are given back before this returns.
    unsafe {
        let row = pg_sys::SearchSysCache1(cache, Datum::from(function));
        if row.is_null() {
            return false;
        }
        let mut is_null = false;
        let source = pg_sys::Anum_pg_proc_prosrc as i16;
        let text = pg_sys::SysCacheGetAttr(cache, row, source, &raw mut is_null);
        let asks = !is_null && {
            let words = b"en57.ticket()";
            fmgr::varlena(text).windows(words.len()).any(|w| w == words)
        };
        pg_sys::ReleaseSysCache(row);
        asks
    }
}

/// While it lives, the extension's own functions are not at work, but one of a user.
pub(in crate::store) struct Away(Oid);

impl Away {
    /// From now on.
    pub(in crate::store) fn begin() -> Self {
        Self(AT_WORK.replace(Oid::INVALID))
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        AT_WORK.set(self.0);
    }
}

// pgrx leaves these out of its bindings, or guards them; they run where no Rust frame may be unwound.
unsafe extern "C-unwind" {
    fn AllocSetContextCreateInternal(
        parent: pg_sys::MemoryContext,
        name: *const c_char,
        min_context_size: usize,
        init_block_size: usize,
        max_block_size: usize,
    ) -> pg_sys::MemoryContext;
    fn MemoryContextReset(context: pg_sys::MemoryContext);
}

const _: () = {
    #[unsafe(export_name = "pg_finfo_en57_plpgsql_handler")]
    extern "C" fn info() -> &'static pg_sys::Pg_finfo_record {
        const RECORD: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
        &RECORD
    }
    #[unsafe(export_name = "en57_plpgsql_handler")]
    extern "C-unwind" fn entry(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
        // SAFETY: called by PostgreSQL as a language's handler; this frame holds nothing.
        unsafe { handle(fcinfo) }
    }
};

/// The newest error of one call. It is copied into memory of its own, which outlives the transactions that a procedure
/// commits, and does not grow with the errors that the function catches itself.
struct Seen {
    context: pg_sys::MemoryContext,
    error: *mut pg_sys::ErrorData,
}

/// Called by PostgreSQL for every report.
unsafe extern "C-unwind" fn see(arg: *mut c_void) {
    // SAFETY: PostgreSQL calls this inside errfinish(). `arg` is the Seen on the stack of `handle`, which outlives the
    // callback's registration. Nothing here has a destructor.
    unsafe {
        let seen = &mut *(arg as *mut Seen);
        seen.error = ptr::null_mut();
        if seen.context.is_null() {
            witness::find_memory_for_report();
            seen.context = AllocSetContextCreateInternal(
                pg_sys::TopMemoryContext,
                c"en57 error".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
            );
        }
        MemoryContextReset(seen.context);
        seen.error = witness::copy_of_report(seen.context);
    }
}

/// Calls PL/pgSQL's own handler, which then finds the function as if it was called by PostgreSQL.
///
/// # Safety
/// `fcinfo` is what PostgreSQL has called a handler with, and the caller's frame holds nothing with a destructor.
unsafe fn handle(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: the callback is pushed on PostgreSQL's list and popped before `seen` ends, on every way out: errors
    // become panics at the boundary, which end in catch_unwind. The error's memory is given to the current context
    // before this frame is left by longjmp; nothing here has a destructor then.
    let failure = unsafe {
        let mut seen = Seen {
            context: ptr::null_mut(),
            error: ptr::null_mut(),
        };
        let mut callback = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(see),
            arg: (&raw mut seen).cast(),
        };
        let previous = callback.previous;
        pg_sys::error_context_stack = &raw mut callback;
        let was_at_work = AT_WORK.replace((*(*fcinfo).flinfo).fn_oid);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let plpgsql = plpgsql();
            pg_sys::ffi::pg_guard_ffi_boundary(|| plpgsql(fcinfo))
        }));
        AT_WORK.set(was_at_work);
        pg_sys::error_context_stack = previous;
        // Written by the callback, behind the compiler's back.
        let (context, error) = (
            ptr::read_volatile(&raw const seen.context),
            ptr::read_volatile(&raw const seen.error),
        );
        match outcome {
            Ok(datum) => {
                if !context.is_null() {
                    pg_sys::MemoryContextDelete(context);
                }
                return datum;
            }
            Err(payload) => {
                if !context.is_null() {
                    pg_sys::MemoryContextSetParent(context, pg_sys::CurrentMemoryContext);
                }
                guard::failure(payload, error)
            }
        }
    };
    // SAFETY: `failure` has been moved out of its frame.
    unsafe { guard::throw_quietly(failure) }
}

type Handler = unsafe extern "C-unwind" fn(pg_sys::FunctionCallInfo) -> Datum;

/// PL/pgSQL's handler.
fn plpgsql() -> Handler {
    static FOUND: OnceLock<Handler> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: loads PostgreSQL's own library, or raises; the symbol is a function with the calling convention of
        // PGFunction. A library that is loaded stays where it is.
        unsafe {
            let found = pg_sys::load_external_function(
                c"$libdir/plpgsql".as_ptr(),
                c"plpgsql_call_handler".as_ptr(),
                true,
                ptr::null_mut(),
            );
            std::mem::transmute::<*mut c_void, Handler>(found)
        }
    })
}

/// What a context is cut to: what was there when an error was last passed on by a function of this library, if it
/// begins with that.
pub(in crate::store) fn told_before<'a>(context: &'a [u8], passed_on: &[u8]) -> &'a [u8] {
    match context.strip_prefix(passed_on) {
        Some([] | [b'\n', ..]) if !passed_on.is_empty() => &context[..passed_on.len()],
        _ => &[],
    }
}
