//! Appending: parse, lock, check the condition, allot, check invariants, insert.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/append.md"))]

pub mod conflict_report;
pub mod fit;
pub mod given_events;
pub mod import;
mod lock;
pub mod parse;
pub mod refusals;
mod streams;
mod validate;

pub use conflict_report::ConflictReport;
pub use lock::lock_query;
pub use refusals::OnRefusal;
pub use streams::{demand as demand_streams, send_to};
pub use validate::validate;

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::query::Query;
use crate::dcb::refusal::Refusal;
use crate::invariant::Rules;
use crate::projection::Due;
use crate::read::stream;
use crate::store::index::entry::{Direction, Entry};
use crate::store::index::fetch::Fetcher;
use crate::store::index::lookup::find_id;
use crate::store::index::scan::{Range, Scan};
use crate::store::log::catalog;
use crate::store::log::insert::{Assigned, Batch};
use crate::store::log::partition::Access;
use crate::store::log::position::Counter;
use crate::store::memory::stat::{self, Counted};
use crate::store::pg::scratch::Scratch;
use crate::store::pg::{clock, json, settings};
use crate::store::row::door::Event;
use crate::store::row::event::{self, Column, NewEvent, Row};
use crate::store::row::table::Opened;
use crate::store::session::transaction;
use crate::upcast::{self, Sought, Upcasters};

use streams::Streams;

/// What became of an append.
#[derive(Debug)]
pub enum Outcome {
    /// The events are stored, from the first position to the last without a gap.
    Appended {
        /// The first event's position.
        first: i64,
        /// The last event's.
        last: i64,
        /// Its version, where it went to a stream.
        version: Option<i64>,
        /// All their ids, in order.
        ids: Vec<[u8; 16]>,
    },
    /// Exactly these events were stored before.
    Repeated {
        /// The first event's position.
        first: i64,
        /// The last event's.
        last: i64,
        /// Its version, where it went to a stream.
        version: Option<i64>,
        /// All their ids, in order.
        ids: Vec<[u8; 16]>,
    },
    /// Schemas or invariants have refused the events; nothing was stored.
    Refused(Vec<Refusal>),
    /// Something stood against it; nothing was stored.
    Conflict {
        /// What.
        cause: Cause,
        /// The position of the newest event that did; `None` where a stream has none.
        position: Option<i64>,
        /// The version of the stream that is not as expected, or of the last event's: 0 where it has no event.
        version: Option<i64>,
    },
}

impl Outcome {
    /// What stood against the append, where something did.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Conflict { cause, .. } => Some(*cause),
            _ => None,
        }
    }
}

/// What stands against an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An event matches `fail_if`.
    Condition,
    /// A stream is not at the expected version: the one whose first event in the append has this number.
    Version(usize),
}

/// What a caller wants to be told of conflicting events.
pub struct Conflicts<'a> {
    /// How many at most; the newest.
    pub at_most: usize,
    /// Gets them from the newest to the oldest.
    pub sink: &'a mut dyn FnMut(&Event) -> Result<()>,
}

impl Conflicts<'_> {
    /// Tells the next older event. One at a time is in memory, however many there are.
    fn tell(&mut self, row: &Row, upcasters: &Upcasters, work: &Scratch) -> Result<()> {
        work.run(|| (self.sink)(&*row.read(upcasters)?))?;
        work.reset();
        Ok(())
    }
}

/// What is to be appended, and on which condition.
pub struct AppendRequest<'a> {
    /// At least one event. The versions that they expect are checked first, and told alone where both fail.
    pub events: &'a [NewEvent<'a>],
    /// The append fails if one of them matches an event that is there. They are asked in order; the
    /// first one that matches at all tells the conflicts.
    pub fail_if: &'a [Query],
    /// The partition's name, where it is not the session's.
    pub partition: Option<&'a str>,
    /// Whether sending stored events again is answered like the first time, or refused.
    pub may_repeat: bool,
    /// What is to become of what schemas or invariants refuse.
    pub on_refusal: OnRefusal,
}

/// Appends the events, unless the condition fails.
///
/// # Errors
/// 42501, 42704, 0A000 as the partition demands; 23505 where some ids are known already and it is not
/// these very events that are stored.
pub fn append(request: &AppendRequest, conflicts: &mut Conflicts) -> Result<Outcome> {
    let outcome = append_while(request, conflicts, &|| Ok(true))?;
    outcome.ok_or_else(|| Error::new(SqlState::Internal, "the append was given up"))
}

