//! Rebuilding: new documents of a projection are made beside the live ones.
//!
//! Each batch is a transaction that stores documents and how far the rebuild has come. At the end one transaction excludes
//! appends and swaps: it gives the new documents to the live table.
//!
//! **Invariant:** locks are taken in this order: the partition's table, its root, the projection's row, the rebuild's
//! row, documents. A batch takes neither the root nor the projection's row.
//!
#![cfg_attr(doc, doc = include_str!("../../../docs/architecture/rebuilds.md"))]

mod batch;
mod begin;
pub mod document_store;
mod files;
pub mod planner;
mod rows;
mod state;
mod swap;

pub use begin::RebuildRequest;
pub use state::{erased, forget_documents, query_of, restarted};
pub use swap::SwapMethod;

use std::time::{Duration, Instant};

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::query::Query;
use crate::read::partitions::Partitions;
use crate::store::call::procedure::Call;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::log::position::Counter;
use crate::store::pg::subtransaction::Failure;
use crate::store::pg::xmin::XminRelease;
use crate::store::session::sleep;
use crate::upcast::{self, Sought};

use super::definition::{Projection, Work, by_name};
use super::document::Documents;
use super::run::error_json;
use super::status::Phase;
use batch::{Done, Stopped};
use state::{Definition, RebuildState};

/// After a batch that takes less time than this, few events are left, and the rebuild swaps.
const NEAR: Duration = Duration::from_millis(250);
/// How long a swap waits for a transaction in flight, while appends wait behind the swap. Then it gives up for a while.
const PATIENCE_MS: i64 = 500;
/// The first and the longest pause between two attempts to swap.
const PAUSES_MS: std::ops::RangeInclusive<u64> = 500..=10_000;

/// The outcome of a step of a rebuild.
enum Step {
    /// There is more to do, in another transaction if possible.
    More,
    /// The swap has to wait for a transaction that has appended, or that runs the projection.
    Blocked,
    /// The live documents are the new ones. When that is committed, [`forget_documents`] is to be called with
    /// this number.
    Swapped(i64),
    /// There is nothing to do: another session has ended it.
    Ended,
    /// It cannot go on. This is stored in its row.
    Failed(Box<Stop>),
}

/// Why a rebuild cannot go on.
struct Stop {
    position: Option<i64>,
    failure: Failure,
}

/// Rebuilds a projection. Begins a rebuild, or goes on with one that was interrupted or on which another session works.
///
/// # Errors
/// 42501, 42704, 22004, 22023; 0A000 for a projection with a handler; 55000 where it fails or is cancelled.
pub fn rebuild(request: &RebuildRequest, call: &Call) -> Result<()> {
    let run = begin::begin(request)?;
    let mut pause_ms = *PAUSES_MS.start();
    let mut method = request.method;
    loop {
        call.commit()?;
        let Some(state) = RebuildState::numbered(run.number, false)? else {
            return run.ended();
        };
        match advance(&state, &mut method, call.commits())? {
            Step::More => {}
            Step::Ended => return run.ended(),
            Step::Swapped(number) => {
                call.commit()?;
                return forget_documents(number);
            }
            Step::Failed(stop) if call.commits() => {
                call.commit()?;
                return Err(stop.told(&run.name));
            }
            Step::Failed(stop) => return stop.failure.raise(),
            Step::Blocked => {
                call.commit()?;
                sleep::wait_until(Some(pause_ms), XminRelease::NONE, || Ok(false))?;
                pause_ms = (pause_ms * 2).min(*PAUSES_MS.end());
            }
        }
    }
}

/// Cancels the rebuild of a projection; returns whether there was one.
///
/// # Errors
/// 42501, 42704.
pub fn cancel(name: Option<&str>) -> Result<bool> {
    catalog::demand_writable("en57_cancel_rebuild()")?;
    let projection = by_name(name, false)?;
    crate::store::log::catalog::partition_to_administer(Some(&projection.partition))?;
    match RebuildState::of(&projection.name, true)? {
        Some(state) if state.phase != Phase::Cancelled => state.cancel().map(|()| true),
        _ => Ok(false),
    }
}

/// A hash of the functions of a projection, and of the upcasters that make the events for them.
///
/// # Errors
/// 55000 where the tables are missing.
pub fn functions_of(projection: &Projection, documents: &Documents) -> Result<Option<String>> {
    Definition::of(projection, documents).functions()
}

