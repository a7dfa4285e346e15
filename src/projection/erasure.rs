//! Events are erased: the documents that have seen them are folded anew, from their first event on, and what
//! rebuilds have made of them is made again.
//!
//! Nobody appends to the partition, and the rows of its document projections are locked: so nobody changes or
//! rebuilds documents meanwhile, and those that run later find the erased events as they are.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::definition::erasure::cannot_do_without;
use crate::fold::evolve::Folding;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::spi::{self, text};
use crate::store::pg::subtransaction::in_subtransaction;
use crate::store::pg::{fmgr, names, rights};
use crate::store::row::event::Row;
use crate::store::session::definitions::as_extension_owner;
use crate::store::{Datum, Oid};
use crate::upcast::{self, Definitions, Sought};

use super::apply::{Events, Ready};
use super::definition::{KIND, Projection, Work, by_name};
use super::document::{DocumentState, Documents, IdSource, Table, missing_table};
use super::rebuild;
use super::reset::Beginning;

/// Documents whose events are read together.
const DOCUMENTS_AT_ONCE: usize = 64;
/// Events that are read together.
const EVENTS_AT_ONCE: usize = 500;

/// What has become of projections.
pub struct Renewed {
    /// How many documents were folded anew.
    pub documents: i64,
    /// The tables in which there are old versions of documents.
    pub tables: BTreeSet<String>,
    /// The projections whose handlers have been called with erased events.
    pub handlers: Vec<String>,
    /// All that take any of the events, be they handled or not.
    pub touched: Vec<String>,
}

/// The projections of a partition, with what of them has seen the events that are being erased.
pub struct Renewals(Vec<Renewal>);

struct Renewal {
    projection: Projection,
    sought: Sought,
    /// The events that it has handled: after the first of these, up to the second.
    handled: (i64, i64),
    /// The events that a rebuild takes in place of its own.
    rebuilt: Option<Sought>,
    /// Whether the rebuild takes any of the events that its projection does not.
    is_rebuild_touched: bool,
    /// Whether any of the events is one of its own, be it handled or not.
    is_touched: bool,
    /// Whether any of them was handled.
    has_handled: bool,
    /// The documents that have seen any.
    ids: BTreeSet<String>,
}

impl Renewals {
    /// Those of a partition to which nobody appends.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn lock(partition: &str) -> Result<Self> {
        let definitions = upcast::known()?;
        let mut renewals = Vec::new();
        for name in super::manage::names_of(partition)? {
            let mut projection = by_name(Some(&name), false)?;
            if matches!(projection.work, Work::Documents(_)) {
                projection = by_name(Some(&name), true)?;
            }
            renewals.push(Renewal::of(projection, &definitions)?);
        }
        Ok(Self(renewals))
    }

    /// Takes note of an event that is going to be erased.
    ///
    /// # Errors
    /// Those of damaged rows.
    pub fn see(&mut self, row: &Row) -> Result<()> {
        for renewal in &mut self.0 {
            if let Some(rebuilt) = &renewal.rebuilt {
                renewal.is_rebuild_touched |= rebuilt.matches(row)?;
            }
            if !renewal.sought.matches(row)? {
                continue;
            }
            renewal.is_touched = true;
            let (after, upto) = renewal.handled;
            if row.position() <= after || row.position() > upto {
                continue;
            }
            renewal.has_handled = true;
            if let Work::Documents(documents) = &renewal.projection.work {
                renewal
                    .ids
                    .extend(documents.key.ids_of_row(row)?.into_iter().flatten());
            }
        }
        Ok(())
    }

    /// Asks key functions which documents the events belong to, while they still say so. Where they belong
    /// without data is asked again when they are erased.
    ///
    /// # Errors
    /// Those of the functions.
    pub fn ask(&mut self, positions: &[i64]) -> Result<()> {
        let chosen: HashSet<i64> = positions.iter().copied().collect();
        for renewal in &mut self.0 {
            renewal.ask(&chosen)?;
        }
        Ok(())
    }

    /// Folds the documents anew, now that the events at these positions are erased.
    ///
    /// # Errors
    /// 55000 where a function cannot do without what was erased.
    pub fn renew(mut self, erased: &[i64]) -> Result<Renewed> {
        let first = erased.first().copied().unwrap_or_default();
        let erased: HashSet<i64> = erased.iter().copied().collect();
        let mut renewed = Renewed {
            documents: 0,
            tables: BTreeSet::new(),
            handlers: Vec::new(),
            touched: Vec::new(),
        };
        for renewal in &mut self.0 {
            let name = renewal.projection.name.clone();
            if !renewal.is_touched {
                if renewal.is_rebuild_touched && rebuild::erased(&name, first)? {
                    renewed.tables.insert("en57.rebuild_documents".into());
                }
                continue;
            }
            renewed.touched.push(name.clone());
            let Some(table) = renewal.table() else {
                if renewal.has_handled {
                    renewed.handlers.push(name);
                }
                continue;
            };
            if rebuild::erased(&name, first)? {
                renewed.tables.insert("en57.rebuild_documents".into());
            }
            if !renewal.has_handled {
                continue;
            }
            let at = Cell::new(0);
            let count = in_subtransaction(|| {
                renewal.ask(&erased)?;
                renewal.renew(&at)
            })?
            .or_else(|failure| {
                let at = match at.get() {
                    0 => String::new(),
                    position => format!(" (event at position {position})"),
                };
                let what = "cannot be made without what was to be erased";
                cannot_do_without(
                    format!("documents of projection \"{name}\" {what}{at}"),
                    failure,
                )
            })?;
            renewed.documents += count;
            if count > 0 {
                renewed.tables.extend(names::qualified_name(table));
            }
        }
        Ok(renewed)
    }
}

