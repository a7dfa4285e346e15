//! The swap: the last events are folded, and the live table gets the rebuilt documents, in one transaction. Where much
//! differs it is given new files ([`super::files`]), otherwise what differs is written row by row ([`super::rows`]).

use std::collections::BTreeSet;
use std::time::Instant;

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::store::document::exchange;
use crate::store::lock::manager::{Queue, queue_for};
use crate::store::pg::subtransaction::in_subtransaction;
use crate::store::pg::{guard, rights};
use crate::store::session::transaction;

use super::super::definition::{Projection, by_name};
use super::super::document::missing_table;
use super::files::{Exchange, Outcome};
use super::rows::Rows;
use super::state::{Definition, RebuildState};
use super::{Step, batch, documents};

/// As many documents that differ are written row by row without hesitation: some tenths of a second.
const FEW: usize = 10_000;

/// How the live table is to be given the documents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SwapMethod {
    /// As the size of the difference and the table make it best.
    Best,
    /// Row by row.
    Rows,
    /// By new files.
    Files,
}

impl SwapMethod {
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

    /// Refuses where it cannot be gone.
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

/// Swaps, if nobody is in the way for longer than `patience_ms`; `None`: waits. The way becomes another one where it
/// turns out to lead nowhere.
pub fn swap(seen: &RebuildState, way: &mut SwapMethod, patience_ms: Option<i64>) -> Result<Step> {
    if !queue_for(Queue::Swap, seen.number, patience_ms.is_none()) {
        return Ok(Step::Blocked);
    }
    let Some(state) = RebuildState::numbered(seen.number, false)? else {
        return Ok(Step::Ended);
    };
    if state.phase != "swapping" {
        return Ok(Step::More);
    }
    let projection = by_name(Some(&state.projection), false)?;
    crate::store::log::catalog::partition_to_administer(Some(&projection.partition))?;
    let outlook = SwapPlan::of(state, projection)?;
    if outlook.leads_to_files(*way, patience_ms)? {
        let exchange = Exchange {
            state: &outlook.state,
            new: &outlook.new,
            table: documents(&outlook.new)?.table,
            patience_ms,
            insists: *way == SwapMethod::Files,
        };
        match exchange.exchange()? {
            Ok(Outcome::Exchanged) => return Ok(Step::Swapped(seen.number)),
            // A batch begins anew where a function was replaced.
            Ok(Outcome::Changed | Outcome::TooMuch) => return outlook.state.fold_more(),
            Ok(Outcome::Wanted) => return Ok(Step::Blocked),
            Ok(Outcome::InUse) => *way = SwapMethod::Rows,
            Err(failure) if failure.is_transient() => return failure.raise(),
            Err(failure) if *way == SwapMethod::Files => return outlook.state.stop(None, failure),
            // Written row by row it succeeds, or tells the error better.
            Err(_) => *way = SwapMethod::Rows,
        }
    }
    by_rows(&outlook, patience_ms)
}

/// What is known before anybody is kept out.
struct SwapPlan {
    state: RebuildState,
    /// The projection as it will be.
    new: Projection,
    /// Whether appends wait for the swap.
    keeps_appends_out: bool,
    status: String,
    position: i64,
    /// The documents that differ, if they are few, and nobody changes others without the rebuild's knowing.
    differing: Option<BTreeSet<String>>,
}

impl SwapPlan {
    fn of(state: RebuildState, projection: Projection) -> Result<Self> {
        let (status, position) = (projection.status.clone(), projection.position);
        let is_inline = projection.is_inline;
        let will_be_inline = state.definition.is_inline.unwrap_or(is_inline);
        // An event belongs to the same documents before and after.
        let is_same_key = {
            let old = Definition::of(&projection, documents(&projection)?);
            state.definition.has_key_of(&old)
        };
        let new = state.definition.applied_to(projection)?;
        let mut outlook = Self {
            state,
            new,
            keeps_appends_out: is_inline || will_be_inline,
            status,
            position,
            differing: None,
        };
        if is_inline && outlook.status == "running" {
            let rows = Rows::of(&outlook.state, &outlook.new)?;
            // What fails here fails again where it is handled.
            let ids = in_subtransaction(|| rows.differing(FEW))?.unwrap_or_default();
            outlook.differing = ids.filter(|_| is_same_key);
        }
        Ok(outlook)
    }