/// The same, if `holds` says so when all locks are held: otherwise nothing is stored, and the answer is `None`.
///
/// # Errors
/// As [`append`]; those of `holds`.
pub fn append_while(
    request: &AppendRequest,
    conflicts: &mut Conflicts,
    holds: &dyn Fn() -> Result<bool>,
) -> Result<Option<Outcome>> {
    let Some(outcome) = decide(request, conflicts, holds)? else {
        return Ok(None);
    };
    let counted = match &outcome {
        Outcome::Appended { .. } => Some(Counted::Appends),
        Outcome::Repeated { .. } => Some(Counted::Repeated),
        Outcome::Conflict { .. } => Some(Counted::Conflicts),
        // As little as one that is raised.
        Outcome::Refused(_) => None,
    };
    if let Some(counted) = counted {
        stat::count(counted, 1);
    }
    Ok(Some(outcome))
}

fn decide(
    request: &AppendRequest,
    conflicts: &mut Conflicts,
    holds: &dyn Fn() -> Result<bool>,
) -> Result<Option<Outcome>> {
    catalog::demand_writable("en57_append()")?;
    let events = request.events;
    let store = catalog::store()?;
    let access = if request.is_conditional() {
        Access::AppendIf
    } else {
        Access::Append
    };
    let place = store.partition(request.partition, access)?;
    let counter = Counter::of(store)?;
    let mut streams = Streams::of(events)?;
    let lists_streams = request.fail_if.iter().any(Query::lists_streams);
    let table = place.open_to_append(!streams.is_empty() || lists_streams)?;
    let keys: Vec<Vec<i64>> = events.iter().map(NewEvent::keys).collect();
    let new = |n: usize| &events[n];
    let mut looked = lock::Looked {
        upcasters: upcast::known()?,
        due: Due::new(&place.name, events)?,
        rules: Rules::new(&place.name, events.len(), &new)?,
        fit: fit::demand(events.iter(), true),
    };
    // Events that are sent again are answered as they were the first time, whatever they must fit by now.
    let is_new = !request.may_repeat || events.iter().all(|e| e.id.is_none());
    if is_new && let Err(refusal) = looked.fit.clone() {
        return refusals::misfits(refusal, events, request.on_refusal).map(Some);
    }
    let fail_if = lock::lock(&place, &table, request, &streams, &keys, &mut looked)?;
    if !holds()? {
        return Ok(None);
    }
    let lock::Looked {
        due, rules, fit, ..
    } = looked;

    if let Some(repeated) = stored_before(&table, request)? {
        return Ok(Some(repeated));
    }
    if let Err(refusal) = fit {
        return refusals::misfits(refusal, events, request.on_refusal).map(Some);
    }
    if let Some(wrong) = streams.look(&table)? {
        let (target, at_most) = (wrong.target, conflicts.at_most);
        let definitions = upcast::known()?;
        let upcasters = Upcasters::new(&definitions);
        let work = Scratch::new();
        let mut told = |row: &Row| conflicts.tell(row, &upcasters, &work);
        let known = target.expected.known();
        stream::newer(&table, target.name, known, at_most, &mut told)?;
        return Ok(Some(Outcome::Conflict {
            cause: Cause::Version(wrong.event),
            position: wrong.position,
            version: Some(wrong.version),
        }));
    }
    for query in &fail_if {
        if let Some(position) = newest_match(&table, query, conflicts)? {
            return Ok(Some(Outcome::Conflict {
                cause: Cause::Condition,
                position: Some(position),
                version: streams.version_before(),
            }));
        }
    }

    let (first, stable) = counter.allot(place.oid, events.len() as i64)?;
    let last = first + events.len() as i64 - 1;
    let recorded_at_us = clock::now_us();
    let place_of = |i: usize| Assigned {
        position: first + i as i64,
        recorded_at_us,
        stream: streams.place(i),
    };
    let ids = event::ids(events.iter().map(|e| (e, recorded_at_us)));
    let batch = Batch {
        partition: &place,
        table: &table,
        stable,
        assigned: &place_of,
        ids: &ids,
    };
    match request.on_refusal {
        OnRefusal::Raise => rules.check(&batch)?,
        OnRefusal::Return => {
            let objections = refusals::objections(&rules, &batch)?;
            if !objections.is_empty() {
                return Ok(Some(Outcome::Refused(objections)));
            }
        }
    }
    let new: Vec<&NewEvent> = events.iter().collect();
    batch.insert(&new, &keys)?;
    transaction::forget_committed(place.oid, stable);
    let written = keys
        .iter()
        .zip(first..)
        .flat_map(|(keys, p)| keys.iter().map(move |k| (*k, p)));
    transaction::wrote(place.oid, written, last);
    due.run(first, last)?;
    Ok(Some(Outcome::Appended {
        first,
        last,
        version: streams.place(events.len() - 1).map(|(_, version)| version),
        ids,
    }))
}

impl AppendRequest<'_> {
    /// Whether something may stand against the append that its caller is then told.
    fn is_conditional(&self) -> bool {
        let expects = |e: &NewEvent| e.expected_version.is_some();
        self.events.iter().any(expects) || !self.fail_if.is_empty()
    }
}

