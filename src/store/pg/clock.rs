//! Times: PostgreSQL's clock, and its reading of texts.

use pgrx::pg_sys::{self, Datum};

use crate::dcb::error::{Result, SqlState, invalid};

use super::guard;

/// Now, in PostgreSQL's microseconds.
pub fn now_us() -> i64 {
    // SAFETY: reads a clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// A text as a `timestamptz`, in PostgreSQL's microseconds, as the session's settings have it.
///
/// # Errors
/// 22023 with `prefix` before PostgreSQL's message.
pub fn parse_us(text: &str, prefix: &str) -> Result<i64> {
    let text = guard::text(text);
    let datum = guard::retold(SqlState::InvalidParameter, prefix, || {
        let none = Some(Datum::from(0));
        let args = [
            Some(Datum::from(text.as_ptr())),
            none,
            Some(Datum::from(-1i32)),
        ];
        // SAFETY: timestamptz_in takes a cstring, a type's oid that it ignores, and a type modifier.
        unsafe { pgrx::direct_function_call_as_datum(pg_sys::timestamptz_in, &args) }
    })?;
    datum
        .map(|d| d.value() as i64)
        .ok_or_else(|| invalid(format!("{prefix}not a time")))
}

/// An `interval` in milliseconds, rounded up, months counted as 30 days.
///
/// # Errors
/// 22023 where it is negative.
pub fn interval_ms(datum: Datum) -> Result<u64> {
    // SAFETY: the SQL declaration says interval, which is passed by reference.
    let span = unsafe { &*datum.cast_mut_ptr::<pg_sys::Interval>() };
    let days = i128::from(span.day) + i128::from(span.month) * 30;
    let us = days * 86_400_000_000 + i128::from(span.time);
    if us < 0 {
        return Err(invalid("the timeout must not be negative"));
    }
    Ok(u64::try_from((us + 999) / 1000)
        .unwrap_or(u64::MAX)
        .min(i64::MAX as u64))
}
