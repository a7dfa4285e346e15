//! Refusals as answers: everything that schemas and invariants find wrong with the events of an append. Nothing is
//! stored.

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::dcb::refusal::{AT_MOST, Refusal};
use crate::event_type;
use crate::invariant::Rules;
use crate::store::log::insert::Batch;
use crate::store::pg::subtransaction::{Failure, Then, in_subtransaction_then};

use super::{AppendRequest, Outcome};

/// What to do if a schema or an invariant refuses events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRefusal {
    /// Raise an error.
    Raise,
    /// Return an answer that tells everything that is wrong.
    Return,
}

impl OnRefusal {
    /// The argument `on_refusal`.
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

/// The answer to events that do not fit their types. `refusal` is the first thing that is wrong with them.
///
/// # Errors
/// The refusal itself, if the caller wants errors, or if it is none by a type.
pub(super) fn by_types(refusal: &Error, request: &AppendRequest) -> Result<Outcome> {
    if request.on_refusal == OnRefusal::Raise || refusal.state != SqlState::DoesNotFit {
        return Err(refusal.clone());
    }
    match event_type::misfits(request.events.iter())? {
        // They fit by now: somebody has changed the type meanwhile.
        found if found.is_empty() => Err(refusal.clone()),
        found => Ok(Outcome::Refused(found)),
    }
}

/// Everything that invariants find wrong with the events. If that is nothing, the invariants' states are stored.
/// Otherwise they are not: they would be about events that are not stored.
///
/// # Errors
/// Those of invariants' functions, by unwinding; 42883 if a function is gone.
pub(super) fn by_invariants(rules: &Rules, batch: &Batch) -> Result<Vec<Refusal>> {
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

/// Adds everything that invariants find wrong with the events, at most [`AT_MOST`] refusals.
///
/// # Errors
/// As [`by_invariants`].
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
