//! Upcasters: events of old types and versions are given to readers as the newest ones.
//!
//! Which becomes which is declared (`dcb::upcast`), so what a query for a new name means for events that are
//! stored under an old one is known without calling a function: [`Sought`] holds both forms of a query. The
//! functions change data and meta alone, and run when an event has been found ([`Upcasters`]).
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/upcasters.md"))]

mod definitions;
mod register;
mod run;

pub use definitions::{Definitions, known};
pub use register::{NewUpcaster, drop, register};
pub use run::Upcasters;

use std::borrow::Borrow;
use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::store::row::door::{Columns, Door};
use crate::store::row::event::Row;
use crate::store::session::transaction;

/// What a reader wants of upcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upcast {
    /// Events as they have become.
    Run,
    /// Events as they are stored, found by what they are stored as.
    No,
}

/// By which upcasters a reader gets events: from here it has the door.
pub struct ReadBy(Option<Rc<Definitions>>);

impl ReadBy {
    /// As they are stored, which somebody has asked for.
    fn as_stored() -> Self {
        Self(None)
    }

    /// By these upcasters, if they concern a query at all.
    pub fn by(definitions: Rc<Definitions>, query: &Query) -> Self {
        let is_concerned = definitions.chains().concern(query);
        Self(is_concerned.then_some(definitions))
    }

    /// The door, for as long as the current memory context.
    pub fn door(&self) -> Doorway<'_> {
        Doorway(self.0.as_ref().map(Upcasters::new))
    }

    /// What stands for the way, as of what has been accepted of others' changes.
    pub fn generation(&self) -> i64 {
        self.0.as_ref().map_or(0, |d| d.generation())
    }
}

/// The door of a [`ReadBy`].
pub struct Doorway<'w>(Option<Upcasters<'w>>);

impl Doorway<'_> {
    /// Whether any event that comes may have become another one.
    pub fn may_upcast(&self) -> bool {
        self.0.is_some()
    }
}

impl Door for Doorway<'_> {
    #[inline]
    fn is_old(&self, name: &str, version: i32) -> bool {
        self.0.as_ref().is_some_and(|u| u.is_old(name, version))
    }

    fn pass(&self, columns: Columns) -> Result<Columns> {
        match &self.0 {
            Some(upcasters) => upcasters.pass(columns),
            None => Ok(columns),
        }
    }
}

/// What a query means for stored events, and the way by which its reader gets them.
///
/// # Errors
/// 55000 where the table is missing.
pub fn seek(query: Query, upcast: Upcast) -> Result<(Sought, ReadBy)> {
    if upcast == Upcast::No {
        return Ok((Sought::as_stored(query), ReadBy::as_stored()));
    }
    let definitions = for_readers()?;
    let way = ReadBy::by(Rc::clone(&definitions), &query);
    Ok((Sought::by(query, &definitions), way))
}

/// A query as it was asked, and as the events that it means are stored. All that scans, locks or asks for
/// frontiers takes the latter; what it finds is compared with the former. An append, which outlives nothing that it
/// is asked, has a `&Query`.
pub struct Sought<Q = Query> {
    asked: Q,
    /// Where it differs.
    stored: Option<Query>,
    /// Where any type has another name than it is stored with.
    names: Option<Rc<Definitions>>,
}

impl Sought {
    /// A query by the names under which events are stored.
    pub fn as_stored(asked: Query) -> Self {
        Self {
            asked,
            stored: None,
            names: None,
        }
    }

    /// A query by the names that readers see now; in a repeating transaction, that they saw first.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn now(asked: Query) -> Result<Self> {
        Ok(Self::by(asked, &for_readers()?))
    }
}

impl<Q: Borrow<Query>> Sought<Q> {
    /// A query by the names that these definitions give.
    pub fn by(asked: Q, definitions: &Rc<Definitions>) -> Self {
        let chains = definitions.chains();
        let renames = chains.renames() && chains.concern(asked.borrow());
        Self {
            stored: chains.as_stored(asked.borrow()),
            names: renames.then(|| Rc::clone(definitions)),
            asked,
        }
    }

    /// The query that finds all that may match.
    pub fn stored(&self) -> &Query {
        self.stored.as_ref().unwrap_or(self.asked.borrow())
    }

    /// Whether a stored event matches.
    ///
    /// # Errors
    /// Those of damaged rows.
    pub fn matches(&self, row: &Row) -> Result<bool> {
        let mut event = row.matchable()?;
        if let Some(definitions) = &self.names {
            let name = definitions
                .chains()
                .name_of(row.event_type()?, row.schema_version());
            event.call_it(name);
        }
        Ok(self.asked.borrow().matches(&event))
    }
}

/// The definitions that reads go by. Where reads repeat, so do they.
///
/// # Errors
/// 55000 where the table is missing.
pub fn for_readers() -> Result<Rc<Definitions>> {
    Ok(transaction::kept_definitions(known()?))
}
