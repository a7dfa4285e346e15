//! What definitions demand of an append: upcasters, inline projections, invariants and event types.

use std::rc::Rc;

use crate::dcb::error::Result;
use crate::event_type;
use crate::invariant::Rules;
use crate::projection::Due;
use crate::store::lock::plan::Plan;
use crate::store::row::event::NewEvent;
use crate::store::session::definitions;
use crate::upcast::{self, Definitions};

use super::{AppendRequest, Outcome, fit, refusals};

/// What definitions demand of an append, as of when they were looked at.
pub(super) struct Demands<'a> {
    /// They say by which names the other definitions see the events.
    pub upcasters: Rc<Definitions>,
    /// What inline projections will do.
    pub due: Due<'a>,
    /// What invariants will check.
    pub rules: Rules<'a>,
    /// Whether the events fit their types.
    fit: Result<()>,
}

impl<'a> Demands<'a> {
    /// The demands of the present definitions. `event` returns the n-th event, from 0.
    ///
    /// # Errors
    /// 55000 if a table of definitions is missing; those of key functions.
    pub fn new(
        partition: &'a str,
        events: &'a [NewEvent<'a>],
        event: &'a dyn Fn(usize) -> &'a NewEvent<'a>,
    ) -> Result<Self> {
        let upcasters = upcast::known()?;
        Ok(Self {
            due: Due::new(partition, events, &upcasters)?,
            rules: Rules::new(partition, events.len(), event, &upcasters)?,
            fit: fit::demand(events.iter(), true),
            upcasters,
        })
    }

    /// Adds the locks that they need to those of the append.
    pub fn plan(&self, plan: &mut Plan) {
        self.due.plan(plan);
        self.rules.plan(plan);
    }

    /// Looks again at what has changed, and adds the locks that this needs. Returns whether upcasters have changed.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn look_again(&mut self, request: &AppendRequest, plan: &mut Plan) -> Result<bool> {
        definitions::accept_changes();
        let upcasters = upcast::known()?;
        let renamed = !Rc::ptr_eq(&self.upcasters, &upcasters);
        self.upcasters = upcasters;
        self.due.look_again(plan, &self.upcasters, renamed)?;
        self.rules.look_again(plan, &self.upcasters, renamed)?;
        if event_type::has_changed() {
            self.fit = fit::demand(request.events.iter(), true);
        }
        Ok(renamed)
    }

    /// The answer to events that do not fit their types: everything that is wrong with them.
    ///
    /// # Errors
    /// The refusal itself, if the caller wants it as an error.
    pub fn refused_by_types(&self, request: &AppendRequest) -> Result<Option<Outcome>> {
        match &self.fit {
            Ok(()) => Ok(None),
            Err(refusal) => refusals::by_types(refusal, request).map(Some),
        }
    }
}
