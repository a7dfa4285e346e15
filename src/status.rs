//! What the running server knows of the log: for DBAs and their monitoring.

use crate::dcb::error::Result;
use crate::store::catalog;
use crate::store::position::Counter;
use crate::store::shmem::{self, Shared};
use crate::store::stat::Counts;

/// The state of the log that is kept in shared memory.
pub struct Positions {
    /// The next position to be allotted.
    pub next: i64,
    /// The last position below all transactions in flight.
    pub head: i64,
    /// The durable ceiling.
    pub ceiling: i64,
}

/// The positions of the log.
///
/// # Errors
/// 55000 where the tables are missing, 0A000 on a standby, 53200 without shared memory.
pub fn positions() -> Result<Positions> {
    let store = catalog::store()?;
    let counter = Counter::of(store)?;
    let next = counter.next(); // before the slots
    let bounds = counter.all_in_flight().into_iter();
    let settled = bounds.map(|(_, from, _)| from).fold(next, i64::min);
    Ok(Positions {
        next,
        head: settled - 1,
        ceiling: store.read_ceiling(),
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
    let flights = Counter::of(catalog::store()?)?.all_in_flight();
    let flight = |(backend, from, partition)| Flight {
        pid: shmem::pid_of(backend),
        from,
        partition: (partition != 0).then_some(partition),
    };
    Ok(flights.into_iter().map(flight).collect())
}

/// What was counted for the log, and since when, in PostgreSQL's microseconds.
///
/// # Errors
/// As [`positions`].
pub fn counts() -> Result<(Counts, i64)> {
    Ok(Counter::of(catalog::store()?)?.counts())
}

/// Counts anew from now on.
///
/// # Errors
/// As [`positions`].
pub fn reset_counts() -> Result<()> {
    Counter::of(catalog::store()?)?.reset_counts();
    Ok(())
}
