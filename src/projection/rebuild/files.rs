//! Swapping by files: the live table is given new files that contain the rebuilt documents.
//!
//! How long others wait does not depend on the number of documents. One transaction does it all. Nobody waits while it
//! writes the files, builds their indexes and folds the events that come meanwhile. Then it excludes appends for the last
//! events, and readers for the exchange.
//!
//! **Invariant:** one subtransaction writes the files. If anything in it fails, all of it is undone: see
//! [`crate::store::document::new_files`]. So an inner subtransaction, which may fail while it waits for locks, does not
//! write to the files.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::document::exchange::{is_awaited, keep_out, keep_shape, obstacle};
use crate::store::document::new_files::{Indexed, NewFiles, ROWS_AT_ONCE};
use crate::store::document::table::Document;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::subtransaction::{Failure, in_subtransaction};
use crate::store::pg::xmin::XminRelease;
use crate::store::pg::{fmgr, rights};
use crate::store::session::sleep;
use crate::store::{Datum, Oid};

use super::super::definition::Projection;
use super::super::document::missing_table;
use super::super::status::Phase;
use super::batch::{Batch, Done};
use super::document_store::{DocumentStore, Named};
use super::rows::Rows;
use super::state::RebuildState;
use super::swap::{become_live, lock, upto, with_patience};
use super::{NEAR, PAUSES_MS, documents};

/// How long an attempt to lock the table against readers waits. New readers wait behind it meanwhile.
const READERS_MS: i64 = 100;
/// After so many such attempts the swap is done row by row.
const ATTEMPTS: u32 = 5;
/// How often it checks between attempts whether somebody has cancelled the rebuild or waits for the table.
const LOOKS_MS: u64 = 200;

/// The outcome of an exchange of files.
pub enum Outcome {
    /// The live table has the new files.
    Exchanged,
    /// Nothing was done: somebody has changed the rebuild or the table.
    Changed,
    /// Nothing was done: too many events came, or one could not be folded.
    TooMuch,
    /// Nothing was done: somebody waits to change or drop the table, and appends may wait behind him.
    Wanted,
    /// Nothing was done: in all attempts somebody was using the table.
    InUse,
}

/// An exchange of files.
pub struct Exchange<'a> {
    /// The rebuild.
    pub state: &'a RebuildState,
    /// The projection as it will be.
    pub new: &'a Projection,
    /// The table of its documents.
    pub table: Oid,
    /// How long to wait for appends. `None`: as long as it takes, also for readers.
    pub patience_ms: Option<i64>,
    /// Whether it tries again as long as the table is in use.
    pub insists: bool,
}

/// The outcome of an attempt to lock all.
enum Locked {
    /// All is locked and folded.
    All(Box<Last>),
    Not(Outcome),
}

/// What is known once all is locked.
struct Last {
    /// The rebuild as it was stored.
    state: RebuildState,
    /// What was done since.
    done: Done,
    /// Since when nobody appends.
    since: Instant,
}

