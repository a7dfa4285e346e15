//! Taking keys and giving them back, and who holds what.

use std::sync::atomic::Ordering::Relaxed;

use super::super::key_mode::{CHECKED, Mode, WRITTEN};
use super::{Bucket, Hold, Holder, Key, KeyLock, Locked, Outcome, Shown, Spin, Stance, Table, at};

impl<'s> Table<'s> {
    fn find(&self, bucket: &Locked, key: &Key) -> Option<(u32, &'s KeyLock)> {
        let mut n = bucket.first.load(Relaxed);
        while let Some(lock) = at(self.locks, n) {
            if lock.name() == *key {
                return Some((n, lock));
            }
            n = lock.next.load(Relaxed);
        }
        None
    }

    fn holds_of(&self, lock: &KeyLock) -> impl Iterator<Item = &'s Hold> {
        let (holds, mut n) = (self.holds, lock.holders.load(Relaxed));
        std::iter::from_fn(move || {
            let hold = at(holds, n)?;
            n = hold.next.load(Relaxed);
            Some(hold)
        })
    }

    /// Holds a key for a transaction, where nobody is in the way. `own` is its hold where it has one.
    pub fn take(
        &self,
        key: &Key,
        mode: Mode,
        holder: Holder,
        own: Option<u32>,
        stance: Stance,
    ) -> Outcome {
        let bucket = self.lock(key);
        let found = self.find(&bucket, key);
        let own = own.and_then(|n| Some((n, at(self.holds, n)?)));
        if let Some((n, lock)) = found {
            let is_taken = self.blocks(lock, mode, own.map(|(_, hold)| hold));
            let wanted_by = lock.wanted_by.load(Relaxed);
            let is_wanted = wanted_by != 0 && wanted_by != holder.backend + 1;
            if is_taken && wanted_by == 0 && stance != Stance::Newcomer {
                lock.wanted_by.store(holder.backend + 1, Relaxed);
            }
            if is_taken || (is_wanted && stance != Stance::Holder) {
                // The first who waits is kept from it also by one who holds it and wants it as more.
                let is_it = |hold: &&Hold| match is_taken {
                    true => !own.is_some_and(|(_, own)| std::ptr::eq(*hold, own)),
                    false => hold.backend.load(Relaxed) + 1 == wanted_by,
                };
                let by = self.holds_of(lock).find(is_it).map(Hold::holder);
                return Outcome::Blocked { lock: n, by };
            }
        }
        let held = match own {
            Some((n, hold)) => found.map(|(_, lock)| {
                hold.set(lock, mode, holder.subtransaction);
                n
            }),
            None => self.hold(&bucket, found, key, mode, holder),
        };
        if let Some((n, lock)) = found {
            self.unmark(&bucket, n, lock, holder.backend);
        }
        held.map_or(Outcome::Full, Outcome::Held)
    }

    /// Whether others hold it in a way that this mode cannot be had beside.
    fn blocks(&self, lock: &KeyLock, mode: Mode, own: Option<&Hold>) -> bool {
        let own = own.map_or(0, |hold| hold.mode.load(Relaxed));
        let written = lock.written.load(Relaxed) - u32::from(own & WRITTEN != 0);
        let checked = lock.checked.load(Relaxed) - u32::from(own & CHECKED != 0);
        let mode = mode as u32;
        (mode & WRITTEN != 0 && checked > 0) || (mode & CHECKED != 0 && written > 0)
    }

    /// Makes a hold, and an entry for the key where it has none. `None` where there is no room.
    fn hold(
        &self,
        bucket: &Locked,
        found: Option<(u32, &'s KeyLock)>,
        key: &Key,
        mode: Mode,
        holder: Holder,
    ) -> Option<u32> {
        let n = self.new_hold(holder.backend)?;
        let (of, lock) = match found {
            Some(found) => found,
            None => {
                let Some(of) = self.new_lock(holder.backend) else {
                    self.give_hold(n);
                    return None;
                };
                let lock = at(self.locks, of)?;
                lock.begin(key, bucket.first.load(Relaxed));
                bucket.first.store(of, Relaxed);
                (of, lock)
            }
        };
        let hold = at(self.holds, n)?;
        let first = lock.holders.load(Relaxed);
        hold.lock.store(of, Relaxed);
        hold.previous.store(0, Relaxed);
        hold.next.store(first, Relaxed);
        hold.mode.store(0, Relaxed);
        hold.backend.store(holder.backend, Relaxed);
        hold.transaction.store(holder.transaction, Relaxed);
        if let Some(second) = at(self.holds, first) {
            second.previous.store(n, Relaxed);
        }
        lock.holders.store(n, Relaxed);
        hold.set(lock, mode, holder.subtransaction);
        Some(n)
    }

    /// The entry of the key that a hold is of, and its bucket. The entry stays as long as the hold.
    fn of_hold(&self, hold: &Hold) -> Option<(Locked<'s>, u32, &'s KeyLock)> {
        let n = hold.lock.load(Relaxed);
        let lock = at(self.locks, n)?;
        Some((self.lock(&lock.name()), n, lock))
    }

    /// Takes a hold back to what it was, or says that it is another subtransaction's.
    pub fn change(&self, n: u32, mode: Mode, subtransaction: u32) {
        if let Some(hold) = at(self.holds, n)
            && let Some((_bucket, _, lock)) = self.of_hold(hold)
        {
            hold.set(lock, mode, subtransaction);
        }
    }

    /// Gives a hold back.
    pub fn release(&self, n: u32) {
        let Some(hold) = at(self.holds, n) else {
            return;
        };
        let Some((bucket, of, lock)) = self.of_hold(hold) else {
            return;
        };
        lock.count(hold.mode.load(Relaxed), 0);
        let (previous, next) = (hold.previous.load(Relaxed), hold.next.load(Relaxed));
        let before = at(self.holds, previous).map_or(&lock.holders, |hold| &hold.next);
        before.store(next, Relaxed);
        if let Some(after) = at(self.holds, next) {
            after.previous.store(previous, Relaxed);
        }
        self.drop_unused(&bucket, of, lock);
        self.give_hold(n);
    }

    /// Nobody is kept from a key any more by a backend that waited for it.
    pub fn stop_waiting(&self, n: u32, backend: u32) {
        // The entry is there as long as the mark is. Without the mark it may be anybody's, and nothing happens to it.
        if let Some(lock) = at(self.locks, n) {
            let bucket = self.lock(&lock.name());
            self.unmark(&bucket, n, lock, backend);
        }
    }

    fn unmark(&self, bucket: &Locked, n: u32, lock: &KeyLock, backend: u32) {
        if lock.wanted_by.load(Relaxed) == backend + 1 {
            lock.wanted_by.store(0, Relaxed);
            self.drop_unused(bucket, n, lock);
        }
    }

    fn drop_unused(&self, bucket: &Locked, n: u32, lock: &KeyLock) {
        if lock.holders.load(Relaxed) != 0 || lock.wanted_by.load(Relaxed) != 0 {
            return;
        }
        let mut link = bucket.first;
        while let Some(other) = at(self.locks, link.load(Relaxed)) {
            if std::ptr::eq(other, lock) {
                link.store(lock.next.load(Relaxed), Relaxed);
                self.give_lock(n);
                return;
            }
            link = &other.next;
        }
    }

    /// The backends that hold a key as written, but for one's own.
    pub fn writers(&self, key: &Key, own: usize) -> Vec<usize> {
        let mut found = Vec::new();
        loop {
            let bucket = self.lock(key);
            let Some((_, lock)) = self.find(&bucket, key) else {
                return found;
            };
            let written = lock.written.load(Relaxed) as usize;
            if written <= found.capacity() {
                let holds = self.holds_of(lock);
                let writes = holds.filter(|h| h.mode.load(Relaxed) & WRITTEN != 0);
                let backends = writes.map(|h| h.backend.load(Relaxed) as usize);
                found.extend(backends.filter(|b| *b != own));
                return found;
            }
            // Room is made while nobody is kept waiting.
            drop(bucket);
            found.reserve(written + 8);
        }
    }

    /// All that is held and waited for in a database.
    pub fn shown(&self, database: u32) -> Vec<Shown> {
        let mut found = Vec::new();
        for bucket in self.buckets {
            while !self.show(bucket, database, &mut found) {
                found.reserve(found.capacity() + 64);
            }
        }
        found
    }

    /// Adds what a bucket has, or nothing where there is no room for it.
    fn show(&self, bucket: &Bucket, database: u32, found: &mut Vec<Shown>) -> bool {
        let before = found.len();
        let _spin = Spin::lock(&bucket.lock);
        let mut n = bucket.first.load(Relaxed);
        while let Some(lock) = at(self.locks, n) {
            n = lock.next.load(Relaxed);
            let name = lock.name();
            if name.database != database {
                continue;
            }
            let shown = |backend, mode| Shown {
                partition: name.partition,
                key: name.key,
                mode,
                backend,
            };
            let of_hold = |hold: &Hold| shown(hold.backend.load(Relaxed), hold.mode());
            let waiting = lock.wanted_by.load(Relaxed).checked_sub(1);
            let waiting = waiting.map(|backend| shown(backend, None));
            for one in self.holds_of(lock).map(of_hold).chain(waiting) {
                if found.len() == found.capacity() {
                    found.truncate(before);
                    return false;
                }
                found.push(one);
            }
        }
        true
    }
}
