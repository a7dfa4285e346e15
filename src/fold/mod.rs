//! Folds: a function makes a state of the events of a query, one after the other.
//!
//! The room holds the functions `evolve` that documents, folds, deciders and invariants share ([`evolve`]), the definitions
//! of named folds and deciders, and their snapshots. It never appends an event, and it never stores a snapshot of events
//! that are not settled. It uses `event_type`, `read`, `definition`, `store` and `dcb`.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/folds.md"))]

pub mod definition;
pub mod evolve;
mod manage;
pub mod snapshot;

pub use manage::{NewDecider, NewFold, create, drop_snapshots, remove};

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::read::stream::Walk;
use crate::read::{Options, Reading, View};
use crate::store::Datum;
use crate::store::call::function::{ErrorContext, Function};
use crate::store::index::entry::Direction;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::{fmgr, rights};
use crate::store::row::door::Event;

use definition::Definition;
use evolve::Folding;
use snapshot::Snapshots;

/// A state, and the position up to which it contains all events that match.
pub struct FoldState {
    /// In the current memory context.
    pub state: Option<Datum>,
    /// What to use as `after` in an append's condition.
    pub position: i64,
    /// The version of the stream that the query names, where it names one: 0 where that has no event.
    pub stream_version: Option<i64>,
}

/// Which events a fold takes.
pub struct Range<'a> {
    /// Those that match; `None`: all.
    pub query: Option<Query>,
    /// Up to this position.
    pub upto: Option<i64>,
    /// Up to these times.
    pub until: Until,
    /// The partition's name.
    pub partition: Option<&'a str>,
}

/// Times up to which a fold takes events, in PostgreSQL's microseconds.
pub struct Until {
    as_of_us: Option<i64>,
    occurred_until_us: Option<i64>,
    /// The first position that was left out.
    left_out: i64,
}

impl Until {
    /// Events that were recorded by the first time, and had occurred by the second one.
    pub fn of(as_of_us: Option<i64>, occurred_until_us: Option<i64>) -> Self {
        Self {
            as_of_us,
            occurred_until_us,
            left_out: i64::MAX,
        }
    }

    /// No bound.
    pub fn now() -> Self {
        Self::of(None, None)
    }

    fn is_now(&self) -> bool {
        self.as_of_us.is_none() && self.occurred_until_us.is_none()
    }

    /// Whether an event is later than these times. Notes the first one that is.
    fn leaves_out(&mut self, event: &Event) -> bool {
        let is_later = self.as_of_us.is_some_and(|t| event.recorded_at_us() > t)
            || (self.occurred_until_us).is_some_and(|t| event.occurred_at_us() > t);
        if is_later {
            self.left_out = self.left_out.min(event.position());
        }
        is_later
    }

    /// The position up to which a state contains all events that match, if the events are complete up to `position`. It
    /// ends before the first event that was left out: later events may be in the state, since times do not grow with
    /// positions.
    fn complete_upto(&self, position: i64) -> i64 {
        position.min(self.left_out - 1)
    }
}

/// Folds events by a function that runs with the caller's rights, and that [`evolve::check`] has found fit.
///
/// # Errors
/// 42501, 42704, 22023, N5706 as reads have them; the function's own, by unwinding.
pub fn fold(range: Range, evolve: &Function, initial: Option<Datum>) -> Result<FoldState> {
    evolve.demand_execute()?;
    let upto = range.upto.unwrap_or(Options::default().upto);
    let options = Options {
        upto,
        ..Options::default()
    };
    let mut reading = Reading::start(range.query, options, range.partition)?;
    let context = ErrorContext::new(&format!("evolve function {}", evolve.name()));
    let callable = evolve.prepare_for_caller();
    let mut folding = Folding::new(&callable, initial);
    let settled = reading.frontier().min(upto);
    let mut until = range.until;
    // With the same settings as folds with snapshots, so that both have the same result.
    let mut read = || {
        reading.each(|row| {
            if until.leaves_out(row) {
                return Ok(());
            }
            context.at(row.position(), row.position());
            folding.add_read(row).map(drop)
        })
    };
    context.tell(|| rights::in_one_form(&mut read))?;
    Ok(FoldState {
        state: folding.finish(),
        position: until.complete_upto(settled),
        stream_version: None,
    })
}