/// The documents of a projection that handles after all what it has put aside. It is kept from others.
pub struct Refolding(Renewal);

impl Refolding {
    /// That of a projection of documents.
    ///
    /// # Errors
    /// 42704; 55000 where the table is missing.
    pub fn of(name: &str) -> Result<Self> {
        let renewal = Renewal::of(by_name(Some(name), true)?, &upcast::known()?)?;
        Ok(Self(Renewal {
            has_handled: true,
            ..renewal
        }))
    }

    /// Folds the documents that an event belongs to, with it in its place. It must not be put aside any more.
    ///
    /// # Errors
    /// Those of the functions, by unwinding; 55000 where the table of documents is missing.
    pub fn refold(&mut self, position: i64) -> Result<()> {
        let renewal = &mut self.0;
        let mut events = Events::new(&renewal.projection, position - 1, position)?;
        let items = events.next(1, &|_| None)?;
        let ids = items.into_iter().filter_map(|item| item.ids).flatten();
        renewal.ids = ids.collect();
        renewal.ask(&HashSet::from([position]))?;
        renewal.renew(&Cell::new(0)).map(drop)
    }
}

/// A document in the making.
struct Making<'f> {
    folding: Folding<'f>,
    version: i64,
    /// Its last event's position, and when it was recorded.
    last: (i64, i64),
}

impl Renewal {
    fn of(projection: Projection, definitions: &Rc<Definitions>) -> Result<Self> {
        let upto = match projection.is_inline && projection.status == "running" {
            true => super::manage::last_position()?,
            false => projection.position,
        };
        let rebuilt = rebuild::query_of(&projection.name)?;
        Ok(Self {
            sought: Sought::by(projection.query.clone(), definitions),
            handled: (Beginning::of(&projection.name)?.start, upto),
            projection,
            rebuilt: rebuilt.map(|query| Sought::by(query, definitions)),
            is_rebuild_touched: false,
            is_touched: false,
            has_handled: false,
            ids: BTreeSet::new(),
        })
    }

    /// The table of its documents.
    fn table(&self) -> Option<Oid> {
        match &self.projection.work {
            Work::Documents(documents) => Some(documents.table),
            Work::Handler(_) => None,
        }
    }

    /// The documents that a key function names for some of the events.
    fn ask(&mut self, chosen: &HashSet<i64>) -> Result<()> {
        let Work::Documents(documents) = &self.projection.work else {
            return Ok(());
        };
        if !matches!(documents.key, IdSource::Function(_)) || !self.has_handled {
            return Ok(());
        }
        let (after, upto) = self.handled;
        let range = (
            after.max(chosen.iter().min().map_or(after, |p| p - 1)),
            upto.min(chosen.iter().max().copied().unwrap_or(upto)),
        );
        let mut named = BTreeSet::new();
        self.each(documents, None, range, &Cell::new(0), &mut |items| {
            items.retain(|i| chosen.contains(&i.position));
            named.extend(documents.by_id(&self.projection, items)?.into_keys());
            Ok(())
        })?;
        self.ids.extend(named);
        Ok(())
    }

