//! The table of key locks, by itself: what excludes what, who goes first, what happens when it is full; and with many threads.

#![allow(missing_docs)]

use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

#[allow(dead_code)]
#[path = "../src/store"]
mod store {
    pub mod memory {
        pub mod key_mode;
        pub mod key_table;
    }
}

use store::memory::key_mode::Mode;
use store::memory::key_table::{
    Bucket, FREE_PARTS, Free, Hold, Holder, Key, KeyLock, Outcome, Stance, Table,
};

use Mode::{Checked, CheckedAndWritten, Written};
use Stance::{First, Newcomer};

const MODES: [Mode; 3] = [Written, Checked, CheckedAndWritten];

/// The memory of a table.
struct Memory {
    buckets: Vec<Bucket>,
    locks: Vec<KeyLock>,
    holds: Vec<Hold>,
    free: Vec<Free>,
}

fn zeroed<T: Default>(n: usize) -> Vec<T> {
    (0..n).map(|_| T::default()).collect()
}

impl Memory {
    /// With room for so many holds. There are few buckets, so that keys meet in them.
    fn of(holds: usize) -> Self {
        Self {
            buckets: zeroed(4),
            locks: zeroed(holds),
            holds: zeroed(holds),
            free: zeroed(FREE_PARTS),
        }
    }

    fn table(&self) -> Table<'_> {
        Table::of(&self.buckets, &self.locks, &self.holds, &self.free)
    }
}

fn key(key: i64) -> Key {
    Key {
        database: 5,
        partition: 7,
        key,
    }
}

fn backend(n: u32) -> Holder {
    Holder {
        backend: n,
        transaction: n + 100,
        subtransaction: 0,
    }
}

fn held(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Held(hold) => hold,
        other => panic!("{other:?}"),
    }
}

fn blocked(outcome: Outcome) -> (u32, Option<Holder>) {
    match outcome {
        Outcome::Blocked { lock, by } => (lock, by),
        other => panic!("{other:?}"),
    }
}

fn exclude(one: Mode, other: Mode) -> bool {
    !matches!((one, other), (Written, Written) | (Checked, Checked))
}

#[test]
fn modes_that_exclude_each_other() {
    for one in MODES {
        for other in MODES {
            let memory = Memory::of(32);
            let table = memory.table();
            held(table.take(&key(1), one, backend(1), None, Newcomer));
            let second = table.take(&key(1), other, backend(2), None, Newcomer);
            match exclude(one, other) {
                true => assert_eq!(blocked(second).1, Some(backend(1)), "{one:?} {other:?}"),
                false => drop(held(second)),
            }
            // Others are no matter: another key, another partition, another database.
            let elsewhere = Key {
                partition: 8,
                ..key(1)
            };
            let of_another = Key {
                database: 6,
                ..key(1)
            };
            for free in [key(2), elsewhere, of_another] {
                held(table.take(&free, other, backend(2), None, Newcomer));
            }
        }
    }
}

#[test]
fn own_holds_are_in_nobodys_way() {
    for one in MODES {
        for other in MODES {
            let memory = Memory::of(32);
            let table = memory.table();
            let own = held(table.take(&key(1), one, backend(1), None, Newcomer));
            let both = one.and(other);
            let more = table.take(&key(1), both, backend(1), Some(own), Stance::Holder);
            assert_eq!(held(more), own);
            table.release(own);
            assert_eq!(table.usage(), (0, 0));
        }
    }
}

#[test]
fn holders_that_want_more() {
    let memory = Memory::of(64);
    let table = memory.table();
    let one = held(table.take(&key(1), Written, backend(1), None, Newcomer));
    let two = held(table.take(&key(1), Written, backend(2), None, Newcomer));
    // The first who waits is in the way of who comes now, not of one who holds it.
    let first = |mode| table.take(&key(1), mode, backend(3), None, First);
    assert!(blocked(first(Checked)).1.is_some());
    let more = |n, own| {
        table.take(
            &key(1),
            CheckedAndWritten,
            backend(n),
            Some(own),
            Stance::Holder,
        )
    };
    assert_eq!(blocked(more(1, one)).1, Some(backend(2)));
    table.release(two);
    assert_eq!(held(more(1, one)), one);
    // A rollback takes it back to what it was.
    table.change(one, Written, 0);
    assert_eq!(table.writers(&key(1), 9), [1]);
    held(first(Written));
}

