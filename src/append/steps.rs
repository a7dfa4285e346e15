//! The steps of an append: prepare, lock, refuse, store. See `docs/architecture/append.md`.

use std::rc::Rc;

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::query::Query;
use crate::store::log::catalog;
use crate::store::log::insert::{Assigned, Batch};
use crate::store::log::partition::{Access, Partition};
use crate::store::log::position::Counter;
use crate::store::memory::stat::{self, Counted};
use crate::store::pg::clock;
use crate::store::row::event::{self, NewEvent};
use crate::store::row::table::Opened;
use crate::store::session::transaction;
use crate::upcast::Sought;

use super::demands::Demands;
use super::lock::lock;
use super::repeated::stored_before;
use super::streams::Streams;
use super::{AppendRequest, Cause, Conflicts, OnRefusal, Outcome, refusals};

/// Appends the events, unless the condition fails.
///
/// # Errors
/// 42501, 42704, 0A000 as the partition demands; 23505 if some of the ids are known already, and the append is not
/// exactly the one that stored them.
pub fn append(request: &AppendRequest, conflicts: &mut Conflicts) -> Result<Outcome> {
    let outcome = append_while(request, conflicts, &|| Ok(true))?;
    outcome.ok_or_else(|| Error::new(SqlState::Internal, "the append was given up"))
}

/// Appends the events if `holds` returns true when all locks are held. Otherwise nothing is stored, and the answer is
/// `None`.
///
/// # Errors
/// As [`append`]; those of `holds`.
pub fn append_while(
    request: &AppendRequest,
    conflicts: &mut Conflicts,
    holds: &dyn Fn() -> Result<bool>,
) -> Result<Option<Outcome>> {
    let outcome = run(request, conflicts, holds)?;
    let counted = match &outcome {
        Some(Outcome::Appended { .. }) => Counted::Appends,
        Some(Outcome::Repeated { .. }) => Counted::Repeated,
        Some(Outcome::Conflict { .. }) => Counted::Conflicts,
        // A refusal that is raised as an error is not counted either.
        Some(Outcome::Refused(_)) | None => return Ok(outcome),
    };
    stat::count(counted, 1);
    Ok(outcome)
}

/// The whole append, step by step.
fn run(
    request: &AppendRequest,
    conflicts: &mut Conflicts,
    holds: &dyn Fn() -> Result<bool>,
) -> Result<Option<Outcome>> {
    let (prepared, mut streams) = prepare(request)?;
    let event = |n: usize| &request.events[n];
    let mut demands = Demands::new(&prepared.partition.name, request.events, &event)?;
    // Stored events that are sent again are answered as the first time, whatever their types demand by now.
    if !request.may_be_stored()
        && let Some(refused) = demands.refused_by_types(request)?
    {
        return Ok(Some(refused));
    }
    let fail_if = lock(request, &prepared, &streams, &mut demands)?;
    if !holds()? {
        return Ok(None);
    }
    if let Some(repeated) = stored_before(&prepared.table, request)? {
        return Ok(Some(repeated));
    }
    if let Some(refused) = demands.refused_by_types(request)? {
        return Ok(Some(refused));
    }
    let conflict = refuse(&prepared, &mut streams, &demands, &fail_if, conflicts)?;
    if conflict.is_some() {
        return Ok(conflict);
    }
    store(request, &prepared, &streams, demands).map(Some)
}

/// What the steps of an append work with.
pub(super) struct Prepared {
    /// Where the events go.
    pub partition: Rc<Partition>,
    /// Its table, open for the append.
    pub table: Opened,
    /// The keys of each event.
    pub keys: Vec<Vec<i64>>,
    counter: Counter,
}

/// Checks privileges, opens the partition's table, and computes streams and keys.
fn prepare<'a>(request: &AppendRequest<'a>) -> Result<(Prepared, Streams<'a>)> {
    catalog::demand_writable("en57_append()")?;
    let store = catalog::store()?;
    let access = if request.is_conditional() {
        Access::AppendIf
    } else {
        Access::Append
    };
    let partition = store.partition(request.partition, access)?;
    let counter = Counter::of(store)?;
    let streams = Streams::of(request.events)?;
    let lists_streams = request.fail_if.iter().any(Query::lists_streams);
    let table = partition.open_to_append(!streams.is_empty() || lists_streams)?;
    let prepared = Prepared {
        partition,
        table,
        keys: request.events.iter().map(NewEvent::keys).collect(),
        counter,
    };
    Ok((prepared, streams))
}

/// Checks the versions of streams, then `fail_if`. All locks are held, so nobody can change the answer.
fn refuse(
    prepared: &Prepared,
    streams: &mut Streams,
    demands: &Demands,
    fail_if: &[Sought<&Query>],
    conflicts: &mut Conflicts,
) -> Result<Option<Outcome>> {
    let table = &prepared.table;
    if let Some(wrong) = streams.look_up(table)? {
        conflicts.of_stream(table, &wrong, &demands.upcasters)?;
        return Ok(Some(Outcome::Conflict {
            cause: Cause::Version(wrong.event),
            position: wrong.position,
            version: Some(wrong.version),
        }));
    }
    for query in fail_if {
        if let Some(newest) = conflicts.of_query(table, query, &demands.upcasters)? {
            return Ok(Some(Outcome::Conflict {
                cause: Cause::Condition,
                position: Some(newest),
                version: streams.version_before(),
            }));
        }
    }
    Ok(None)
}

/// Allots positions, checks invariants, inserts the events, and runs inline projections.
fn store(
    request: &AppendRequest,
    prepared: &Prepared,
    streams: &Streams,
    demands: Demands,
) -> Result<Outcome> {
    let (events, keys) = (request.events, &prepared.keys);
    let partition = &prepared.partition;
    let (first, stable) = prepared.counter.allot(partition.oid, events.len() as i64)?;
    let last = first + events.len() as i64 - 1;
    let recorded_at_us = clock::now_us();
    let assigned = |i: usize| Assigned {
        position: first + i as i64,
        recorded_at_us,
        stream: streams.of_event(i),
    };
    let ids = event::ids(events.iter().map(|e| (e, recorded_at_us)));
    let batch = Batch {
        partition,
        table: &prepared.table,
        stable,
        assigned: &assigned,
        ids: &ids,
    };
    match request.on_refusal {
        OnRefusal::Raise => demands.rules.check(&batch)?,
        OnRefusal::Return => {
            let refused = refusals::by_invariants(&demands.rules, &batch)?;
            if !refused.is_empty() {
                return Ok(Outcome::Refused(refused));
            }
        }
    }
    let events: Vec<&NewEvent> = events.iter().collect();
    batch.insert(&events, keys)?;
    transaction::forget_committed(partition.oid, stable);
    let written = keys
        .iter()
        .zip(first..)
        .flat_map(|(keys, p)| keys.iter().map(move |k| (*k, p)));
    transaction::wrote(partition.oid, written, last);
    demands.due.run(first, last)?;
    Ok(Outcome::Appended {
        first,
        last,
        version: streams.of_event(events.len() - 1).map(|(_, v)| v),
        ids,
    })
}
