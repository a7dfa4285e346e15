//! The plan of a transaction's key locks, and how it is carried out: which keys are locked one by one, under an intention
//! lock of the root, and which the root's lock stands for by escalation. See the matrix in docs/architecture/locks.md.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys::{self, Oid};

use crate::dcb::error::Result;
use crate::store::memory::key_mode::Mode;
use crate::store::memory::shmem;
use crate::store::pg::settings;
use crate::store::session::transaction;

use super::keys::{
    holds_root, is_covered, is_root_covered, note_arrival, root_tag, take_key, take_root,
};

#[cfg(feature = "in-process-tests")]
pub mod tests;

/// The locks that one append, or one `en57_lock`, takes in a partition.
#[derive(Default)]
pub struct Plan {
    keys: BTreeMap<i64, Mode>,
    /// Documents that it changes.
    owned: BTreeSet<i64>,
    /// Of each append, the id of its first event that has one.
    soles: BTreeSet<i64>,
    conditional: bool,
    checks_all: bool,
    /// Whether anything was added since the root was locked.
    has_grown: bool,
}

/// Lock escalation: which keys the root's lock stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escalation {
    /// The root has an intention lock, and each key a lock of its own.
    None,
    /// Those that are written only.
    Written,
    /// All.
    All,
}

impl Plan {
    fn add(&mut self, key: i64, of: Mode) {
        match self.keys.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(of);
                self.has_grown = true;
            }
            Entry::Occupied(mut known) => {
                let both = known.get().and(of);
                self.has_grown |= known.insert(both) != both;
            }
        }
    }

    /// The append writes under this key.
    pub fn write(&mut self, key: i64) {
        self.add(key, Mode::Written);
    }

    /// The condition depends on what is under this key.
    pub fn check(&mut self, key: i64) {
        self.conditional = true;
        self.add(key, Mode::Checked);
    }

    /// What is checked under this key will be written later in the transaction. It is held as both at once, never by
    /// upgrade: so two such appends queue instead of deadlocking.
    pub fn check_and_write(&mut self, key: i64) {
        self.conditional = true;
        self.add(key, Mode::CheckedAndWritten);
    }

    /// Nobody else may have this until the transaction has ended; no condition depends on it.
    pub fn own(&mut self, key: i64) {
        self.has_grown |= self.owned.insert(key);
    }

    /// The condition depends on every event of the partition.
    pub fn check_all(&mut self) {
        self.conditional = true;
        self.has_grown |= !std::mem::replace(&mut self.checks_all, true);
    }

    /// Nobody else may send the event with this id meanwhile.
    pub fn sole(&mut self, key: i64) {
        self.has_grown |= self.soles.insert(key);
    }

    /// Adds all that another plan locks.
    pub fn join(&mut self, other: Self) {
        other.keys.iter().for_each(|(key, of)| self.add(*key, *of));
        other.owned.iter().for_each(|key| self.own(*key));
        other.soles.iter().for_each(|key| self.sole(*key));
        self.conditional |= other.conditional;
        if other.checks_all {
            self.check_all();
        }
    }

    /// Takes the locks, waiting where it must.
    ///
    /// Where there are too many keys for the lock table, the root's lock stands for those written, or
    /// for all: see the matrix in docs/architecture/locks.md.
    ///
    /// # Errors
    /// 53200 where there is no room for what readers must know of them.
    pub fn acquire(self, partition: Oid) -> Result<()> {
        self.acquire_with(partition, |_| Ok(()))
    }

    /// Takes the locks as [`Self::acquire`] does. `late` may add keys when the root's lock is held, and again when all
    /// locks are: who was waited for has ended by then, and what it has changed can be seen. When it is through, it has
    /// seen all that was changed before the last lock was had.
    ///
    /// # Errors
    /// Those of `late`, and of [`Self::acquire`].
    pub fn acquire_with(
        mut self,
        partition: Oid,
        mut late: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        transaction::watch();
        note_arrival(partition)?;
        let mut taker = Taker {
            partition,
            holds_some: transaction::key_locks() > 0,
        };
        self.has_grown = true;
        while std::mem::take(&mut self.has_grown) {
            pgrx::check_for_interrupts!();
            let escalation = self.lock_root(&taker)?;
            taker.holds_some = true;
            late(&mut self)?;
            if !self.has_grown {
                self.lock_keys(&taker, escalation)?;
                late(&mut self)?;
            }
        }
        Ok(())
    }

    /// Locks the root, in a mode that stands for the keys that are too many to be locked one by one.
    ///
    /// Who holds it already must not wait for a stronger mode of it: two who do, each after `en57_lock` or to decide,
    /// would wait for each other. He takes the keys instead, as far as the lock table can do it.
    fn lock_root(&self, taker: &Taker) -> Result<Escalation> {
        if taker.holds_root_as(pg_sys::ExclusiveLock) {
            return Ok(Escalation::All);
        }
        let taken = transaction::key_locks();
        let (mode, escalation) =
            self.escalation(taker, settings::max_key_locks().saturating_sub(taken));
        let may_do_without =
            escalation != Escalation::None && !self.checks_all && taker.holds_root();
        if may_do_without && !taker.take_root(mode, false)? {
            let (mode, escalation) = self.escalation(taker, most_key_locks().saturating_sub(taken));
            taker.take_root(mode, true)?;
            return Ok(escalation);
        }
        taker.take_root(mode, true)?;
        Ok(escalation)
    }

    /// Locks those keys that the root's lock does not stand for. Where the table of key locks is full, the root's lock
    /// stands for all of them.
    fn lock_keys(&self, taker: &Taker, escalation: Escalation) -> Result<()> {
        let keys = self.keys.iter().map(|(key, of)| (*key, *of));
        let keys = keys.filter(|(_, of)| match escalation {
            Escalation::None => true,
            Escalation::Written => *of != Mode::Written,
            Escalation::All => false,
        });
        // Those that no query locks come last. So who waits for them has all keys, and who locks a key before he
        // appends, by `en57_lock` or to decide, waits for nobody who waits for him.
        let owned = self.soles.iter().chain(&self.owned);
        let owned = owned.filter(|_| escalation != Escalation::All);
        let owned = owned.map(|key| (*key, Mode::CheckedAndWritten));
        for (key, of) in keys.chain(owned) {
            if !taker.take(key, of)? {
                return taker.take_root(pg_sys::ExclusiveLock, true).map(drop);
            }
        }
        Ok(())
    }

    /// The mode of the root's lock, and what it stands for, where so many keys may be locked one by one beside those that are.
    fn escalation(&self, taker: &Taker, room: usize) -> (u32, Escalation) {
        let mut missing = [0, 0];
        let owned = self.owned.iter().map(|key| (key, &Mode::CheckedAndWritten));
        for (key, of) in self.keys.iter().chain(owned) {
            let is_held = taker.holds(*key, *of);
            missing[usize::from(*of != Mode::Written)] += usize::from(!is_held);
        }
        let [written, mut checked] = missing;
        // One has always room.
        checked += self.soles.len().saturating_sub(1);
        let all_fit = written + checked <= room;
        let checks_root = self.checks_all || (!all_fit && checked > room);
        match (self.conditional, all_fit) {
            _ if checks_root => (pg_sys::ExclusiveLock, Escalation::All),
            (false, true) => (pg_sys::RowShareLock, Escalation::None),
            (true, true) => (pg_sys::RowExclusiveLock, Escalation::None),
            (false, false) => (pg_sys::ShareLock, Escalation::Written),
            (true, false) => (pg_sys::ShareRowExclusiveLock, Escalation::Written),
        }
    }
}