/// Nobody goes past one who holds a key and wants it as more, not even the first of those who wait.
#[test]
fn nobody_goes_before_a_holder_that_wants_more() {
    let memory = Memory::of(64);
    let table = memory.table();
    let one = held(table.take(&key(1), Written, backend(1), None, Newcomer));
    let two = held(table.take(&key(1), Written, backend(2), None, Newcomer));
    let more = || {
        table.take(
            &key(1),
            CheckedAndWritten,
            backend(1),
            Some(one),
            Stance::Holder,
        )
    };
    assert_eq!(blocked(more()).1, Some(backend(2)));
    let come = |n, stance| table.take(&key(1), Written, backend(n), None, stance);
    assert_eq!(blocked(come(3, Newcomer)).1, Some(backend(1)));
    assert_eq!(blocked(come(3, First)).1, Some(backend(1)));
    table.release(two);
    assert_eq!(held(more()), one);
    table.release(one);
    held(come(3, First));
    held(come(4, Newcomer));
}

#[test]
fn nobody_goes_before_the_first() {
    let memory = Memory::of(32);
    let table = memory.table();
    let one = held(table.take(&key(1), Written, backend(1), None, Newcomer));
    let (_, by) = blocked(table.take(&key(1), Checked, backend(2), None, First));
    assert_eq!(by, Some(backend(1)));
    // It could be had beside the one who holds it.
    let newcomer = || table.take(&key(1), Written, backend(3), None, Newcomer);
    assert_eq!(blocked(newcomer()).1, None);
    let shown: Vec<_> = table.shown(5).iter().map(|s| (s.backend, s.mode)).collect();
    assert_eq!(shown, [(1, Some(Written)), (2, None)]);
    assert_eq!(table.shown(6), []);
    table.release(one);
    assert_eq!(
        blocked(newcomer()).1,
        None,
        "also when nobody holds it any more"
    );
    let two = held(table.take(&key(1), Checked, backend(2), None, First));
    assert_eq!(blocked(newcomer()).1, Some(backend(2)));
    table.release(two);
    held(newcomer());
    // One who gives up is in nobody's way.
    let (lock, _) = blocked(table.take(&key(1), Checked, backend(2), None, First));
    table.stop_waiting(lock, 2);
    held(table.take(&key(1), Written, backend(4), None, Newcomer));
}

#[test]
fn one_who_waits_keeps_the_entry() {
    let memory = Memory::of(32);
    let table = memory.table();
    let one = held(table.take(&key(1), Written, backend(1), None, Newcomer));
    let (lock, _) = blocked(table.take(&key(1), Checked, backend(2), None, First));
    table.release(one);
    // Other keys do not get it meanwhile.
    for n in 2..20 {
        held(table.take(&key(n), Written, backend(1), None, Newcomer));
    }
    table.stop_waiting(lock, 2);
    assert_eq!(table.writers(&key(1), 9), [0; 0]);
    assert_eq!(
        table.shown(5).iter().filter(|s| s.mode.is_none()).count(),
        0
    );
}

#[test]
fn full_and_free_again() {
    let memory = Memory::of(64);
    let table = memory.table();
    let holds: Vec<u32> = (0..64)
        .map(|n| held(table.take(&key(n), Written, backend(n as u32), None, Newcomer)))
        .collect();
    assert_eq!(table.usage(), (64, 0));
    let more = table.take(&key(1000), Written, backend(3), None, Newcomer);
    assert_eq!(more, Outcome::Full);
    let first = table.take(&key(1000), Written, backend(3), None, First);
    assert_eq!(first, Outcome::Full);
    let beside = table.take(&key(3), Written, backend(4), None, Newcomer);
    assert_eq!(beside, Outcome::Full, "also where the key has an entry");
    assert_eq!(table.usage(), (64, 3));
    assert_eq!(table.shown(5).len(), 64);
    // Who holds a key needs no room.
    held(table.take(
        &key(5),
        CheckedAndWritten,
        backend(5),
        Some(holds[5]),
        Stance::Holder,
    ));
    holds.iter().for_each(|hold| table.release(*hold));
    assert_eq!((table.usage().0, table.shown(5).len()), (0, 0));
    for n in 0..64 {
        held(table.take(&key(n + 100), Checked, backend(1), None, Newcomer));
    }
}

/// What a table is to do, in its simplest form: a list.
#[derive(Default)]
struct Plain {
    holds: Vec<(i64, u32, Mode, u32)>,
}

impl Plain {
    fn own(&self, key: i64, backend: u32) -> Option<(usize, Mode, u32)> {
        let at = self
            .holds
            .iter()
            .position(|h| (h.0, h.1) == (key, backend))?;
        Some((at, self.holds[at].2, self.holds[at].3))
    }

    fn is_free(&self, key: i64, backend: u32, mode: Mode) -> bool {
        let mut others = self.holds.iter().filter(|h| h.0 == key && h.1 != backend);
        others.all(|h| !exclude(h.2, mode))
    }

