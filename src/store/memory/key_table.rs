//! The table of key locks: which transactions hold which keys, and as what.
//!
//! It is a hash table in shared memory. A key that somebody holds, or waits for, has an entry in the chain of its bucket,
//! and the entry has a list of its holders. Both are read and changed while the bucket's spin lock is held, which takes some
//! tens of nanoseconds: what is done there neither allocates, nor waits, nor fails. Who must wait for a holder waits
//! elsewhere (`lock::wait`).
//!
//! **Invariant:** a holder's entry is there from before its transaction is allotted positions for events under the key,
//! until after these events can be seen or are undone.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI64, AtomicU32};

use super::key_mode::{CHECKED, Mode, WRITTEN};

mod take;

/// Which key: those of different databases or partitions never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The database.
    pub database: u32,
    /// The partition.
    pub partition: u32,
    /// The key in it.
    pub key: i64,
}

/// Who holds a key: what others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The backend.
    pub backend: u32,
    /// Its transaction's local number.
    pub transaction: u32,
    /// The subtransaction that has taken the key, by its xid; 0 where it was the transaction itself.
    pub subtransaction: u32,
}

/// How somebody comes to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// He comes to it now: where another one waits for it he does not go first, even where he could.
    Newcomer,
    /// He is the first of those who wait: where he cannot have it now, nobody else comes to it before him.
    First,
    /// He holds it already, and wants it as more: he does not wait for those who wait for him. Where he cannot have it now,
    /// nobody else comes to it before him.
    Holder,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is held; by this place in the table it is given back.
    Held(u32),
    /// Somebody is in the way: he holds it, or waits for it.
    Blocked {
        /// The key's place in the table.
        lock: u32,
        /// One who holds it and must end first; none where somebody only waits for it.
        by: Option<Holder>,
    },
    /// The table is full.
    Full,
}

/// What is held, or waited for, as views show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The partition.
    pub partition: u32,
    /// The key.
    pub key: i64,
    /// How it is held; none where it is waited for.
    pub mode: Option<Mode>,
    /// The backend.
    pub backend: u32,
}

/// A chain of keys with the same hash.
#[derive(Default)]
#[repr(C)]
pub struct Bucket {
    lock: AtomicU32,
    first: AtomicU32,
}

/// A key that is held or waited for. Numbers of entries count from 1; 0 stands for none.
#[derive(Default)]
#[repr(C)]
pub struct KeyLock {
    key: AtomicI64,
    database: AtomicU32,
    partition: AtomicU32,
    next: AtomicU32,
    holders: AtomicU32,
    /// How many hold it as written, also as checked and written.
    written: AtomicU32,
    /// How many hold it as checked, also as checked and written.
    checked: AtomicU32,
    /// The backend before which nobody may take it that does not hold it, plus one; 0 where there is none.
    wanted_by: AtomicU32,
}

/// One transaction's hold on a key.
#[derive(Default)]
#[repr(C, align(32))]
pub struct Hold {
    lock: AtomicU32,
    previous: AtomicU32,
    next: AtomicU32,
    mode: AtomicU32,
    backend: AtomicU32,
    transaction: AtomicU32,
    subtransaction: AtomicU32,
}

/// Entries that nobody uses: those that were given back are a list; the others have never been used.
#[derive(Default)]
#[repr(C)]
struct Unused {
    first: AtomicU32,
    /// How many have ever been used.
    ever: AtomicU32,
    /// How many are in use.
    used: AtomicU32,
}

/// A part of all entries, with the free ones of it.
#[derive(Default)]
#[repr(C, align(64))]
pub struct Free {
    lock: AtomicU32,
    locks: Unused,
    holds: Unused,
    /// How often a backend that looks here first has found no entry anywhere.
    times_full: AtomicU32,
}

/// In how many parts the free entries are, so that backends do not meet at one.
pub const FREE_PARTS: usize = 32;

/// The table, by its parts.
#[derive(Clone, Copy)]
pub struct Table<'s> {
    buckets: &'s [Bucket],
    locks: &'s [KeyLock],
    holds: &'s [Hold],
    free: &'s [Free],
}

/// A spin lock that is held until this is dropped.
struct Spin<'s>(&'s AtomicU32);

impl<'s> Spin<'s> {
    fn lock(word: &'s AtomicU32) -> Self {
        // Who holds it needs tens of nanoseconds, unless the system has taken the processor from him.
        let mut tries = 0;
        while word.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
            tries += 1;
            match tries % 100 {
                0 => std::thread::yield_now(),
                _ => std::hint::spin_loop(),
            }
        }
        Self(word)
    }
}

impl Drop for Spin<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}

/// A bucket whose spin lock is held.
struct Locked<'s> {
    _spin: Spin<'s>,
    first: &'s AtomicU32,
}

/// The entry of a number; none of 0.
fn at<T>(all: &[T], n: u32) -> Option<&T> {
    all.get((n as usize).checked_sub(1)?)
}

impl<'s> Table<'s> {
    /// The table of these parts, all zero when it is new. There are as many keys as holds. Their number is a power of two, as
    /// that of the buckets is, and a multiple of that of the parts with free entries.
    pub fn of(
        buckets: &'s [Bucket],
        locks: &'s [KeyLock],
        holds: &'s [Hold],
        free: &'s [Free],
    ) -> Self {
        Self {
            buckets,
            locks,
            holds,
            free,
        }
    }

