//! Key locks: what makes the append condition exact without a lock that unrelated writers share.
//!
//! The locks last until the transaction ends. They are taken in one order: the root first, then keys in ascending order,
//! then an event's id, then documents in ascending order.

use pgrx::pg_sys::LockAcquireResult::{LOCKACQUIRE_NOT_AVAIL, LOCKACQUIRE_OK};
use pgrx::pg_sys::{self, LOCKTAG, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::memory::key_locks;
use crate::store::memory::key_mode::Mode;
use crate::store::memory::late_key::{self, Name};
use crate::store::memory::slot;
use crate::store::session::transaction;

use super::manager::{LockSpace, acquire_counted, conflicting, is_held, tag};
use super::wait;

#[cfg(feature = "in-process-tests")]
pub mod tests;

/// Whether a partition's root is held in a mode, or in a stronger one.
pub(in crate::store) fn is_root_covered(root: &LOCKTAG, mode: u32) -> bool {
    MODES.iter().any(|m| covers(*m, mode) && is_held(root, *m))
}

/// Whether who holds a root in one mode keeps all out whom another mode would.
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

/// Whether the transaction holds a key in a mode, or in a stronger one.
pub(in crate::store) fn is_covered(partition: Oid, key: i64, mode: Mode) -> bool {
    key_locks::held_as(partition, key).is_some_and(|held| held.covers(mode))
}

/// The tag of a key's lock: of the queue of those who wait for it, and its name among late keys.
pub(in crate::store) fn key_tag(partition: Oid, key: i64) -> LOCKTAG {
    // Keys of different partitions must not meet: the partition is mixed into the 64 bits.
    let mixed = (key as u64) ^ u64::from(partition.to_u32()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    tag(LockSpace::Key, (mixed >> 32) as u32, mixed as u32)
}

/// The tag of the lock of a partition's root.
pub(in crate::store) fn root_tag(partition: Oid) -> LOCKTAG {
    tag(LockSpace::Root, partition.to_u32(), 0)
}

/// Takes the lock that stands for writing under any key, unconditionally.
///
/// # Errors
/// 53200 where readers cannot be told of it.
pub fn write_anything(partition: Oid) -> Result<()> {
    let tag = root_tag(partition);
    if is_root_covered(&tag, pg_sys::ShareLock) {
        return Ok(());
    }
    note_arrival(partition)?;
    take_root(partition, pg_sys::ShareLock, true).map(drop)
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

/// What came of taking a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Taken {
    /// It is held now.
    Anew,
    /// It was held before.
    Before,
    /// It could not be had.
    Not,
}

/// Takes the root of a partition, in a mode in which it is not held. Returns whether it is held now, which without `wait`
/// others may prevent.
pub(in crate::store) fn take_root(partition: Oid, mode: u32, wait: bool) -> Result<bool> {
    let tag = root_tag(partition);
    let writes = ROOT_WRITES.contains(&mode) && !ROOT_WRITES.iter().any(|m| is_held(&tag, *m));
    take_to_write(partition, &tag, writes, || {
        Ok(match acquire_counted(&tag, mode, wait) {
            LOCKACQUIRE_NOT_AVAIL => Taken::Not,
            LOCKACQUIRE_OK => Taken::Anew,
            _ => Taken::Before,
        })
    })
}

/// Takes a key, in a mode in which it is not held. Returns whether it is held now, which a full table prevents.
pub(in crate::store) fn take_key(partition: Oid, key: i64, mode: Mode) -> Result<bool> {
    let held = key_locks::held_as(partition, key);
    let writes = mode.writes() && !held.is_some_and(Mode::writes);
    take_to_write(partition, &key_tag(partition, key), writes, || {
        wait::take(partition, key, mode)
    })
}

/// Takes one lock. Where the transaction has positions already and comes to write under the key only now, readers of the
/// key are told since when, so that they do not go back to its first position. Returns whether the lock is held now.
fn take_to_write(
    partition: Oid,
    tag: &LOCKTAG,
    writes: bool,
    take: impl FnOnce() -> Result<Taken>,
) -> Result<bool> {
    let late = slot::holder().filter(|_| writes);
    let name = Name::of_lock(tag);
    if let Some(shared) = late {
        late_key::add(shared, partition, name)?;
    }
    let taken = take()?;
    match (taken, late) {
        (Taken::Anew, _) => transaction::count_key_lock(),
        (Taken::Not, Some(shared)) => late_key::give_up(shared, name),
        _ => {}
    }
    Ok(taken != Taken::Not)
}

/// The modes in which a partition's root is held by those who write under any key.
pub(in crate::store) const ROOT_WRITES: [u32; 3] = [
    pg_sys::ShareLock,
    pg_sys::ShareRowExclusiveLock,
    pg_sys::ExclusiveLock,
];

/// All modes in which a root is held.
const MODES: [u32; 5] = [
    pg_sys::RowShareLock,
    pg_sys::RowExclusiveLock,
    pg_sys::ShareLock,
    pg_sys::ShareRowExclusiveLock,
    pg_sys::ExclusiveLock,
];

/// Whether this transaction holds a partition's root, in whatever mode.
pub(in crate::store) fn holds_root(partition: Oid) -> bool {
    let root = root_tag(partition);
    MODES.iter().any(|m| is_held(&root, *m))
}

/// Whether the transaction has a key locked as checked: nothing more is needed for a condition on it.
pub fn is_checked(partition: Oid, key: i64) -> bool {
    is_covered(partition, key, Mode::Checked)
}

/// The other backends whose transactions hold this key as written.
pub fn writers_of(partition: Oid, key: i64) -> Vec<usize> {
    key_locks::writers_of(partition, key)
}

/// The other backends whose transactions write under any key, without key locks.
pub fn writers_of_anything(partition: Oid) -> Vec<usize> {
    // Conflicts of RowExclusive: Share, ShareRowExclusive, Exclusive.
    conflicting(&root_tag(partition), pg_sys::RowExclusiveLock)
}

/// The end of a wait that took too long.
pub fn waited_too_long(what: &str) -> Error {
    Error::new(SqlState::WaitTimeout, format!("waited too long for {what}"))
        .detail("A transaction in flight has appended events below that the query may match.")
        .hint("End idle transactions, or raise en57.wait_timeout.")
}
