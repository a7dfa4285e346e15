//! Giving the live table new files, in which the rebuilt documents are: what it costs others does not grow with the
//! number of documents. All in one transaction: nobody is kept out while the files are written, their indexes built, and
//! the events folded that come meanwhile; then appends are kept out for the last ones, and everybody for the exchange.
//!
//! **Invariant:** the files are written in one subtransaction, and where anything in it fails after that, all of it
//! is undone: see [`crate::store::document::new_files`]. So what may fail while it waits for locks writes nothing there.

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
use super::batch::{Batch, Done};
use super::document_store::{DocumentStore, Named};
use super::rows::Rows;
use super::state::RebuildState;
use super::swap::{become_live, lock, upto, with_patience};
use super::{NEAR, PAUSES_MS, documents};

/// How long readers may have to wait behind one who reads for long, before they are let go on.
const READERS_MS: i64 = 100;
/// How often that may happen before rows are written instead.
const ATTEMPTS: u32 = 5;
/// How often it looks between attempts whether it is still wanted.
const LOOKS_MS: u64 = 200;

/// What became of it.
pub enum Outcome {
    /// The live table has the new files.
    Exchanged,
    /// Nothing: the rebuild, or the table, is not what it was.
    Changed,
    /// Nothing: too many events came, or one could not be folded.
    TooMuch,
    /// Nothing: somebody wants to change or drop the table, who must not wait for long: he may keep appends waiting.
    Wanted,
    /// Nothing: somebody has used the table all the time.
    InUse,
}

/// How it is to be done.
pub struct Exchange<'a> {
    /// The rebuild.
    pub state: &'a RebuildState,
    /// The projection as it will be.
    pub new: &'a Projection,
    /// The table of its documents.
    pub table: Oid,
    /// How long to wait for appends; `None`: as long as it takes, for readers, too.
    pub patience_ms: Option<i64>,
    /// Goes on trying while the table is in use.
    pub insists: bool,
}

/// What became of an in_subtransaction to lock all.
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
    /// Does it, or nothing.
    ///
    /// # Errors
    /// None but the end of the transaction: what went wrong is the inner result.
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
                state.advance(done.position, events, "swapping", since)?;
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

    /// What stands against going on: somebody has cancelled the rebuild, or begun it anew, or waits for the table.
    fn obstruction(&self) -> Result<Option<Outcome>> {
        let now = RebuildState::numbered(self.state.number, false)?;
        if !now.is_some_and(|now| now.is_where(self.state)) {
            return Ok(Some(Outcome::Changed));
        }
        Ok(is_awaited(self.table).then_some(Outcome::Wanted))
    }

    /// Folds what comes meanwhile until all is locked.
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

    /// Folds what has come meanwhile, until little is left.
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
        let shelf = DocumentStore::Files(files);
        let documents = documents(self.new)?;
        Ok(Batch::new(memory, shelf, state, self.new, documents))
    }

    /// Keeps appends out, folds what is left, keeps everybody out, and writes it. `Err`: somebody was in the way, who
    /// uses the table itself or not.
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
                Err(failure) if failure.state == "55P03" => Ok(Err(is_in_use.get())),
                Err(failure) => failure.raise(),
            }
        })
    }

    /// Locks all, folding in memory what is left: nothing is written, so it can be undone alone.
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
    /// Hands those documents of these ids that are there to `found`: id, document, version, position.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding.
    pub fn get(&self, ids: &[&str], mut found: impl FnMut(&str, Datum, i64, i64)) -> Result<()> {
        for id in ids {
            if let Some(stored) = self.indexed.find(id)? {
                // Where a document's last event was is not asked of one that is not changed.
                found(id, stored.doc, stored.version, 0);
            }
        }
        Ok(())
    }

    /// Keeps documents that have changed.
    ///
    /// # Errors
    /// PostgreSQL's own, by unwinding: 23505.
    pub fn put(&mut self, changed: &[Named]) -> Result<()> {
        let scratch = Scratch::new();
        let owner = self.owner;
        as_owner(owner, || {
            // First what goes: values of unique indexes may move from one document to another.
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

/// Runs what functions of indexes are called by.
fn as_owner<T>(owner: Oid, body: impl FnOnce() -> T) -> T {
    rights::as_role_restricted(owner, || rights::with_path(rights::SAFE_PATH, body))
}
