//! What shared memory holds of each log and of each backend.

use super::atomic::{AtomicI64, AtomicU32, AtomicU64};

/// What the backends know together about one log.
#[derive(Default)]
#[repr(C, align(64))]
pub struct Log {
    /// The database; 0 while the entry is free.
    pub database: AtomicU32,
    /// The oid of `en57.events`, so that a dropped and newly made extension has an entry of its own.
    pub relation: AtomicU32,
    /// The next position to be allotted.
    pub next: AtomicI64,
    /// No position beyond it may be allotted: it is durable.
    pub ceiling: AtomicI64,
    /// The last ceiling that is known to be stored.
    pub ceiling_stored: AtomicI64,
    /// By how much the ceiling was raised last.
    pub ceiling_step: AtomicI64,
    /// When that was, in PostgreSQL's microseconds.
    pub ceiling_raised_us: AtomicI64,
    /// How often positions have begun at 1 again.
    pub restarts: AtomicU64,
    /// Since when `stat` counts, in PostgreSQL's microseconds.
    pub counted_since_us: AtomicI64,
}

/// What one backend's running transaction may still make visible.
#[derive(Default)]
#[repr(C, align(64))]
pub struct Slot {
    /// The index of the log, plus one.
    pub log: AtomicU32,
    /// The oid of the partition that it has appended to first.
    pub partition: AtomicU32,
    /// No position of the transaction is below it; 0 while it has none.
    pub bound: AtomicI64,
    /// Grows before anything is taken out of the list of late keys: at the end of a transaction, when its bound is
    /// cleared, and where a late key gives way to another one.
    pub generation: AtomicU64,
    /// Where its list of late keys begins, plus one; 0 where it has none.
    pub late_keys: AtomicU32,
    /// 1 where it has appended to several partitions.
    pub is_several: AtomicU32,
    /// While the backend sleeps until the transaction of another one has ended: that one's number, plus one; else 0.
    pub awaits: AtomicU32,
}
