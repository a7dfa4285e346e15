//! Late keys: this backend's own, and those of another one that is only pretended.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use pgrx::pg_sys::Oid;

use crate::dcb::error::{Result, SqlState};
use crate::store::memory::shmem::{Shared, Slot, slot_count};
use crate::store::pg::in_process::tests;

use super::{
    LateKey, Name, PENDING, UNSET, add, bound_of, bound_under, give_back, give_up, has_come_to,
    last_serial, list, my_backend, partitions_of, roll_back, set_bounds,
};

tests![
    entries_of_keys,
    bounds_of_one_partition,
    bounds_that_are_set_anew,
    key_that_could_not_be_locked,
    key_that_is_known,
    keys_of_a_subtransaction,
    partition_of_a_subtransaction,
    all_given_back,
    pool_that_is_used_up,
    bound_that_is_about_to_be_set,
    list_of_another_backend,
    entry_that_has_become_anothers,
    partitions_of_another_backend,
];

/// Another backend's transaction, made up in a slot that nobody has. It ends when this is dropped.
pub(in crate::store) struct Other {
    shared: &'static Shared,
    /// The number of the slot.
    pub(in crate::store) backend: usize,
    entries: Vec<usize>,
}

impl Other {
    /// In the n-th slot from the end. It has no positions yet.
    pub(in crate::store) fn new(shared: &'static Shared, n: usize) -> Self {
        let backend = slot_count() - 1 - n;
        shared.used_slots.fetch_max(backend as u32 + 1, SeqCst);
        Self {
            shared,
            backend,
            entries: Vec::new(),
        }
    }

    /// The slot.
    pub(in crate::store) fn slot(&self) -> &'static Slot {
        &self.shared.slots()[self.backend]
    }

    /// Has positions of a log from `bound` on, the first of them in a partition.
    pub(in crate::store) fn begin(&self, log: u32, partition: Oid, bound: i64) {
        let slot = self.slot();
        slot.log.store(log, SeqCst);
        slot.partition.store(partition.to_u32(), SeqCst);
        slot.is_several.store(0, SeqCst);
        slot.bound.store(bound, SeqCst);
    }

    /// Has come to write under a name, with a bound.
    pub(in crate::store) fn late(&mut self, name: Name, bound: i64) {
        let pool = self.shared.late_keys();
        let index = pool.len() - 1 - self.backend % 8 * 16 - self.entries.len();
        let (slot, entry) = (self.slot(), &pool[index]);
        assert_eq!(entry.owner.load(SeqCst), 0, "the pool's end is free");
        entry.owner.store(self.backend as u32 + 1, SeqCst);
        entry.kind.store(name.kind, SeqCst);
        entry.key.store(name.key, SeqCst);
        entry.bound.store(bound, SeqCst);
        entry.next.store(slot.late_keys.load(SeqCst), SeqCst);
        slot.late_keys.store(index as u32 + 1, SeqCst);
        self.entries.push(index);
    }

    /// Its transaction has ended.
    pub(in crate::store) fn end(&mut self) {
        let slot = self.slot();
        slot.bound.store(0, SeqCst);
        slot.generation.fetch_add(1, SeqCst);
        slot.late_keys.store(0, SeqCst);
        for index in self.entries.drain(..) {
            self.shared.late_keys()[index].owner.store(0, SeqCst);
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.end();
        self.slot().log.store(0, SeqCst);
    }
}

/// This backend's entries, given back when it is dropped.
struct Own(&'static Shared);

impl Own {
    fn none_yet() -> Result<Self> {
        Ok(Self(Shared::get()?))
    }
}

impl std::ops::Deref for Own {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        self.0
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        give_back(self.0);
    }
}

const HERE: u32 = 4_000_000_000;
const ELSEWHERE: u32 = HERE + 1;

fn key(number: u64) -> Name {
    Name {
        kind: 99,
        key: number,
    }
}

/// Makes entries of this backend for keys of a partition.
fn come(shared: &Shared, partition: u32, keys: impl IntoIterator<Item = u64>) -> Result<()> {
    let partition = Oid::from(partition);
    keys.into_iter()
        .try_for_each(|n| add(shared, partition, key(n)))
}

/// The bounds of this backend's entries for keys, as a reader finds them: `None` where there is no entry.
fn bounds<const N: usize>(shared: &Shared, keys: [u64; N]) -> [Option<i64>; N] {
    keys.map(|n| bound_under(shared, my_backend(), key(n), 1000))
}

