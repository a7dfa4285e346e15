//! Key locks: what makes the append condition exact without a lock that unrelated writers share.
//!
//! PostgreSQL's own lock manager, in the space of advisory locks with an objsubid (49 to 51 for turns, 54 for the worker, 57 for keys, 58 for
//! a partition's root, 59 for the log's ceiling, from 60 on for marks beside the first two) that
//! `pg_advisory_lock` never uses, so that deadlock detection, lock_timeout, cancellation and pg_locks
//! come with it. Locks last until the transaction ends. Root first, then keys in ascending order, then an event's id, then
//! documents in ascending order.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys::{self, LOCKTAG, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::shmem::{STAGES, backend_of};
use super::stat::{self, Counted};
use super::{position, settings, transaction};

const WORKER: u16 = 54;
const KEY: u16 = 57;
const ROOT: u16 = 58;
const CEILING: u16 = 59;
const MARK: u16 = 60;

/// What a transaction does with a key. A key that is both checked and written is locked as such at
/// once, never by upgrade: so two such appends queue instead of deadlocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Written only: writers do not exclude writers.
    Written,
    /// Checked only: checkers do not exclude checkers, but writers.
    Checked,
    /// Checked and written: excludes all, itself included.
    CheckedAndWritten,
    /// An event's id that must not be sent twice at a time.
    Sole,
}

impl Use {
    fn mode(self) -> u32 {
        match self {
            Self::Written => pg_sys::RowExclusiveLock,
            Self::Checked => pg_sys::ShareLock,
            Self::CheckedAndWritten => pg_sys::ShareRowExclusiveLock,
            Self::Sole => pg_sys::ExclusiveLock,
        }
    }
}

/// The locks that one append, or one `en57_lock`, takes in a partition.
#[derive(Default)]
pub struct Plan {
    keys: BTreeMap<i64, Use>,
    /// Documents that it changes.
    owned: BTreeSet<i64>,
    /// The id of its first event that has one.
    sole: Option<i64>,
    conditional: bool,
    checks_all: bool,
}

impl Plan {
    /// The append writes under this key.
    pub fn write(&mut self, key: i64) {
        self.keys
            .entry(key)
            .and_modify(|u| {
                if *u == Use::Checked {
                    *u = Use::CheckedAndWritten;
                }
            })
            .or_insert(Use::Written);
    }

    /// The condition depends on what is under this key.
    pub fn check(&mut self, key: i64) {
        self.conditional = true;
        self.keys
            .entry(key)
            .and_modify(|u| {
                if *u == Use::Written {
                    *u = Use::CheckedAndWritten;
                }
            })
            .or_insert(Use::Checked);
    }

    /// What is checked under this key will be written later in the transaction.
    pub fn check_and_write(&mut self, key: i64) {
        self.conditional = true;
        self.keys.insert(key, Use::CheckedAndWritten);
    }

    /// Nobody else may have this until the transaction has ended; no condition depends on it.
    pub fn own(&mut self, key: i64) {
        self.owned.insert(key);
    }

    /// The condition depends on every event of the partition.
    pub fn check_all(&mut self) {
        self.conditional = true;
        self.checks_all = true;
    }

    /// Nobody else may send the event with this id meanwhile.
    pub fn sole(&mut self, key: i64) {
        self.sole = Some(key);
    }

    /// Takes the locks, waiting where it must.
    ///
    /// Where there are too many keys for the lock table, the root's lock stands for those written, or
    /// for all: see the matrix in docs/ARCHITECTURE.md.
    pub fn acquire(self, partition: Oid) {
        let done = self.acquire_with(partition, |_| Ok(()));
        debug_assert!(done.is_ok());
    }