impl Exchange<'_> {
    /// Exchanges the files, or does nothing.
    ///
    /// # Errors
    /// The outer result is an error only if the transaction cannot go on. All other errors are in the inner result.
    pub fn exchange(&self) -> Result<std::result::Result<Outcome, Failure>> {
        let mut nothing = None;
        let tried = in_subtransaction(|| match self.run()? {
            Outcome::Exchanged => Ok(()),
            other => {
                nothing = Some(other);
                Err(Error::new(SqlState::Internal, "undone"))
            }
        })?;
        Ok(match (tried, nothing) {
            (Ok(()), _) => Ok(Outcome::Exchanged),
            (Err(_), Some(outcome)) => Ok(outcome),
            (Err(failure), None) => Err(failure),
        })
    }

    fn run(&self) -> Result<Outcome> {
        let owner = rights::owner_of(self.table).ok_or_else(|| missing_table(&self.new.name))?;
        keep_shape(self.table);
        if obstacle(self.table, owner).is_some() {
            return Ok(Outcome::Changed);
        }
        let mut new = NewFiles::make(self.table);
        if let Some(outcome) = self.write(&mut new)? {
            return Ok(outcome);
        }
        let indexed = as_owner(owner, || new.with_indexes())?;
        let files = RefCell::new(Files { indexed, owner });
        match self.lock_in_time(&files)? {
            Locked::Not(outcome) => Ok(outcome),
            Locked::All(last) => {
                let Last {
                    mut state,
                    done,
                    since,
                } = *last;
                let events = done.events - self.state.events;
                state.advance(done.position, events, Phase::Swapping, since)?;
                become_live(&state, self.new)?;
                files.into_inner().indexed.exchange()?;
                Ok(Outcome::Exchanged)
            }
        }
    }

    /// Writes all documents that are rebuilt.
    fn write(&self, new: &mut NewFiles) -> Result<Option<Outcome>> {
        let mut obstruction = None;
        Rows::of(self.state, self.new)?.each_rows(|rows| {
            for some in rows.chunks(ROWS_AT_ONCE) {
                let documents = some.iter().map(|row| {
                    let number = |n: usize| row[n].map_or(0, |d| d.value() as i64);
                    Ok(Document {
                        id: row[0].map_or(Ok(""), fmgr::text)?,
                        doc: row[1].unwrap_or(Datum::null()),
                        version: number(2),
                        position: number(3),
                        updated_at_us: number(4),
                    })
                });
                new.write(&documents.collect::<Result<Vec<_>>>()?);
            }
            obstruction = self.obstruction()?;
            Ok(obstruction.is_none())
        })?;
        Ok(obstruction)
    }

    /// A reason to stop: somebody has cancelled the rebuild, or begun it anew, or waits for the table.
    fn obstruction(&self) -> Result<Option<Outcome>> {
        let now = RebuildState::numbered(self.state.number, false)?;
        if !now.is_some_and(|now| now.is_where(self.state)) {
            return Ok(Some(Outcome::Changed));
        }
        Ok(is_awaited(self.table).then_some(Outcome::Wanted))
    }

    /// Folds new events until all is locked.
    fn lock_in_time(&self, files: &RefCell<Files>) -> Result<Locked> {
        let mut state = self.state.clone();
        let (mut pause_ms, mut attempts) = (*PAUSES_MS.start(), 0);
        loop {
            if let Some(outcome) = self.catch_up(files, &mut state)? {
                return Ok(Locked::Not(outcome));
            }
            match self.last_events(files, &state)? {
                Ok(locked) => return Ok(locked),
                Err(is_in_use) => attempts += u32::from(is_in_use),
            }
            if attempts >= ATTEMPTS && !self.insists {
                return Ok(Locked::Not(Outcome::InUse));
            }
            let end = Instant::now() + Duration::from_millis(pause_ms);
            while Instant::now() < end {
                if let Some(outcome) = self.obstruction()? {
                    return Ok(Locked::Not(outcome));
                }
                sleep::wait_until(Some(pause_ms.min(LOOKS_MS)), XminRelease::NONE, || {
                    Ok(false)
                })?;
            }
            pause_ms = (pause_ms * 2).min(*PAUSES_MS.end());
        }
    }

    /// Folds the events that have come meanwhile, until few are left.
    fn catch_up(
        &self,
        files: &RefCell<Files>,
        state: &mut RebuildState,
    ) -> Result<Option<Outcome>> {
        loop {
            if let Some(outcome) = self.obstruction()? {
                return Ok(Some(outcome));
            }
            let since = Instant::now();
            let head = super::settled(self.new, None)?;
            let memory = Scratch::new();
            let done = memory.run(|| {
                let mut batch = self.batch(&memory, files, state)?;
                let done = batch.run(head)?;
                batch.store()?;
                Ok::<_, Error>(done)
            })?;
            state.position = done.position;
            state.events += done.events;
            if done.stopped.is_some() {
                return Ok(Some(Outcome::TooMuch));
            }
            if done.position >= head && since.elapsed() < NEAR {
                return Ok(None);
            }
        }
    }

    fn batch<'b>(
        &'b self,
        memory: &'b Scratch,
        files: &'b RefCell<Files>,
        state: &'b RebuildState,
    ) -> Result<Batch<'b>> {
        let store = DocumentStore::Files(files);
        let documents = documents(self.new)?;
        Ok(Batch::new(memory, store, state, self.new, documents))
    }

    /// Excludes appends, folds the last events, locks the table against readers, and writes the documents. The inner `Err`
    /// says that a lock was not available, and whether it was that of the table itself.
    fn last_events(
        &self,
        files: &RefCell<Files>,
        state: &RebuildState,
    ) -> Result<std::result::Result<Locked, bool>> {
        let memory = Scratch::new();
        memory.run(|| {
            let mut batch = self.batch(&memory, files, state)?;
            let is_in_use = Cell::new(false);
            match in_subtransaction(|| self.lock_all(&mut batch, &is_in_use))? {
                Ok(Locked::All(mut last)) => {
                    batch.store()?;
                    last.done.events += state.events;
                    Ok(Ok(Locked::All(last)))
                }
                Ok(not) => Ok(Ok(not)),
                Err(failure) if failure.state == SqlState::LockNotAvailable.code() => {
                    Ok(Err(is_in_use.get()))
                }
                Err(failure) => failure.raise(),
            }
        })
    }

    /// Locks all and folds the last events in memory. It writes nothing, so its subtransaction can be undone alone.
    fn lock_all(&self, batch: &mut Batch, is_in_use: &Cell<bool>) -> Result<Locked> {
        let (projection, state) = with_patience(self.patience_ms, || lock(self.state))?;
        let Some(state) = state.filter(|s| s.is_where(self.state)) else {
            return Ok(Locked::Not(Outcome::Changed));
        };
        if state.is_outdated()? || projection.number != self.new.number {
            return Ok(Locked::Not(Outcome::Changed));
        }
        let since = Instant::now();
        let upto = upto(&projection, &state)?;
        let done = batch.run(upto)?;
        if done.stopped.is_some() || done.position < upto {
            return Ok(Locked::Not(Outcome::TooMuch));
        }
        if state.is_outdated()? {
            return Ok(Locked::Not(Outcome::Changed));
        }
        is_in_use.set(true);
        with_patience(self.patience_ms.map(|_| READERS_MS), || {
            keep_out(self.table);
        });
        Ok(Locked::All(Box::new(Last { state, done, since })))
    }
}