fn own_list(shared: &Shared) -> Vec<&LateKey> {
    list(shared, my_backend(), shared.my_slot()).collect()
}

/// The generation of this backend's slot.
fn generation(shared: &Shared) -> u64 {
    shared.my_slot().generation.load(SeqCst)
}

/// Until the transaction has positions again, it has nothing below the next one.
fn entries_of_keys() -> Result<()> {
    let shared = &Own::none_yet()?;
    assert!(own_list(shared).is_empty());
    come(shared, HERE, 1..=3)?;
    assert_eq!(own_list(shared).len(), 3);
    assert_eq!(bounds(shared, [1, 3, 4]), [Some(1000), Some(1000), None]);
    let other_kind = Name { kind: 98, ..key(1) };
    assert_eq!(bound_under(shared, my_backend(), other_kind, 1000), None);
    Ok(())
}

fn bounds_of_one_partition() -> Result<()> {
    let shared = &Own::none_yet()?;
    come(shared, HERE, [1])?;
    come(shared, ELSEWHERE, [2])?;
    set_bounds(shared, Oid::from(HERE), false, || 50);
    assert_eq!(bounds(shared, [1, 2]), [Some(50), Some(1000)]);
    come(shared, HERE, [3])?;
    set_bounds(shared, Oid::from(HERE), false, || 60);
    assert_eq!(bounds(shared, [1, 2, 3]), [Some(50), Some(1000), Some(60)]);
    Ok(())
}

/// Positions have begun again: what was bounded goes along, what was not stays so.
fn bounds_that_are_set_anew() -> Result<()> {
    let shared = &Own::none_yet()?;
    come(shared, HERE, [1])?;
    set_bounds(shared, Oid::from(HERE), false, || 50);
    come(shared, ELSEWHERE, [2])?;
    set_bounds(shared, Oid::from(HERE), true, || 5);
    assert_eq!(bounds(shared, [1, 2]), [Some(5), Some(1000)]);
    Ok(())
}

/// Its entry is used for the next one; readers are told that the list has changed.
fn key_that_could_not_be_locked() -> Result<()> {
    let shared = &Own::none_yet()?;
    come(shared, HERE, [1, 2])?;
    set_bounds(shared, Oid::from(HERE), false, || 50);
    give_up(shared, key(1));
    assert_eq!(bounds(shared, [1, 2]), [Some(1000), Some(50)]);
    let before = generation(shared);
    come(shared, HERE, [3])?;
    assert_eq!(generation(shared), before + 1);
    assert_eq!(own_list(shared).len(), 2);
    assert_eq!(bounds(shared, [1, 2, 3]), [None, Some(50), Some(1000)]);
    Ok(())
}

/// It was rolled back and comes again: the entry is its own, so nobody needs to look again.
fn key_that_is_known() -> Result<()> {
    let shared = &Own::none_yet()?;
    let start = last_serial();
    come(shared, HERE, [1])?;
    set_bounds(shared, Oid::from(HERE), false, || 50);
    roll_back(start);
    let before = generation(shared);
    come(shared, HERE, [1])?;
    assert_eq!((generation(shared), own_list(shared).len()), (before, 1));
    assert_eq!(bounds(shared, [1]), [Some(1000)]);
    Ok(())
}

fn keys_of_a_subtransaction() -> Result<()> {
    let shared = &Own::none_yet()?;
    come(shared, HERE, [1])?;
    let start = last_serial();
    come(shared, HERE, [2, 3])?;
    set_bounds(shared, Oid::from(HERE), false, || 50);
    roll_back(start);
    assert_eq!(
        bounds(shared, [1, 2, 3]),
        [Some(50), Some(1000), Some(1000)]
    );
    // The next positions are not theirs.
    set_bounds(shared, Oid::from(HERE), false, || 60);
    assert_eq!(
        bounds(shared, [1, 2, 3]),
        [Some(50), Some(1000), Some(1000)]
    );
    Ok(())
}

