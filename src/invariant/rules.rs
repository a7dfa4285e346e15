//! What an append has to do for invariants: lock the keys that its events touch, as if they were checked,
//! and see that each of their states may be.
//!
//! The locks are those of the keys under which the events are indexed: nobody else adds an event of the id
//! before the transaction ends. So the state is that of all there are, and two appends that would break an
//! invariant only together come one after the other.

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

/// A state is kept when so many events have come to it since the last time: then an append reads at most
/// as many, and ids with few events cost no row.
pub const EVENTS_BETWEEN: u64 = 16;
/// Or when so many pages were touched to find them: where events of other types stand under the same tag, or
/// under the same types those of other tags, few are found among many. Finding the events of a small id touches fewer.
const PAGES_BETWEEN: u64 = 128;

/// What an append has to do for invariants.
pub struct Rules<'a> {
    partition: &'a str,
    count: usize,
    event: &'a dyn Fn(usize) -> &'a NewEvent<'a>,
    touched: Vec<Touched>,
}

/// An invariant with the numbers of the events that are about each of its ids.
struct Touched {
    invariant: Rc<Invariant>,
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

    /// Looks again, now that nobody can create an invariant or an upcaster until the append has ended, and
    /// what others have done is accepted. Functions can be replaced all the same, also while an append waits for a key.
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

    /// Sees that all states may be, with the events that are about to be stored. The keys are locked, or the
    /// whole partition is.
    ///
    /// # Errors
    /// N5703 where one may not; 42883 where a function is gone; the functions' own, by unwinding.
    pub fn check(&self, batch: &Batch) -> Result<()> {
        self.check_with(batch, true, &mut |refusal| Err(refusal))
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// The same; each refusal is handed to `told`, which ends the check with an error, or has it go on. States are kept
    /// only if `keeps` says so.
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
        let (states, scratch) = (States::open()?, Scratch::new());
        for Touched {
            invariant,
            events,
            without_key,
        } in &self.touched
        {
            if let Some(n) = without_key {
                let event = format!("event {}", n + 1);
                told(key_missing(
                    invariant,
                    batch.partition.oid,
                    &event,
                    Some(*n),
                )?)?;
            }
            let mut judge = Evaluation::new(invariant, batch.partition.oid)?;
            rights::for_functions(&invariant.path, &invariant.partition, || {
                for (id, events) in events {
                    pgrx::check_for_interrupts!();
                    loop {
                        let one = One {
                            invariant,
                            judge: &judge,
                            id,
                            events,
                            keeps,
                        };
                        let outcome = scratch.run(|| self.check_one(batch, &states, &one));
                        scratch.reset();
                        match outcome {
                            Ok(true) => break,
                            Ok(false) => {}
                            Err(error) if error.state == SqlState::InvariantBroken => {
                                told(error)?;
                                break;
                            }
                            Err(error) => return Err(error),
                        }
                        judge = Evaluation::new(invariant, batch.partition.oid)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// `false` where a function was replaced while it ran: then the state is that of neither.
    fn check_one(&self, batch: &Batch, states: &States, one: &One) -> Result<bool> {
        let &One {
            invariant,
            judge,
            id,
            events,
            keeps,
        } = one;
        let kept = states.find(invariant.number, id);
        let made_with = judge.made_with();
        let usable = kept.as_ref().filter(|k| k.made_with == made_with);
        let (folding, effort) = self.fold(batch, usable, one)?;
        if !judge.is_of_one_make()? {
            return Ok(false);
        }
        let last = events.last().copied().unwrap_or_default();
        if let Some(objection) = judge.objection(folding.state(), id)? {
            let refused = Refused {
                id: Some(id),
                event: Some(last),
                state: folding.state(),
            };
            return Err(judge.refusal(objection, refused)?);
        }
        let is_worth_it = effort.events >= EVENTS_BETWEEN || effort.pages >= PAGES_BETWEEN;
        if keeps && is_worth_it {
            let position = (batch.assigned)(last).position;
            let state = KeptState::new(position, folding.state(), made_with);
            states.keep(invariant.number, id, &state, kept.as_ref());
        }
        Ok(true)
    }

    /// The state after the events, from one that is kept; and what it took to make it of that.
    fn fold<'j>(
        &self,
        batch: &Batch,
        kept: Option<&KeptState>,
        one: &One<'j>,
    ) -> Result<(Folding<'j>, Effort)> {
        let &One {
            judge, id, events, ..
        } = one;
        let mut folding = judge.folding();
        if let Some(kept) = kept {
            folding.resume(kept.state);
        }
        let after = kept.map_or(0, |k| k.position);
        let (at, scratch) = (judge.evolving(id), Scratch::new());
        let effort = at.tell(|| -> Result<Effort> {
            let mut effort = judge.fold_stored(id, after, &mut folding, &at)?;
            for &n in events {
                let position = (batch.assigned)(n).position;
                at.at(position, position);
                let event = (self.event)(n);
                let event = scratch.run(|| judge.new_event(batch.event_columns(n, event)))?;
                folding.add(event);
                scratch.reset();
            }
            effort.events += events.len() as u64;
            Ok(effort)
        })?;
        Ok((folding, effort))
    }
}

/// One state that an append touches.
struct One<'j> {
    invariant: &'j Invariant,
    judge: &'j Evaluation<'j>,
    id: &'j str,
    events: &'j [usize],
    /// Whether the state may be kept.
    keeps: bool,
}
