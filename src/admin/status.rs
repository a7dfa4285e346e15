//! What the running server knows of the log: for DBAs and their monitoring.

use crate::dcb::error::Result;
use crate::store::log::catalog;
use crate::store::log::position::Counter;
use crate::store::memory::key_locks;
use crate::store::memory::key_mode::Mode;
use crate::store::memory::shmem::{self, Shared};
use crate::store::memory::stat::Counts;
use crate::store::pg::nowait::nowait;

/// The state of the log that is kept in shared memory.
pub struct Positions {
    /// The next position to be allotted.
    pub next: i64,
    /// The last position below all transactions in flight.
    pub head: i64,
    /// The durable ceiling; `None` while somebody keeps its sequence locked.
    pub ceiling: Option<i64>,
}

/// The counter, for who must not wait: when it is used first, it looks at the partitions.
fn counter() -> Result<Counter> {
    nowait(|| Counter::of(catalog::store()?))
}

/// The positions of the log.
///
/// # Errors
/// 55000 where the tables are missing, 0A000 on a standby, 53200 without shared memory; 55P03 where they are not known
/// yet, and somebody keeps a partition locked.
pub fn positions() -> Result<Positions> {
    let store = catalog::store()?;
    let counter = counter()?;
    let next = counter.next(); // before the slots
    let bounds = counter.all_in_flight().into_iter();
    let settled = bounds.map(|(_, from, _)| from).fold(next, i64::min);
    Ok(Positions {
        next,
        head: settled - 1,
        // It is locked by who lets positions begin at 1 again.
        ceiling: store.ceiling_now().ok(),
    })
}

/// How the shared memory is come by, and for how many processes it has room.
pub fn shared_memory() -> (&'static str, usize) {
    (Shared::origin(), shmem::slot_count() - 1)
}

/// A transaction that has been allotted positions and has not ended.
pub struct Flight {
    /// Its process, where that is still there.
    pub pid: Option<i32>,
    /// None of its positions is smaller.
    pub from: i64,
    /// The table of its partition, where it is one.
    pub partition: Option<u32>,
}

/// The transactions in flight.
///
/// # Errors
/// As [`positions`].
pub fn in_flight() -> Result<Vec<Flight>> {
    let flights = counter()?.all_in_flight();
    let flight = |(backend, from, partition)| Flight {
        pid: shmem::pid_of(backend),
        from,
        partition: (partition != 0).then_some(partition),
    };
    Ok(flights.into_iter().map(flight).collect())
}

/// A key that a transaction holds or waits for.
pub struct KeyLock {
    /// The partition.
    pub partition: u32,
    /// The key.
    pub key: i64,
    /// As what it is held; none where it is waited for.
    pub mode: Option<Mode>,
    /// The process, where it is still there.
    pub pid: Option<i32>,
}

/// The keys that transactions of this database hold, and those who wait for one as the first.
///
/// # Errors
/// 53200 without shared memory.
pub fn key_locks() -> Result<Vec<KeyLock>> {
    let shown = key_locks::shown(Shared::get()?);
    let lock = |shown: key_locks::Shown| KeyLock {
        partition: shown.partition,
        key: shown.key,
        mode: shown.mode,
        pid: shmem::pid_of(shown.backend as usize),
    };
    Ok(shown.into_iter().map(lock).collect())
}

/// How many key locks the server has now, for how many it has room, and how often that was too little.
///
/// # Errors
/// 53200 without shared memory.
pub fn key_lock_use() -> Result<(u32, usize, u64)> {
    let (used, times_full) = Shared::get()?.key_lock_use();
    Ok((used, shmem::key_lock_count(), times_full))
}

/// What was counted for the log, and since when, in PostgreSQL's microseconds.
///
/// # Errors
/// As [`positions`].
pub fn counts() -> Result<(Counts, i64)> {
    Ok(counter()?.counts())
}

/// Counts anew from now on.
///
/// # Errors
/// As [`positions`].
pub fn reset_counts() -> Result<()> {
    Counter::of(catalog::store()?)?.reset_counts();
    Ok(())
}
