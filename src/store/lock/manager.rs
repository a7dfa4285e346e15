//! PostgreSQL's own lock manager, in the space of advisory locks, under numbers that `pg_advisory_lock` never uses. So
//! deadlock detection, lock_timeout, cancellation and pg_locks come with these locks.

use pgrx::pg_sys::LockAcquireResult::{self, LOCKACQUIRE_NOT_AVAIL};
use pgrx::pg_sys::{self, LOCKTAG};

use crate::store::memory::shmem::backend_of;
use crate::store::memory::stat::{self, Counted};

/// What a lock is of. The number is `objsubid` in pg_locks; `pg_advisory_lock` has 1 and 2 there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(in crate::store) enum LockSpace {
    /// The name of a definition.
    DefinitionName = 48,
    /// A projection.
    Projection = 49,
    /// A rebuild.
    Rebuild = 50,
    /// The swap of a rebuild.
    Swap = 51,
    /// The snapshots of one fold and query: held by who writes them.
    Snapshot = 52,
    /// The snapshots of a partition, or of a fold: held shared by who may write them, exclusively by who forgets them.
    SnapshotGate = 53,
    /// The background worker of the database: held by who starts or stops it.
    Worker = 54,
    /// A subscription.
    Subscription = 55,
    /// A shard of a subscription.
    Shard = 56,
    /// A key of a partition.
    Key = 57,
    /// The root of a partition, which stands above its keys.
    Root = 58,
    /// The durable ceiling of a log's positions.
    Ceiling = 59,
}

/// The tag of a lock: its space and 64 bits that say which one.
pub(in crate::store) fn tag(space: LockSpace, high: u32, low: u32) -> LOCKTAG {
    LOCKTAG {
        // SAFETY: set at the start of the backend.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: high,
        locktag_field3: low,
        locktag_field4: space as u16,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Takes a lock until the end of the transaction, or not, without `wait`, where others are in the way.
pub(in crate::store) fn acquire(tag: &LOCKTAG, mode: u32, wait: bool) -> LockAcquireResult::Type {
    // SAFETY: a valid tag; the lock belongs to the transaction, whose end releases it.
    unsafe { pg_sys::LockAcquire(tag, mode as pg_sys::LOCKMODE, false, !wait) }
}

/// As [`acquire`], and counts where it had to wait.
pub(in crate::store) fn acquire_counted(
    tag: &LOCKTAG,
    mode: u32,
    wait: bool,
) -> LockAcquireResult::Type {
    match acquire(tag, mode, false) {
        LOCKACQUIRE_NOT_AVAIL if wait => {
            stat::count(Counted::LockWaits, 1);
            acquire(tag, mode, true)
        }
        outcome => outcome,
    }
}

/// Gives a lock back that this subtransaction has taken. Where it is not held, PostgreSQL warns and does nothing.
pub(in crate::store) fn release(tag: &LOCKTAG, mode: u32) {
    // SAFETY: a valid tag; the lock is the transaction's own.
    unsafe { pg_sys::LockRelease(tag, mode as pg_sys::LOCKMODE, false) };
}

/// Whether this transaction holds a lock in this very mode.
pub(in crate::store) fn is_held(tag: &LOCKTAG, mode: u32) -> bool {
    // SAFETY: looks at this backend's own locks.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    unsafe {
        pg_sys::LockHeldByMe(tag, mode as pg_sys::LOCKMODE)
    }
    // SAFETY: as above.
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    unsafe {
        pg_sys::LockHeldByMe(tag, mode as pg_sys::LOCKMODE, false)
    }
}

/// Runs while no other backend holds the lock, which is given back then and not at the end of the transaction. `None`
/// where another one holds it and this one is not to wait.
pub(in crate::store) fn alone<T>(tag: &LOCKTAG, wait: bool, body: impl FnOnce() -> T) -> Option<T> {
    // An error in between leaves the lock to the transaction's abort.
    if acquire(tag, pg_sys::ExclusiveLock, wait) == LOCKACQUIRE_NOT_AVAIL {
        return None;
    }
    let result = body();
    release(tag, pg_sys::ExclusiveLock);
    Some(result)
}

/// The other backends that hold a lock in a mode which this one conflicts with.
pub(in crate::store) fn conflicting(tag: &LOCKTAG, mode: u32) -> Vec<usize> {
    let mut count = 0;
    // SAFETY: the result is an array of `count` elements in the current memory context.
    unsafe {
        let list = pg_sys::GetLockConflicts(tag, mode as pg_sys::LOCKMODE, &mut count);
        let backends = std::slice::from_raw_parts(list, count as usize)
            .iter()
            .map(backend_of)
            .collect();
        pg_sys::pfree(list.cast());
        backends
    }
}

/// Work for which one transaction after another queues.
///
/// A row's lock alone is no queue: who waits for it must wake up first and take it, and meanwhile who goes from one
/// batch to the next has taken it again. Here the one who waits has the lock at the moment it is released.
#[derive(Clone, Copy)]
pub enum Queue {
    /// Work on a projection, before its row is locked.
    Projection,
    /// A batch of a rebuild, or its end, before its row is locked.
    Rebuild,
    /// The swap of a rebuild, which locks no row until its end.
    Swap,
    /// The making of a definition of one name.
    Name,
}

/// Waits in a queue until it is this transaction's turn, which lasts until it ends. Returns whether it is, which without
/// `wait` others may prevent.
pub fn queue_for(queue: Queue, number: i64, wait: bool) -> bool {
    let space = match queue {
        Queue::Projection => LockSpace::Projection,
        Queue::Rebuild => LockSpace::Rebuild,
        Queue::Swap => LockSpace::Swap,
        Queue::Name => LockSpace::DefinitionName,
    };
    let tag = tag(space, (number >> 32) as u32, number as u32);
    acquire(&tag, pg_sys::ExclusiveLock, wait) != LOCKACQUIRE_NOT_AVAIL
}

/// Runs while no other backend raises the ceiling of this log, not until the end of the transaction; where another one
/// does, waits for it, or leaves it at that.
pub fn while_ceiling_is_locked(log: pg_sys::Oid, wait: bool, body: impl FnOnce()) {
    alone(&tag(LockSpace::Ceiling, log.to_u32(), 0), wait, body);
}

/// Runs while no other session of the database starts or stops its worker.
pub fn while_worker_is_changed<T>(body: impl FnOnce() -> T) -> Option<T> {
    alone(&tag(LockSpace::Worker, 0, 0), true, body)
}

/// Whether somebody holds a database for himself, as DROP DATABASE does.
pub fn is_database_wanted(database: pg_sys::Oid) -> bool {
    let tag = LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
        locktag_field3: database.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // What connecting to it would wait for.
    !conflicting(&tag, pg_sys::RowExclusiveLock).is_empty()
}