    /// Folds the documents anew; returns how many.
    fn renew(&self, at: &Cell<i64>) -> Result<i64> {
        let Work::Documents(documents) = &self.projection.work else {
            return Ok(0);
        };
        let missing = || missing_table(&self.projection.name);
        let table = Table::open(documents.table).ok_or_else(missing)?;
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        let at_once = match documents.key {
            IdSource::Plain(_) => DOCUMENTS_AT_ONCE,
            // Its events are found by reading all.
            IdSource::Function(_) => ids.len().max(1),
        };
        let memory = Scratch::new();
        for ids in ids.chunks(at_once) {
            memory.run(|| self.renew_some(documents, &table, ids, at))?;
            memory.reset();
        }
        Ok(ids.len() as i64)
    }

    fn renew_some(
        &self,
        documents: &Documents,
        table: &Table,
        ids: &[&str],
        at: &Cell<i64>,
    ) -> Result<()> {
        let projection = &self.projection;
        let evolve = documents.evolve.function(KIND, &projection.name)?.prepare();
        let initial = documents.initial.as_deref().map(fmgr::make_varlena);
        let mut making: BTreeMap<&str, Making> = BTreeMap::new();
        for id in ids {
            let (folding, version, last) = (Folding::new(&evolve, initial), 0, (0, 0));
            making.insert(
                id,
                Making {
                    folding,
                    version,
                    last,
                },
            );
        }
        let told = projection.error_context("evolve function");
        self.each(documents, Some(ids), self.handled, at, &mut |items| {
            let by_id = documents.by_id(projection, items)?;
            told.tell(|| {
                for (id, items) in by_id {
                    let Some(document) = making.get_mut(id.as_str()) else {
                        continue;
                    };
                    for item in items {
                        told.at(item.position, item.position);
                        at.set(item.position);
                        let goes_on = document.folding.add(item.event);
                        document.version = if goes_on { document.version + 1 } else { 0 };
                        document.last = (item.position, item.recorded_at_us);
                    }
                }
            });
            Ok(())
        })?;
        at.set(0);
        for (id, document) in making {
            let (place, _) = table.load(id)?;
            let state = DocumentState {
                doc: document.folding.state(),
                version: document.version,
            };
            table.store(id, place, &state, document.last)?;
        }
        Ok(())
    }

    /// Hands the events of some documents, or all, to `sink`, as they are read by now, but for those that were put
    /// aside.
    fn each(
        &self,
        documents: &Documents,
        ids: Option<&[&str]>,
        (after, upto): (i64, i64),
        at: &Cell<i64>,
        sink: &mut dyn FnMut(&mut Vec<Ready>) -> Result<()>,
    ) -> Result<()> {
        let projection = &self.projection;
        let aside = put_aside(&projection.name)?;
        let query = match (&documents.key, ids) {
            (IdSource::Plain(key), Some(ids)) => {
                let of_one = ids
                    .iter()
                    .filter_map(|id| key.events_of(id, &projection.query));
                match of_one.reduce(Query::union) {
                    Some(query) => query,
                    None => return Ok(()),
                }
            }
            _ => projection.query.clone(),
        };
        let mut events = Events::among(projection, query, after, upto)?;
        let way = events.way();
        let scratch = Scratch::new();
        rights::for_functions(&projection.path, &projection.partition, || {
            loop {
                let done = scratch.run(|| {
                    let mut items = events.next(EVENTS_AT_ONCE, &|_| None)?;
                    let is_last = items.is_empty();
                    items.retain(|item| !aside.contains(&item.position));
                    at.set(items.first().map_or(0, |item| item.position));
                    let mut ready = Vec::with_capacity(items.len());
                    projection.read(&items, &way, &mut ready)?;
                    sink(&mut ready)?;
                    Ok(is_last)
                })?;
                scratch.reset();
                if done {
                    return Ok(());
                }
            }
        })
    }
}

/// The events that a projection has put aside.
fn put_aside(projection: &str) -> Result<HashSet<i64>> {
    let sql = "SELECT position FROM en57.projection_dead_letters WHERE projection = $1";
    let rows = as_extension_owner(|| spi::run(sql, &[text(projection)]))?;
    let position = |row: &spi::Values| row[0].map(|d: Datum| d.value() as i64);
    Ok(rows.iter().filter_map(position).collect())
}
