//! Folding events by a function `evolve(state jsonb, event en57_event) → jsonb`. Documents, folds, deciders and invariants
//! use it.
//!
//! The first call gets the initial state. If evolve returns NULL, the state begins anew: it is the initial state again.

use crate::dcb::error::{Result, invalid};
use crate::definition::function::Form;
use crate::store::call::function::{Callable, Function};
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::scratch::Scratch;
use crate::store::row::door::Event;
use crate::store::row::event_tuple;
use crate::store::{Datum, Oid};

/// Finds a function by its text, and checks that it can fold events of this row type.
///
/// # Errors
/// Those of [`Form::find`]; 22023 where it would never be called.
pub fn check(said: &str, event_type: Oid, has_initial: bool) -> Result<Function> {
    let form = Form {
        role: "evolve",
        text: "(jsonb, en57_event) returning jsonb",
    };
    let function = form.find(said, |f| {
        f.arguments == [composite::JSONB, event_type] && f.result == composite::JSONB
    })?;
    if function.strict && !has_initial {
        return Err(invalid("evolve must not be STRICT where initial is NULL")
            .detail("It would never be called: the first event meets NULL."));
    }
    Ok(function)
}

/// A fold in progress. It needs memory for two states and one event.
pub struct Folding<'f> {
    evolve: &'f Callable<'f>,
    event_type: RowType,
    initial: Option<Datum>,
    state: Option<Datum>,
    /// The memory of one call.
    work: Scratch,
    /// The memory of the state, and that of the next state.
    states: [Scratch; 2],
    current: usize,
}

impl<'f> Folding<'f> {
    /// A fold by a function that [`check`] has found. `initial` must live longer than the fold.
    pub fn new(evolve: &'f Callable<'f>, initial: Option<Datum>) -> Self {
        Self {
            evolve,
            event_type: RowType::of(evolve.function().arguments[1]),
            initial,
            state: initial,
            work: Scratch::new(),
            states: [Scratch::new(), Scratch::new()],
            current: 0,
        }
    }

    /// Goes on from a state that was folded before. It must live longer than the fold.
    pub fn resume(&mut self, state: Option<Datum>) {
        self.state = state;
    }

    /// Folds an event; returns `false` if the state begins anew.
    pub fn add(&mut self, event: Datum) -> bool {
        let result = self
            .work
            .run(|| self.evolve.call([self.state, Some(event)]));
        self.take(result)
    }

    /// Folds an event that was read; returns `false` if the state begins anew.
    ///
    /// # Errors
    /// 55000 where the event's type was altered; the function's own, by unwinding.
    pub fn add_read(&mut self, row: &Event) -> Result<bool> {
        let result = self.work.run(|| {
            let event = self.event_type.make(&mut event_tuple::event_columns(row))?;
            Ok(self.evolve.call([self.state, Some(event)]))
        });
        Ok(self.take(result?))
    }

    fn take(&mut self, result: Option<Datum>) -> bool {
        pgrx::check_for_interrupts!();
        match result {
            None => self.state = self.initial,
            // The function has returned its argument.
            Some(_) if result == self.state => {}
            Some(state) => {
                let next = 1 - self.current;
                self.state = Some(self.states[next].run(|| composite::copied(state)));
                self.states[self.current].reset();
                self.current = next;
            }
        }
        self.work.reset();
        result.is_some()
    }

    /// The current state. It is valid until the next event, and not longer than the fold.
    pub fn state(&self) -> Option<Datum> {
        self.state
    }

    /// The state, in the current memory context.
    pub fn finish(self) -> Option<Datum> {
        self.state.map(composite::copied)
    }
}
