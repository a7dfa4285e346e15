//! Erasing: the documents that have seen erased events are folded again from their first event on, and rebuilds that have
//! seen them begin anew.
//!
//! Appends to the partition are excluded, and the rows of its document projections are locked. So nobody changes or
//! rebuilds documents meanwhile, and projections that run later see the erased events without their data.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::definition::erasure::cannot_do_without;
use crate::fold::evolve::Folding;
use crate::store::call::function::{Callable, ErrorContext};
use crate::store::pg::scratch::Scratch;
use crate::store::pg::spi::{self, text};
use crate::store::pg::subtransaction::in_subtransaction;
use crate::store::pg::{fmgr, names, rights};
use crate::store::row::event::Row;
use crate::store::session::definitions::as_extension_owner;
use crate::store::{Datum, Oid};
use crate::upcast::{self, Definitions, Sought};

use super::apply::{Events, Ready};
use super::definition::{KIND, Projection, Work, by_name, locked};
use super::document::{DocumentState, Documents, IdSource, Table, missing_table};
use super::rebuild;
use super::reset::Beginning;

/// Documents whose events are read together.
const DOCUMENTS_AT_ONCE: usize = 64;
/// Events that are read together.
const EVENTS_AT_ONCE: usize = 500;

/// What an erasure has changed in projections.
pub struct Renewed {
    /// How many documents were folded again.
    pub documents: i64,
    /// The tables that contain old versions of documents until they are vacuumed.
    pub tables: BTreeSet<String>,
    /// The projections whose handlers have been called with erased events.
    pub handlers: Vec<String>,
    /// All projections with an erased event among theirs, handled or not.
    pub touched: Vec<String>,
}

/// The projections of a partition, each with the documents that have seen the events that are being erased.
pub struct Renewals(Vec<Renewal>);

struct Renewal {
    projection: Projection,
    sought: Sought,
    /// The events that it has handled: after the first of these, up to the second.
    handled: (i64, i64),
    /// The events of its rebuild, where that has another query.
    rebuilt: Option<Sought>,
    /// Whether an erased event is one of the rebuild's.
    is_rebuild_touched: bool,
    /// Whether an erased event is one of the projection's, handled or not.
    is_touched: bool,
    /// Whether it has handled an erased event.
    has_handled: bool,
    /// The documents that have seen an erased event.
    ids: BTreeSet<String>,
}

impl Renewals {
    /// Locks the document projections of a partition. The caller has excluded appends to it.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn lock(partition: &str) -> Result<Self> {
        let definitions = upcast::known()?;
        let mut renewals = Vec::new();
        for name in super::manage::names_of(partition)? {
            let mut projection = by_name(Some(&name), false)?;
            if matches!(projection.work, Work::Documents(_)) {
                projection = locked(&projection)?;
            }
            renewals.push(Renewal::of(projection, &definitions)?);
        }
        Ok(Self(renewals))
    }

    /// Notes which projections and documents an event belongs to that is going to be erased.
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

    /// Asks key functions which documents the events belong to, before their data is erased. After that, [`Self::renew`]
    /// asks again: without their data, events can belong to other documents.
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

    /// Folds the documents again, now that the events at these positions are erased.
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
            renewal.renew(first, &erased, &mut renewed)?;
        }
        Ok(renewed)
    }
}

/// The documents of a projection that handles its dead letters after all.
pub struct Refolding(Renewal);

impl Refolding {
    /// Locks a document projection.
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

    /// Folds the documents of an event again, with this event in position order. It must not be a dead letter any more.
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
        renewal.refold(&Cell::new(0)).map(drop)
    }
}

