//! Fold snapshots: stored states, so that the next reader need not begin at the first event.
//!
//! **Invariant:** a snapshot contains only settled events, up to a frontier: none of a transaction in flight. Writing one
//! never waits, and never makes the read fail that it comes from.

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::read::Reading;
use crate::store::call::function::Function;
use crate::store::log::catalog;
use crate::store::log::position::Counter;
use crate::store::pg::guard::{self, Severity};
use crate::store::pg::spi::{self, Type};
use crate::store::pg::subtransaction::in_subtransaction;
use crate::store::session::definitions::{self, as_extension_owner};
use crate::store::state::fold_snapshots::{self, Gate, Snapshot, SnapshotKey};
use crate::store::{Datum, Oid};

use super::definition::Definition;

/// The snapshots of one fold and query, during one read.
pub struct Snapshots<'d> {
    definition: &'d Definition,
    evolve: &'d Function,
    key: SnapshotKey,
    every: i64,
    gate: Option<Gate>,
}

impl<'d> Snapshots<'d> {
    /// The snapshots for a reading, which has read no event yet. `None` if the fold takes none, or the query has `after`:
    /// such a query is usually asked only once.
    pub fn of(
        definition: &'d Definition,
        evolve: &'d Function,
        reading: &Reading,
        query: &Query,
    ) -> Option<Self> {
        let (every, partition) = (definition.snapshot_every?, reading.only_partition()?);
        if query.criteria().iter().any(|c| c.after.is_some()) {
            return None;
        }
        // The reading may have waited, and functions may have been replaced meanwhile.
        definitions::accept_changes();
        let made_by = (evolve.mark, reading.generation());
        let key = SnapshotKey::new(definition.number, partition, query, made_by);
        Some(Self {
            definition,
            evolve,
            key,
            every,
            gate: Gate::enter(partition),
        })
    }

    /// The newest snapshot up to a position.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn find(&self, upto: i64) -> Result<Option<Snapshot>> {
        self.key.find(upto)
    }

    /// Whether neither evolve nor an upcaster was replaced since these snapshots were looked up.
    pub fn is_unchanged(&self, reading: &Reading) -> bool {
        definitions::accept_changes();
        let now = Function::of(self.evolve.oid).map(|f| (f.mark, reading.generation()));
        now.is_some_and(|now| self.key.is_made_by(now))
    }

    /// Stores a state that contains all events up to a settled position, if enough events were read for it. Stores nothing
    /// if the transaction has appended: amid an append its events have positions already, and are not stored yet.
    ///
    /// # Errors
    /// Only if the statement is cancelled or the session is to end.
    pub fn offer(self, position: i64, state: Option<Datum>, events: i64) -> Result<()> {
        let Some(gate) = self.gate.filter(|_| events >= self.every) else {
            return Ok(());
        };
        if Counter::of(catalog::store()?)?.has_own() {
            return Ok(());
        }
        match in_subtransaction(|| self.key.keep(position, state))? {
            Ok(()) => gate.stay(),
            // Class 57: somebody has cancelled the statement, or wants the session to end.
            Err(failure) if failure.state.starts_with("57") => return failure.raise(),
            Err(failure) => {
                let (kind, name) = (self.definition.kind(), &self.definition.name);
                let message = format!("could not keep a snapshot of {kind} \"{name}\"");
                guard::log(Severity::Log, &message, Some(&failure.message), None);
            }
        }
        Ok(())
    }
}

/// Deletes the snapshots of a partition that contain an event at one of these positions: all that reach the first one.
/// Returns how many. Until the transaction ends, no session writes a snapshot of the partition; nor does a read later that
/// began before that.
///
/// # Errors
/// 55000 where the table is missing.
pub fn forget(partition: Oid, positions: &[i64]) -> Result<usize> {
    let Some(first) = positions.iter().min() else {
        return Ok(0);
    };
    fold_snapshots::close_gate(partition);
    as_extension_owner(|| {
        spi::run(
            "DELETE FROM en57.snapshots WHERE partition = $1 AND position >= $2 RETURNING 1",
            &[
                (Type::Oid, Some(Datum::from(partition))),
                (Type::Bigint, Some(Datum::from(*first))),
            ],
        )
        .map(|gone| gone.len())
    })
}

/// Deletes all snapshots of a partition.
///
/// # Errors
/// As [`forget`].
pub fn forget_all(partition: Oid) -> Result<usize> {
    forget(partition, &[0])
}

/// Deletes the snapshots of a fold, and those of folds that do not exist any more. Returns how many the fold had.
///
/// # Errors
/// 55000 where the table is missing.
pub fn forget_fold(number: i64) -> Result<i64> {
    fold_snapshots::close_fold(number);
    as_extension_owner(|| {
        let gone = spi::run(
            "DELETE FROM en57.snapshots s
              WHERE fold = $1 OR NOT EXISTS (SELECT 1 FROM en57.folds f WHERE f.number = s.fold)
          RETURNING fold = $1",
            &[(Type::Bigint, Some(Datum::from(number)))],
        )?;
        let own = |row: &&spi::Values| row[0].is_some_and(|d| d.value() & 0xFF != 0);
        Ok(gone.iter().filter(own).count() as i64)
    })
}
