//! Late keys: the keys under which a transaction came to write after it had positions already.
//!
//! A slot's bound says from which position on its transaction can have events at all. That says too little of a key
//! that the transaction locked later: readers of this key may be far beyond the bound by then. So each such key has an
//! entry with a bound of its own, in a pool in shared memory, in a list that begins at the backend's slot. There are as
//! many entries as there can be key locks, since each one stands beside a lock.
//!
//! An entry is made *before* its key is locked. So whoever sees the lock sees the entry.
//!
//! - Its bound is [`UNSET`] until the transaction is allotted positions in the key's partition again: it has nothing under
//!   the key until then. Positions in another partition do not count: readers of the key go on beyond them, until the
//!   transaction comes to the partition.
//! - A subtransaction that is rolled back has nothing under its keys: their bounds are unset. The entries are used again
//!   for keys that are locked later, when the locks are gone. That of a partition stays.
//! - The end of the transaction gives all of them back.
//!
//! **Invariant:** whatever makes a list say less than before raises the slot's generation first. A reader compares the
//! generation before and after it has looked (see `position`), and looks again where it has changed.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys::{LOCKTAG, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::atomic::{AtomicI64, AtomicU32, AtomicU64, keeping_only, pause};
use super::shmem::{Shared, Slot, my_backend};

#[cfg(feature = "in-process-tests")]
pub mod tests;

/// A bound before its transaction is allotted positions.
const UNSET: i64 = 0;
/// A bound that is about to be set: a matter of two instructions.
const PENDING: i64 = -1;
/// What a partition is that the transaction came to.
const PARTITION: u32 = 1;

/// What a late key is of. Databases need no place in it: a transaction is in one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Name {
    kind: u32,
    key: u64,
}

impl Name {
    /// A key, or a partition's root: any key.
    pub fn of_lock(tag: &LOCKTAG) -> Self {
        Self {
            kind: PARTITION + 1 + u32::from(tag.locktag_field4),
            key: u64::from(tag.locktag_field2) << 32 | u64::from(tag.locktag_field3),
        }
    }

    /// A partition.
    pub fn of_partition(partition: Oid) -> Self {
        Self {
            kind: PARTITION,
            key: u64::from(partition.to_u32()),
        }
    }
}

/// An entry of the pool.
#[derive(Default)]
#[repr(C, align(32))]
pub struct LateKey {
    /// The backend whose it is, plus one; 0 while it is free.
    owner: AtomicU32,
    kind: AtomicU32,
    key: AtomicU64,
    /// No position of the transaction under this key is below it.
    bound: AtomicI64,
    /// The next one of the list, plus one; 0 at the end.
    next: AtomicU32,
}

/// One of this backend's entries.
struct Own {
    index: u32,
    name: Name,
    partition: Oid,
    state: State,
    /// Which one it is of all that this backend has made: how a subtransaction tells its own.
    serial: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The key was locked, or is about to be; the bound is unset.
    Locked,
    /// The bound is set.
    Bounded,
    /// The key's lock was rolled back.
    Dead,
}

