//! Checking an invariant on the stored events: one pass over the events, with a state for each id. States that do not fit
//! in memory are stored in the table of states and read again from there.
//!
//! For a new invariant most events are folded and checked while appends go on (`Existing::fold_beside_appends`). Only the
//! last events, and the ids of these events, are checked while appends are excluded. If a function was replaced or events
//! were erased meanwhile, all is done again.

use std::collections::{BTreeMap, HashMap};

use crate::dcb::error::Result;
use crate::definition::erasure;
use crate::read::catch_up;
use crate::read::view::LAST;
use crate::store::call::function::Function;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::spi::{Type, text};
use crate::store::pg::{composite, fmgr, rights};
use crate::store::row::srf::Source;
use crate::store::state::invariant_states::{KeptState, MadeWith, States};
use crate::store::{Datum, Oid};

use super::definition::{Invariant, KIND, run};
use super::fold::{Evaluation, Refused};
use super::rules::EVENTS_BETWEEN;

/// Bytes of states in memory. Beyond that, all states are moved to the table.
const BYTES_IN_MEMORY: usize = 64 * 1024 * 1024;
/// About how many bytes an id needs beside its text and its state.
const BYTES_OF_ONE: usize = 128;
/// How many events are read, and states checked, at a time.
const AT_ONCE: usize = 256;

/// An invariant with the states of its ids, as far as the stored events are folded.
pub struct Existing<'i> {
    invariant: &'i Invariant,
    evaluation: Evaluation<'i>,
    states: States,
    made_with: MadeWith,
    known: HashMap<String, Known>,
    bytes: usize,
    /// Whether states were moved to the table.
    has_spilled: bool,
    /// All events up to here are folded.
    position: i64,
    /// What the states depend on beside the events, as of when they were folded beside appends.
    basis: Option<Basis>,
}

/// What the check depends on beside the events and `evolve`.
#[derive(PartialEq)]
struct Basis {
    /// How many erasures there were in the partition.
    erasures: usize,
    /// The version of the check function.
    check: Option<i64>,
}

#[derive(Default)]
struct Known {
    /// A jsonb without its length word; `None`: NULL.
    state: Option<Vec<u8>>,
    position: i64,
    events: u64,
    /// Whether the check function has found the state to be right.
    is_fine: bool,
}

/// Makes sure that an invariant holds for the stored events. The caller has excluded appends to its partition and deleted
/// its states.
///
/// # Errors
/// N5703 where it does not; its functions' own, by unwinding.
pub fn demand(invariant: &Invariant, table: Oid) -> Result<()> {
    while !is_checked(invariant, table)? {
        super::manage::forget_states(invariant)?;
    }
    Ok(())
}

/// Checks the stored events once. `false` if a function was replaced meanwhile: the states may be a mixture of old and new.
fn is_checked(invariant: &Invariant, table: Oid) -> Result<bool> {
    Existing::new(invariant, table)?.finish()
}

impl<'i> Existing<'i> {
    /// An invariant of which no events are folded yet.
    ///
    /// # Errors
    /// 42883 where a function is gone.
    pub fn new(invariant: &'i Invariant, table: Oid) -> Result<Self> {
        let evaluation = Evaluation::new(invariant, table)?;
        Ok(Existing {
            invariant,
            made_with: evaluation.made_with(),
            evaluation,
            states: States::open()?,
            known: HashMap::new(),
            bytes: 0,
            has_spilled: false,
            position: 0,
            basis: None,
        })
    }

    /// Folds and checks the settled events while appends go on. A state that does not hold is no error yet: the last events
    /// may make it hold.
    ///
    /// # Errors
    /// Those of functions.
    pub fn fold_beside_appends(&mut self) -> Result<()> {
        let invariant = self.invariant;
        self.basis = Some(Basis::of(invariant)?);
        let (sought, position) = (self.evaluation.sought(), self.position);
        let take = |_, upto| {
            rights::for_functions(&invariant.path, &invariant.partition, || {
                self.fold_up_to(upto)?;
                self.note_fine()
            })
        };
        catch_up::take_most(&sought, &invariant.partition, position, take).map(drop)
    }

    /// Folds and checks the rest. The caller has excluded appends. `false` if a function was replaced or events were erased
    /// meanwhile: all must be done again.
    ///
    /// # Errors
    /// As [`demand`].
    pub fn finish(&mut self) -> Result<bool> {
        let invariant = self.invariant;
        if let Some(before) = &self.basis
            && *before != Basis::of(invariant)?
        {
            return Ok(false);
        }
        rights::for_functions(&invariant.path, &invariant.partition, || {
            self.fold_up_to(LAST)?;
            self.check_all()
        })?;
        self.evaluation.is_unchanged()
    }

    fn fold_up_to(&mut self, upto: i64) -> Result<()> {
        let Invariant { key, .. } = self.invariant;
        let mut reading = self.evaluation.all_stored(self.position, upto)?;
        let rows = Scratch::new();
        let mut more = true;
        while more {
            pgrx::check_for_interrupts!();
            let mut found: BTreeMap<String, Vec<(i64, Datum)>> = BTreeMap::new();
            more = rows.run(|| {
                reading.fill(AT_ONCE, &mut |row| {
                    let ids = key.ids_of_row(row)?;
                    if self.invariant.misses_key(&ids) {
                        let event = format!("event at position {}", row.position());
                        return Err(self.evaluation.key_missing(&event)?);
                    }
                    if !ids.is_empty() {
                        let event = self.evaluation.event(row)?;
                        for id in ids {
                            found.entry(id).or_default().push((row.position(), event));
                        }
                    }
                    Ok(())
                })
            })?;
            rows.run(|| {
                found
                    .iter()
                    .try_for_each(|(id, events)| self.take(id, events))
            })?;
            rows.reset();
        }
        self.position = upto;
        Ok(())
    }