    fn leads_to_files(&self, way: SwapMethod, patience_ms: Option<i64>) -> Result<bool> {
        way.demand_open(&self.new)?;
        Ok(match way {
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

    /// Whether what is known is still so.
    fn holds(&self, projection: &Projection, state: &RebuildState) -> bool {
        self.state.is_where(state)
            && (self.status.as_str(), self.position)
                == (projection.status.as_str(), projection.position)
    }
}

fn by_rows(outlook: &SwapPlan, patience_ms: Option<i64>) -> Result<Step> {
    let locked = match patience_ms {
        None => Ok(lock(&outlook.state)?),
        Some(_) => in_subtransaction(|| with_patience(patience_ms, || lock(&outlook.state)))?,
    };
    let (projection, state) = match locked {
        Ok(locked) => locked,
        Err(failure) if failure.state == "55P03" => return Ok(Step::Blocked),
        Err(failure) => return failure.raise(),
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
    let known = outlook.differing.as_ref();
    let known = known.filter(|_| outlook.holds(&projection, &state));
    let new = state.definition.applied_to(projection)?;
    let done = batch::fold(&state, &new, documents(&new)?, upto)?;
    if done.stopped.is_some() || done.position < upto {
        // Too much for a moment in which nobody appends.
        return state.note(done, "building", since);
    }
    if state.is_outdated()? {
        // The last events were folded, or read, by another function than those before.
        state.begin_anew()?;
        state.advance(state.position, 0, "building", since)?;
        return Ok(Step::More);
    }
    let ids = known.zip(done.ids.as_ref()).map(|(known, folded)| {
        let mut ids = known.clone();
        ids.extend(folded.iter().cloned());
        ids
    });
    state.note(done, "swapping", since)?;
    let given = in_subtransaction(|| {
        let rows = Rows::of(&state, &new)?;
        match &ids {
            Some(ids) => rows.give(ids)?,
            None => rows.give_all()?,
        }
        become_live(&state, &new)
    })?;
    match given {
        Ok(()) => Ok(Step::Swapped(state.number)),
        Err(failure) if !failure.is_transient() => state.stop(None, failure),
        Err(failure) => failure.raise(),
    }
}

/// Keeps appends out where they would change documents, and others from projection and rebuild.
pub fn lock(seen: &RebuildState) -> Result<(Projection, Option<RebuildState>)> {
    let will_be_inline = seen.definition.is_inline == Some(true);
    let name = Some(seen.projection.as_str());
    let projection =
        super::super::manage::kept_from_others(name, "en57_rebuild()", will_be_inline)?;
    Ok((projection, RebuildState::numbered(seen.number, true)?))
}

/// Up to where events are to be folded, now that all is locked.
pub fn upto(projection: &Projection, state: &RebuildState) -> Result<i64> {
    let Definition {
        query, is_inline, ..
    } = &state.definition;
    if projection.is_inline || *is_inline == Some(true) {
        return super::super::manage::last_position();
    }
    let settled = super::settled(projection, query.as_ref())?;
    // Where others are its events, it has not come anywhere yet.
    Ok(match query {
        Some(_) => settled,
        None => settled.max(projection.position),
    })
}

/// Waits for no lock longer than that; it may be less where the session says so.
pub fn with_patience<T>(ms: Option<i64>, body: impl FnOnce() -> T) -> T {
    match (ms, crate::store::pg::settings::lock_timeout_ms()) {
        (None, _) => body(),
        (Some(ms), set) if set > 0 && i64::from(set) < ms => body(),
        (Some(ms), _) => {
            rights::with_settings(&[(c"lock_timeout", &guard::text(&ms.to_string()))], body)
        }
    }
}

/// The projection is what the rebuild has made of it, and the rebuild is done.
pub fn become_live(state: &RebuildState, projection: &Projection) -> Result<()> {
    state.definition.store(&projection.name)?;
    state.hand_over_dead_letters()?;
    let status = if projection.status == "paused" {
        "paused"
    } else {
        "running"
    };
    super::super::manage::set(&projection.name, status, state.position)?;
    state.remove()?;
    transaction::wake_at_commit();
    Ok(())
}
