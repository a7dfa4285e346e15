//! Snapshots: states that are kept, so that the next reader need not begin at the first event.
//!
//! A snapshot holds what is settled, up to a frontier, and nothing that a transaction in flight has appended.
//! Writing one never fails the read that it comes from, and waits for nobody.

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

/// The snapshots of one fold and query, in the course of one read.
pub struct Snapshots<'d> {
    definition: &'d Definition,
    evolve: &'d Function,
    key: SnapshotKey,
    every: i64,
    gate: Option<Gate>,
}

impl<'d> Snapshots<'d> {
    /// Those of what is to be read, before its events are; `None` where the fold has none. Of a query with `after` there
    /// are none: it is another one each time that its caller has come further.
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
        // The reading may have waited, and functions run as what they are by now.
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

    /// The newest one up to a position.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn find(&self, upto: i64) -> Result<Option<Snapshot>> {
        self.key.find(upto)
    }

    /// Whether the function, and those that have upcast the events, are still what they were before the first event.
    pub fn is_of_one_make(&self, reading: &Reading) -> bool {
        definitions::accept_changes();
        let now = Function::of(self.evolve.oid).map(|f| (f.mark, reading.generation()));
        now.is_some_and(|now| self.key.is_made_by(now))
    }

    /// Keeps a state that holds all up to a settled position, if so many events were read for it that it is worth
    /// it. Not where the transaction has appended: the state may hold what is not committed.
    ///
    /// # Errors
    /// Where the statement is cancelled; no other.
    pub fn offer(self, position: i64, state: Option<Datum>, events: i64) -> Result<()> {
        let Some(gate) = self.gate.filter(|_| events >= self.every) else {
            return Ok(());
        };
        if Counter::of(catalog::store()?)?.has_own() {
            return Ok(());
        }
        match in_subtransaction(|| self.key.keep(position, state))? {
            Ok(()) => gate.stay(),
            // Somebody wants this session to stop.
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

/// Forgets the snapshots of a partition that have seen an event at one of these positions: all that reach the first
/// of them; returns how many. Until the transaction ends none is written, and none comes from a read that began
/// before.
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

/// Forgets all snapshots of a partition.
///
/// # Errors
/// As [`forget`].
pub fn forget_all(partition: Oid) -> Result<usize> {
    forget(partition, &[0])
}

/// Forgets the snapshots of a fold, and those of folds that are gone; returns how many of its own.
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
