//! Upcasters: readers get events of old types and versions as the newest ones.
//!
//! A registration declares which type and version becomes which (`dcb::upcast`). So it is known without calling a
//! function which stored events a query for a new name means: [`Sought`] has both forms of a query. The functions may
//! change only data and meta, and run after an event was found ([`Upcasters`]). No stored row ever changes.
//!
//! It uses `definition`, `store` and `dcb`.
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

/// Whether a reader gets events upcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upcast {
    /// Events as upcasters make them.
    Run,
    /// Events as they are stored, found by the names under which they are stored.
    No,
}

/// The upcasters by which a reader gets events; none if it wants events as they are stored, or if none concerns its
/// query.
pub struct ReadBy(Option<Rc<Definitions>>);

impl ReadBy {
    /// By none: the reader asked for events as they are stored.
    fn as_stored() -> Self {
        Self(None)
    }

    /// By these upcasters, if they concern the query at all.
    pub fn by(definitions: Rc<Definitions>, query: &Query) -> Self {
        let is_concerned = definitions.chains().concern(query);
        Self(is_concerned.then_some(definitions))
    }

    /// The door through which events come to functions. It lives as long as the current memory context.
    pub fn door(&self) -> Doorway<'_> {
        Doorway(self.0.as_ref().map(Upcasters::new))
    }

    /// A number for these upcasters: see [`Definitions::generation`]; 0 if none concerns the query.
    pub fn generation(&self) -> i64 {
        self.0.as_ref().map_or(0, |d| d.generation())
    }
}

/// The door of a [`ReadBy`].
pub struct Doorway<'w>(Option<Upcasters<'w>>);

impl Doorway<'_> {
    /// Whether upcasters may change events that come through it.
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

/// A query by stored names, and the upcasters by which its reader gets the events.
///
/// # Errors
/// 55000 if the table is missing.
pub fn seek(query: Query, upcast: Upcast) -> Result<(Sought, ReadBy)> {
    if upcast == Upcast::No {
        return Ok((Sought::as_stored(query), ReadBy::as_stored()));
    }
    let definitions = for_readers()?;
    let read_by = ReadBy::by(Rc::clone(&definitions), &query);
    Ok((Sought::by(query, &definitions), read_by))
}

/// A query as it was asked, and by the names under which its events are stored. Scans, locks and frontiers go by the
/// stored names. The events that are found are compared with the query as it was asked. An append borrows its queries
/// (`Sought<&Query>`).
pub struct Sought<Q = Query> {
    asked: Q,
    /// The query by stored names, if it differs.
    stored: Option<Query>,
    /// The upcasters, if they give any type of the query another name.
    names: Option<Rc<Definitions>>,
}

impl Sought {
    /// The query as it was asked.
    pub fn asked(&self) -> &Query {
        &self.asked
    }

    /// A query by the names under which events are stored.
    pub fn as_stored(asked: Query) -> Self {
        Self {
            asked,
            stored: None,
            names: None,
        }
    }

    /// A query by the names that readers see: see [`for_readers`].
    ///
    /// # Errors
    /// 55000 if the table is missing.
    pub fn now(asked: Query) -> Result<Self> {
        Ok(Self::by(asked, &for_readers()?))
    }
}

impl<Q: Borrow<Query>> Sought<Q> {
    /// A query by the names that these upcasters give.
    pub fn by(asked: Q, definitions: &Rc<Definitions>) -> Self {
        let chains = definitions.chains();
        let renames = chains.renames() && chains.concern(asked.borrow());
        Self {
            stored: chains.as_stored(asked.borrow()),
            names: renames.then(|| Rc::clone(definitions)),
            asked,
        }
    }

    /// The query that finds all events that may match.
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

/// The definitions by which reads go. A REPEATABLE READ or SERIALIZABLE transaction keeps those of its first read.
///
/// # Errors
/// 55000 if the table is missing.
pub fn for_readers() -> Result<Rc<Definitions>> {
    Ok(transaction::kept_definitions(known()?))
}
