//! Functions of users: found, described, and called with the rights of their owner.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};

use pgrx::pg_sys::{self, Datum, Oid};
use xxhash_rust::xxh3::xxh3_64;

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::store::pg::{guard, language, names, rights};

// PostgreSQL's reporting function; pgrx leaves it out of its bindings.
unsafe extern "C-unwind" {
    fn errcontext_msg(format: *const c_char, ...) -> c_int;
}

/// What is known of a function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its oid.
    pub oid: Oid,
    /// Whose rights it runs with.
    pub owner: Oid,
    /// The types of its arguments.
    pub arguments: Vec<Oid>,
    /// The type of its result.
    pub result: Oid,
    /// Whether NULL in gives NULL out, without a call.
    pub strict: bool,
    /// Whether it is neither an aggregate, a window function nor a procedure, and returns no set.
    pub plain: bool,
    /// Another one whenever the function is created anew, replaced or altered. What it calls is not in it.
    pub mark: i64,
    /// Whether it may change something.
    pub volatile: bool,
}

impl Function {
    /// Finds a function by the text that `name` gave, `None` where it is gone.
    pub fn named(name: &str) -> Option<Self> {
        let text = crate::store::pg::fmgr::make_varlena(name.as_bytes());
        // SAFETY: to_regprocedure takes a text; it answers NULL where there is no such function.
        let oid =
            unsafe { pgrx::direct_function_call_as_datum(pg_sys::to_regprocedure, &[Some(text)]) }?;
        Self::of(Oid::from(oid.value() as u32))
    }

    /// Describes a function, `None` where it is gone.
    pub fn of(oid: Oid) -> Option<Self> {
        // SAFETY: a lookup in the system caches; the tuple is read before it is released. The argument
        // types are an array of `count` in the current memory context.
        unsafe {
            let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
            let tuple = pg_sys::SearchSysCache1(cache, Datum::from(oid));
            if tuple.is_null() {
                return None;
            }
            let form: *mut pg_sys::FormData_pg_proc = pg_sys::GETSTRUCT(tuple).cast();
            let (owner, strict) = ((*form).proowner, (*form).proisstrict);
            let volatile = (*form).provolatile as u8 == pg_sys::PROVOLATILE_VOLATILE;
            let plain = (*form).prokind as u8 == pg_sys::PROKIND_FUNCTION && !(*form).proretset;
            let mark = mark(tuple, oid);
            pg_sys::ReleaseSysCache(tuple);
            let (mut types, mut count) = (std::ptr::null_mut(), 0);
            let result = pg_sys::get_func_signature(oid, &mut types, &mut count);
            let arguments = (0..count as usize).map(|i| *types.add(i)).collect();
            Some(Self {
                oid,
                owner,
                arguments,
                result,
                strict,
                plain,
                mark,
                volatile,
            })
        }
    }

    /// Makes sure that the caller may put it into a definition, which outlives the session and has it run with its
    /// owner's rights; `because` is the DETAIL.
    ///
    /// # Errors
    /// 42501; 22023 where it is temporary.
    pub fn demand_definable(&self, because: &str) -> Result<()> {
        if rights::is_temporary(self.oid) {
            return Err(invalid(format!("function {} is temporary", self.name()))
                .detail("It is gone when this session ends, and no other session can call it.")
                .hint("Create it in another schema than pg_temp."));
        }
        if rights::has_rights_of(self.owner) {
            return Ok(());
        }
        Err(Error::new(
            SqlState::InsufficientPrivilege,
            format!("must be owner of function {}", self.name()),
        )
        .detail(because)
        .hint(format!(
            "It belongs to {}: this is for members of that role. Or take a function of your own.",
            rights::role_name(self.owner)
        )))
    }

    /// Makes sure that the caller may call it.
    ///
    /// # Errors
    /// 42501.
    pub fn demand_execute(&self) -> Result<()> {
        if rights::may_execute(self.oid) {
            return Ok(());
        }
        Err(Error::new(
            SqlState::InsufficientPrivilege,
            format!("permission denied for function {}", self.name()),
        )
        .hint("This needs the EXECUTE privilege on it, which its owner gives by GRANT."))
    }

    /// Its name with schema and argument types, quoted where they must be: found again after a dump was restored.
    pub fn name(&self) -> String {
        // SAFETY: the result is NUL-terminated and copied at once.
        names::quoted_as_needed(|| unsafe {
            CStr::from_ptr(pg_sys::format_procedure_qualified(self.oid))
                .to_string_lossy()
                .into_owned()
        })
    }

    /// Whether it is still there.
    pub fn is_there(&self) -> bool {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
        // SAFETY: a lookup in the system caches.
        unsafe {
            pg_sys::SearchSysCacheExists(cache, Datum::from(self.oid), 0.into(), 0.into(), 0.into())
        }
    }

