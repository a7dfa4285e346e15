//! Folding events by a function `evolve(state jsonb, event en57_event) → jsonb`: what documents, folds,
//! deciders and invariants do alike.
//!
//! The first event meets the initial state. Where evolve returns NULL the state begins anew: the next event
//! meets the initial state, and it is the result where none follows.

use crate::dcb::error::{Error, Result, SqlState};
use crate::definition::function::Form;
use crate::store::call::function::{Callable, Function};
use crate::store::pg::composite::{self, RowType};
use crate::store::pg::scratch::Scratch;
use crate::store::row::door::Event;
use crate::store::row::event_tuple;
use crate::store::{Datum, Oid};

/// The function that is written so, if it can fold events of this row type.
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
        return Err(Error::new(
            SqlState::InvalidParameter,
            "evolve must not be STRICT where initial is NULL",
        )
        .detail("It would never be called: the first event meets NULL."));
    }
    Ok(function)
}

/// A fold under way. What it needs of memory is the state, twice, and one event.
pub struct Folding<'f> {
    evolve: &'f Callable<'f>,
    event_type: RowType,
    initial: Option<Datum>,
    state: Option<Datum>,
    /// What one call leaves behind.
    work: Scratch,
    /// The state is in one of them, the next one goes to the other.
    kept: [Scratch; 2],
    current: usize,
}

impl<'f> Folding<'f> {
    /// A fold by a function that [`check`] has found fit. `initial` lives longer than the fold.
    pub fn new(evolve: &'f Callable<'f>, initial: Option<Datum>) -> Self {
        Self {
            evolve,
            event_type: RowType::of(evolve.function().arguments[1]),
            initial,
            state: initial,
            work: Scratch::new(),
            kept: [Scratch::new(), Scratch::new()],
            current: 0,
        }
    }

    /// Goes on from a state that events have led to before; it lives longer than the fold.
    pub fn resume(&mut self, state: Option<Datum>) {
        self.state = state;
    }

    /// Folds an event in; `false` where the state begins anew.
    pub fn add(&mut self, event: Datum) -> bool {
        let result = self
            .work
            .run(|| self.evolve.call([self.state, Some(event)]));
        self.take(result)
    }

    /// Folds an event in that was read; `false` where the state begins anew.
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
            // The function has handed its argument back.
            Some(_) if result == self.state => {}
            Some(state) => {
                let next = 1 - self.current;
                self.state = Some(self.kept[next].run(|| composite::copied(state)));
                self.kept[self.current].reset();
                self.current = next;
            }
        }
        self.work.reset();
        result.is_some()
    }

    /// The state by now; it lives as long as the fold, and until the next event.
    pub fn state(&self) -> Option<Datum> {
        self.state
    }

    /// The state, in the current memory context.
    pub fn finish(self) -> Option<Datum> {
        self.state.map(composite::copied)
    }
}
