//! What the events of an id make of its state, and what is wrong with it.

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

/// What it took to fold.
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
            // Before any of them is called, which may go on with what it was then.
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

    /// The refusal of a state.
    ///
    /// # Errors
    /// Those of damaged states.
    pub fn refusal(&self, objection: String, refused: Refused) -> Result<Error> {
        refusal(objection, self.invariant, self.table, refused)
    }

    /// The refusal of a stored event that has no key, though it must have one.
    ///
    /// # Errors
    /// None that occur.
    pub fn key_missing(&self, event: &str) -> Result<Error> {
        key_missing(self.invariant, self.table, event, None)
    }

    /// What states are made with.
    pub fn made_with(&self) -> MadeWith {
        self.made_with
    }

    /// Whether functions and upcasters are still what they were at the start, so that what was folded is of one make.
    ///
    /// # Errors
    /// 42883 where evolve is gone.
    pub fn is_of_one_make(&self) -> Result<bool> {
        definitions::accept_changes();
        let upcasters = upcast::known()?;
        let now = self.invariant.made_with(self.table, &upcasters)?;
        Ok(now == self.made_with)
    }

    /// A fold that begins with the initial state.
    pub fn folding(&self) -> Folding<'_> {
        Folding::new(&self.evolve, self.initial)
    }

    /// An event that is not stored yet as its functions take it, in the current memory context.
    ///
    /// # Errors
    /// As `event`; those of upcasters.
    pub fn new_event(&self, event: Unread) -> Result<Datum> {
        let mut columns = event.read(&Upcasters::new(&self.upcasters))?;
        self.event_type.make(&mut columns)
    }

    /// An event as its functions take it, in the current memory context.
    ///
    /// # Errors
    /// 55000 where the row type is not as the extension made it.
    pub fn event(&self, event: &Event) -> Result<Datum> {
        self.event_type.make(&mut event_tuple::event_columns(event))
    }

    /// The stored events of a range that the invariant is about. All of them must be settled, or the transaction's own.
    ///
    /// # Errors
    /// Those of reading.
    pub fn all_stored(&self, after: i64, upto: i64) -> Result<Reading> {
        self.stored(self.invariant.query.clone(), after, upto)
    }

    /// Its query, by the names that events have for it.
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
        at: &ErrorContext,
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
                at.at(position, position);
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
        let at = self.error_context("check", &self.invariant.check.name, id);
        let answer = at.tell(|| self.check.call([state]));
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

/// The refusal: what the check function says, and what it says it of. The state is told to those who may read what it
/// was made of.
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
            // An error goes into the server's log as well.
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

/// The refusal of an event that matches and has no key, though it must have one. `event` says which one it is, and the
/// number is its own in an append, from 0.
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
