//! The swap: one transaction folds the last events and gives the rebuilt documents to the live table.
//!
//! If many documents differ, the table is given new files ([`super::files`]). Otherwise the documents that differ are
//! written row by row ([`super::rows`]).

use std::collections::BTreeSet;
use std::time::Instant;

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::store::document::exchange;
use crate::store::lock::manager::{Queue, queue_for};
use crate::store::log::catalog;
use crate::store::pg::subtransaction::in_subtransaction;
use crate::store::pg::{guard, rights};
use crate::store::session::transaction;

use super::super::definition::{Projection, by_name};
use super::super::document::missing_table;
use super::super::manage;
use super::super::status::{Phase, Status};
use super::files::{Exchange, Outcome};
use super::rows::Rows;
use super::state::{Definition, RebuildState};
use super::{Step, batch, documents};

/// Up to this many documents that differ are written row by row. It takes some tenths of a second.
const FEW: usize = 10_000;

/// How the live table is to be given the documents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SwapMethod {
    /// The better one for this table and this number of documents that differ.
    Best,
    /// Row by row.
    Rows,
    /// By new files.
    Files,
}

impl SwapMethod {
    /// Reads the argument `swap`.
    ///
    /// # Errors
    /// 22023.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        match text {
            None => Ok(Self::Best),
            Some("rows") => Ok(Self::Rows),
            Some("files") => Ok(Self::Files),
            Some(_) => Err(invalid("swap must be 'rows' or 'files', or NULL")),
        }
    }

    /// Makes sure that this method is possible for the table of a projection.
    ///
    /// # Errors
    /// 55000.
    pub fn demand_open(self, projection: &Projection) -> Result<()> {
        match obstacle(projection)? {
            Some(why) if self == Self::Files => Err(Error::new(
                SqlState::NotInPrerequisiteState,
                format!(
                    "documents of projection \"{}\" cannot be swapped by files",
                    projection.name
                ),
            )
            .detail(format!("Their table cannot be given new files: {why}."))
            .hint("Leave swap out, and they are swapped row by row.")),
            _ => Ok(()),
        }
    }
}

/// Why the table of the documents cannot be given new files.
fn obstacle(projection: &Projection) -> Result<Option<&'static str>> {
    let table = documents(projection)?.table;
    let owner = rights::owner_of(table).ok_or_else(|| missing_table(&projection.name))?;
    Ok(exchange::obstacle(table, owner))
}

/// Swaps. Gives up with [`Step::Blocked`] if a lock takes longer than `patience_ms`; `None`: waits as long as it takes.
/// Changes the method if new files turn out not to be possible.
pub fn swap(
    seen: &RebuildState,
    method: &mut SwapMethod,
    patience_ms: Option<i64>,
) -> Result<Step> {
    if !queue_for(Queue::Swap, seen.number, patience_ms.is_none()) {
        return Ok(Step::Blocked);
    }
    let Some(state) = RebuildState::numbered(seen.number, false)? else {
        return Ok(Step::Ended);
    };
    if state.phase != Phase::Swapping {
        return Ok(Step::More);
    }
    let projection = by_name(Some(&state.projection), false)?;
    catalog::partition_to_administer(Some(&projection.partition))?;
    let plan = SwapPlan::of(state, projection)?;
    if plan.uses_files(*method, patience_ms)? {
        let exchange = Exchange {
            state: &plan.state,
            new: &plan.new,
            table: documents(&plan.new)?.table,
            patience_ms,
            insists: *method == SwapMethod::Files,
        };
        match exchange.exchange()? {
            Ok(Outcome::Exchanged) => return Ok(Step::Swapped(seen.number)),
            // If a function was replaced, the next batch begins anew.
            Ok(Outcome::Changed | Outcome::TooMuch) => return plan.state.fold_more(),
            Ok(Outcome::Wanted) => return Ok(Step::Blocked),
            Ok(Outcome::InUse) => *method = SwapMethod::Rows,
            Err(failure) if failure.is_transient() => return failure.raise(),
            Err(failure) if *method == SwapMethod::Files => return plan.state.stop(None, failure),
            // Row by row the swap may succeed, or fails with a better message.
            Err(_) => *method = SwapMethod::Rows,
        }
    }
    by_rows(&plan, patience_ms)
}

/// What is found out before appends are excluded.
struct SwapPlan {
    state: RebuildState,
    /// The projection as it will be.
    new: Projection,
    /// Whether appends wait for the swap.
    keeps_appends_out: bool,
    /// The status and position of the projection.
    status: Status,
    position: i64,
    /// The documents that differ, if they are few, and if the live ones change only by events that the rebuild folds, too.
    differing: Option<BTreeSet<String>>,
}

impl SwapPlan {
    fn of(state: RebuildState, projection: Projection) -> Result<Self> {
        let (status, position) = (projection.status, projection.position);
        let is_inline = projection.is_inline;
        let will_be_inline = state.definition.is_inline.unwrap_or(is_inline);
        // An event belongs to the same documents before and after.
        let is_same_key = {
            let old = Definition::of(&projection, documents(&projection)?);
            state.definition.has_key_of(&old)
        };
        let new = state.definition.applied_to(projection)?;
        let mut plan = Self {
            state,
            new,
            keeps_appends_out: is_inline || will_be_inline,
            status,
            position,
            differing: None,
        };
        if is_inline && status == Status::Running {
            let rows = Rows::of(&plan.state, &plan.new)?;
            // If this fails, it fails again where the rows are written, and is reported there.
            let ids = in_subtransaction(|| rows.differing(FEW))?.unwrap_or_default();
            plan.differing = ids.filter(|_| is_same_key);
        }
        Ok(plan)
    }

