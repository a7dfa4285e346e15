//! Evaluating an invariant: the events of an id are folded into its state, and the check function says what is wrong with
//! it.

use std::rc::Rc;

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::limits;
use crate::dcb::query::{JsonString, Query};
use crate::dcb::refusal::Refusal;
use crate::definition::group_key::GroupKey;
use crate::fold::evolve::Folding;
use crate::read::view::LAST;
use crate::read::{Options, Reading};
use crate::store::call::function::{Callable, ErrorContext};
use crate::store::log::partition::Access;
use crate::store::memory::stat;
use crate::store::pg::composite::RowType;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::{fmgr, json, names};
use crate::store::row::door::{Event, Unread};
use crate::store::row::event_tuple;
use crate::store::row::srf::Source;
use crate::store::session::definitions;
use crate::store::state::invariant_states::MadeWith;
use crate::store::{Datum, Oid};
use crate::upcast::{self, Definitions, Sought, Upcasters};

use super::definition::{Invariant, KIND};

/// How many stored events are read at a time. Functions are called in between, when no page is pinned.
const EVENTS_AT_ONCE: usize = 256;

/// How much work a fold was.
#[derive(Default)]
pub struct Effort {
    /// How many events there were.
    pub events: u64,
    /// How many pages were touched to find them.
    pub pages: u64,
}

/// An invariant whose functions are ready to be called.
pub struct Evaluation<'i> {
    invariant: &'i Invariant,
    event_type: RowType,
    evolve: Callable<'i>,
    check: Callable<'i>,
    initial: Option<Datum>,
    upcasters: Rc<Definitions>,
    /// The table of the events.
    table: Oid,
    made_with: MadeWith,
}

impl<'i> Evaluation<'i> {
    /// Prepares the functions for the events of a table, in the current memory context.
    ///
    /// # Errors
    /// 42883 where one is gone.
    pub fn new(invariant: &'i Invariant, table: Oid) -> Result<Self> {
        definitions::accept_changes();
        let upcasters = upcast::known()?;
        Ok(Self {
            // Before a function is called: a call that is in progress goes on with the old version.
            made_with: invariant.made_with(table, &upcasters)?,
            table,
            invariant,
            event_type: RowType::of(invariant.event_type()?),
            evolve: invariant.evolve.function(KIND, &invariant.name)?.prepare(),
            check: invariant.check.function(KIND, &invariant.name)?.prepare(),
            initial: invariant.initial.as_deref().map(fmgr::make_varlena),
            upcasters,
        })
    }

    /// The same invariant with its functions and upcasters as they are now.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn anew(&self) -> Result<Self> {
        Self::new(self.invariant, self.table)
    }

    /// The invariant.
    pub fn invariant(&self) -> &'i Invariant {
        self.invariant
    }

    /// The error that refuses a state.
    ///
    /// # Errors
    /// Those of damaged states.
    pub fn refusal(&self, objection: String, refused: Refused) -> Result<Error> {
        refusal(objection, self.invariant, self.table, refused)
    }

    /// The error that refuses a stored event that has no key, though it must have one.
    ///
    /// # Errors
    /// As [`Self::refusal`].
    pub fn key_missing(&self, event: &str) -> Result<Error> {
        key_missing(self.invariant, self.table, event, None)
    }

    /// The versions of the functions and upcasters with which states are made.
    pub fn made_with(&self) -> MadeWith {
        self.made_with
    }

    /// Whether neither a function nor an upcaster was replaced since [`Self::new`]. Otherwise a state may be a mixture of
    /// old and new.
    ///
    /// # Errors
    /// 42883 where evolve is gone.
    pub fn is_unchanged(&self) -> Result<bool> {
        definitions::accept_changes();
        // Not those of `self`: the question is whether they have changed.
        let upcasters = upcast::known()?;
        let now = self.invariant.made_with(self.table, &upcasters)?;
        Ok(now == self.made_with)
    }

    /// A fold that begins with the initial state.
    pub fn folding(&self) -> Folding<'_> {
        Folding::new(&self.evolve, self.initial)
    }

    /// An event that is not stored yet, as a value that the functions take, in the current memory context.
    ///
    /// # Errors
    /// As [`Self::event`]; those of upcasters.
    pub fn new_event(&self, event: Unread) -> Result<Datum> {
        let mut columns = event.read(&Upcasters::new(&self.upcasters))?;
        self.event_type.make(&mut columns)
    }

    /// A stored event as a value that the functions take, in the current memory context.
    ///
    /// # Errors
    /// 55000 where the row type is not as the extension made it.
    pub fn event(&self, event: &Event) -> Result<Datum> {
        self.event_type.make(&mut event_tuple::event_columns(event))
    }

    /// The stored events of a range that match. All of them must be settled, or the transaction's own.
    ///
    /// # Errors
    /// Those of reading.
    pub fn all_stored(&self, after: i64, upto: i64) -> Result<Reading> {
        self.stored(self.invariant.query.clone(), after, upto)
    }

    /// The invariant's query, by the names under which events are stored.
    pub fn sought(&self) -> Sought {
        Sought::by(self.invariant.query.clone(), &self.upcasters)
    }

    fn stored(&self, query: Query, after: i64, upto: i64) -> Result<Reading> {
        let options = Options {
            after,
            upto,
            ..Options::default()
        };
        let upcasters = Rc::clone(&self.upcasters);
        Reading::of_settled_by(upcasters, query, &self.invariant.partition, options)
    }

    /// Folds the stored events of an id after a position.
    ///
    /// # Errors
    /// Those of reading; the function's own, by unwinding.
    pub fn fold_stored(
        &self,
        id: &str,
        after: i64,
        folding: &mut Folding,
        context: &ErrorContext,
    ) -> Result<Effort> {
        let (invariant, mut effort) = (self.invariant, Effort::default());
        let Some(events) = invariant.key.events_of(id, &invariant.query) else {
            return Ok(effort);
        };
        let mut reading = self.stored(events, after, LAST)?;
        let rows = Scratch::new();
        let mut more = true;
        while more {
            let (mut found, before) = (Vec::new(), stat::pages_touched());
            more = rows.run(|| {
                reading.fill(EVENTS_AT_ONCE, &mut |row| {
                    found.push((row.position(), self.event(row)?));
                    Ok(())
                })
            })?;
            effort.pages += stat::pages_touched() - before;
            for (position, event) in found {
                context.at(position, position);
                folding.add(event);
                effort.events += 1;
            }
            rows.reset();
        }
        Ok(effort)
    }

    /// What is wrong with a state; `None`: nothing.
    ///
    /// # Errors
    /// 22P02 where the answer is no text; the function's own, by unwinding.
    pub fn objection(&self, state: Option<Datum>, id: &str) -> Result<Option<String>> {
        let context = self.error_context("check", &self.invariant.check.name, id);
        let answer = context.tell(|| self.check.call([state]));
        Ok(answer.map(fmgr::text).transpose()?.map(str::to_owned))
    }

    /// What an error's CONTEXT says of evolve.
    pub fn evolving(&self, id: &str) -> ErrorContext {
        self.error_context("evolve", &self.invariant.evolve.name, id)
    }

    fn error_context(&self, role: &str, function: &str, id: &str) -> ErrorContext {
        let name = &self.invariant.name;
        ErrorContext::new(&format!(
            "{role} function {function} of invariant \"{name}\", key \"{id}\""
        ))
    }
}

