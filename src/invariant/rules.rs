//! Invariants during an append: it locks the keys that its events touch, and checks that each of their states holds.
//!
//! The locks are those of the keys under which the events are indexed, as for an append condition. So nobody else appends
//! an event of the same id before the transaction ends, and the state contains all events of the id. Two appends that
//! would break an invariant only together run one after the other.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::query::Criterion;
use crate::dcb::upcast::Chains;
use crate::fold::evolve::Folding;
use crate::store::lock::plan::Plan;
use crate::store::log::insert::Batch;
use crate::store::pg::rights;
use crate::store::pg::scratch::Scratch;
use crate::store::row::event::NewEvent;
use crate::store::state::invariant_states::{KeptState, States};
use crate::upcast::Definitions;

use super::definition::{self, Invariant};
use super::fold::{Effort, Evaluation, Refused, key_missing};

/// A state is stored when at least so many events have come since it was stored last. So an append reads at most as many,
/// and ids with few events need no row.
pub const EVENTS_BETWEEN: u64 = 16;
/// A state is also stored when so many pages were touched to find its events: among many events of the same tag only a few
/// may have the right type, or the other way round. An id with few events touches fewer pages.
const PAGES_BETWEEN: u64 = 128;

/// What an append has to do for invariants.
pub struct Rules<'a> {
    partition: &'a str,
    count: usize,
    event: &'a dyn Fn(usize) -> &'a NewEvent<'a>,
    touched: Vec<Touched>,
}

/// An invariant that an append touches.
struct Touched {
    invariant: Rc<Invariant>,
    /// The numbers of the events of each id.
    events: BTreeMap<String, Vec<usize>>,
    /// The number of the first event that has no key, though the invariant asks for one.
    without_key: Option<usize>,
}

/// The keys that an append of events of a criterion locks for invariants, if they concern it.
///
/// # Errors
/// 55000 where the table is missing.
pub fn keys_checked(partition: &str, criterion: &Criterion) -> Result<Vec<i64>> {
    let enabled = definition::enabled()?;
    let of_partition = enabled.iter().filter(|i| i.partition == partition);
    let keys = of_partition.flat_map(|invariant| {
        let tags = criterion.tags.iter().chain(&criterion.any_tags);
        let tags = tags.map(String::as_str);
        let ids = invariant.key.ids(criterion.stream.as_deref(), tags);
        ids.into_iter().map(|id| invariant.key.index_key(&id))
    });
    Ok(keys.collect())
}

