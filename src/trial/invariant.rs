//! Trying an invariant on given events: which states they lead to, and what is wrong with each.

use std::collections::BTreeMap;

use crate::dcb::error::Result;
use crate::fold::evolve::Folding;
use crate::invariant::definition::{KIND, by_name};
use crate::invariant::fold::{Evaluation, Refused};
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::composite::RowType;
use crate::store::pg::rights;

use super::Trial;

/// What an invariant says of given events.
pub struct Verdict<'v> {
    /// The key; `None`: the verdict is about an event that has none.
    pub key: Option<&'v str>,
    /// The state of the key.
    pub state: Option<Datum>,
    /// What is wrong; `None`: nothing.
    pub fault: Option<String>,
}

/// Hands the verdicts of an invariant to `sink`, as if the given events were all that is stored. A disabled invariant
/// is tried as well.
///
/// # Errors
/// 42501, 42704, 42883; 22023 if a given event is not valid; those of the functions.
pub fn try_on(
    name: Option<&str>,
    given: Option<Datum>,
    mut sink: impl FnMut(Verdict) -> Result<()>,
) -> Result<()> {
    let invariant = by_name(name, false)?;
    let trial = Trial::of(given, &invariant.partition)?;
    let partition = catalog::store()?.partition(Some(&invariant.partition), Access::Read)?;
    for function in [&invariant.evolve, &invariant.check] {
        function.function(KIND, &invariant.name)?.demand_execute()?;
    }
    let evaluation = Evaluation::new(&invariant, partition.oid)?;
    let event_type = RowType::of(invariant.event_type()?);
    let mut states: BTreeMap<String, Folding> = BTreeMap::new();
    rights::for_functions(&invariant.path, &invariant.partition, || {
        trial.each(&invariant.query, &event_type, |given, event| {
            let tags = given.event.tags.iter().copied();
            let ids = invariant.key.ids(given.event.stream, tags);
            if invariant.misses_key(&ids) {
                let event = format!("event at position {}", given.position);
                sink(Verdict {
                    key: None,
                    state: None,
                    fault: Some(evaluation.key_missing(&event)?.message),
                })?;
            }
            for id in ids {
                let at = evaluation.evolving(&id);
                at.at(given.position, given.position);
                let folding = states.entry(id).or_insert_with(|| evaluation.folding());
                at.tell(|| folding.add(event));
            }
            Ok(())
        })?;
        for (id, folding) in &states {
            let objection = evaluation.objection(folding.state(), id)?;
            let refused = Refused {
                id: Some(id),
                event: None,
                state: None,
            };
            let refusal = objection
                .map(|o| evaluation.refusal(o, refused))
                .transpose()?;
            sink(Verdict {
                key: Some(id),
                state: folding.state(),
                fault: refusal.map(|error| error.message),
            })?;
        }
        Ok(())
    })
}