    fn writers(&self, key: i64, own: u32) -> Vec<usize> {
        let holds = self.holds.iter().filter(|h| h.0 == key && h.1 != own);
        let writers = holds.filter(|h| h.2.writes());
        let mut writers: Vec<usize> = writers.map(|h| h.1 as usize).collect();
        writers.sort_unstable();
        writers
    }
}

proptest! {
    #[test]
    fn like_a_list(steps in proptest::collection::vec((0..6i64, 0..5u32, 0..3usize, 0..3u32), 1..200)) {
        let memory = Memory::of(256);
        let (table, mut plain) = (memory.table(), Plain::default());
        for (k, b, mode, what) in steps {
            let own = plain.own(k, b);
            match own {
                Some((at, _, hold)) if what == 0 => {
                    table.release(hold);
                    plain.holds.swap_remove(at);
                }
                _ => {
                    let mode = own.map_or(MODES[mode], |(_, held, _)| held.and(MODES[mode]));
                    let stance = own.map_or(Newcomer, |_| Stance::Holder);
                    let hold = own.map(|(_, _, hold)| hold);
                    let outcome = table.take(&key(k), mode, backend(b), hold, stance);
                    if plain.is_free(k, b, mode) {
                        let hold = held(outcome);
                        match own {
                            Some((at, ..)) => plain.holds[at].2 = mode,
                            None => plain.holds.push((k, b, mode, hold)),
                        }
                    } else {
                        let (lock, by) = blocked(outcome);
                        table.stop_waiting(lock, b);
                        let by = by.map(|h| h.backend);
                        prop_assert!(by.is_some_and(|other| other != b && plain.own(k, other).is_some()));
                    }
                }
            }
            let mut writers = table.writers(&key(k), b as usize);
            writers.sort_unstable();
            prop_assert_eq!(writers, plain.writers(k, b));
            prop_assert_eq!(table.usage(), (plain.holds.len() as u32, 0));
        }
        let mut shown: Vec<_> = table.shown(5).iter().map(|s| (s.key, s.backend, s.mode)).collect();
        let mut listed: Vec<_> = plain.holds.iter().map(|h| (h.0, h.1, Some(h.2))).collect();
        shown.sort_unstable();
        listed.sort_unstable();
        prop_assert_eq!(shown, listed);
        plain.holds.iter().for_each(|h| table.release(h.3));
        prop_assert_eq!(table.usage().0, 0);
    }
}

/// Threads take keys, a few each time and in ascending order, queue where somebody is in the way, and look whether anybody is
/// beside them who must not be. All come to an end: nobody is kept waiting for ever.
#[test]
fn many_threads() {
    const KEYS: usize = 5;
    const THREADS: u32 = 8;
    let memory = Memory::of(256);
    let queues: Vec<Mutex<()>> = zeroed(KEYS);
    // Who is there: writers in the lower half, checkers in the upper one.
    let there: Vec<AtomicU32> = zeroed(KEYS);
    let parts = |mode: Mode| match mode {
        Written => 1,
        Checked => 1 << 16,
        CheckedAndWritten => 1 | 1 << 16,
    };
    let take = |table: &Table, n: usize, mode: Mode, b: u32| -> u32 {
        let newcomer = table.take(&key(n as i64), mode, backend(b), None, Newcomer);
        if let Outcome::Held(hold) = newcomer {
            return hold;
        }
        let _queue = queues[n].lock().unwrap_or_else(|e| e.into_inner());
        loop {
            match table.take(&key(n as i64), mode, backend(b), None, First) {
                Outcome::Held(hold) => return hold,
                Outcome::Blocked { by: Some(by), .. } => assert_ne!(by.backend, b),
                other => panic!("{other:?}"),
            }
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        for b in 0..THREADS {
            let (memory, there, take) = (&memory, &there, &take);
            scope.spawn(move || {
                let table = memory.table();
                let mut random = u64::from(b) * 0x9E37_79B9 + 1;
                for _ in 0..20_000 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let bits = random >> 33;
                    let mut holds = Vec::new();
                    for n in (0..KEYS).filter(|n| bits >> n & 1 == 1) {
                        let mode = MODES[(bits >> (8 + 2 * n)) as usize % 3];
                        let hold = take(&table, n, mode, b);
                        let before = there[n].fetch_add(parts(mode), SeqCst);
                        let (writers, checkers) = (before & 0xFFFF, before >> 16);
                        assert!(mode == Checked || checkers == 0, "{mode:?} beside checkers");
                        assert!(mode == Written || writers == 0, "{mode:?} beside writers");
                        holds.push((n, mode, hold));
                    }
                    for (n, mode, hold) in holds {
                        there[n].fetch_sub(parts(mode), SeqCst);
                        table.release(hold);
                    }
                }
            });
        }
    });
    assert_eq!(memory.table().usage(), (0, 0));
    assert_eq!(memory.table().shown(5), []);
}
