//! How SQL functions reach Rust: the entry points' macro, their arguments and results.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::query::Query;

use super::guard;
use super::json::Jsonb;

/// Declares a SQL-callable function: `sql_function!(name, |args| -> Result<Option<Datum>>)`. `None`
/// is SQL's NULL.
#[macro_export]
macro_rules! sql_function {
    ($(#[$doc:meta])* $name:ident, $body:expr) => {
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($name)))]
            extern "C" fn info() -> &'static ::pgrx::pg_sys::Pg_finfo_record {
                const RECORD: ::pgrx::pg_sys::Pg_finfo_record =
                    ::pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &RECORD
            }
            $(#[$doc])*
            #[unsafe(export_name = stringify!($name))]
            extern "C-unwind" fn entry(
                fcinfo: ::pgrx::pg_sys::FunctionCallInfo,
            ) -> ::pgrx::pg_sys::Datum {
                let body = $body;
                // SAFETY: called by PostgreSQL; this frame holds nothing.
                unsafe { $crate::store::pg::fmgr::enter(fcinfo, body) }
            }
        };
    };
}

/// Runs the body of a SQL function.
///
/// # Safety
/// `fcinfo` is what PostgreSQL called with, and the caller's frame holds nothing with a destructor.
pub unsafe fn enter(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Args) -> Result<Option<Datum>>,
) -> Datum {
    // SAFETY: the caller's contract.
    unsafe {
        let result = guard::call(|| body(&Args { fcinfo }));
        match result {
            Some(datum) => datum,
            None => {
                (*fcinfo).isnull = true;
                Datum::from(0)
            }
        }
    }
}

/// The arguments of one call.
pub struct Args {
    fcinfo: pg_sys::FunctionCallInfo,
}

impl Args {
    /// Those of a call that PostgreSQL does not make itself.
    pub(in crate::store) const fn of(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        Self { fcinfo }
    }

    /// PostgreSQL's own description of the call.
    pub fn raw(&self) -> pg_sys::FunctionCallInfo {
        self.fcinfo
    }

    /// Whether the call stands in FROM: there alone PostgreSQL says how rows are to be returned, also to a function
    /// that returns no set.
    pub fn is_in_from(&self) -> bool {
        // SAFETY: the description is valid for the call.
        unsafe { !(*self.fcinfo).resultinfo.is_null() }
    }

    /// The n-th argument (from 0), or `None` where it is NULL or not there.
    pub fn datum(&self, n: usize) -> Option<Datum> {
        // SAFETY: PostgreSQL gives `nargs` arguments behind the struct; n is compared with it.
        unsafe {
            if n >= (*self.fcinfo).nargs as usize {
                return None;
            }
            let arg = (*self.fcinfo).args.as_ptr().add(n);
            (!(*arg).isnull).then_some((*arg).value)
        }
    }

    /// A bigint.
    pub fn i64(&self, n: usize) -> Option<i64> {
        self.datum(n).map(|d| d.value() as i64)
    }

    /// An integer.
    pub fn i32(&self, n: usize) -> Option<i32> {
        self.datum(n).map(|d| d.value() as i32)
    }

    /// A boolean.
    pub fn bool(&self, n: usize) -> Option<bool> {
        self.datum(n).map(|d| d.value() & 0xFF != 0)
    }

    /// An object's oid.
    pub fn oid(&self, n: usize) -> Option<Oid> {
        self.datum(n).map(|d| Oid::from(d.value() as u32))
    }

    /// The function that is called.
    pub fn function(&self) -> Oid {
        // SAFETY: flinfo is set by whoever calls through the function manager.
        unsafe { (*(*self.fcinfo).flinfo).fn_oid }
    }

    /// A text; borrowed from memory that lives as long as the call.
    ///
    /// # Errors
    /// 22P02 where it is not UTF-8.
    pub fn text(&self, n: usize) -> Result<Option<&str>> {
        self.datum(n).map(text).transpose()
    }

    /// A C string, as input functions get it.
    ///
    /// # Errors
    /// 22P02 where it is not UTF-8.
    pub fn cstring(&self, n: usize) -> Result<Option<&str>> {
        let Some(datum) = self.datum(n) else {
            return Ok(None);
        };
        // SAFETY: the SQL declaration says cstring: a NUL-terminated text that outlives the call.
        let bytes = unsafe { CStr::from_ptr(datum.cast_mut_ptr()) };
        utf8(bytes.to_bytes()).map(Some)
    }

