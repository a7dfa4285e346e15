//! Positions: how they are allotted, and up to where everything is settled.
//!
//! - allot: `slot.bound = next`, then `next += n`. Entry first, so no position exists that no slot
//!   covers.
//! - end: the slot is cleared after the transaction has become visible (see `transaction`).
//! - frontier: `next` first, then the slots: `min(next, bounds) - 1`. Every row up to it that will ever
//!   exist is visible.
//!
//! **Invariant:** a position is allotted only below the durable ceiling (see `ceiling`).

use std::cell::Cell;
use std::hash::Hash;
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys::Oid;

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::store::lock::keys;
use crate::store::memory::atomic::keeping_only;
use crate::store::memory::late_key::{self, Name, bound_of, set_bound};
use crate::store::memory::shmem::{Log, Shared, Slot, my_backend};
use crate::store::session::transaction;

use super::catalog::Store;

#[cfg(feature = "in-process-tests")]
pub mod tests;

/// Sums with positions stay numbers.
const LAST_POSITION: i64 = i64::MAX - 1_000_000;

fn no_positions_left() -> Error {
    Error::new(SqlState::LimitExceeded, "the log has no positions left")
}

/// The counter of this database's log.
#[derive(Clone, Copy)]
pub struct Counter {
    /// What all backends share.
    pub(super) shared: &'static Shared,
    /// Its entry in shared memory.
    pub(in crate::store) log: &'static Log,
    /// The tables that the log is kept in.
    pub(in crate::store) store: &'static Store,
}

/// A transaction in flight that has positions, as its slot was found.
#[derive(Clone, Copy, Hash)]
pub struct Flight {
    /// Whose it is.
    pub backend: usize,
    /// No position of it is below.
    pub bound: i64,
    generation: u64,
    /// The partition that it has appended to first.
    partition: u32,
    is_several: bool,
}

impl Flight {
    /// Whether it can have rows below `next` in a partition: it has appended there first, or to several.
    pub fn may_be_in(&self, partition: Oid) -> bool {
        self.partition == partition.to_u32() || self.is_several
    }
}

thread_local! {
    /// How often positions had begun again when this backend's slot was last covered.
    static COVERED_AT: Cell<u64> = const { Cell::new(0) };
}

impl Counter {
    /// The next position to be allotted.
    pub fn next(&self) -> i64 {
        self.log.next.load(SeqCst)
    }

    /// Allots `n` positions in a row for this transaction; returns the first, and the frontier of the
    /// partition as others see it.
    ///
    /// # Errors
    /// 54000 at the end of all positions; 55000 where the transaction restarts them.
    pub fn allot(&self, partition: Oid, n: i64) -> Result<(i64, i64)> {
        transaction::refuse_after_restart()?;
        self.cover(partition)?;
        let first = keeping_only(|| self.take(n)).ok_or_else(no_positions_left)?;
        Ok((first, self.settled(first, partition) - 1))
    }

    /// Takes `n` positions in a row, the first of which is returned. `None` at the end of all positions.
    pub(super) fn take(&self, n: i64) -> Option<i64> {
        loop {
            let first = self.next();
            let last = first.checked_add(n).filter(|l| *l < LAST_POSITION)? - 1;
            let ceiling = self.log.ceiling.load(SeqCst);
            if last > ceiling {
                self.raise_ceiling(last, false);
            } else if self
                .log
                .next
                .compare_exchange(first, last + 1, SeqCst, SeqCst)
                .is_ok()
            {
                if ceiling - last < self.log.ceiling_step.load(SeqCst) / 2 {
                    self.raise_ceiling(last, true);
                }
                return Some(first);
            }
        }
    }

    /// Takes the positions from `first` to `last` for this transaction, which must be beyond all that were
    /// allotted: what is at or below them may be somebody's checkpoint. Returns the partition's frontier.
    ///
    /// # Errors
    /// 22023 where they are not, 54000 beyond the end of all positions; 55000 where the transaction restarts
    /// them.
    pub fn allot_own(&self, partition: Oid, first: i64, last: i64) -> Result<i64> {
        transaction::refuse_after_restart()?;
        self.cover(partition)?;
        loop {
            let next = self.next();
            if first < next {
                let message = format!(
                    "position {first} is not beyond the last one of the log, {}",
                    next - 1
                );
                return Err(invalid(message).hint(
                    "Events keep their positions in an empty log, or behind all others of it.",
                ));
            }
            if last >= LAST_POSITION {
                return Err(no_positions_left());
            }
            if last > self.log.ceiling.load(SeqCst) {
                self.raise_ceiling(last, false);
            } else if self
                .log
                .next
                .compare_exchange(next, last + 1, SeqCst, SeqCst)
                .is_ok()
            {
                return Ok(self.settled(next, partition) - 1);
            }
        }
    }

    /// Makes this backend's slot cover what will be allotted from now on. Must come first.
    ///
    /// # Errors
    /// 53200 where there is no room for what readers must know of the transaction.
    pub(in crate::store) fn cover(&self, partition: Oid) -> Result<()> {
        let (shared, slot) = (self.shared, self.shared.my_slot());
        let restarts = self.log.restarts.load(SeqCst);
        let covered_at = COVERED_AT.replace(restarts);
        if slot.bound.load(SeqCst) == 0 {
            slot.log.store(shared.index_of(self.log) as u32 + 1, SeqCst);
            slot.partition.store(partition.to_u32(), SeqCst);
            slot.is_several.store(0, SeqCst);
            shared.used_slots.fetch_max(my_backend() as u32 + 1, SeqCst);
            set_bound(&slot.bound, || self.next());
            return Ok(());
        }
        if slot.partition.load(SeqCst) != partition.to_u32() {
            if !late_key::has_come_to(partition) {
                late_key::add(shared, partition, Name::of_partition(partition))?;
            }
            slot.is_several.store(1, SeqCst);
        }
        let is_anew = restarts != covered_at;
        if is_anew {
            // The bounds are of rows that were undone before positions began again: who has rows keeps that
            // from happening. Those of late keys go along, for they were set then.
            set_bound(&slot.bound, || self.next());
        }
        late_key::set_bounds(shared, partition, is_anew, || self.next());
        Ok(())
    }

