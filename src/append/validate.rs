//! Validating: what would be refused if events were appended now. Nothing is stored, and no lock is left.

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
use crate::upcast;

use super::streams::{Streams, send_to};
use super::{fit, parse, refusals};

/// Everything that an append would now find wrong with the events: with themselves, by their types, and by invariants.
/// Conditions and versions are not checked.
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
    // A value that cannot be read is undone, and so is the lock on the table.
    let outcome = in_subtransaction_then(|| Ok((check(document, target, partition)?, Then::Undo)))?;
    match outcome {
        Ok(found) => Ok(found),
        Err(failure) => match failure.into_own() {
            // It cannot even be read as events.
            Ok(error) if REFUSED.contains(&error.state) => Ok(vec![as_refusal(error)]),
            Ok(error) => Err(error),
            Err(failure) => failure.raise(),
        },
    }
}

/// How an append refuses what cannot be read as events.
const REFUSED: [SqlState; 4] = [
    SqlState::InvalidParameter,
    SqlState::InvalidText,
    SqlState::LimitExceeded,
    SqlState::NullNotAllowed,
];

fn check(document: Jsonb, target: Option<Target>, partition: Option<&str>) -> Result<Vec<Refusal>> {
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
        // Invariants' functions may rely on the schemas of types.
        return Ok(found);
    }
    let store = catalog::store()?;
    let partition = store.partition(partition, Access::Append)?;
    let table = partition.open_to_append(!streams.is_empty())?;
    streams.look_up(&table)?;
    let first = Counter::of(store)?.next();
    let recorded_at_us = clock::now_us();
    let new = |n: usize| &events[n];
    let rules = Rules::new(&partition.name, events.len(), &new, &*upcast::known()?)?;
    let ids = event::ids(events.iter().map(|e: &NewEvent| (e, recorded_at_us)));
    let batch = Batch {
        partition: &partition,
        table: &table,
        stable: first - 1,
        assigned: &|i| Assigned {
            position: first + i as i64,
            recorded_at_us,
            stream: streams.of_event(i),
        },
        ids: &ids,
    };
    refusals::collect(&rules, &batch, false, &mut found)?;
    Ok(found)
}

/// The refusal that says what an append's error says. The error's message may name the event.
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