    /// A jsonb document.
    pub fn jsonb(&self, n: usize) -> Option<Jsonb<'_>> {
        self.datum(n).map(Jsonb::from_datum)
    }

    /// A query.
    ///
    /// # Errors
    /// XX001 where the stored value is damaged.
    pub fn query(&self, n: usize) -> Result<Option<Query>> {
        self.datum(n)
            .map(|d| crate::dcb::codec::decode(varlena(d)))
            .transpose()
    }

    /// The type that this call is to return, InvalidOid where it cannot be told.
    pub fn result_type(&self) -> Oid {
        // SAFETY: flinfo is set by whoever calls through the function manager.
        unsafe { pg_sys::get_fn_expr_rettype((*self.fcinfo).flinfo) }
    }
}

/// How many bytes a varlena value has in memory, which is not made for it.
pub fn bytes_of(datum: Datum) -> usize {
    // SAFETY: the datum points to a varlena, of which the header is read, or that of a TOAST pointer. Most are plain; of
    // these it is read here, since a call of PostgreSQL costs more than that, and each row that is read has some.
    unsafe {
        let header = datum.cast_mut_ptr::<pg_sys::varlena>();
        if pgrx::varatt_is_1b_e(header) || pgrx::varatt_is_4b_c(header) {
            pg_sys::toast_raw_datum_size(datum)
        } else {
            pgrx::varsize_any(header)
        }
    }
}

/// The bytes of a varlena value, detoasted where need be, without its header. They live in the current
/// memory context, or where the datum lives.
pub fn varlena<'a>(datum: Datum) -> &'a [u8] {
    // SAFETY: callers hold a datum of a varlena type (the SQL declarations say so); the result of
    // pg_detoast_datum_packed lives in the current context at least as long as the call. The lifetime
    // is unbound because PostgreSQL's memory is: callers do not keep it beyond the call or the pin.
    unsafe {
        let packed = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
        let first = *packed.cast::<u8>();
        if first & 1 == 1 {
            let len = usize::from(first >> 1) - 1;
            std::slice::from_raw_parts(packed.cast::<u8>().add(1), len)
        } else {
            // A header that is damaged may say less than its own length.
            let len = ((packed.cast::<u32>().read_unaligned() >> 2) as usize).saturating_sub(4);
            std::slice::from_raw_parts(packed.cast::<u8>().add(4), len)
        }
    }
}

/// A text datum.
///
/// # Errors
/// 22P02 where it is not UTF-8.
pub fn text<'a>(datum: Datum) -> Result<&'a str> {
    utf8(varlena(datum))
}

/// Bytes of the database's encoding as UTF-8, which CREATE EXTENSION demands of the database.
///
/// # Errors
/// 22P02 where they are not.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes)
        .map_err(|_| Error::new(SqlState::InvalidText, "text is not valid UTF-8"))
}

/// A varlena value with these bytes, in the current memory context.
pub fn make_varlena(bytes: &[u8]) -> Datum {
    // SAFETY: palloc gives len + 4 writable bytes (or raises), aligned for the header.
    unsafe {
        let len = bytes.len() + 4;
        let out: *mut u8 = pg_sys::palloc(len).cast();
        out.cast::<u32>().write((len as u32) << 2);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.add(4), bytes.len());
        Datum::from(out)
    }
}

/// A C string in the current memory context.
pub fn make_cstring(s: &str) -> Datum {
    // SAFETY: pstrdup copies the NUL-terminated text into the current memory context.
    unsafe { Datum::from(pg_sys::pstrdup(guard::text(s).as_ptr())) }
}

/// A uuid in the current memory context.
pub fn make_uuid(id: &[u8; 16]) -> Datum {
    // SAFETY: palloc gives 16 writable bytes.
    unsafe {
        let out: *mut u8 = pg_sys::palloc(16).cast();
        std::ptr::copy_nonoverlapping(id.as_ptr(), out, 16);
        Datum::from(out)
    }
}

/// The bytes of a uuid datum.
pub fn uuid(datum: Datum) -> [u8; 16] {
    // SAFETY: a uuid datum points at 16 bytes.
    unsafe { *datum.cast_mut_ptr::<[u8; 16]>() }
}

/// The rest of the message that a receive function gets, as text.
///
/// # Errors
/// 22P02 where it is not UTF-8.
pub fn message_text(args: &Args) -> Result<&str> {
    let Some(datum) = args.datum(0) else {
        return Ok("");
    };
    // SAFETY: a receive function gets a StringInfo; the converted text lives in the current memory
    // context and is NUL-terminated.
    unsafe {
        let buffer = datum.cast_mut_ptr::<pg_sys::StringInfoData>();
        let mut bytes = 0;
        let text = pg_sys::pq_getmsgtext(buffer, (*buffer).len - (*buffer).cursor, &mut bytes);
        utf8(std::slice::from_raw_parts(text.cast(), bytes as usize))
    }
}
