//! Erasing: the states that were made of erased events are deleted, and the invariants are checked without these events.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::dcb::error::Result;
use crate::definition::erasure::cannot_do_without;
use crate::store::log::partition::Partition;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::spi::{Type, text};
use crate::store::pg::subtransaction::in_subtransaction;
use crate::store::pg::{array, rights};
use crate::store::row::event::Row;
use crate::store::{Datum, Oid};
use crate::upcast::{self, Sought};

use super::definition::{self, Invariant, run};
use super::fold::{Evaluation, Refused};

/// The invariants of a partition, each with the ids of the events that are being erased.
pub struct Affected(Vec<AffectedInvariant>);

struct AffectedInvariant {
    invariant: Rc<Invariant>,
    sought: Sought,
    ids: BTreeSet<String>,
}

impl Affected {
    /// The enabled invariants of a partition. The caller has excluded appends to it.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn of(partition: &str) -> Result<Self> {
        let definitions = upcast::known()?;
        let enabled = definition::enabled()?;
        let of_partition = enabled.iter().filter(|i| i.partition == partition);
        let affected = |invariant: &Rc<Invariant>| AffectedInvariant {
            invariant: Rc::clone(invariant),
            sought: Sought::by(invariant.query.clone(), &definitions),
            ids: BTreeSet::new(),
        };
        Ok(Self(of_partition.map(affected).collect()))
    }

    /// Notes the ids of an event that is going to be erased.
    ///
    /// # Errors
    /// Those of damaged rows.
    pub fn see(&mut self, row: &Row) -> Result<()> {
        for one in &mut self.0 {
            if one.sought.matches(row)? {
                one.ids.extend(one.invariant.key.ids_of_row(row)?);
            }
        }
        Ok(())
    }

    /// Deletes the states that were made of any of the erased events; `first` is the position of the first one. Then makes
    /// sure that the invariants hold. Returns whether it has deleted any state.
    ///
    /// # Errors
    /// N5703 where one does not; 55000 where its functions fail.
    pub fn renew(&self, partition: &Partition, first: i64) -> Result<bool> {
        // Invariants that are not enabled do not use their states.
        let gone = run(
            "DELETE FROM en57.invariant_states s USING en57.invariants i
              WHERE s.invariant = i.number AND i.partition = $1 AND s.position >= $2 AND NOT i.is_enabled
          RETURNING 1",
            &[
                text(&partition.name),
                (Type::Bigint, Some(Datum::from(first))),
            ],
        )?;
        let mut any = !gone.is_empty();
        for one in self.0.iter().filter(|one| !one.ids.is_empty()) {
            any |= one.forget()?;
            in_subtransaction(|| one.demand(partition.oid))?.or_else(|failure| {
                let name = &one.invariant.name;
                if failure.state == "N5703" {
                    return failure.raise();
                }
                cannot_do_without(
                    format!("invariant \"{name}\" cannot be checked without what was to be erased"),
                    failure,
                )
            })?;
        }
        Ok(any)
    }
}

impl AffectedInvariant {
    fn forget(&self) -> Result<bool> {
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        let gone = run(
            "DELETE FROM en57.invariant_states WHERE invariant = $1 AND id = ANY ($2) RETURNING 1",
            &[
                (Type::Bigint, Some(Datum::from(self.invariant.number))),
                (Type::Texts, Some(array::make(&ids))),
            ],
        )?;
        Ok(!gone.is_empty())
    }

    fn demand(&self, table: Oid) -> Result<()> {
        let evaluation = Evaluation::new(&self.invariant, table)?;
        let scratch = Scratch::new();
        rights::for_functions(&self.invariant.path, &self.invariant.partition, || {
            for id in &self.ids {
                scratch.run(|| self.demand_of(id, &evaluation))?;
                scratch.reset();
            }
            Ok(())
        })
    }

    fn demand_of(&self, id: &str, evaluation: &Evaluation) -> Result<()> {
        let (mut folding, at) = (evaluation.folding(), evaluation.evolving(id));
        at.tell(|| evaluation.fold_stored(id, 0, &mut folding, &at))?;
        let Some(objection) = evaluation.objection(folding.state(), id)? else {
            return Ok(());
        };
        let refused = Refused {
            id: Some(id),
            event: None,
            state: folding.state(),
        };
        Err(evaluation.refusal(objection, refused)?.hint(
            "Nothing was erased: the invariant would not hold without that. en57_disable_invariant() lets you erase all the same; but appends are refused, too, where it does not hold.",
        ))
    }
}