    /// Makes it ready to be called with its owner's rights, in the current memory context.
    pub fn prepare(&self) -> Callable<'_> {
        Callable {
            is_own: true,
            ..self.prepare_for_caller()
        }
    }

    /// Makes a function ready that is called for what it does, and may append.
    pub fn prepare_handler(&self) -> Callable<'_> {
        Callable {
            is_handler: true,
            ..self.prepare()
        }
    }

    /// Makes it ready to be called as the running statement itself would call it.
    pub fn prepare_for_caller(&self) -> Callable<'_> {
        // SAFETY: fills in a struct that lives in the current memory context, as its own later
        // allocations do.
        let info = unsafe {
            let info: *mut pg_sys::FmgrInfo = pg_sys::palloc0(size_of::<pg_sys::FmgrInfo>()).cast();
            pg_sys::fmgr_info(self.oid, info);
            info
        };
        Callable {
            function: self,
            info,
            is_own: false,
            is_handler: false,
        }
    }
}

/// Which version of its catalog row this is, and the function's text.
unsafe fn mark(tuple: pg_sys::HeapTuple, oid: Oid) -> i64 {
    // SAFETY: a row of pg_proc; the text, if any, is copied at once.
    unsafe {
        let tid = (*tuple).t_self;
        let changed_by = (*(*tuple).t_data).t_choice.t_heap.t_xmin;
        let mut is_null = false;
        let text = pg_sys::SysCacheGetAttr(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            tuple,
            pg_sys::Anum_pg_proc_prosrc as i16,
            &raw mut is_null,
        );
        let mut bytes = if is_null {
            Vec::new()
        } else {
            crate::store::pg::fmgr::varlena(text).to_vec()
        };
        for word in [
            oid.to_u32(),
            changed_by.into_inner(),
            u32::from(tid.ip_blkid.bi_hi) << 16 | u32::from(tid.ip_blkid.bi_lo),
            u32::from(tid.ip_posid),
        ] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        xxh3_64(&bytes) as i64
    }
}

/// Which functions of users are being called, one by the other.
#[derive(Clone, Copy)]
struct Called {
    any: bool,
    /// One that is called for its answer, not for what it does.
    for_answer: bool,
}

thread_local! {
    static CALLED: Cell<Called> = const { Cell::new(Called { any: false, for_answer: false }) };
}

/// Refuses what must not be done by a function that en57 calls: who has called it goes on with what it has
/// read before.
///
/// # Errors
/// 0A000.
pub fn refuse_within_call(what: &str) -> Result<()> {
    if !CALLED.get().any {
        return Ok(());
    }
    Err(Error::new(
        SqlState::NotSupported,
        format!("{what} cannot be called by a function that en57 calls"),
    ))
}

/// Refuses what must not be done by a function that is asked for an answer: that of an event, a state or a
/// decision. It would change what the answer is made of, be done again whenever it is asked again, and be done by
/// who only reads or tries. Handlers of projections are called for what they do.
///
/// # Errors
/// 0A000.
pub fn refuse_within_answer(what: &str) -> Result<()> {
    if !CALLED.get().for_answer {
        return Ok(());
    }
    Err(Error::new(
        SqlState::NotSupported,
        format!("{what} cannot be called by a function that folds, decides, checks or upcasts"),
    )
    .detail("Such a function is asked for an answer, and may be asked again, or by who stores nothing.")
    .hint("The events that follow from a decision are what the decide function returns; a projection's handler can append."))
}

/// A function that is ready to be called. Not kept beyond the statement: a function that comes to call
/// itself, through an append, must not meet its own state.
pub struct Callable<'f> {
    function: &'f Function,
    info: *mut pg_sys::FmgrInfo,
    /// Whether it runs with its owner's rights, on a snapshot of now that shows what the transaction has
    /// written; otherwise with the caller's, on the statement's snapshot.
    is_own: bool,
    /// Whether it is called for what it does.
    is_handler: bool,
}

