//! Counters: how much was appended and read, by log.
//!
//! Each backend counts in a cell of its own, on cache lines of its own, with plain loads and stores: a
//! nanosecond, whoever else counts. A cell counts for one log, the one that its backend has used last;
//! before it goes over to another log its counts are added to the total of the first. What is shown is
//! the total and the cells of the log together.
//!
//! What was done is counted when it is done: a transaction that is rolled back takes nothing off.

use std::cell::Cell as StdCell;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU32};

use pgrx::pg_sys;

use crate::store::pg::clock;

use super::shmem::{Log, Shared, exclusively, my_backend};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub enum Counted {
    /// Appends that stored their events.
    Appends,
    /// Appends that were answered as repeated.
    Repeated,
    /// Appends whose condition failed.
    Conflicts,
    /// Events that were written, imported ones included.
    Events,
    /// Bytes of their rows, before compression.
    Bytes,
    /// Locks of keys and roots that had to wait.
    LockWaits,
    /// Calls of reading functions.
    Reads,
    /// Events that they returned or counted.
    EventsRead,
}

/// How many things are counted.
pub const COUNTED: usize = Counted::EventsRead as usize + 1;

/// Counts of one log.
pub type Counts = [i64; COUNTED];

/// One backend's counts.
#[repr(C, align(128))]
pub struct Cell {
    /// The index of the log that it counts for, plus one; 0: none yet. Changed by its backend alone.
    owner: AtomicU32,
    counters: [AtomicI64; COUNTED],
}

/// Counts of a log that are in no cell any more. Negative after a reset, by what the cells hold.
pub type Total = [AtomicI64; COUNTED];

thread_local! {
    static MINE: StdCell<Option<&'static Cell>> = const { StdCell::new(None) };
}

/// Adds to one of this backend's counters. Never fails.
pub fn count(what: Counted, n: i64) {
    if let Some(cell) = MINE.get() {
        // Nobody else writes it.
        let counter = &cell.counters[what as usize];
        counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
    }
}

/// How many pages of tables and indexes this backend has touched so far, in memory or not.
pub fn pages_touched() -> u64 {
    // SAFETY: a copy of counters that this backend alone changes.
    let usage = unsafe { pg_sys::pgBufferUsage };
    let touched = [
        usage.shared_blks_hit,
        usage.shared_blks_read,
        usage.local_blks_hit,
        usage.local_blks_read,
    ];
    touched.iter().sum::<i64>() as u64
}

/// Lets this backend count for a log from now on.
pub fn count_for(shared: &'static Shared, log: &Log) {
    let owner = shared.index_of(log) as u32 + 1;
    let cell = &shared.cells()[my_backend()];
    let before = cell.owner.load(Relaxed);
    if before != owner {
        exclusively(|| {
            for (i, counter) in cell.counters.iter().enumerate() {
                let counted = counter.load(Relaxed);
                if let Some(index) = before.checked_sub(1) {
                    shared.totals[index as usize][i].fetch_add(counted, Relaxed);
                }
                counter.store(0, Relaxed);
            }
            cell.owner.store(owner, Relaxed);
        });
    }
    MINE.set(Some(cell));
}

/// What was counted for a log, and since when, in PostgreSQL's microseconds.
pub fn counts(shared: &Shared, log: &Log) -> (Counts, i64) {
    exclusively(|| (sum(shared, log), log.counted_since_us.load(Relaxed)))
}

/// Begins anew.
pub fn reset(shared: &Shared, log: &Log) {
    exclusively(|| begin(shared, log));
}

/// Begins anew for a caller who holds the lock already, as the one does who enters a log.
pub fn begin(shared: &Shared, log: &Log) {
    // The cells are their backends' to write: what they hold is taken off the total.
    let total = &shared.totals[shared.index_of(log)];
    for (total, counted) in total.iter().zip(sum(shared, log)) {
        total.fetch_sub(counted, Relaxed);
    }
    log.counted_since_us.store(clock::now_us(), Relaxed);
}

fn sum(shared: &Shared, log: &Log) -> Counts {
    let index = shared.index_of(log);
    let mut counts = [0; COUNTED];
    for (count, total) in counts.iter_mut().zip(&shared.totals[index]) {
        *count = total.load(Relaxed);
    }
    let owner = index as u32 + 1;
    for cell in shared.cells() {
        if cell.owner.load(Relaxed) == owner {
            for (count, counter) in counts.iter_mut().zip(&cell.counters) {
                *count = count.wrapping_add(counter.load(Relaxed));
            }
        }
    }
    counts
}