/// New files with indexes, and who owns the table.
pub struct Files {
    indexed: Indexed,
    owner: Oid,
}

impl Files {
    /// Calls `found` for each of these ids that has a document: id, document, version, position.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn get(&self, ids: &[&str], mut found: impl FnMut(&str, Datum, i64, i64)) -> Result<()> {
        for id in ids {
            if let Some(stored) = self.indexed.find(id)? {
                // The position is used only of documents that change, and these get a new one.
                found(id, stored.doc, stored.version, 0);
            }
        }
        Ok(())
    }

    /// Writes the documents that have changed.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding: 23505.
    pub fn put(&mut self, changed: &[Named]) -> Result<()> {
        let scratch = Scratch::new();
        let owner = self.owner;
        as_owner(owner, || {
            // Old versions are removed first: a value in a unique index may move from one document to another.
            for (id, _) in changed.iter().filter(|(_, d)| d.is_stored) {
                scratch.run(|| self.indexed.remove(id))?;
                scratch.reset();
            }
            for (id, document) in changed.iter().filter(|(_, d)| d.version > 0) {
                if let Some(doc) = document.doc {
                    scratch.run(|| {
                        self.indexed.add(&Document {
                            id,
                            doc,
                            version: document.version,
                            position: document.position,
                            updated_at_us: document.recorded_at_us,
                        });
                    });
                    scratch.reset();
                }
            }
            Ok(())
        })
    }
}

/// Runs with the rights of the table's owner and a safe search path, since functions of indexes are called.
fn as_owner<T>(owner: Oid, body: impl FnOnce() -> T) -> T {
    rights::as_role_restricted(owner, || rights::with_path(rights::SAFE_PATH, body))
}
