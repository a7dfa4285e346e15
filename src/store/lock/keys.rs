//! Key locks: what makes the append condition exact without a lock that unrelated writers share.
//!
//! The locks last until the transaction ends. They are taken in one order: the root first, then keys in ascending order,
//! then an event's id, then documents in ascending order.

use pgrx::pg_sys::LockAcquireResult::{LOCKACQUIRE_NOT_AVAIL, LOCKACQUIRE_OK};
use pgrx::pg_sys::{self, LOCKTAG, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::memory::late_key::{self, Name};
use crate::store::memory::slot;
use crate::store::session::transaction;

use super::manager::{LockSpace, acquire_counted, conflicting, is_held, tag};

#[cfg(feature = "in-process-tests")]
pub mod tests;

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

/// The tag of a key's lock.
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
    match acquire_counted(&tag, mode, wait) {
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
/// The modes in which a partition's root is held by those who write under any key.
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

/// Whether this transaction holds a partition's root, in whatever mode.
pub(in crate::store) fn holds_root(partition: Oid) -> bool {
    let root = root_tag(partition);
    MODES.iter().any(|m| is_held(&root, *m))
}

/// Whether the transaction has a key locked as checked: nothing more is needed for a condition on it.
pub fn is_checked(partition: Oid, key: i64) -> bool {
    transaction::key_locks() > 0 && is_covered(&key_tag(partition, key), pg_sys::ShareLock)
}

/// The other backends whose transactions hold this key as written.
pub fn writers_of(partition: Oid, key: i64) -> Vec<usize> {
    conflicting(&key_tag(partition, key), pg_sys::ShareLock)
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