    /// The same. `late` may add keys when the root's lock is held: who holds it in Exclusive mode has ended
    /// by then, and what it has changed can be seen.
    ///
    /// # Errors
    /// Those of `late`.
    pub fn acquire_with(
        mut self,
        partition: Oid,
        late: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        transaction::watch();
        let room = settings::max_key_locks().saturating_sub(transaction::key_locks());
        let stage = position::next_stage();
        mark_arrival(partition, stage);
        let (root, ..) = self.root_mode(room);
        lock_in_stage(root_tag(partition), root, ROOT_WRITES, stage);
        late(&mut self)?;
        let (now, all_fit, checks_root) = self.root_mode(room);
        if now != root {
            lock_in_stage(root_tag(partition), now, ROOT_WRITES, stage);
        }
        let (keys, owned) = match (all_fit, checks_root) {
            (true, _) => (self.keys, self.owned),
            (false, true) => Default::default(),
            (false, false) => {
                self.keys.retain(|_, u| *u != Use::Written);
                (self.keys, self.owned)
            }
        };
        // Those that no query locks come last. So who waits for them has all keys, and who locks a key before he
        // appends, by `en57_lock` or to decide, waits for nobody who waits for him.
        let owned = owned.into_iter().map(|key| (key, Use::CheckedAndWritten));
        let sole = self.sole.map(|key| (key, Use::Sole));
        for (key, wanted) in keys.into_iter().chain(sole).chain(owned) {
            lock_in_stage(key_tag(partition, key), wanted.mode(), KEY_WRITES, stage);
        }
        Ok(())
    }

    /// The mode of the root's lock where so many keys may be locked one by one; whether all keys are, and
    /// whether none need be because the root excludes everybody.
    fn root_mode(&self, room: usize) -> (u32, bool, bool) {
        let of_keys = self.keys.values().filter(|u| **u != Use::Written).count();
        let checked = of_keys + self.owned.len();
        let all_fit = self.keys.len() + self.owned.len() <= room;
        let checks_root = self.checks_all || (!all_fit && checked > room);
        let root = match (self.conditional, all_fit) {
            _ if checks_root => pg_sys::ExclusiveLock,
            (false, true) => pg_sys::RowShareLock,
            (true, true) => pg_sys::RowExclusiveLock,
            (false, false) => pg_sys::ShareLock,
            (true, false) => pg_sys::ShareRowExclusiveLock,
        };
        (root, all_fit, checks_root)
    }
}