/// The state of a query by a named fold.
///
/// # Errors
/// 42501, 42704, N5706 as reads have them; 42883 where its function is gone, and its own.
pub fn state(
    name: Option<&str>,
    query: Option<Query>,
    mut until: Until,
    partition: Option<&str>,
) -> Result<FoldState> {
    let query = query.unwrap_or_else(Query::everything);
    let partition = catalog::effective_name(partition)?;
    // A snapshot holds what was recorded up to a position, not up to a time.
    let mut uses_snapshots = until.is_now();
    loop {
        let definition = definition::by_name(name, "fold")?;
        let evolve = definition.function(&definition.evolve)?;
        evolve.demand_execute()?;
        let reading = Reading::start(Some(query.clone()), Options::default(), Some(&partition))?;
        let snapshots = uses_snapshots
            .then(|| Snapshots::of(&definition, evolve, &reading, &query))
            .flatten();
        let settled = reading.frontier();
        let stream_version = match until.is_now() {
            true => version_of(&query, reading.view(), &partition)?,
            false => None,
        };
        let run = Run {
            definition: &definition,
            evolve,
            partition: &partition,
            reading,
            snapshots,
            settled,
        };
        if let Folded::State(state) = run.fold(&mut until)? {
            return Ok(FoldState {
                state,
                position: until.complete_upto(settled),
                stream_version,
            });
        }
        uses_snapshots = false;
    }
}

/// The version that a reader sees of the stream that all criteria of a query name; `None` if they do not name one stream.
fn version_of(query: &Query, view: View, partition: &str) -> Result<Option<i64>> {
    let mut names = query.criteria().iter().map(|c| c.stream.as_deref());
    let Some(Some(name)) = names.next() else {
        return Ok(None);
    };
    if !names.all(|other| other == Some(name)) {
        return Ok(None);
    }
    let partition = catalog::store()?.partition(Some(partition), Access::Read)?;
    let table = partition.open_to_read();
    let mut walk = Walk::new(&table, name, view, Direction::Backward)?;
    Ok(Some(walk.next_row()?.map_or(0, |(version, _)| version)))
}

/// A run of a named fold or decider over the events that a reading finds.
pub struct Run<'r> {
    /// The fold or decider.
    pub definition: &'r Definition,
    /// Its evolve function.
    pub evolve: &'r Function,
    /// The partition's name.
    pub partition: &'r str,
    /// The events.
    pub reading: Reading,
    /// The snapshots to begin with, and to add to; `None`: it folds from the first event on.
    pub snapshots: Option<Snapshots<'r>>,
    /// All events of the query up to this position are settled, so a snapshot may hold them.
    pub settled: i64,
}

/// The outcome of a [`Run`].
pub enum Folded {
    /// The state; the inner `None` is NULL. In the current memory context.
    State(Option<Datum>),
    /// Evolve or an upcaster was replaced since the snapshot was taken or while the events were folded, so the state may
    /// be a mixture of old and new. It never happens without snapshots: run again without them.
    Mixed,
}

impl Run<'_> {
    /// Folds the events after the newest snapshot, and offers the state as a new one.
    ///
    /// # Errors
    /// Those of reading, and of the function.
    pub fn fold(mut self, until: &mut Until) -> Result<Folded> {
        let definition = self.definition;
        let initial = definition.initial.as_deref().map(fmgr::make_varlena);
        let context = definition.error_context("evolve function", &definition.evolve);
        let callable = self.evolve.prepare();
        let mut folding = Folding::new(&callable, initial);
        if let Some(snapshots) = &self.snapshots
            && let Some(snapshot) = snapshots.find(self.settled)?
        {
            folding.resume(snapshot.state);
            self.reading.begin_at(snapshot.position + 1);
        }
        let (mut events, mut last) = (0, 0);
        let mut add = |row: &Event| {
            if until.leaves_out(row) {
                return Ok(());
            }
            (events, last) = (events + 1, row.position());
            context.at(last, last);
            folding.add_read(row).map(drop)
        };
        let reading = &mut self.reading;
        context.tell(|| {
            rights::for_functions(&definition.path, self.partition, || reading.each(&mut add))
        })?;
        let state = folding.finish();
        if let Some(snapshots) = self.snapshots {
            if !snapshots.is_unchanged(&self.reading) {
                return Ok(Folded::Mixed);
            }
            if last <= self.settled {
                snapshots.offer(self.settled, state, events)?;
            }
        }
        Ok(Folded::State(state))
    }
}
