//! The durable ceiling of positions, and positions that come in by other ways than an append.
//!
//! **Invariant:** a position is allotted only below the durable ceiling, so a crash never gives one out
//! twice, nor one at or below what a reader may have taken for its checkpoint.

use std::cell::Cell;
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys::Oid;

use crate::dcb::error::Result;
use crate::store::lock::{keys, manager};
use crate::store::pg::clock;
use crate::store::session::transaction;

use super::position::Counter;

/// The smallest and the largest step by which the ceiling is raised: a quiet store loses few positions
/// at a restart, a busy one flushes seldom.
const CEILING_STEPS: std::ops::RangeInclusive<i64> = 64..=65_536;

thread_local! {
    /// The stored ceiling as of the running transaction's restored rows: looked up and raised once for
    /// many of them.
    static PASSED: Cell<i64> = const { Cell::new(0) };
}

impl Counter {
    /// Makes a ceiling of at least `needed` durable, then known. Ahead of need, one backend raises it
    /// while the others go on: nobody waits for its flush.
    pub(in crate::store) fn raise_ceiling(&self, needed: i64, ahead: bool) {
        manager::while_ceiling_is_locked(self.store.events, !ahead, || {
            let room = if ahead {
                self.log.ceiling_step.load(SeqCst) / 2
            } else {
                0
            };
            if self.log.ceiling.load(SeqCst) >= needed + room {
                return;
            }
            // A restore has set it: what it covers may be somebody's checkpoint.
            let stored = self.store.read_ceiling();
            if stored > self.log.ceiling_stored.load(SeqCst) {
                self.log.next.fetch_max(stored + 1, SeqCst);
            }
            let ceiling = self.store_ceiling(needed.max(stored));
            self.log.ceiling_stored.store(ceiling, SeqCst);
            self.log.ceiling.store(ceiling, SeqCst);
        });
    }

    /// Makes a ceiling durable that lies a step above a position, and returns it. The caller holds the
    /// ceiling's lock.
    fn store_ceiling(&self, position: i64) -> i64 {
        let step = self.log.ceiling_step.load(SeqCst);
        let now_us = clock::now_us();
        let busy = now_us - self.log.ceiling_raised_us.load(SeqCst) < 1_000_000;
        let step = (if busy { step * 4 } else { step / 2 })
            .clamp(*CEILING_STEPS.start(), *CEILING_STEPS.end());
        let ceiling = position.saturating_add(step);
        self.store.write_ceiling(ceiling);
        self.log.ceiling_step.store(step, SeqCst);
        self.log.ceiling_raised_us.store(now_us, SeqCst);
        ceiling
    }

    /// Takes note of a row that came in by other ways than an append (a restore): no position up to it
    /// will be allotted, and until the transaction ends nobody reads beyond the smallest of them.
    ///
    /// # Errors
    /// 55000 where the transaction restarts positions.
    pub fn pass(&self, partition: Oid, position: i64) -> Result<()> {
        transaction::refuse_after_restart()?;
        transaction::watch();
        keys::write_anything(partition)?;
        if !self.has_own() {
            PASSED.set(0);
        }
        self.cover(partition)?;
        if position > PASSED.get() {
            self.raise_ceiling_above(position);
        }
        self.log.next.fetch_max(position.saturating_add(1), SeqCst);
        // The next append looks at the stored ceiling, which the restore may set after its rows.
        self.log.ceiling.store(0, SeqCst);
        Ok(())
    }

    /// Takes note of a table's rows that are entered into its key index all together.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub fn pass_all(&self, partition: Oid, largest: i64) -> Result<()> {
        if largest < self.next() {
            return Ok(());
        }
        self.pass(partition, largest)
    }

    /// Positions begin at 1 again when the transaction is committed. The caller has locked everybody out
    /// of appending, until then.
    pub fn restart_at_commit(&self) {
        self.store.reset_ceiling();
        transaction::restart_at_commit(self.log);
    }

    /// Makes a ceiling durable that covers a row which came in by other ways than an append. What it is
    /// raised to is nothing that `ceiling_stored` knows: so the next append begins above it, or above
    /// what the restore has set in its place.
    fn raise_ceiling_above(&self, position: i64) {
        manager::while_ceiling_is_locked(self.store.events, true, || {
            let stored = self.store.read_ceiling();
            PASSED.set(if stored < position {
                self.store_ceiling(position)
            } else {
                stored
            });
        });
    }
}