    /// Locks the bucket of a key.
    fn lock(&self, key: &Key) -> Locked<'s> {
        let place = u64::from(key.partition) << 32 | u64::from(key.database);
        let mixed = (key.key as u64 ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let bucket = &self.buckets[(mixed >> 32) as usize & (self.buckets.len() - 1)];
        Locked {
            _spin: Spin::lock(&bucket.lock),
            first: &bucket.first,
        }
    }
}

impl KeyLock {
    fn name(&self) -> Key {
        Key {
            database: self.database.load(Relaxed),
            partition: self.partition.load(Relaxed),
            key: self.key.load(Relaxed),
        }
    }

    fn begin(&self, key: &Key, next: u32) {
        self.key.store(key.key, Relaxed);
        self.database.store(key.database, Relaxed);
        self.partition.store(key.partition, Relaxed);
        self.next.store(next, Relaxed);
        for zero in [&self.holders, &self.written, &self.checked, &self.wanted_by] {
            zero.store(0, Relaxed);
        }
    }

    /// One who held it in one mode holds it in another one.
    fn count(&self, before: u32, after: u32) {
        for (bit, count) in [(WRITTEN, &self.written), (CHECKED, &self.checked)] {
            let more = u32::from(after & bit != 0);
            let less = u32::from(before & bit != 0);
            count.store(count.load(Relaxed) + more - less, Relaxed);
        }
    }
}

impl Hold {
    /// None while it is being made.
    fn mode(&self) -> Option<Mode> {
        match self.mode.load(Relaxed) {
            0 => None,
            WRITTEN => Some(Mode::Written),
            CHECKED => Some(Mode::Checked),
            _ => Some(Mode::CheckedAndWritten),
        }
    }

    fn holder(&self) -> Holder {
        Holder {
            backend: self.backend.load(Relaxed),
            transaction: self.transaction.load(Relaxed),
            subtransaction: self.subtransaction.load(Relaxed),
        }
    }

    fn set(&self, lock: &KeyLock, mode: Mode, subtransaction: u32) {
        lock.count(self.mode.load(Relaxed), mode as u32);
        self.mode.store(mode as u32, Relaxed);
        self.subtransaction.store(subtransaction, Relaxed);
    }
}

/// Free entries. Each backend looks in one part first. An entry goes back to the part that it is of.
impl Table<'_> {
    fn share(&self) -> usize {
        self.holds.len() / self.free.len()
    }

    fn new_hold(&self, backend: u32) -> Option<u32> {
        let next = |n| at(self.holds, n).map(|hold| &hold.next);
        self.new_entry(backend, |free| &free.holds, next)
    }

    fn new_lock(&self, backend: u32) -> Option<u32> {
        let next = |n| at(self.locks, n).map(|lock| &lock.next);
        self.new_entry(backend, |free| &free.locks, next)
    }

    fn new_entry<'t>(
        &'t self,
        backend: u32,
        unused: impl Fn(&'t Free) -> &'t Unused,
        next: impl Fn(u32) -> Option<&'t AtomicU32>,
    ) -> Option<u32> {
        let all = self.free.len();
        let found = (0..all).find_map(|n| {
            let part = (backend as usize + n) % all;
            let free = &self.free[part];
            let unused = unused(free);
            let _spin = Spin::lock(&free.lock);
            let given_back = unused.first.load(Relaxed);
            let entry = if let Some(next) = next(given_back) {
                unused.first.store(next.load(Relaxed), Relaxed);
                given_back
            } else {
                let ever = unused.ever.load(Relaxed);
                if ever as usize == self.share() {
                    return None;
                }
                unused.ever.store(ever + 1, Relaxed);
                (part * self.share()) as u32 + ever + 1
            };
            unused.used.store(unused.used.load(Relaxed) + 1, Relaxed);
            Some(entry)
        });
        if found.is_none() {
            self.free[backend as usize % all]
                .times_full
                .fetch_add(1, Relaxed);
        }
        found
    }

    fn give_hold(&self, n: u32) {
        if let Some(hold) = at(self.holds, n) {
            self.give_entry(n, &hold.next, |free| &free.holds);
        }
    }

    fn give_lock(&self, n: u32) {
        if let Some(lock) = at(self.locks, n) {
            self.give_entry(n, &lock.next, |free| &free.locks);
        }
    }

    fn give_entry<'t>(&'t self, n: u32, next: &AtomicU32, unused: impl Fn(&'t Free) -> &'t Unused) {
        let free = &self.free[(n as usize - 1) / self.share()];
        let unused = unused(free);
        let _spin = Spin::lock(&free.lock);
        next.store(unused.first.load(Relaxed), Relaxed);
        unused.first.store(n, Relaxed);
        unused.used.store(unused.used.load(Relaxed) - 1, Relaxed);
    }

    /// How many keys are held now, and how often there was no room for one.
    pub fn usage(&self) -> (u32, u64) {
        let used = self.free.iter().map(|free| free.holds.used.load(Relaxed));
        let full = self.free.iter();
        let full = full.map(|free| u64::from(free.times_full.load(Relaxed)));
        (used.sum(), full.sum())
    }
}
