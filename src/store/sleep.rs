//! Sleeping until some transaction with positions has ended.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::dcb::error::Result;

use super::shmem::Shared;
use super::snapshot::Leave;
use super::transaction;

/// Sleeps until `ready` says so, or `timeout_ms` is over (`None`: no limit); returns whether it was
/// ready. `ready` is asked again whenever some transaction with positions has ended. Interrupts
/// (cancel, statement_timeout) are served.
///
/// # Errors
/// Those of `ready`.
pub fn wait_until(
    timeout_ms: Option<u64>,
    leave: Leave,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<bool> {
    if ready()? {
        return Ok(true);
    }
    let shared = Shared::get()?;
    let deadline = timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
    let variable = (&raw const shared.moved).cast_mut();
    let _sleeper = transaction::Sleeper::new(shared);
    loop {
        // SAFETY: the variable lives in shared memory; an error inside cancels the sleep when the
        // transaction aborts. Preparing before asking means that no wake-up is lost.
        unsafe { pg_sys::ConditionVariablePrepareToSleep(variable) };
        let is_ready = ready()?;
        let left_ms = match deadline {
            _ if is_ready => 0,
            None => 60_000,
            Some(d) => d
                .saturating_duration_since(Instant::now())
                .as_micros()
                // Up: less than a millisecond that is left is still to be slept.
                .div_ceil(1000)
                .min(60_000) as i64,
        };
        if is_ready || left_ms == 0 {
            // SAFETY: ends the preparation above.
            unsafe { pg_sys::ConditionVariableCancelSleep() };
            return Ok(is_ready);
        }
        // SAFETY: as above.
        unsafe {
            leave.go();
            pg_sys::ConditionVariableTimedSleep(variable, left_ms as _, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ConditionVariableCancelSleep();
        }
        leave.come_back();
    }
}
