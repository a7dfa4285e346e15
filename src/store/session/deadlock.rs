//! Deadlocks that PostgreSQL's own search does not see: a session sleeps until the transaction of another backend has
//! ended, and that one waits, itself or through others, for a lock of this session, or sleeps because of it.

use std::collections::HashSet;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use pgrx::pg_sys::{self, Datum};
use pgrx::{FromDatum, IntoDatum};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::memory::shmem::{Shared, pid_of};

/// How long a sleeper waits before it looks for a deadlock, and between looks: PostgreSQL's `deadlock_timeout`.
pub(in crate::store) fn timeout() -> Duration {
    // SAFETY: a setting of the session.
    let ms = unsafe { pg_sys::DeadlockTimeout };
    Duration::from_millis(ms.max(1) as u64)
}

/// Lets others know whose end this backend sleeps for. Forgotten when the sleep ends (`transaction::wake_up`).
pub(in crate::store) fn note(shared: &Shared, blocker: usize) {
    shared.my_slot().awaits.store(blocker as u32 + 1, SeqCst);
}

/// Forgets it. Never fails.
pub(in crate::store) fn forget(shared: &Shared) {
    shared.my_slot().awaits.store(0, SeqCst);
}

/// Refuses to sleep on where the backend that is slept for can only go on when this transaction ends.
///
/// Such a backend stays where it is as long as this one sleeps, so what is found step by step is true of one moment.
///
/// # Errors
/// 40P01.
pub(in crate::store) fn refuse(shared: &Shared, blocker: usize) -> Result<()> {
    let Some(first) = pid_of(blocker) else {
        return Ok(());
    };
    // SAFETY: set at the start of the backend.
    let own = unsafe { pg_sys::MyProcPid };
    let sleepers = sleepers(shared);
    let mut seen = HashSet::from([first]);
    let mut next = vec![first];
    while let Some(pid) = next.pop() {
        let slept_for = sleepers.iter().filter(|(p, _)| *p == pid).map(|(_, k)| *k);
        for other in slept_for.chain(blockers_of(pid)) {
            if other == own {
                return Err(found(first));
            }
            // 0 stands for a prepared transaction, which waits for nobody.
            if other != 0 && seen.insert(other) {
                next.push(other);
            }
        }
    }
    Ok(())
}

/// Who sleeps for whom, by their processes.
fn sleepers(shared: &Shared) -> Vec<(i32, i32)> {
    let slots = shared.slots().iter().enumerate();
    let pair = |(backend, awaits): (usize, u32)| {
        let blocker = usize::try_from(awaits).ok()?.checked_sub(1)?;
        Some((pid_of(backend)?, pid_of(blocker)?))
    };
    slots
        .map(|(backend, slot)| (backend, slot.awaits.load(SeqCst)))
        .filter_map(pair)
        .collect()
}

/// The processes that keep one from its lock, as `pg_blocking_pids` tells them.
fn blockers_of(pid: i32) -> Vec<i32> {
    // SAFETY: the function takes an integer and returns an array of integers, never NULL.
    unsafe {
        let args = [pid.into_datum()];
        let array: Option<Datum> =
            pgrx::direct_function_call_as_datum(pg_sys::pg_blocking_pids, &args);
        array.and_then(|a| Vec::<i32>::from_datum(a, false))
    }
    .unwrap_or_default()
}

fn found(pid: i32) -> Error {
    let detail = format!(
        "This session waits for the transaction of process {pid}, which waits for a lock of this session, or for its \
         transaction to end."
    );
    Error::new(SqlState::DeadlockDetected, "deadlock detected")
        .detail(detail)
        .hint("Run the transaction again. In a transaction, read before you append.")
}