impl<'a> Rules<'a> {
    /// What there is to do for `count` events, by the names that these upcasters give them.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn new(
        partition: &'a str,
        count: usize,
        event: &'a dyn Fn(usize) -> &'a NewEvent<'a>,
        upcasters: &Definitions,
    ) -> Result<Self> {
        let mut rules = Self {
            partition,
            count,
            event,
            touched: Vec::new(),
        };
        rules.look(upcasters)?;
        Ok(rules)
    }

    fn look(&mut self, upcasters: &Definitions) -> Result<()> {
        self.touched.clear();
        let enabled = definition::enabled()?;
        for invariant in enabled.iter() {
            if invariant.partition == self.partition {
                let touched = self.touching(invariant, upcasters.chains());
                if !touched.events.is_empty() || touched.without_key.is_some() {
                    self.touched.push(touched);
                }
            }
        }
        Ok(())
    }

    fn touching(&self, invariant: &Rc<Invariant>, chains: &Chains) -> Touched {
        let mut by_id: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut without_key = None;
        for n in 0..self.count {
            let event = (self.event)(n);
            let name = chains.name_of(event.event_type, event.schema_version);
            if invariant.query.matches(&event.candidate(name)) {
                let ids = invariant.key.ids(event.stream, event.tags.iter().copied());
                if invariant.misses_key(&ids) {
                    without_key.get_or_insert(n);
                }
                for id in ids {
                    by_id.entry(id).or_default().push(n);
                }
            }
        }
        Touched {
            invariant: invariant.clone(),
            events: by_id,
            without_key,
        }
    }

    /// Adds the locks of the ids' keys to those of an append.
    pub fn plan(&self, plan: &mut Plan) {
        for touched in &self.touched {
            for id in touched.events.keys() {
                plan.check(touched.invariant.key.index_key(id));
            }
        }
    }

    /// Looks again after the root is locked and changes of other sessions are accepted: nobody can create an invariant or
    /// an upcaster now until the append ends. But functions can still be replaced, also while the append waits for a key.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn look_again(
        &mut self,
        plan: &mut Plan,
        upcasters: &Definitions,
        upcasters_changed: bool,
    ) -> Result<()> {
        if upcasters_changed || definition::has_changed() {
            self.look(upcasters)?;
            self.plan(plan);
        }
        Ok(())
    }

    /// Makes sure that all states hold with the events that are about to be stored. The caller has locked the keys, or
    /// the whole partition.
    ///
    /// # Errors
    /// N5703 where one does not; 42883 where a function is gone; the functions' own, by unwinding.
    pub fn check(&self, batch: &Batch) -> Result<()> {
        self.check_with(batch, true, &mut |refusal| Err(refusal))
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Checks all states. `told` gets each refusal; it ends the check with an error, or lets it go on. States are stored
    /// only with `keeps`.
    ///
    /// # Errors
    /// As [`Rules::check`]; those of `told`.
    pub fn check_with(
        &self,
        batch: &Batch,
        keeps: bool,
        told: &mut dyn FnMut(Error) -> Result<()>,
    ) -> Result<()> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let table = batch.partition.oid;
        let check = Check {
            batch,
            states: States::open()?,
            scratch: Scratch::new(),
            keeps,
        };
        for touched in &self.touched {
            let invariant = touched.invariant.as_ref();
            if let Some(n) = touched.without_key {
                let event = format!("event {}", n + 1);
                told(key_missing(invariant, table, &event, Some(n))?)?;
            }
            let mut evaluation = Evaluation::new(invariant, table)?;
            rights::for_functions(&invariant.path, &invariant.partition, || {
                for (id, events) in &touched.events {
                    pgrx::check_for_interrupts!();
                    match self.check_key(&check, &mut evaluation, &Key { id, events }) {
                        Err(error) if error.state == SqlState::InvariantBroken => told(error)?,
                        outcome => outcome?,
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Checks the state of a key, again and again while functions are replaced.
    fn check_key(
        &self,
        check: &Check<'_, '_>,
        evaluation: &mut Evaluation,
        key: &Key,
    ) -> Result<()> {
        loop {
            let outcome = check
                .scratch
                .run(|| self.check_once(check, evaluation, key));
            check.scratch.reset();
            if outcome? {
                return Ok(());
            }
            *evaluation = evaluation.anew()?;
        }
    }

    /// Checks the state of a key. `false` if a function was replaced while it ran: the state may be a mixture of old and
    /// new.
    fn check_once(
        &self,
        check: &Check<'_, '_>,
        evaluation: &Evaluation,
        key: &Key,
    ) -> Result<bool> {
        let number = evaluation.invariant().number;
        let stored = check.states.find(number, key.id);
        let made_with = evaluation.made_with();
        let usable = stored.as_ref().filter(|s| s.made_with == made_with);
        let (folding, effort) = self.fold(check.batch, usable, evaluation, key)?;
        if !evaluation.is_unchanged()? {
            return Ok(false);
        }
        let last = key.events.last().copied().unwrap_or_default();
        if let Some(objection) = evaluation.objection(folding.state(), key.id)? {
            let refused = Refused {
                id: Some(key.id),
                event: Some(last),
                state: folding.state(),
            };
            return Err(evaluation.refusal(objection, refused)?);
        }
        let is_worth_it = effort.events >= EVENTS_BETWEEN || effort.pages >= PAGES_BETWEEN;
        if check.keeps && is_worth_it {
            let position = (check.batch.assigned)(last).position;
            let state = KeptState::new(position, folding.state(), made_with);
            check.states.keep(number, key.id, &state, stored.as_ref());
        }
        Ok(true)
    }

    /// The state after the events of a key, folded from a stored state on, and how much work that was.
    fn fold<'e>(
        &self,
        batch: &Batch,
        stored: Option<&KeptState>,
        evaluation: &'e Evaluation,
        key: &Key,
    ) -> Result<(Folding<'e>, Effort)> {
        let mut folding = evaluation.folding();
        if let Some(stored) = stored {
            folding.resume(stored.state);
        }
        let after = stored.map_or(0, |s| s.position);
        let (context, scratch) = (evaluation.evolving(key.id), Scratch::new());
        let effort = context.tell(|| -> Result<Effort> {
            let mut effort = evaluation.fold_stored(key.id, after, &mut folding, &context)?;
            for &n in key.events {
                let position = (batch.assigned)(n).position;
                context.at(position, position);
                let event = (self.event)(n);
                let event = scratch.run(|| evaluation.new_event(batch.event_columns(n, event)))?;
                folding.add(event);
                scratch.reset();
            }
            effort.events += key.events.len() as u64;
            Ok(effort)
        })?;
        Ok((folding, effort))
    }
}

/// A check of the events of an append.
struct Check<'c, 'b> {
    batch: &'c Batch<'b>,
    states: States,
    /// The memory for one key.
    scratch: Scratch,
    /// Whether states may be stored.
    keeps: bool,
}

/// A key of an invariant that an append touches.
struct Key<'k> {
    id: &'k str,
    /// The numbers of the events that have it.
    events: &'k [usize],
}