fn key_tag(partition: Oid, key: i64) -> LOCKTAG {
    // Keys of different partitions must not meet: the partition is mixed into the 64 bits.
    let mixed = (key as u64) ^ u64::from(partition.to_u32()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    tag((mixed >> 32) as u32, mixed as u32, KEY)
}

fn root_tag(partition: Oid) -> LOCKTAG {
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
pub fn write_anything(partition: Oid) {
    lock(root_tag(partition), pg_sys::ShareLock);
}

/// The modes in which a key is held by those who write under it, and a partition's root by those who
/// write under any key.
const KEY_WRITES: [u32; 2] = [pg_sys::RowExclusiveLock, pg_sys::ShareRowExclusiveLock];
const ROOT_WRITES: [u32; 3] = [
    pg_sys::ShareLock,
    pg_sys::ShareRowExclusiveLock,
    pg_sys::ExclusiveLock,
];

/// All modes in which a root is held.
const ROOT_MODES: [u32; 5] = [
    pg_sys::RowShareLock,
    pg_sys::RowExclusiveLock,
    pg_sys::ShareLock,
    pg_sys::ShareRowExclusiveLock,
    pg_sys::ExclusiveLock,
];

/// Takes one lock; where a later append of the transaction is the first one to write under it, a mark
/// beside it says which, so that readers of the key do not fall back to the transaction's first position.
fn lock_in_stage(tag: LOCKTAG, mode: u32, writes: impl AsRef<[u32]>, stage: usize) {
    let writes = writes.as_ref();
    let is_new = stage > 0 && writes.contains(&mode) && !writes.iter().any(|m| is_held(&tag, *m));
    if is_new {
        transaction::begin_stage();
        lock(mark_tag(tag, stage), pg_sys::AccessShareLock);
        transaction::count_key_lock();
    }
    if lock(tag, mode) {
        transaction::count_key_lock();
    }
}

fn is_held(tag: &LOCKTAG, mode: u32) -> bool {
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

/// Where a later append of the transaction is its first one in a partition, a mark says which: before it
/// the transaction has nothing there.
fn mark_arrival(partition: Oid, stage: usize) {
    if stage > 0 && !ROOT_MODES.iter().any(|m| is_held(&root_tag(partition), *m)) {
        transaction::begin_stage();
        lock(arrival_tag(partition, stage), pg_sys::AccessShareLock);
        transaction::count_key_lock();
    }
}

/// The mark beside a key's or root's lock for a stage.
fn mark_tag(tag: LOCKTAG, stage: usize) -> LOCKTAG {
    let kind = (tag.locktag_field4 - KEY) * (STAGES as u16 + 1);
    LOCKTAG {
        locktag_field4: MARK + kind + stage as u16,
        ..tag
    }
}

/// The mark of a transaction that came to a partition at a stage.
fn arrival_tag(partition: Oid, stage: usize) -> LOCKTAG {
    let kind = 2 * (STAGES as u16 + 1);
    LOCKTAG {
        locktag_field4: MARK + kind + stage as u16,
        ..root_tag(partition)
    }
}

/// Whether a backend's transaction came to the partition at this stage.
pub fn has_arrived_at(partition: Oid, stage: usize, backend: usize) -> bool {
    let tag = arrival_tag(partition, stage);
    conflicting(tag, pg_sys::AccessExclusiveLock).contains(&backend)
}

/// The other backends whose transactions may have rows in the partition: all that append hold its root.
pub fn writers_in(partition: Oid) -> Vec<usize> {
    conflicting(root_tag(partition), pg_sys::AccessExclusiveLock)
}

/// The other backends whose transactions attach a table to the log, or write to it as a whole.
pub fn attachers(events: Oid) -> Vec<usize> {
    let tag = LOCKTAG {
        // SAFETY: set at the start of the backend.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: events.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // ATTACH PARTITION holds ShareUpdateExclusive.
    conflicting(tag, pg_sys::ShareLock)
}

/// Whether a backend's transaction came to write under a key at this stage.
pub fn is_marked(partition: Oid, key: i64, stage: usize, backend: usize) -> bool {
    let tag = mark_tag(key_tag(partition, key), stage);
    conflicting(tag, pg_sys::AccessExclusiveLock).contains(&backend)
}

/// The same of writing under any key.
pub fn is_root_marked(partition: Oid, stage: usize, backend: usize) -> bool {
    let tag = mark_tag(root_tag(partition), stage);
    conflicting(tag, pg_sys::AccessExclusiveLock).contains(&backend)
}

/// Takes one lock until the end of the transaction; whether it was not held before.
fn lock(tag: LOCKTAG, mode: u32) -> bool {
    use pg_sys::LockAcquireResult::{LOCKACQUIRE_NOT_AVAIL, LOCKACQUIRE_OK};
    // SAFETY: a valid tag; the lock belongs to the transaction, whose end releases it.
    let take =
        |wait: bool| unsafe { pg_sys::LockAcquire(&tag, mode as pg_sys::LOCKMODE, false, !wait) };
    let mut outcome = take(false);
    if outcome == LOCKACQUIRE_NOT_AVAIL {
        stat::count(Counted::LockWaits, 1);
        outcome = take(true);
    }
    outcome == LOCKACQUIRE_OK
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
pub enum Turn {
    /// A projection, before its row is locked.
    Projection = 49,
    /// A batch of a rebuild, or its end, before its row is locked.
    Rebuild = 50,
    /// The swap of a rebuild, which locks no row until its end.
    Swap = 51,
}

/// Takes the turn until the transaction ends. Returns whether it has it, which without `wait` others may prevent.
pub fn take_turn(turn: Turn, number: i64, wait: bool) -> bool {
    let tag = tag((number >> 32) as u32, number as u32, turn as u16);
    let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: a valid tag; the lock belongs to the transaction, whose end releases it.
    let outcome = unsafe { pg_sys::LockAcquire(&tag, mode, false, !wait) };
    outcome != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
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
        if outcome == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
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