thread_local! {
    static OWN: RefCell<Vec<Own>> = const { RefCell::new(Vec::new()) };
    static LAST_SERIAL: Cell<u64> = const { Cell::new(0) };
    /// How many of this backend's entries are dead.
    static DEAD: Cell<usize> = const { Cell::new(0) };
    /// Behind the entry that was claimed last.
    static CLAIMED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Makes an entry for a key of a partition that this transaction, which has positions, is about to lock as written.
///
/// # Errors
/// 53200 where the pool is used up.
pub(in crate::store) fn add(shared: &Shared, partition: Oid, name: Name) -> Result<()> {
    OWN.with_borrow_mut(|own| {
        // Where it is known its lock is not held any more, and what was written under it was rolled back. They may be very
        // many: so they are looked through only where one can be found.
        let may_be_known = DEAD.get() > 0 || name.kind == PARTITION;
        let known = || own.iter().position(|o| o.name == name);
        let known = may_be_known.then(known).flatten();
        let is_dead = |o: &Own| o.state == State::Dead;
        let dead = || {
            (DEAD.get() > 0)
                .then(|| own.iter().position(is_dead))
                .flatten()
        };
        let index = match known.or_else(dead) {
            Some(n) => {
                let before = own.swap_remove(n);
                DEAD.set(DEAD.get() - usize::from(is_dead(&before)));
                let index = before.index;
                if known.is_none() {
                    shared.my_slot().generation.fetch_add(1, SeqCst);
                }
                name_entry(&shared.late_keys()[index as usize], name);
                index
            }
            None => {
                let index = claim(shared)?;
                let (slot, entry) = (shared.my_slot(), &shared.late_keys()[index as usize]);
                name_entry(entry, name);
                entry.next.store(slot.late_keys.load(SeqCst), SeqCst);
                slot.late_keys.store(index + 1, SeqCst);
                index
            }
        };
        let serial = LAST_SERIAL.get() + 1;
        LAST_SERIAL.set(serial);
        own.push(Own {
            index,
            name,
            partition,
            state: State::Locked,
            serial,
        });
        Ok(())
    })
}

fn name_entry(entry: &LateKey, name: Name) {
    entry.bound.store(UNSET, SeqCst);
    entry.kind.store(name.kind, SeqCst);
    entry.key.store(name.key, SeqCst);
}

/// A free entry. Each backend looks in its own part of the pool first, so that they do not meet there.
fn claim(shared: &Shared) -> Result<u32> {
    let pool = shared.late_keys();
    let me = my_backend() as u32 + 1;
    let from = CLAIMED
        .get()
        .filter(|n| *n < pool.len())
        .unwrap_or(my_backend() * pool.len() / shared.slots().len());
    let is_mine = |n: &usize| {
        let owner = &pool[*n].owner;
        owner.load(SeqCst) == 0 && owner.compare_exchange(0, me, SeqCst, SeqCst).is_ok()
    };
    let claimed = keeping_only(|| (from..pool.len()).chain(0..from).find(is_mine));
    CLAIMED.set(claimed.map(|n| n + 1));
    claimed.map(|n| n as u32).ok_or_else(|| {
        Error::new(SqlState::OutOfMemory, "out of shared memory")
            .detail("All running transactions together write under too many keys.")
            .hint("You might need to increase max_locks_per_transaction.")
    })
}

/// Takes back an entry whose key could not be locked.
pub(in crate::store) fn give_up(shared: &Shared, name: Name) {
    OWN.with_borrow_mut(|own| {
        let of_name = own.iter_mut().filter(|o| o.name == name);
        of_name.for_each(|o| kill(shared, o));
    });
}

fn kill(shared: &Shared, own: &mut Own) {
    DEAD.set(DEAD.get() + usize::from(own.state != State::Dead));
    own.state = State::Dead;
    shared.late_keys()[own.index as usize]
        .bound
        .store(UNSET, SeqCst);
}

/// Whether the transaction has an entry for a partition that it came to.
pub(in crate::store) fn has_come_to(partition: Oid) -> bool {
    let name = Name::of_partition(partition);
    OWN.with_borrow(|own| own.iter().any(|o| o.name == name && o.state != State::Dead))
}

/// Sets the bounds of the partition's keys that were locked since positions were allotted in it, to what `next` says;
/// with `anew` also all that are set.
pub(in crate::store) fn set_bounds(
    shared: &Shared,
    partition: Oid,
    anew: bool,
    next: impl Fn() -> i64,
) {
    OWN.with_borrow_mut(|own| {
        for o in own.iter_mut() {
            let is_due = match o.state {
                State::Locked => o.partition == partition,
                State::Bounded => anew,
                State::Dead => false,
            };
            if is_due {
                set_bound(&shared.late_keys()[o.index as usize].bound, &next);
                o.state = State::Bounded;
            }
        }
    });
}

/// Sets a bound to `next` as it is while nobody can have looked past it: between the mark and the bound readers wait, so
/// that none of them settles a position that the bound then takes back.
pub(in crate::store) fn set_bound(bound: &AtomicI64, next: impl Fn() -> i64) {
    bound.store(PENDING, SeqCst);
    keeping_only(|| bound.store(next(), SeqCst));
}

/// A bound, once it is set.
pub(in crate::store) fn bound_of(bound: &AtomicI64) -> i64 {
    loop {
        match bound.load(SeqCst) {
            PENDING => pause(),
            set => return set,
        }
    }
}

/// What a subtransaction begins with: the serial of the last entry.
pub(in crate::store) fn last_serial() -> u64 {
    LAST_SERIAL.get()
}

/// The keys that a subtransaction came to write under, since it began, were rolled back. Called before their locks are
/// released. Never fails.
pub(in crate::store) fn roll_back(last_serial: u64) {
    let Some(shared) = Shared::attached() else {
        return;
    };
    OWN.with(|own| {
        if let Ok(mut own) = own.try_borrow_mut() {
            for o in own.iter_mut().filter(|o| o.serial > last_serial) {
                kill(shared, o);
                // The transaction may come again without locking the root anew, which makes no other entry.
                if o.name.kind == PARTITION {
                    DEAD.set(DEAD.get() - 1);
                    o.state = State::Locked;
                }
            }
        }
    });
}

/// Gives all entries back at the end of the transaction, whose slot is cleared. Never fails.
pub(in crate::store) fn give_back(shared: &Shared) {
    shared.my_slot().late_keys.store(0, SeqCst);
    DEAD.set(0);
    CLAIMED.set(None);
    OWN.with(|own| {
        if let Ok(mut own) = own.try_borrow_mut() {
            for o in own.drain(..) {
                shared.late_keys()[o.index as usize].owner.store(0, SeqCst);
            }
            return;
        }
        // The session ends in the middle of a change of the list.
        let me = my_backend() as u32 + 1;
        let is_mine = |entry: &&LateKey| entry.owner.load(SeqCst) == me;
        shared
            .late_keys()
            .iter()
            .filter(is_mine)
            .for_each(|entry| entry.owner.store(0, SeqCst));
    });
}

/// The entries of another backend's transaction. Where its generation changes meanwhile they may be anybody's.
fn list<'s>(shared: &'s Shared, backend: usize, slot: &Slot) -> impl Iterator<Item = &'s LateKey> {
    let pool = shared.late_keys();
    let mut index = slot.late_keys.load(SeqCst);
    let of_backend = move |entry: &&LateKey| entry.owner.load(SeqCst) == backend as u32 + 1;
    std::iter::from_fn(move || {
        let entry = pool.get((index as usize).checked_sub(1)?)?;
        index = entry.next.load(SeqCst);
        Some(entry)
    })
    .take_while(of_backend)
    .take(pool.len())
}

/// From which position on another backend's transaction can have events under a name, `next` where it has none yet.
/// `None` where it has no entry: then the slot's own bound counts.
pub(in crate::store) fn bound_under(
    shared: &Shared,
    backend: usize,
    name: Name,
    next: i64,
) -> Option<i64> {
    let of_name = |e: &&LateKey| e.key.load(SeqCst) == name.key && e.kind.load(SeqCst) == name.kind;
    let slot = &shared.slots()[backend];
    let bound = |found: &LateKey| match bound_of(&found.bound) {
        UNSET => next,
        bound => bound,
    };
    keeping_only(|| list(shared, backend, slot).find(of_name).map(bound))
}

/// The partitions that another backend's transaction came to, with the bounds of its events there.
pub(in crate::store) fn partitions_of(shared: &Shared, backend: usize) -> Vec<(Oid, i64)> {
    let slot = &shared.slots()[backend];
    list(shared, backend, slot)
        .filter(|e| e.kind.load(SeqCst) == PARTITION)
        .map(|e| (Oid::from(e.key.load(SeqCst) as u32), bound_of(&e.bound)))
        .filter(|(_, bound)| *bound != UNSET)
        .collect()
}
