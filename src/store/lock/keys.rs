//! Key locks: what makes the append condition exact without a lock that unrelated writers share.
//!
//! PostgreSQL's own lock manager, in the space of advisory locks with an objsubid (48 to 51 for turns, 54 for the worker, 57 for keys, 58 for
//! a partition's root, 59 for the log's ceiling) that `pg_advisory_lock` never uses, so that deadlock detection, lock_timeout, cancellation and pg_locks
//! come with it. Locks last until the transaction ends. Root first, then keys in ascending order, then an event's id, then
//! documents in ascending order.

use pgrx::pg_sys::LockAcquireResult::{self, LOCKACQUIRE_NOT_AVAIL, LOCKACQUIRE_OK};
use pgrx::pg_sys::{self, LOCKTAG, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::memory::late_key::{self, Name};
use crate::store::memory::shmem::backend_of;
use crate::store::memory::slot;
use crate::store::memory::stat::{self, Counted};
use crate::store::session::transaction;

#[cfg(feature = "in-process-tests")]
pub mod tests;

const WORKER: u16 = 54;
const KEY: u16 = 57;
const ROOT: u16 = 58;
const CEILING: u16 = 59;

/// Whether a lock is held in a mode, or in a stronger one.
pub(in crate::store) fn is_covered(tag: &LOCKTAG, mode: u32) -> bool {
    MODES.iter().any(|m| covers(*m, mode) && is_held(tag, *m))
}

/// Whether who holds a lock in one mode keeps all out whom another mode would.
fn covers(held: u32, mode: u32) -> bool {
    match held {
        pg_sys::ExclusiveLock => true,
        pg_sys::ShareRowExclusiveLock => mode != pg_sys::ExclusiveLock,
        pg_sys::ShareLock | pg_sys::RowExclusiveLock => {
            mode == held || mode == pg_sys::RowShareLock
        }
        _ => mode == held,
    }
}

pub(in crate::store) fn key_tag(partition: Oid, key: i64) -> LOCKTAG {
    // Keys of different partitions must not meet: the partition is mixed into the 64 bits.
    let mixed = (key as u64) ^ u64::from(partition.to_u32()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    tag((mixed >> 32) as u32, mixed as u32, KEY)
}

pub(in crate::store) fn root_tag(partition: Oid) -> LOCKTAG {
    tag(partition.to_u32(), 0, ROOT)
}

fn tag(field2: u32, field3: u32, objsubid: u16) -> LOCKTAG {
    LOCKTAG {
        // SAFETY: set at the start of the backend.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: field2,
        locktag_field3: field3,
        locktag_field4: objsubid,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Takes the lock that stands for writing under any key, unconditionally.
///
/// # Errors
/// 53200 where readers cannot be told of it.
pub fn write_anything(partition: Oid) -> Result<()> {
    let tag = root_tag(partition);
    if is_covered(&tag, pg_sys::ShareLock) {
        return Ok(());
    }
    note_arrival(partition)?;
    take_to_write(partition, tag, pg_sys::ShareLock, &ROOT_WRITES, true).map(drop)
}

/// Notes that the transaction, which may have positions already, comes to a partition.
pub(in crate::store) fn note_arrival(partition: Oid) -> Result<()> {
    match slot::holder() {
        Some(shared) if !holds_root(partition) => {
            late_key::add(shared, partition, Name::of_partition(partition))
        }
        _ => Ok(()),
    }
}

/// Takes one lock. Where the transaction has positions already and comes to write under the key only now, readers of the
/// key are told since when, so that they do not go back to its first position. Returns whether it is held now, which
/// without `wait` others may prevent.
pub(in crate::store) fn take_to_write(
    partition: Oid,
    tag: LOCKTAG,
    mode: u32,
    writes: &[u32],
    wait: bool,
) -> Result<bool> {
    let is_new = || writes.contains(&mode) && !writes.iter().any(|m| is_held(&tag, *m));
    let late = slot::holder().filter(|_| is_new());
    let name = Name::of_lock(&tag);
    if let Some(shared) = late {
        late_key::add(shared, partition, name)?;
    }
    match lock(tag, mode, wait) {
        LOCKACQUIRE_NOT_AVAIL => {
            if let Some(shared) = late {
                late_key::give_up(shared, name);
            }
            return Ok(false);
        }
        LOCKACQUIRE_OK => transaction::count_key_lock(),
        _ => {}
    }
    Ok(true)
}

/// The modes in which a key is held by those who write under it, and a partition's root by those who
/// write under any key.
pub(in crate::store) const KEY_WRITES: [u32; 2] =
    [pg_sys::RowExclusiveLock, pg_sys::ShareRowExclusiveLock];
pub(in crate::store) const ROOT_WRITES: [u32; 3] = [
    pg_sys::ShareLock,
    pg_sys::ShareRowExclusiveLock,
    pg_sys::ExclusiveLock,
];

/// All modes in which a root, or a key, is held.
const MODES: [u32; 5] = [
    pg_sys::RowShareLock,
    pg_sys::RowExclusiveLock,
    pg_sys::ShareLock,
    pg_sys::ShareRowExclusiveLock,
    pg_sys::ExclusiveLock,
];

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

pub(in crate::store) fn holds_root(partition: Oid) -> bool {
    let root = root_tag(partition);
    MODES.iter().any(|m| is_held(&root, *m))
}

/// Whether the transaction has a key locked as checked: nothing more is needed for a condition on it.
pub fn is_checked(partition: Oid, key: i64) -> bool {
    transaction::key_locks() > 0 && is_covered(&key_tag(partition, key), pg_sys::ShareLock)
}

/// Takes one lock until the end of the transaction, or not, without `wait`, where others are in the way.
pub(in crate::store) fn lock(tag: LOCKTAG, mode: u32, wait: bool) -> LockAcquireResult::Type {
    // SAFETY: a valid tag; the lock belongs to the transaction, whose end releases it.
    let take =
        |wait: bool| unsafe { pg_sys::LockAcquire(&tag, mode as pg_sys::LOCKMODE, false, !wait) };
    match take(false) {
        LOCKACQUIRE_NOT_AVAIL if wait => {
            stat::count(Counted::LockWaits, 1);
            take(true)
        }
        outcome => outcome,
    }
}

/// Runs while no other backend does the same for this log, not until the end of the transaction; where
/// another one does, waits for its turn, or leaves it at that.
pub fn while_locked(log: Oid, wait: bool, body: impl FnOnce()) {
    alone(&tag(log.to_u32(), 0, CEILING), wait, body);
}

/// Work that one transaction after another takes its turn at.
///
/// A row's lock alone is no queue: who waits for it must wake up first and take it, and meanwhile who goes from one
/// batch to the next has taken it again. Here the one who waits has the lock at the moment it is released.
#[derive(Clone, Copy)]
pub enum Queue {
    /// A projection, before its row is locked.
    Projection = 49,
    /// A batch of a rebuild, or its end, before its row is locked.
    Rebuild = 50,
    /// The swap of a rebuild, which locks no row until its end.
    Swap = 51,
    /// The name of a definition that is made.
    Name = 48,
}

/// Takes the turn until the transaction ends. Returns whether it has it, which without `wait` others may prevent.
pub fn queue_for(turn: Queue, number: i64, wait: bool) -> bool {
    let tag = tag((number >> 32) as u32, number as u32, turn as u16);
    let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: a valid tag; the lock belongs to the transaction, whose end releases it.
    let outcome = unsafe { pg_sys::LockAcquire(&tag, mode, false, !wait) };
    outcome != LOCKACQUIRE_NOT_AVAIL
}

/// Runs while no other session of the database starts or stops its worker.
pub fn while_worker_is_changed<T>(body: impl FnOnce() -> T) -> Option<T> {
    alone(&tag(0, 0, WORKER), true, body)
}

fn alone<T>(tag: &LOCKTAG, wait: bool, body: impl FnOnce() -> T) -> Option<T> {
    let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: a valid tag; an error in between leaves the lock to the transaction's abort.
    unsafe {
        let outcome = pg_sys::LockAcquire(tag, mode, false, !wait);
        if outcome == LOCKACQUIRE_NOT_AVAIL {
            return None;
        }
        let result = body();
        pg_sys::LockRelease(tag, mode, false);
        Some(result)
    }
}

/// The other backends whose transactions hold this key as written.
pub fn writers_of(partition: Oid, key: i64) -> Vec<usize> {
    conflicting(key_tag(partition, key), pg_sys::ShareLock)
}

/// The other backends whose transactions write under any key, without key locks.
pub fn writers_of_anything(partition: Oid) -> Vec<usize> {
    // Conflicts of RowExclusive: Share, ShareRowExclusive, Exclusive.
    conflicting(root_tag(partition), pg_sys::RowExclusiveLock)
}

/// Whether somebody holds a database for himself, as DROP DATABASE does.
pub fn is_database_wanted(database: Oid) -> bool {
    let tag = LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
        locktag_field3: database.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // What connecting to it would wait for.
    !conflicting(tag, pg_sys::RowExclusiveLock).is_empty()
}

fn conflicting(tag: LOCKTAG, mode: u32) -> Vec<usize> {
    let mut count = 0;
    // SAFETY: the result is an array of `count` elements in the current memory context.
    unsafe {
        let list = pg_sys::GetLockConflicts(&tag, mode as pg_sys::LOCKMODE, &mut count);
        let backends = std::slice::from_raw_parts(list, count as usize)
            .iter()
            .map(backend_of)
            .collect();
        pg_sys::pfree(list.cast());
        backends
    }
}

/// The end of a wait that took too long.
pub fn waited_too_long(what: &str) -> Error {
    Error::new(SqlState::WaitTimeout, format!("waited too long for {what}"))
        .detail("A transaction in flight has appended events below that the query may match.")
        .hint("End idle transactions, or raise en57.wait_timeout.")
}