impl Callable<'_> {
    /// Whether its first argument is an array.
    pub fn takes_array(&self) -> bool {
        let first = self.function.arguments.first();
        first.is_some_and(|t| crate::store::pg::composite::element_type(*t) != pg_sys::InvalidOid)
    }

    /// Whether its result is an array.
    pub fn returns_array(&self) -> bool {
        crate::store::pg::composite::element_type(self.function.result) != pg_sys::InvalidOid
    }

    /// What it is.
    pub fn function(&self) -> &Function {
        self.function
    }

    /// Calls it; the result lives in the current memory context, or where the function has found it.
    pub fn call<const N: usize>(&self, arguments: [Option<Datum>; N]) -> Option<Datum> {
        if self.function.strict && arguments.iter().any(Option::is_none) {
            return None;
        }
        if !self.is_own {
            return self.invoke(arguments);
        }
        self.often(|function| function.invoke(arguments))
    }

    /// Runs what invokes it many times: with its owner's rights, on one snapshot of now.
    pub fn often<T>(&self, body: impl FnOnce(&Self) -> T) -> T {
        rights::as_role_restricted(self.function.owner, || {
            // SAFETY: PostgreSQL balances the stack of snapshots at abort.
            unsafe {
                pg_sys::CommandCounterIncrement();
                pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            }
            let result = body(self);
            // SAFETY: pushed above.
            unsafe { pg_sys::PopActiveSnapshot() };
            result
        })
    }

    /// Calls a function that changes nothing, with its owner's rights, on the snapshot of the statement that
    /// runs; the result lives in the current memory context.
    pub fn call_read_only<const N: usize>(&self, arguments: [Option<Datum>; N]) -> Option<Datum> {
        rights::as_role_restricted(self.function.owner, || {
            // SAFETY: PostgreSQL balances the stack of snapshots at abort.
            let pushed = unsafe {
                let missing = !pg_sys::ActiveSnapshotSet();
                if missing {
                    pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
                }
                missing
            };
            let result = self.invoke(arguments);
            if pushed {
                // SAFETY: pushed above.
                unsafe { pg_sys::PopActiveSnapshot() };
            }
            result
        })
    }

    /// Calls it within [`Self::often`].
    pub fn invoke<const N: usize>(&self, arguments: [Option<Datum>; N]) -> Option<Datum> {
        if self.function.strict && arguments.iter().any(Option::is_none) {
            return None;
        }
        /// As it was before, on every way out.
        struct Return(Called);
        impl Drop for Return {
            fn drop(&mut self) {
                CALLED.set(self.0);
            }
        }
        let before = CALLED.get();
        let _return = Return(CALLED.replace(Called {
            any: true,
            for_answer: before.for_answer || !self.is_handler,
        }));
        let _away = language::Away::begin();
        // SAFETY: room for the struct and N arguments, zeroed, in the current memory context. The function
        // is called inside pgrx's guard: its errors arrive here as panics; nothing inside has a destructor.
        unsafe {
            let size = size_of::<pg_sys::FunctionCallInfoBaseData>()
                + N * size_of::<pg_sys::NullableDatum>();
            let call: pg_sys::FunctionCallInfo = pg_sys::palloc0(size).cast();
            (*call).flinfo = self.info;
            (*call).nargs = N as i16;
            for (i, argument) in arguments.into_iter().enumerate() {
                let slot = (*call).args.as_mut_ptr().add(i);
                (*slot).value = argument.unwrap_or(Datum::from(0));
                (*slot).isnull = argument.is_none();
            }
            let function = (*self.info).fn_addr?;
            let result = pg_sys::ffi::pg_guard_ffi_boundary(|| function(call));
            (!(*call).isnull).then_some(result)
        }
    }
}

/// What an error's CONTEXT says about where it came from.
pub struct ErrorContext {
    what: CString,
    /// The positions of the events that are being handled; 0: none.
    positions: Cell<(i64, i64)>,
}

impl ErrorContext {
    /// In the course of `what`.
    pub fn new(what: &str) -> Self {
        Self {
            what: guard::text(what),
            positions: Cell::new((0, 0)),
        }
    }

    /// Now these events are handled.
    pub fn at(&self, first: i64, last: i64) {
        self.positions.set((first, last));
    }

    /// Runs something whose reports are to say where they came from.
    pub fn tell<T>(&self, body: impl FnOnce() -> T) -> T {
        /// Takes the callback off the list, on every way out.
        struct Pushed(pg_sys::ErrorContextCallback);
        impl Drop for Pushed {
            fn drop(&mut self) {
                // SAFETY: a plain store; the callback before was there when this one was pushed.
                unsafe { pg_sys::error_context_stack = self.0.previous };
            }
        }
        // SAFETY: the callback is on the stack until this frame ends and is taken off before.
        let mut pushed = Pushed(unsafe {
            pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(tell),
                arg: std::ptr::from_ref(self).cast_mut().cast(),
            }
        });
        // SAFETY: as above.
        unsafe { pg_sys::error_context_stack = &raw mut pushed.0 };
        body()
    }
}

/// Called by PostgreSQL for every report.
unsafe extern "C-unwind" fn tell(arg: *mut c_void) {
    // SAFETY: `arg` is the ErrorContext that `ErrorContext::tell` borrows; nothing here has a destructor.
    unsafe {
        let context = &*(arg as *const ErrorContext);
        let what = context.what.as_ptr();
        match context.positions.get() {
            (0, _) => errcontext_msg(c"%s".as_ptr(), what),
            (first, last) if first == last => {
                errcontext_msg(c"%s, event at position %lld".as_ptr(), what, first)
            }
            (first, last) => errcontext_msg(
                c"%s, events at positions %lld to %lld".as_ptr(),
                what,
                first,
                last,
            ),
        };
    }
}
