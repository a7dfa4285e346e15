//! Trying a fold, or the fold of a decider, on given events: which state they lead to.

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::fold::definition::{self, Definition};
use crate::fold::evolve::Folding;
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::pg::composite::RowType;
use crate::store::pg::{fmgr, rights};

use super::Trial;

/// The state that a named fold makes of the given events that match.
///
/// # Errors
/// As [`crate::fold::state`]; 22023 if a given event is not valid.
pub fn try_on(
    name: Option<&str>,
    given: Option<Datum>,
    query: Option<Query>,
) -> Result<Option<Datum>> {
    let partition = catalog::effective_name(None)?;
    let trial = Trial::of(given, &partition)?;
    let definition = definition::by_name(name, "fold")?;
    definition.function(&definition.evolve)?.demand_execute()?;
    let query = query.unwrap_or_else(Query::everything);
    of_given(&definition, &query, &trial)
}

/// The state that a fold, or a decider's fold, makes of the given events that match. Privileges have been checked.
///
/// # Errors
/// 42883 if its function is gone; those of the function.
pub fn of_given(definition: &Definition, query: &Query, trial: &Trial) -> Result<Option<Datum>> {
    let evolve = definition.function(&definition.evolve)?;
    let at = definition.error_context("evolve function", &definition.evolve);
    let callable = evolve.prepare();
    let initial = definition.initial.as_deref().map(fmgr::make_varlena);
    let event_type = RowType::of(evolve.arguments[1]);
    let mut folding = Folding::new(&callable, initial);
    at.tell(|| {
        rights::for_functions(&definition.path, trial.partition(), || {
            trial.each(query, &event_type, |given, event| {
                at.at(given.position, given.position);
                folding.add(event);
                Ok(())
            })
        })
    })?;
    Ok(folding.finish())
}