impl Renewal {
    fn of(projection: Projection, definitions: &Rc<Definitions>) -> Result<Self> {
        let upto = if projection.runs_inline() {
            super::manage::last_position()?
        } else {
            projection.position
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

    /// Folds the documents again and restarts the rebuild, as far as they have seen any of the erased events.
    fn renew(&mut self, first: i64, erased: &HashSet<i64>, renewed: &mut Renewed) -> Result<()> {
        let name = self.projection.name.clone();
        if !self.is_touched {
            if self.is_rebuild_touched {
                restart_rebuild(&name, first, renewed)?;
            }
            return Ok(());
        }
        renewed.touched.push(name.clone());
        let Some(table) = self.table() else {
            if self.has_handled {
                renewed.handlers.push(name);
            }
            return Ok(());
        };
        restart_rebuild(&name, first, renewed)?;
        if !self.has_handled {
            return Ok(());
        }
        let count = self.refold_erased(erased)?;
        renewed.documents += count;
        if count > 0 {
            renewed.tables.extend(names::qualified_name(table));
        }
        Ok(())
    }

    /// Folds the documents again that have seen any of the erased events; returns how many.
    fn refold_erased(&mut self, erased: &HashSet<i64>) -> Result<i64> {
        let current = Cell::new(0);
        let outcome = in_subtransaction(|| {
            self.ask(erased)?;
            self.refold(&current)
        })?;
        outcome.or_else(|failure| {
            let at = match current.get() {
                0 => String::new(),
                position => format!(" (event at position {position})"),
            };
            let name = &self.projection.name;
            let what = "cannot be made without what was to be erased";
            cannot_do_without(
                format!("documents of projection \"{name}\" {what}{at}"),
                failure,
            )
        })
    }

    /// Adds the documents that a key function names for some of the events.
    fn ask(&mut self, chosen: &HashSet<i64>) -> Result<()> {
        let Work::Documents(documents) = &self.projection.work else {
            return Ok(());
        };
        if !matches!(documents.key, IdSource::Function(_)) || !self.has_handled {
            return Ok(());
        }
        let (after, upto) = self.handled;
        let mut named = BTreeSet::new();
        let pass = Pass {
            projection: &self.projection,
            query: self.projection.query.clone(),
            after: after.max(chosen.iter().min().map_or(after, |p| p - 1)),
            upto: upto.min(chosen.iter().max().copied().unwrap_or(upto)),
            current: &Cell::new(0),
        };
        pass.each(&mut |items| {
            items.retain(|i| chosen.contains(&i.position));
            named.extend(documents.by_id(&self.projection, items)?.into_keys());
            Ok(())
        })?;
        self.ids.extend(named);
        Ok(())
    }

    /// Folds the documents again; returns how many. `current` is set to the position of the event that is being handled.
    fn refold(&self, current: &Cell<i64>) -> Result<i64> {
        let Work::Documents(documents) = &self.projection.work else {
            return Ok(0);
        };
        let missing = || missing_table(&self.projection.name);
        let table = Table::open(documents.table).ok_or_else(missing)?;
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        let at_once = match documents.key {
            IdSource::Plain(_) => DOCUMENTS_AT_ONCE,
            // Their events are found by reading all events of the projection, so that happens once.
            IdSource::Function(_) => ids.len().max(1),
        };
        let memory = Scratch::new();
        for ids in ids.chunks(at_once) {
            memory.run(|| self.refold_some(documents, &table, ids, current))?;
            memory.reset();
        }
        Ok(ids.len() as i64)
    }

    fn refold_some(
        &self,
        documents: &Documents,
        table: &Table,
        ids: &[&str],
        current: &Cell<i64>,
    ) -> Result<()> {
        let projection = &self.projection;
        let evolve = documents.evolve.function(KIND, &projection.name)?.prepare();
        let initial = documents.initial.as_deref().map(fmgr::make_varlena);
        let refolded = ids.iter().map(|id| (*id, Refolded::new(&evolve, initial)));
        let mut refolded: BTreeMap<&str, Refolded> = refolded.collect();
        let context = projection.error_context("evolve function");
        if let Some(query) = self.query_of(documents, ids) {
            let pass = Pass {
                projection,
                query,
                after: self.handled.0,
                upto: self.handled.1,
                current,
            };
            pass.each(&mut |items| {
                for (id, items) in documents.by_id(projection, items)? {
                    if let Some(document) = refolded.get_mut(id.as_str()) {
                        context.tell(|| document.add(&items, &context, current));
                    }
                }
                Ok(())
            })?;
        }
        current.set(0);
        let mut refolded = refolded.into_iter();
        refolded.try_for_each(|(id, document)| document.store(id, table))
    }

    /// The query that finds all events of these documents; `None` where no event can belong to them.
    fn query_of(&self, documents: &Documents, ids: &[&str]) -> Option<Query> {
        let query = &self.projection.query;
        match &documents.key {
            IdSource::Function(_) => Some(query.clone()),
            IdSource::Plain(key) => {
                let of_each = ids.iter().filter_map(|id| key.events_of(id, query));
                of_each.reduce(Query::union)
            }
        }
    }
}

/// Lets the rebuild of a projection begin anew if it has seen the first of the erased events.
fn restart_rebuild(projection: &str, first: i64, renewed: &mut Renewed) -> Result<()> {
    if rebuild::erased(projection, first)? {
        renewed.tables.insert("en57.rebuild_documents".into());
    }
    Ok(())
}

/// A document that is folded again from its first event on.
struct Refolded<'f> {
    folding: Folding<'f>,
    /// How many events are in it; 0: there is no document.
    version: i64,
    /// The position of its last event, and when that was recorded.
    last: (i64, i64),
}

impl<'f> Refolded<'f> {
    fn new(evolve: &'f Callable<'f>, initial: Option<Datum>) -> Self {
        Self {
            folding: Folding::new(evolve, initial),
            version: 0,
            last: (0, 0),
        }
    }