    fn uses_files(&self, method: SwapMethod, patience_ms: Option<i64>) -> Result<bool> {
        method.demand_open(&self.new)?;
        Ok(match method {
            SwapMethod::Rows => false,
            SwapMethod::Files => true,
            SwapMethod::Best => {
                let may_wait_later = patience_ms.is_some();
                self.keeps_appends_out
                    && may_wait_later
                    && self.differing.is_none()
                    && obstacle(&self.new)?.is_none()
            }
        })
    }

    /// Whether neither the projection nor the rebuild has changed since.
    fn holds(&self, projection: &Projection, state: &RebuildState) -> bool {
        self.state.is_where(state)
            && (self.status, self.position) == (projection.status, projection.position)
    }
}

/// Swaps row by row.
fn by_rows(plan: &SwapPlan, patience_ms: Option<i64>) -> Result<Step> {
    let Some((projection, state)) = lock_in_time(&plan.state, patience_ms)? else {
        return Ok(Step::Blocked);
    };
    let Some(mut state) = state else {
        return Ok(Step::Ended);
    };
    state.demand_wanted()?;
    if state.is_outdated()? {
        state.begin_anew()?;
    }
    let since = Instant::now();
    let upto = upto(&projection, &state)?;
    let differing = plan.differing.as_ref();
    let differing = differing.filter(|_| plan.holds(&projection, &state));
    let new = state.definition.applied_to(projection)?;
    let done = batch::fold(&state, &new, documents(&new)?, upto)?;
    if done.stopped.is_some() || done.position < upto {
        // Too many events to fold them while appends wait.
        return state.note(done, Phase::Building, since);
    }
    if state.is_outdated()? {
        // A function or upcaster was replaced since the documents were begun.
        state.begin_anew()?;
        state.advance(state.position, 0, Phase::Building, since)?;
        return Ok(Step::More);
    }
    let ids = differing.zip(done.ids.as_ref());
    let ids = ids.map(|(differing, folded)| differing.iter().chain(folded).cloned().collect());
    state.note(done, Phase::Swapping, since)?;
    give_rows(&state, &new, ids)
}

/// Locks all that a swap needs; `None` where that takes longer than `patience_ms`.
fn lock_in_time(
    seen: &RebuildState,
    patience_ms: Option<i64>,
) -> Result<Option<(Projection, Option<RebuildState>)>> {
    if patience_ms.is_none() {
        return lock(seen).map(Some);
    }
    match in_subtransaction(|| with_patience(patience_ms, || lock(seen)))? {
        Ok(locked) => Ok(Some(locked)),
        Err(failure) if failure.state == SqlState::LockNotAvailable.code() => Ok(None),
        Err(failure) => failure.raise(),
    }
}

/// Gives the documents with these ids, or all, to the live table, and ends the rebuild.
fn give_rows(
    state: &RebuildState,
    new: &Projection,
    ids: Option<BTreeSet<String>>,
) -> Result<Step> {
    let given = in_subtransaction(|| {
        let rows = Rows::of(state, new)?;
        match &ids {
            Some(ids) => rows.give(ids)?,
            None => rows.give_all()?,
        }
        become_live(state, new)
    })?;
    match given {
        Ok(()) => Ok(Step::Swapped(state.number)),
        Err(failure) if !failure.is_transient() => state.stop(None, failure),
        Err(failure) => failure.raise(),
    }
}

/// Excludes appends if they would change documents, and locks the projection and the rebuild.
pub fn lock(seen: &RebuildState) -> Result<(Projection, Option<RebuildState>)> {
    let will_be_inline = seen.definition.is_inline == Some(true);
    let name = Some(seen.projection.as_str());
    let projection = manage::lock_to_administer(name, "en57_rebuild()", will_be_inline)?;
    Ok((projection, RebuildState::numbered(seen.number, true)?))
}

/// The position up to which events are to be folded, when all is locked.
pub fn upto(projection: &Projection, state: &RebuildState) -> Result<i64> {
    let Definition {
        query, is_inline, ..
    } = &state.definition;
    if projection.is_inline || *is_inline == Some(true) {
        return manage::last_position();
    }
    let settled = super::settled(projection, query.as_ref())?;
    // The projection's position says nothing about the events of another query.
    Ok(match query {
        Some(_) => settled,
        None => settled.max(projection.position),
    })
}

/// Runs with this `lock_timeout`, unless the session has a shorter one.
pub fn with_patience<T>(ms: Option<i64>, body: impl FnOnce() -> T) -> T {
    match (ms, crate::store::pg::settings::lock_timeout_ms()) {
        (None, _) => body(),
        (Some(ms), set) if set > 0 && i64::from(set) < ms => body(),
        (Some(ms), _) => {
            rights::with_settings(&[(c"lock_timeout", &guard::text(&ms.to_string()))], body)
        }
    }
}

/// Gives the projection the definition and the position of the rebuild, and ends the rebuild.
pub fn become_live(state: &RebuildState, projection: &Projection) -> Result<()> {
    state.definition.store(&projection.name)?;
    state.hand_over_dead_letters()?;
    let status = projection.status.after_restart();
    manage::set(&projection.name, status, state.position)?;
    state.remove()?;
    transaction::wake_at_commit();
    Ok(())
}