/// How many key locks a transaction takes at most, whatever else it would have to wait for: not so many that others
/// soon find none left.
fn most_key_locks() -> usize {
    settings::max_key_locks().max(shmem::key_lock_count() / 8)
}

/// Who takes the locks of a plan.
struct Taker {
    partition: Oid,
    /// Whether the transaction may hold some of them already.
    holds_some: bool,
}

impl Taker {
    /// Whether a key is held in this mode or a stronger one: it need not be taken, and must not be waited for.
    fn holds(&self, key: i64, mode: Mode) -> bool {
        self.holds_some && is_covered(self.partition, key, mode)
    }

    /// The same of the root.
    fn holds_root_as(&self, mode: u32) -> bool {
        self.holds_some && is_root_covered(&root_tag(self.partition), mode)
    }

    fn holds_root(&self) -> bool {
        self.holds_some && holds_root(self.partition)
    }

    /// Takes a key, unless it is held. Returns whether it is, which a full table prevents.
    fn take(&self, key: i64, mode: Mode) -> Result<bool> {
        Ok(self.holds(key, mode) || take_key(self.partition, key, mode)?)
    }

    /// Takes the root, unless it is held. Returns whether it is, which without `wait` others may prevent.
    fn take_root(&self, mode: u32, wait: bool) -> Result<bool> {
        Ok(self.holds_root_as(mode) || take_root(self.partition, mode, wait)?)
    }
}
