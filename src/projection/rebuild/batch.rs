//! A batch of a rebuild: events are folded into documents in memory. Each document is loaded and stored once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::dcb::error::Result;
use crate::store::Datum;
use crate::store::call::function::Callable;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::subtransaction::{Failure, in_subtransaction};
use crate::store::pg::{composite, fmgr, rights};
use crate::upcast::ReadBy;

use super::super::apply::{Events, Item, Ready};
use super::super::definition::{KIND, Projection};
use super::super::document::{Documents, IdSource, ids_told};
use super::super::run::error_json;
use super::document_store::{Document, DocumentStore};
use super::state::RebuildState;

/// The most events and the longest time of one batch. A crash loses at most one batch, and others wait no longer for the
/// rebuild's row.
pub const EVENTS: usize = 100_000;
const TIME: Duration = Duration::from_secs(1);
/// Events whose documents are loaded together.
const EVENTS_AT_ONCE: usize = 1000;
/// Bytes of documents in memory at which a batch ends.
const BYTES: usize = 64 << 20;
/// Documents that are loaded together before their size is known.
const LOADED_AT_FIRST: usize = 32;

/// Why a batch stopped at an event.
pub struct Stopped {
    /// The event.
    pub position: i64,
    /// What went wrong.
    pub failure: Failure,
}

/// What a batch has done.
pub struct Done {
    /// How many events it has folded, or made dead letters.
    pub events: i64,
    /// All events up to this position are done.
    pub position: i64,
    /// The event at which it has stopped; `None`: all events are done, or enough for one batch.
    pub stopped: Option<Stopped>,
    /// The documents of its events; `None`: not all are known, because an event has become a dead letter.
    pub ids: Option<Vec<String>>,
}

/// A batch under way.
pub struct Batch<'a> {
    /// When it is to end.
    deadline: Instant,
    /// Where its documents are in memory.
    memory: &'a Scratch,
    /// Where they are loaded from, and stored.
    store: DocumentStore<'a>,
    state: &'a RebuildState,
    projection: &'a Projection,
    documents: &'a Documents,
    /// A document before its first event; one value for all documents.
    initial: Option<Datum>,
    known: HashMap<String, Document>,
    bytes: usize,
    /// The bytes of the largest document that was loaded.
    largest: Option<usize>,
    has_put_aside: bool,
}

/// Folds the events after a rebuild's position up to `upto`, or as many as one batch may have, and stores the
/// documents.
///
/// # Errors
/// 42883 where a function is gone; those of the functions that are none of an event's making.
pub fn fold(
    state: &RebuildState,
    projection: &Projection,
    documents: &Documents,
    upto: i64,
) -> Result<Done> {
    let memory = Scratch::new();
    memory.run(|| {
        let store = DocumentStore::table(state);
        let mut batch = Batch::new(&memory, store, state, projection, documents);
        let done = batch.run(upto)?;
        batch.store()?;
        Ok(done)
    })
}

impl<'a> Batch<'a> {
    /// A new batch. The caller makes, runs and stores it while `memory` is the current memory context.
    pub fn new(
        memory: &'a Scratch,
        store: DocumentStore<'a>,
        state: &'a RebuildState,
        projection: &'a Projection,
        documents: &'a Documents,
    ) -> Self {
        Self {
            deadline: Instant::now() + TIME,
            memory,
            store,
            state,
            projection,
            documents,
            initial: documents.initial.as_deref().map(fmgr::make_varlena),
            known: HashMap::new(),
            bytes: 0,
            largest: None,
            has_put_aside: false,
        }
    }

    /// Folds, in memory.
    ///
    /// # Errors
    /// As [`fold`].
    pub fn run(&mut self, upto: i64) -> Result<Done> {
        let mut done = Done {
            events: 0,
            position: self.state.position,
            stopped: None,
            ids: None,
        };
        let mut events = Events::new(self.projection, self.state.position, upto)?;
        let read_by = events.read_by();
        let scratch = Scratch::new();
        while (done.events as usize) < EVENTS && (done.events == 0 || !self.is_over()) {
            let next = EVENTS_AT_ONCE.min(EVENTS - done.events as usize);
            let items = scratch.run(|| events.next(next, &|_| None))?;
            let Some(last) = items.last() else {
                done.position = done.position.max(upto);
                break;
            };
            let (count, stopped) = self.take(&items, &read_by)?;
            done.stopped = stopped;
            done.events += count as i64;
            if count < items.len() {
                // The events between the last one and the next one do not match, so they are done as well.
                done.position = items[count].position - 1;
                break;
            }
            done.position = last.position;
            scratch.reset();
        }
        done.ids = (!self.has_put_aside).then(|| self.known.keys().cloned().collect());
        Ok(done)
    }

    /// Folds events, as many as there is time for. Events that fail become dead letters if the projection skips them.
    /// Returns how many are done, and the failure of the next one, if there is one.
    fn take(&mut self, items: &[Item], read_by: &ReadBy) -> Result<(usize, Option<Stopped>)> {
        // For what upcasters return. Documents are in the outer memory context.
        let work = Scratch::new();
        let mut done = 0;
        // One at least, however long it takes.
        while done < items.len() && (done == 0 || !self.is_over()) {
            let mut left = Vec::with_capacity(items.len() - done);
            let projection = self.projection;
            let unread = in_subtransaction(|| {
                work.run(|| projection.read(&items[done..], read_by, &mut left))
            })?
            .err();
            let mut ids = Vec::with_capacity(left.len());
            let no_id = in_subtransaction(|| self.tell_ids(&left, &mut ids))?.err();
            let ready = self.load(&ids)?;
            let mut folded = 0;
            let evolved = in_subtransaction(|| self.evolve(&left, &ids[..ready], &mut folded))?;
            let not_folded = evolved.err();
            done += folded;
            let failure = match (not_folded, no_id, unread) {
                (Some(failure), ..) => failure,
                (None, Some(failure), _) if folded == ids.len() => failure,
                (None, None, Some(failure)) if folded == left.len() => failure,
                _ => continue,
            };
            if failure.is_transient() {
                return failure.raise();
            }
            let position = items[done].position;
            if !self.projection.skips && !self.state.was_put_aside(position)? {
                return Ok((done, Some(Stopped { position, failure })));
            }
            self.has_put_aside = true;
            self.state
                .put_aside(position, error_json(&failure, None)?)?;
            done += 1;
        }
        Ok((done, None))
    }