/// The transaction may come again without another entry: so it is bounded again.
fn partition_of_a_subtransaction() -> Result<()> {
    let shared = &Own::none_yet()?;
    let (here, name) = (Oid::from(HERE), Name::of_partition(Oid::from(HERE)));
    let bound = || bound_under(shared, my_backend(), name, 1000);
    assert!(!has_come_to(here));
    let start = last_serial();
    add(shared, here, name)?;
    set_bounds(shared, here, false, || 50);
    assert_eq!((has_come_to(here), bound()), (true, Some(50)));
    roll_back(start);
    assert_eq!((has_come_to(here), bound()), (true, Some(1000)));
    set_bounds(shared, here, false, || 60);
    assert_eq!(bound(), Some(60));
    give_back(shared);
    assert!(!has_come_to(here) && bound().is_none());
    Ok(())
}

fn all_given_back() -> Result<()> {
    let shared = &Own::none_yet()?;
    come(shared, HERE, 1..=20)?;
    let me = my_backend() as u32 + 1;
    let owned = || {
        shared
            .late_keys()
            .iter()
            .filter(|e| e.owner.load(SeqCst) == me)
            .count()
    };
    assert_eq!(owned(), 20);
    give_back(shared);
    assert_eq!((owned(), own_list(shared).len()), (0, 0));
    assert_eq!(bounds(shared, [1]), [None]);
    Ok(())
}

/// All entries can be had, each once; then it is an error, and they can be given back.
fn pool_that_is_used_up() -> Result<()> {
    let shared = &Own::none_yet()?;
    let free = shared
        .late_keys()
        .iter()
        .filter(|e| e.owner.load(SeqCst) == 0)
        .count();
    come(shared, HERE, 1..=free as u64)?;
    assert_eq!(own_list(shared).len(), free);
    let error = come(shared, HERE, [0]).err();
    give_back(shared);
    let told = error.map(|e| (e.state, e.hint.unwrap_or_default()));
    let hint = "You might need to increase max_locks_per_transaction.".to_owned();
    assert_eq!(told, Some((SqlState::OutOfMemory, hint)));
    come(shared, HERE, [0])?;
    Ok(())
}

/// A reader waits for it: else he might go beyond it.
fn bound_that_is_about_to_be_set() {
    let bound = AtomicI64::new(PENDING);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            bound.store(42, SeqCst);
        });
        assert_eq!(bound_of(&bound), 42);
    });
    super::set_bound(&bound, || {
        assert_eq!(bound.load(SeqCst), PENDING, "who reads it meanwhile waits");
        43
    });
    assert_eq!(bound_of(&bound), 43);
}

fn list_of_another_backend() -> Result<()> {
    let shared = Shared::get()?;
    let mut other = Other::new(shared, 3);
    let under = |other: &Other, n| bound_under(shared, other.backend, key(n), 1000);
    assert_eq!(under(&other, 1), None);
    other.late(key(1), 30);
    other.late(key(2), UNSET);
    assert_eq!(under(&other, 1), Some(30));
    assert_eq!(under(&other, 2), Some(1000), "nothing yet");
    assert_eq!(under(&other, 3), None, "the slot's own bound counts");
    other.end();
    assert_eq!(under(&other, 1), None);
    Ok(())
}

/// Its owner has given it back and another one has it: the list ends there. It may even lead in a circle by then.
fn entry_that_has_become_anothers() -> Result<()> {
    let shared = Shared::get()?;
    let mut other = Other::new(shared, 4);
    other.late(key(1), 30);
    other.late(key(2), 40);
    let [first, second] = [0, 1].map(|n| &shared.late_keys()[other.entries[n]]);
    second.owner.store(1, SeqCst);
    assert_eq!(list(shared, other.backend, other.slot()).count(), 0);
    second.owner.store(other.backend as u32 + 1, SeqCst);
    first.next.store(other.entries[1] as u32 + 1, SeqCst);
    let length = list(shared, other.backend, other.slot()).count();
    assert!(length <= shared.late_keys().len(), "a circle ends");
    first.next.store(u32::MAX, SeqCst);
    assert_eq!(list(shared, other.backend, other.slot()).count(), 2);
    Ok(())
}

fn partitions_of_another_backend() -> Result<()> {
    let shared = Shared::get()?;
    let mut other = Other::new(shared, 5);
    let [here, elsewhere] = [HERE, ELSEWHERE].map(Oid::from);
    other.late(Name::of_partition(here), 30);
    other.late(key(7), 20);
    other.late(Name::of_partition(elsewhere), UNSET);
    assert_eq!(partitions_of(shared, other.backend), [(here, 30)]);
    Ok(())
}