/// Deletes the rebuild of a projection, if there is one.
///
/// # Errors
/// 55000 where the table is missing.
pub fn drop_of(projection: &str) -> Result<()> {
    if let Some(state) = RebuildState::of(projection, true)? {
        state.remove()?;
        forget_documents(state.number)?;
    }
    Ok(())
}

/// One batch, or the swap.
fn advance(seen: &RebuildState, method: &mut SwapMethod, may_wait_later: bool) -> Result<Step> {
    if seen.phase == Phase::Swapping {
        return swap::swap(seen, method, may_wait_later.then_some(PATIENCE_MS));
    }
    let since = Instant::now();
    let projection = by_name(Some(&seen.projection), false)?;
    crate::store::log::catalog::partition_to_administer(Some(&projection.partition))?;
    let Some(mut state) = RebuildState::numbered(seen.number, true)? else {
        return Ok(Step::Ended);
    };
    state.demand_wanted()?;
    if state.is_outdated()? {
        state.begin_anew()?;
    }
    let projection = state.definition.applied_to(projection)?;
    let head = settled(&projection, None)?;
    let done = batch::fold(&state, &projection, documents(&projection)?, head)?;
    let is_near = done.position >= head && since.elapsed() < NEAR;
    let phase = if is_near {
        Phase::Swapping
    } else {
        Phase::Building
    };
    state.note(done, phase, since)
}

impl RebuildState {
    /// Makes sure that the rebuild is to go on.
    ///
    /// # Errors
    /// 55000 where it was cancelled, or has failed.
    fn demand_wanted(&self) -> Result<()> {
        let end = match self.phase {
            Phase::Cancelled => "was cancelled",
            Phase::Failed => "has failed",
            Phase::Building | Phase::Swapping => return Ok(()),
        };
        let message = format!("rebuild of projection \"{}\" {end}", self.projection);
        Err(Error::new(SqlState::NotInPrerequisiteState, message)
            .detail("The live documents are as they were."))
    }

    /// Goes back from the swap to building: there are too many events left, or the next batch is to check functions and
    /// upcasters.
    fn fold_more(&self) -> Result<Step> {
        if let Some(mut state) = Self::numbered(self.number, true)?.filter(|s| s.is_where(self)) {
            state.advance(state.position, 0, Phase::Building, Instant::now())?;
        }
        Ok(Step::More)
    }

    /// Stores what a batch has done.
    fn note(&mut self, done: Done, phase: Phase, since: Instant) -> Result<Step> {
        self.advance(done.position, done.events, phase, since)?;
        match done.stopped {
            None => Ok(Step::More),
            Some(Stopped { position, failure }) => self.stop(Some(position), failure),
        }
    }

    /// Stores why it cannot go on.
    fn stop(&self, position: Option<i64>, failure: Failure) -> Result<Step> {
        self.fail(position, error_json(&failure, None)?)?;
        Ok(Step::Failed(Box::new(Stop { position, failure })))
    }
}

impl Stop {
    /// As an error of a transaction that was not the failure's own.
    fn told(self, name: &str) -> Error {
        let at = self.position.map(|p| format!(" at position {p}"));
        let message = format!(
            "rebuild of projection \"{name}\" has failed{}",
            at.unwrap_or_default()
        );
        let Failure {
            state,
            message: why,
            ..
        } = self.failure;
        Error::new(SqlState::NotInPrerequisiteState, message)
            .detail(format!("{state}: {why}. The live documents are as they were."))
            .hint("See last_error in en57_stat_progress_rebuild. Call en57_rebuild() again to go on, or en57_cancel_rebuild().")
    }
}

fn documents(projection: &Projection) -> Result<&Documents> {
    match &projection.work {
        Work::Documents(documents) => Ok(documents),
        Work::Handler(_) => Err(Error::new(
            SqlState::NotSupported,
            format!("projection \"{}\" calls a handler", projection.name),
        )
        .detail("What a handler has written is not known to en57.")
        .hint("In one transaction, drop the projection, empty what its handler has written, and create it again.")),
    }
}

/// The frontier of a projection's query, or of another query, in its partition. Does not wait.
fn settled(projection: &Projection, other: Option<&Query>) -> Result<i64> {
    let store = catalog::store()?;
    let partitions = Partitions::find(store, Some(&projection.partition), Access::Own)?;
    let query = other.unwrap_or(&projection.query).clone();
    let sought = Sought::by(query, &upcast::known()?);
    Ok(partitions.current_frontier(&Counter::of(store)?, &sought))
}