    fn add(&mut self, items: &[&Ready], context: &ErrorContext, current: &Cell<i64>) {
        for item in items {
            context.at(item.position, item.position);
            current.set(item.position);
            let is_there = self.folding.add(item.event);
            self.version = if is_there { self.version + 1 } else { 0 };
            self.last = (item.position, item.recorded_at_us);
        }
    }

    fn store(self, id: &str, table: &Table) -> Result<()> {
        let (found, _) = table.load(id)?;
        let state = DocumentState {
            doc: self.folding.state(),
            version: self.version,
        };
        table.store(id, found, &state, self.last)
    }
}

/// Stored events of a projection that are read again, without its dead letters.
struct Pass<'p> {
    projection: &'p Projection,
    /// Which of its events.
    query: Query,
    /// Those after this position,
    after: i64,
    /// up to this one.
    upto: i64,
    /// The position of the event that is being handled, for error messages.
    current: &'p Cell<i64>,
}

impl Pass<'_> {
    /// Hands the events to `sink`, some at a time, as today's upcasters make them.
    fn each(&self, sink: &mut dyn FnMut(&mut Vec<Ready>) -> Result<()>) -> Result<()> {
        let projection = self.projection;
        let dead = dead_letters(&projection.name)?;
        let mut events = Events::among(projection, self.query.clone(), self.after, self.upto)?;
        let read_by = events.read_by();
        let scratch = Scratch::new();
        rights::for_functions(&projection.path, &projection.partition, || {
            loop {
                let is_done = scratch.run(|| {
                    let mut items = events.next(EVENTS_AT_ONCE, &|_| None)?;
                    let is_done = items.is_empty();
                    items.retain(|item| !dead.contains(&item.position));
                    self.current
                        .set(items.first().map_or(0, |item| item.position));
                    let mut ready = Vec::with_capacity(items.len());
                    projection.read(&items, &read_by, &mut ready)?;
                    sink(&mut ready)?;
                    Ok(is_done)
                })?;
                scratch.reset();
                if is_done {
                    return Ok(());
                }
            }
        })
    }
}

/// The positions of a projection's dead letters.
fn dead_letters(projection: &str) -> Result<HashSet<i64>> {
    let sql = "SELECT position FROM en57.projection_dead_letters WHERE projection = $1";
    let rows = as_extension_owner(|| spi::run(sql, &[text(projection)]))?;
    let position = |row: &spi::Values| row[0].map(|d: Datum| d.value() as i64);
    Ok(rows.iter().filter_map(position).collect())
}
