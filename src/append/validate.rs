//! What would be refused of events if they were appended now. Nothing is stored, locked, or kept.

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::refusal::Refusal;
use crate::event_type;
use crate::invariant::Rules;
use crate::read::stream::Target;
use crate::store::call::function;
use crate::store::log::catalog;
use crate::store::log::insert::{Assigned, Batch};
use crate::store::log::partition::Access;
use crate::store::log::position::Counter;
use crate::store::pg::clock;
use crate::store::pg::json::Jsonb;
use crate::store::pg::subtransaction::{Then, in_subtransaction_then};
use crate::store::row::event::{self, NewEvent};

use super::streams::{Streams, send_to};
use super::{fit, parse, refusals};

/// All that is wrong with events by what they are, by their types, and by invariants, as an append of them all would find it
/// now. Conditions and versions are not looked at.
///
/// # Errors
/// 42501, 42704 as an append; those of invariants' functions, by unwinding.
pub fn validate(
    document: Jsonb,
    target: Option<Target>,
    partition: Option<&str>,
) -> Result<Vec<Refusal>> {
    function::refuse_within_answer("en57_validate()")?;
    let store = catalog::store()?;
    store.partition(partition, Access::Append)?;
    // What was begun is undone, whatever it was: a value that could not be read, a lock on the table.
    let outcome = in_subtransaction_then(|| Ok((look(document, target, partition)?, Then::Undo)))?;
    match outcome {
        Ok(found) => Ok(found),
        Err(failure) => match failure.into_own() {
            // What is no event at all.
            Ok(error) if REFUSED.contains(&error.state) => Ok(vec![as_refusal(error)]),
            Ok(error) => Err(error),
            Err(failure) => failure.raise(),
        },
    }
}

/// How an append refuses what is no event.
const REFUSED: [SqlState; 4] = [
    SqlState::InvalidParameter,
    SqlState::InvalidText,
    SqlState::LimitExceeded,
    SqlState::NullNotAllowed,
];

fn look(document: Jsonb, target: Option<Target>, partition: Option<&str>) -> Result<Vec<Refusal>> {
    let mut events = parse::events(document)?;
    send_to(&mut events, target)?;
    let mut streams = Streams::of(&events)?;
    let mut found = Vec::new();
    for (i, event) in events.iter().enumerate() {
        if let Err(error) = fit::demand_size(event, i + 1) {
            found.push(as_refusal(error));
        }
    }
    if let Err(error) = fit::demand_versions(events.iter()) {
        found.push(as_refusal(error));
    }
    found.extend(event_type::misfits(events.iter())?);
    if !found.is_empty() {
        // What is no event of its type is not for invariants' functions to see.
        return Ok(found);
    }
    let store = catalog::store()?;
    let place = store.partition(partition, Access::Append)?;
    let table = place.open_to_append(!streams.is_empty())?;
    streams.look(&table)?;
    let first = Counter::of(store)?.next();
    let recorded_at_us = clock::now_us();
    let new = |n: usize| &events[n];
    let rules = Rules::new(&place.name, events.len(), &new)?;
    let ids = event::ids(events.iter().map(|e: &NewEvent| (e, recorded_at_us)));
    let batch = Batch {
        partition: &place,
        table: &table,
        stable: first - 1,
        assigned: &|i| Assigned {
            position: first + i as i64,
            recorded_at_us,
            stream: streams.place(i),
        },
        ids: &ids,
    };
    refusals::collect(&rules, &batch, false, &mut found)?;
    Ok(found)
}

/// An error that names its event, as an append tells it.
fn as_refusal(error: Error) -> Refusal {
    let named = error.message.strip_prefix("event ").and_then(|rest| {
        let (number, problem) = rest.split_once(": ")?;
        Some((
            number.parse::<usize>().ok()?.checked_sub(1)?,
            problem.to_owned(),
        ))
    });
    let (event, problem) = match named {
        Some((event, problem)) => (Some(event), problem),
        None => (None, error.message),
    };
    Refusal {
        event,
        source: "event".to_owned(),
        problem,
        ..Refusal::default()
    }
}