/// What became of an append whose n-th event has the id `id_of(n)`, from 1, where it is stored.
///
/// # Errors
/// 42501, 42704.
pub fn stored_as(
    partition: Option<&str>,
    id_of: impl Fn(usize) -> [u8; 16],
) -> Result<Option<Outcome>> {
    let place = catalog::store()?.partition(partition, Access::Lock)?;
    let table = place.open_to_read();
    let Some(first) = find_id(&table, &id_of(1))? else {
        return Ok(None);
    };
    let mut newest = first;
    let first = first.position;
    let mut ids = vec![id_of(1)];
    for n in 2.. {
        match find_id(&table, &id_of(n))? {
            Some(next) if next.position == newest.position + 1 => newest = next,
            _ => break,
        }
        ids.push(id_of(n));
    }
    let mut fetcher = Fetcher::new(&table);
    let version = fetcher
        .fetch(newest, false)
        .then(|| fetcher.row.stream_version());
    stat::count(Counted::Repeated, 1);
    Ok(Some(Outcome::Repeated {
        first,
        last: newest.position,
        version: version.flatten(),
        ids,
    }))
}

/// The newest event that matches, committed by now or the transaction's own; the newest ones go to
/// `conflicts`. The locks are held, so nobody can change the answer.
fn newest_match(
    table: &Opened,
    query: &Sought<&Query>,
    conflicts: &mut Conflicts,
) -> Result<Option<i64>> {
    let range = Range {
        after: 0,
        upto: i64::MAX - 1,
    };
    let definitions = upcast::known()?;
    let upcasters = Upcasters::new(&definitions);
    let mut scan = Scan::new(table, query.stored(), range, Direction::Backward)?;
    let mut fetcher = Fetcher::new(table);
    let work = Scratch::new();
    let mut newest = None;
    let mut found = 0;
    while found < conflicts.at_most {
        let Some(entry) = scan.next_entry()? else {
            break;
        };
        if fetcher.fetch(entry, false) && query.matches(&fetcher.row)? {
            newest.get_or_insert(entry.position);
            conflicts.tell(&fetcher.row, &upcasters, &work)?;
            found += 1;
        }
    }
    Ok(newest)
}

/// What became of these very events the first time, where they are all stored already.
fn stored_before(table: &Opened, request: &AppendRequest) -> Result<Option<Outcome>> {
    let (events, may_repeat) = (request.events, request.may_repeat);
    let mut known: Option<(usize, Entry)> = None;
    let mut version = None;
    let mut first = None;
    let mut fetcher = Fetcher::new(table);
    let known_already = |n: usize, id: &[u8; 16]| {
        Error::new(
            SqlState::UniqueViolation,
            format!("event {}: its id is known already", n + 1),
        )
        .detail(format!(
            "An event with id {} is stored.",
            uuid::Uuid::from_bytes(*id)
        ))
    };
    for (n, new) in events.iter().enumerate() {
        let Some(id) = &new.id else {
            match known {
                Some((n, _)) => return Err(known_already(n, &events[n].id.unwrap_or_default())),
                None => continue,
            }
        };
        let Some(entry) = find_id(table, id)? else {
            match known {
                // The unique index is there for the rest: nothing of a batch is looked up in vain.
                None if n == 0 => return Ok(None),
                None => continue,
                Some((n, _)) => return Err(known_already(n, &events[n].id.unwrap_or_default())),
            }
        };
        let first = *first.get_or_insert(entry.position);
        let same = may_repeat
            && n as i64 == entry.position - first
            && (n == 0 || known.is_some())
            && fetcher.fetch(entry, false)
            && is_same(new, &fetcher.row)?;
        if !same {
            let error = known_already(n, id);
            return Err(if may_repeat {
                error.hint("Send new events with new ids; to repeat an append, send exactly the same events.")
            } else {
                error
            });
        }
        known = Some((n, entry));
        version = fetcher.row.stream_version();
    }
    Ok(known
        .zip(first)
        .map(|((_, entry), first)| Outcome::Repeated {
            first,
            last: entry.position,
            version,
            ids: events.iter().filter_map(|e| e.id).collect(),
        }))
}

/// Whether a stored event is what is to be appended: type, tags, data and stream; its id is the same
/// already.
fn is_same(new: &NewEvent, row: &Row) -> Result<bool> {
    let same_data = match (new.data, row.get(Column::Data)) {
        (None, None) => true,
        (Some(new), Some(stored)) => json::equal(new.to_datum(), stored),
        _ => false,
    };
    let tags = row.tags()?.texts()?;
    Ok(same_data
        && row.event_type()? == new.event_type
        && tags == new.tags
        && row.stream()? == new.stream)
}

/// `en57.max_conflicts`.
pub fn max_conflicts() -> usize {
    settings::max_conflicts()
}