    /// Whether the batch has no time left, or has as many documents in memory as it may have.
    fn is_over(&self) -> bool {
        self.bytes >= BYTES || Instant::now() >= self.deadline
    }

    /// Adds the documents of each event to `ids`, up to an event that fails.
    fn tell_ids(&self, items: &[Ready], ids: &mut Vec<Vec<String>>) -> Result<()> {
        let name = &self.projection.name;
        let IdSource::Function(key) = &self.documents.key else {
            ids.extend(items.iter().map(|i| i.ids.clone().unwrap_or_default()));
            return Ok(());
        };
        let key = key.function(KIND, name)?;
        let context = self.projection.error_context("key");
        let scratch = Scratch::new();
        context.tell(|| {
            rights::for_functions(&self.projection.path, &self.projection.partition, || {
                key.prepare().often(|key| {
                    for item in items {
                        context.at(item.position, item.position);
                        ids.push(scratch.run(|| {
                            let answer = key.invoke([Some(item.event)]);
                            ids_told(key, answer, name)
                        })?);
                        scratch.reset();
                    }
                    Ok(())
                })
            })
        })
    }

    /// Loads the documents of events: of all events, or of as many as there is room for, but of one at least. Returns of how
    /// many events.
    fn load(&mut self, ids: &[Vec<String>]) -> Result<usize> {
        let mut ready = 0;
        while ready < ids.len() && (ready == 0 || !self.is_over()) {
            // Documents of one table usually have similar sizes.
            let at_once = match self.largest {
                Some(bytes) => (BYTES / 4 / bytes.max(1)).max(1),
                None => LOADED_AT_FIRST,
            };
            let mut missing: Vec<&str> = Vec::new();
            for of_event in &ids[ready..] {
                if missing.len() >= at_once {
                    break;
                }
                for id in of_event {
                    if !self.known.contains_key(id) {
                        self.known.insert(id.clone(), Document::new(self.initial));
                        missing.push(id);
                    }
                }
                ready += 1;
            }
            let (known, bytes, largest) = (&mut self.known, &mut self.bytes, &mut self.largest);
            self.store.get(&missing, |id, doc, version, position| {
                if let Some(document) = known.get_mut(id) {
                    document.bytes = fmgr::varlena(doc).len();
                    document.doc = Some(doc);
                    document.version = version;
                    document.position = position;
                    document.is_stored = true;
                    *bytes += document.bytes;
                    *largest = Some(largest.unwrap_or(0).max(document.bytes));
                }
            })?;
        }
        Ok(ready)
    }

    /// Folds events whose documents are loaded, up to one that fails, or to the end of the time. An event that fails has
    /// changed none of its documents.
    fn evolve(&mut self, items: &[Ready], ids: &[Vec<String>], folded: &mut usize) -> Result<()> {
        let evolve = self
            .documents
            .evolve
            .function(KIND, &self.projection.name)?;
        let context = self.projection.error_context("evolve function");
        let scratch = Scratch::new();
        context.tell(|| {
            rights::for_functions(&self.projection.path, &self.projection.partition, || {
                evolve.prepare().often(|evolve| {
                    for (item, ids) in items.iter().zip(ids) {
                        pgrx::check_for_interrupts!();
                        if *folded > 0 && self.is_over() {
                            break;
                        }
                        context.at(item.position, item.position);
                        scratch.run(|| self.evolve_one(item, ids, evolve));
                        scratch.reset();
                        *folded += 1;
                    }
                });
            });
        });
        Ok(())
    }

    /// Folds an event into its documents. All of them change, or none does.
    fn evolve_one(&mut self, item: &Ready, ids: &[String], evolve: &Callable) {
        let doc_of = |id| self.known.get(id).and_then(|d: &Document| d.doc);
        let evolved: Vec<_> = ids
            .iter()
            .map(|id| evolve.invoke([doc_of(id), Some(item.event)]))
            .collect();
        for (id, doc) in ids.iter().zip(evolved) {
            let Some(document) = self.known.get_mut(id) else {
                continue;
            };
            if let Some(old) = document.doc.filter(|_| document.version > 0) {
                composite::free(old);
            }
            self.bytes -= document.bytes;
            match doc {
                Some(doc) => {
                    let copy = self.memory.run(|| composite::copied(doc));
                    document.doc = Some(copy);
                    document.bytes = fmgr::varlena(copy).len();
                    document.version += 1;
                }
                // The document is deleted. The next event meets the initial document.
                None => {
                    document.doc = self.initial;
                    document.bytes = 0;
                    document.version = 0;
                }
            }
            self.bytes += document.bytes;
            document.position = item.position;
            document.recorded_at_us = item.recorded_at_us;
            document.is_changed = true;
        }
    }

    /// Stores the documents that have changed.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn store(&self) -> Result<()> {
        let changed: Vec<_> = self.known.iter().filter(|(_, d)| d.is_changed).collect();
        self.store.put(&changed)
    }
}
