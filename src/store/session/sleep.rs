//! Sleeping until some transaction with positions has ended.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::dcb::error::Result;
use crate::store::memory::shmem::Shared;
use crate::store::pg::xmin::XminRelease;

use super::{deadlock, transaction};

/// What is slept at once, at most.
const LONGEST: Duration = Duration::from_secs(60);

/// Sleeps until `ready` says so, or `timeout_ms` is over (`None`: no limit); returns whether it was
/// ready. `ready` is asked again whenever some transaction with positions has ended. Interrupts
/// (cancel, statement_timeout) are served.
///
/// # Errors
/// Those of `ready`.
pub fn wait_until(
    timeout_ms: Option<u64>,
    leave: XminRelease,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<bool> {
    until(timeout_ms, leave, || {
        Ok(if ready()? { Look::Ready } else { Look::NotYet })
    })
}

/// What whoever sleeps finds when he looks.
pub enum Look {
    /// He need not sleep any more.
    Ready,
    /// Not yet; it is nobody's transaction in particular that must end.
    NotYet,
    /// At least the transaction of this backend must end first.
    Behind(usize),
}

/// As [`wait_until`]; where a transaction must end that waits for this one, it does not sleep on.
///
/// # Errors
/// Those of `look`; 40P01.
pub fn until(
    timeout_ms: Option<u64>,
    leave: XminRelease,
    mut look: impl FnMut() -> Result<Look>,
) -> Result<bool> {
    if matches!(look()?, Look::Ready) {
        return Ok(true);
    }
    let shared = Shared::get()?;
    let deadline = timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
    let mut search_at = Instant::now() + deadlock::timeout();
    let variable = (&raw const shared.moved).cast_mut();
    let _sleeper = transaction::Sleeper::new(shared);
    loop {
        // SAFETY: the variable lives in shared memory; an error inside cancels the sleep when the
        // transaction aborts. Preparing before asking means that no wake-up is lost.
        unsafe { pg_sys::ConditionVariablePrepareToSleep(variable) };
        let found = look()?;
        let is_ready = matches!(found, Look::Ready);
        let left = match deadline {
            _ if is_ready => Duration::ZERO,
            None => LONGEST,
            Some(d) => d.saturating_duration_since(Instant::now()).min(LONGEST),
        };
        if left.is_zero() {
            // SAFETY: ends the preparation above.
            unsafe { pg_sys::ConditionVariableCancelSleep() };
            return Ok(is_ready);
        }
        let left = match found {
            Look::Behind(blocker) => {
                deadlock::note(shared, blocker);
                if Instant::now() >= search_at {
                    deadlock::refuse(shared, blocker)?;
                    search_at = Instant::now() + deadlock::timeout();
                }
                left.min(search_at.saturating_duration_since(Instant::now()))
            }
            _ => left,
        };
        // Up: less than a millisecond that is left is still to be slept.
        let left_ms = left.as_micros().div_ceil(1000);
        // SAFETY: as above.
        unsafe {
            leave.go();
            pg_sys::ConditionVariableTimedSleep(variable, left_ms as _, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ConditionVariableCancelSleep();
        }
        leave.come_back();
    }
}
