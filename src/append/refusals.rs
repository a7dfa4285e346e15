//! Refusals as answers: all that schemas and invariants have against the events of an append, and nothing is stored.

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::dcb::refusal::{AT_MOST, Refusal};
use crate::event_type;
use crate::invariant::Rules;
use crate::store::log::insert::Batch;
use crate::store::pg::subtransaction::{Failure, Then, in_subtransaction_then};
use crate::store::row::event::NewEvent;

use super::Outcome;

/// What is to become of what a schema or an invariant refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRefusal {
    /// It is an error.
    Raise,
    /// It is an answer.
    Return,
}

impl OnRefusal {
    /// What a caller says.
    ///
    /// # Errors
    /// 22023 for anything else.
    pub fn said(argument: Option<&str>) -> Result<Self> {
        match argument {
            None | Some("raise") => Ok(Self::Raise),
            Some("return") => Ok(Self::Return),
            Some(_) => Err(invalid("on_refusal must be 'raise' or 'return'")),
        }
    }
}

/// What a refusal by a schema is answered with, where it is to be: then all is told that schemas have against the events.
///
/// # Errors
/// The refusal itself otherwise.
pub(super) fn misfits(
    refusal: Error,
    events: &[NewEvent],
    on_refusal: OnRefusal,
) -> Result<Outcome> {
    if on_refusal == OnRefusal::Raise || refusal.state != SqlState::DoesNotFit {
        return Err(refusal);
    }
    match event_type::misfits(events.iter())? {
        // What was wrong with them is so no longer: somebody has changed their type.
        found if found.is_empty() => Err(refusal),
        found => Ok(Outcome::Refused(found)),
    }
}

/// All that invariants have against the events. States are kept only where that is nothing: they hold events that are not
/// stored otherwise.
///
/// # Errors
/// Those of invariants' functions, by unwinding; 42883 where one is gone.
pub(super) fn objections(rules: &Rules, batch: &Batch) -> Result<Vec<Refusal>> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let outcome = in_subtransaction_then(|| {
        let mut found = Vec::new();
        collect(rules, batch, true, &mut found)?;
        let then = match found.is_empty() {
            true => Then::Keep,
            false => Then::Undo,
        };
        Ok((found, then))
    })?;
    outcome.or_else(Failure::raise)
}

/// Adds all that invariants have against the events, up to what is told.
///
/// # Errors
/// As [`objections`].
pub(super) fn collect(
    rules: &Rules,
    batch: &Batch,
    keeps: bool,
    found: &mut Vec<Refusal>,
) -> Result<()> {
    rules.check_with(batch, keeps, &mut |error| {
        if found.len() < AT_MOST {
            found.extend(error.into_refusals()?);
        }
        Ok(())
    })
}