    /// The smaller of `next` and the bounds of the others' transactions in the partition.
    fn settled(&self, next: i64, partition: Oid) -> i64 {
        let bound_of = |backend| {
            let flight = self.flight_of(backend, next);
            flight.filter(|f| f.may_be_in(partition)).map(|f| f.bound)
        };
        let backends = 0..self.shared.used_slots().len();
        let bounds = backends.filter_map(|backend| keeping_only(|| bound_of(backend)));
        bounds.min().unwrap_or(next)
    }

    /// The other backends' transactions that have positions of this log below `next`, which was loaded before.
    pub fn in_flight(&self, next: i64) -> impl Iterator<Item = Flight> + '_ {
        let backends = 0..self.shared.used_slots().len();
        backends.filter_map(move |backend| keeping_only(|| self.flight_of(backend, next)))
    }

    fn flight_of(&self, backend: usize, next: i64) -> Option<Flight> {
        let slot = &self.shared.slots()[backend];
        // First, so that it has changed where the rest is not of one transaction.
        let generation = slot.generation.load(SeqCst);
        let bound = bound_of(&slot.bound);
        let of_log = slot.log.load(SeqCst) == self.shared.index_of(self.log) as u32 + 1;
        let concerns = bound != 0 && bound < next && backend != my_backend() && of_log;
        concerns.then(|| Flight {
            backend,
            bound,
            generation,
            partition: slot.partition.load(SeqCst),
            is_several: slot.is_several.load(SeqCst) != 0,
        })
    }

    /// What `look` finds out about a transaction in flight, if it is of that transaction as a whole. `None` where the
    /// transaction has ended: it can have nothing below `next`, then, that cannot be seen by now.
    ///
    /// Who looks at locks and late keys of a backend may see those of its next transaction, or some that are just given
    /// up. So where the slot's generation has changed, he looks again: `look` is told whether it does.
    pub fn look<T: Hash>(
        &self,
        mut flight: Flight,
        next: i64,
        look: impl Fn(Flight, bool) -> T,
    ) -> Option<T> {
        let slot = &self.shared.slots()[flight.backend];
        let mut is_again = false;
        loop {
            let found = keeping_only(|| {
                let found = look(flight, is_again);
                let is_of_one = slot.generation.load(SeqCst) == flight.generation;
                is_of_one.then_some(found)
            });
            if found.is_some() {
                return found;
            }
            flight = keeping_only(|| self.flight_of(flight.backend, next))?;
            is_again = true;
        }
    }

    /// The first position at which a transaction in flight can have rows in the partition, `None` where it can have
    /// none: it has come to it without appending there, if at all.
    pub fn bound_in(&self, flight: Flight, next: i64, partition: Oid) -> Option<i64> {
        if flight.partition == partition.to_u32() {
            return Some(flight.bound);
        }
        let name = Name::of_partition(partition);
        late_key::bound_under(self.shared, flight.backend, name, next)
    }

    /// From which position on a transaction in flight can have rows under a key of the partition that it holds as
    /// written, or under any key where it holds the root so.
    pub fn bound_under(&self, flight: Flight, next: i64, partition: Oid, key: Option<i64>) -> i64 {
        let tag = match key {
            Some(key) => keys::key_tag(partition, key),
            None => keys::root_tag(partition),
        };
        late_key::bound_under(self.shared, flight.backend, Name::of_lock(&tag), next)
            .unwrap_or(flight.bound)
    }

    /// The partitions to which transactions in flight have appended, whether or not others can see these partitions yet,
    /// each with the first position at which there can be rows.
    pub fn partitions_in_flight(&self, next: i64) -> Vec<(Oid, i64)> {
        let of = |flight: Flight, _| {
            let mut all = late_key::partitions_of(self.shared, flight.backend);
            all.push((Oid::from(flight.partition), flight.bound));
            all
        };
        self.in_flight(next)
            .filter_map(|flight| self.look(flight, next, of))
            .flatten()
            .collect()
    }

    /// All transactions of the log that have been allotted positions: backend, bound and partition (0 where
    /// there are several).
    pub fn all_in_flight(&self) -> Vec<(usize, i64, u32)> {
        let log = self.shared.index_of(self.log) as u32 + 1;
        let of = |(backend, slot): (usize, &Slot)| {
            let bound = bound_of(&slot.bound);
            let is_several = slot.is_several.load(SeqCst) != 0;
            let partition = slot.partition.load(SeqCst);
            let is_ours = bound != 0 && slot.log.load(SeqCst) == log;
            is_ours.then_some((backend, bound, if is_several { 0 } else { partition }))
        };
        let slots = self.shared.used_slots().iter().enumerate();
        slots.filter_map(of).collect()
    }

    /// Whether this transaction has been allotted positions.
    pub fn has_own(&self) -> bool {
        self.shared.my_slot().bound.load(SeqCst) != 0
    }
}