/// What an invariant refuses.
#[derive(Clone, Copy)]
pub struct Refused<'r> {
    /// The key whose state does not hold; `None` where there is none.
    pub id: Option<&'r str>,
    /// The number of the last event of the append that is about it, from 0.
    pub event: Option<usize>,
    /// The state.
    pub state: Option<Datum>,
}

/// The error that refuses a state: the message is what the check function says, and the details name the key. The state is
/// told only to those who may read the events.
pub fn refusal(
    objection: String,
    invariant: &Invariant,
    table: Oid,
    refused: Refused,
) -> Result<Error> {
    let message = if objection.is_empty() {
        format!("invariant \"{}\" does not hold", invariant.name)
    } else {
        objection
    };
    let name = JsonString(&invariant.name);
    let key = refused.id.map(|id| JsonString(id).to_string());
    let key = key.as_deref().unwrap_or("null");
    let mut told = format!("{{\"invariant\": {name}, \"key\": {key}");
    if let Some(event) = refused.event {
        told += &format!(", \"event\": {}", event + 1);
    }
    let mut state = None;
    if refused.id.is_some() && Access::Read.is_allowed(table) {
        let member = match refused.state {
            // A large state is left out, since errors are written to the server's log.
            Some(state) if fmgr::bytes_of(state) > limits::STATE_BYTES_OF_ERROR => {
                "\"truncated\": true".to_owned()
            }
            Some(state) => format!("\"state\": {}", json::text(state)?),
            None => "\"state\": null".to_owned(),
        };
        told += &format!(", {member}");
        state = Some(member);
    }
    let refusal = Refusal {
        event: refused.event,
        source: format!("invariant {name}"),
        path: None,
        problem: message.clone(),
        key: refused.id.map(str::to_owned),
        state,
    };
    let (schema, table) = names::names_of(table);
    Ok(Error::new(SqlState::InvariantBroken, message)
        .detail(told + "}")
        .table(schema, table)
        .constraint(&invariant.name)
        .refusals(vec![refusal]))
}

/// The error that refuses an event that matches and has no key, though it must have one. `event` names the event in the
/// message; `number` is its number in an append, from 0.
pub fn key_missing(
    invariant: &Invariant,
    table: Oid,
    event: &str,
    number: Option<usize>,
) -> Result<Error> {
    let (missing, needed) = match &invariant.key {
        GroupKey::Stream => ("stream".to_owned(), "Append it to a stream".to_owned()),
        GroupKey::Tag(prefix) => (
            format!("tag that begins with \"{prefix}\""),
            format!("Give it a tag \"{prefix}..\""),
        ),
    };
    let objection = format!("{event}: it has no key of invariant \"{}\"", invariant.name);
    let refused = Refused {
        id: None,
        event: number,
        state: None,
    };
    let mut error = refusal(objection, invariant, table, refused)?;
    for refusal in error.about.iter_mut().flat_map(|about| &mut about.refusals) {
        refusal.problem = format!("it has no {missing}");
    }
    Ok(error.hint(format!(
        "It matches the invariant's query and has no {missing}. {needed}. Or narrow the query, or create the invariant with key_required => false."
    )))
}