    /// Calls the check function for the states in memory and notes which are fine. States in the table are checked at the
    /// end.
    fn note_fine(&mut self) -> Result<()> {
        let (evaluation, scratch) = (&self.evaluation, Scratch::new());
        for (id, known) in self.known.iter_mut().filter(|(_, k)| !k.is_fine) {
            pgrx::check_for_interrupts!();
            known.is_fine = scratch.run(|| {
                let state = known.state.as_deref().map(fmgr::make_varlena);
                Ok(evaluation.objection(state, id)?.is_none())
            })?;
            scratch.reset();
        }
        Ok(())
    }

    /// Folds some events of an id into its state.
    fn take(&mut self, id: &str, events: &[(i64, Datum)]) -> Result<()> {
        let mut known = match self.known.remove(id) {
            Some(known) => known,
            None => self.fetch(id),
        };
        let size = |k: &Known| k.state.as_ref().map_or(0, Vec::len);
        let before = size(&known);
        let (mut folding, context) = (self.evaluation.folding(), self.evaluation.evolving(id));
        if known.events > 0 {
            folding.resume(known.state.as_deref().map(fmgr::make_varlena));
        }
        context.tell(|| {
            for &(position, event) in events {
                context.at(position, position);
                folding.add(event);
                known.position = position;
                known.events += 1;
            }
        });
        known.is_fine = false;
        known.state = folding.state().map(|s| fmgr::varlena(s).to_vec());
        self.bytes = (self.bytes + size(&known)).saturating_sub(before);
        self.known.insert(id.to_owned(), known);
        if self.bytes > BYTES_IN_MEMORY {
            self.spill(0);
        }
        Ok(())
    }

    /// The state of an id that is not in memory: from the table, or the initial state.
    fn fetch(&mut self, id: &str) -> Known {
        let stored = if self.has_spilled {
            self.states.find(self.invariant.number, id)
        } else {
            None
        };
        let known = match stored {
            Some(stored) => Known {
                state: stored.state.map(|s| fmgr::varlena(s).to_vec()),
                position: stored.position,
                events: EVENTS_BETWEEN,
                is_fine: false,
            },
            None => Known::default(),
        };
        self.bytes += known.state.as_ref().map_or(0, Vec::len) + id.len() + BYTES_OF_ONE;
        known
    }

    /// Stores the states that have at least so many events in the table, and removes all states from memory.
    fn spill(&mut self, at_least: u64) {
        let number = self.invariant.number;
        let scratch = Scratch::new();
        for (id, known) in self.known.drain().filter(|(_, k)| k.events >= at_least) {
            scratch.run(|| {
                let before = self.has_spilled.then(|| self.states.find(number, &id));
                let state = known.state.as_deref().map(fmgr::make_varlena);
                let state = KeptState::new(known.position, state, self.made_with);
                self.states
                    .keep(number, &id, &state, before.flatten().as_ref());
            });
            scratch.reset();
        }
        self.has_spilled |= at_least == 0;
        self.bytes = 0;
    }

    fn check_all(&mut self) -> Result<()> {
        if self.has_spilled {
            self.spill(0);
            return self.check_table();
        }
        let mut ids: Vec<&str> = self
            .known
            .iter()
            .filter(|(_, known)| !known.is_fine)
            .map(|(id, _)| id.as_str())
            .collect();
        ids.sort_unstable();
        let scratch = Scratch::new();
        for id in ids {
            pgrx::check_for_interrupts!();
            let state = &self.known[id].state;
            scratch.run(|| self.check(id, state.as_deref().map(fmgr::make_varlena)))?;
            scratch.reset();
        }
        self.spill(EVENTS_BETWEEN);
        Ok(())
    }

    fn check_table(&self) -> Result<()> {
        let scratch = Scratch::new();
        let mut last: Option<String> = None;
        loop {
            pgrx::check_for_interrupts!();
            let count = scratch.run(|| {
                let rows = run(
                    "SELECT id, state FROM en57.invariant_states WHERE invariant = $1 AND ($2 IS NULL OR id > $2)
                     ORDER BY id LIMIT $3",
                    &[
                        (Type::Bigint, Some(Datum::from(self.invariant.number))),
                        last.as_deref().map_or((Type::Text, None), text),
                        (Type::Bigint, Some(Datum::from(AT_ONCE as i64))),
                    ],
                )?;
                for row in &rows {
                    let id = row[0].map_or(Ok(""), fmgr::text)?;
                    self.check(id, row[1].map(composite::detoasted))?;
                    last = Some(id.to_owned());
                }
                Ok(rows.len())
            })?;
            scratch.reset();
            if count == 0 {
                return Ok(());
            }
        }
    }

    fn check(&self, id: &str, state: Option<Datum>) -> Result<()> {
        let Some(objection) = self.evaluation.objection(state, id)? else {
            return Ok(());
        };
        let refused = Refused {
            id: Some(id),
            event: None,
            state,
        };
        Err(self.evaluation.refusal(objection, refused)?.hint(
            "It is the stored events that break it. With validate => false, appends are checked from now on all the same.",
        ))
    }
}

impl Basis {
    fn of(invariant: &Invariant) -> Result<Self> {
        let check = invariant.check.function(KIND, &invariant.name)?.oid;
        Ok(Self {
            erasures: erasure::count(&invariant.partition)?,
            check: Function::of(check).map(|f| f.mark),
        })
    }
}
