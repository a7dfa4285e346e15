//! Async projections: they handle events after the append, in other transactions.
//!
//! **Invariant:** one transaction commits the effects of the handler and the new position, so each event is handled exactly
//! once. It holds the lock of the projection's row, so no other session handles the same events.

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::dcb::query::JsonString;
use crate::read::frontier;
use crate::read::partitions::Partitions;
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::json;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::subtransaction::{Failure, in_subtransaction};
use crate::store::session::definitions::as_extension_owner;
use crate::store::session::transaction;
use crate::upcast::{self, ReadBy, Sought};

use super::apply::{Events, Item};
use super::definition::Projection;
use super::status::Status;

/// Handles the events that are settled by now, `max_events` at most; returns how many it has handled.
///
/// # Errors
/// 42501, 42704; 55000 if the projection is inline or has failed; transient errors of functions, like a deadlock: then
/// nothing is stored.
pub fn run(name: Option<&str>, max_events: Option<i64>) -> Result<i64> {
    let projection = super::manage::to_administer(name, "en57_run()")?;
    let name = &projection.name;
    let left = max_events.unwrap_or(i64::MAX);
    if left < 0 {
        return Err(invalid("max_events must not be negative"));
    }
    let refused = |message: String| Err(Error::new(SqlState::NotInPrerequisiteState, message));
    if projection.is_inline {
        return refused(format!("projection \"{name}\" is inline"))
            .map_err(|e| e.detail("It handles events as they are appended."));
    }
    match projection.status {
        Status::Running => {}
        Status::Paused => return Ok(0),
        Status::Failed => {
            return refused(format!("projection \"{name}\" has failed")).map_err(|e| {
                e.hint("See last_error in en57_projections, then call en57_resume().")
            });
        }
    }
    let store = catalog::store()?;
    let mut partitions = Partitions::find(store, Some(&projection.partition), Access::Own)?;
    let sought = Sought::by(projection.query.clone(), &upcast::known()?);
    let head = frontier::of(store, &mut partitions, &sought)?;
    let mut progress = Progress::new(&projection, Deferral::Left);
    progress.go(head, left)?;
    progress.save()?;
    Ok(progress.handled)
}

/// When PostgreSQL checks deferred constraints on what a handler has written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deferral {
    /// At the end of the transaction, which is the caller's.
    Left,
    /// After each call of the handler, so that the event is known which a constraint refuses. The transaction is that of
    /// one batch.
    Ended,
}

/// How far a run has come.
pub struct Progress<'p> {
    projection: &'p Projection,
    deferral: Deferral,
    /// All events up to here are done.
    pub position: i64,
    handled: i64,
    /// The event before which it has stopped, and the error.
    pub failed: Option<(i64, Failure)>,
}

impl<'p> Progress<'p> {
    /// A run that begins at the position of a projection, which the caller has locked.
    pub fn new(projection: &'p Projection, deferral: Deferral) -> Self {
        Self {
            projection,
            deferral,
            position: projection.position,
            handled: 0,
            failed: None,
        }
    }

    /// Handles the events up to the query's frontier, `left` at most.
    ///
    /// # Errors
    /// As [`run`].
    pub fn go(&mut self, head: i64, mut left: i64) -> Result<()> {
        let mut events = Events::new(self.projection, self.position, head)?;
        let read_by = events.read_by();
        let scratch = Scratch::new();
        while self.failed.is_none() {
            let at_most = left.min(self.projection.at_once() as i64) as usize;
            let items = scratch.run(|| events.next(at_most, &|_| None))?;
            if items.is_empty() {
                if left > 0 {
                    self.position = self.position.max(head);
                }
                break;
            }
            left -= items.len() as i64;
            scratch.run(|| self.handle(&items, &read_by))?;
            scratch.reset();
        }
        Ok(())
    }

    /// Handles events together. If that fails, handles them one by one to find the one that fails.
    fn handle(&mut self, items: &[Item], read_by: &ReadBy) -> Result<()> {
        let together = in_subtransaction(|| self.try_to_handle(items, read_by))?;
        match together {
            Ok(()) => {
                self.advance(items);
                return Ok(());
            }
            Err(failure) if failure.is_transient() => return failure.raise(),
            Err(failure) if items.len() == 1 => return self.refuse(&items[0], failure),
            Err(_) if items.len() > self.projection.batch_size => {
                for some in items.chunks(self.projection.batch_size) {
                    if self.failed.is_none() {
                        self.handle(some, read_by)?;
                    }
                }
                return Ok(());
            }
            Err(_) => {}
        }
        for item in items {
            let one = std::slice::from_ref(item);
            match in_subtransaction(|| self.try_to_handle(one, read_by))? {
                Ok(()) => self.advance(one),
                Err(failure) if failure.is_transient() => return failure.raise(),
                Err(failure) => self.refuse(item, failure)?,
            }
            if self.failed.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn try_to_handle(&self, items: &[Item], read_by: &ReadBy) -> Result<()> {
        self.projection.handle(items, read_by)?;
        match self.deferral {
            Deferral::Left => Ok(()),
            Deferral::Ended => spi::command("SET CONSTRAINTS ALL IMMEDIATE"),
        }
    }

    fn advance(&mut self, items: &[Item]) {
        self.handled += items.len() as i64;
        self.position = items.last().map_or(self.position, |i| i.position);
    }

    /// Makes an event a dead letter, or stops before it.
    fn refuse(&mut self, item: &Item, failure: Failure) -> Result<()> {
        if !self.projection.skips {
            self.failed = Some((item.position, failure));
            return Ok(());
        }
        put_aside(
            &self.projection.name,
            item.position,
            error_json(&failure, None)?,
        )?;
        self.position = item.position;
        Ok(())
    }

    /// Stores how far it has come.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn save(&self) -> Result<()> {
        if self.failed.is_none() && self.position == self.projection.position {
            return Ok(());
        }
        let failed = match &self.failed {
            Some((position, failure)) => Some((*position, error_json(failure, None)?)),
            None => None,
        };
        let name = text(&self.projection.name);
        // Two statements: a change of the status makes every backend load its definitions again.
        as_extension_owner(|| {
            spi::run(
                "UPDATE en57.projections SET position = $2, last_error = NULL, updated_at = clock_timestamp() WHERE name = $1",
                &[name, (Type::Bigint, Some(Datum::from(self.position)))],
            )?;
            if let Some((position, error)) = failed {
                spi::run(
                    "UPDATE en57.projections SET status = $2, failed_position = $3, last_error = $4 WHERE name = $1",
                    &[
                        name,
                        Status::Failed.parameter(),
                        (Type::Bigint, Some(Datum::from(position))),
                        (Type::Jsonb, Some(error)),
                    ],
                )?;
            }
            Ok(())
        })?;
        transaction::wake_at_commit();
        Ok(())
    }
}

/// An error as `last_error` shows it, with the number of attempts in a row that met it, if they are counted.
///
/// # Errors
/// None but those of memory.
pub fn error_json(failure: &Failure, attempts: Option<u32>) -> Result<Datum> {
    let mut out = format!(
        "{{\"sqlstate\": {}, \"message\": {}",
        JsonString(&failure.state),
        JsonString(&failure.message)
    );
    for (key, text) in [
        ("detail", &failure.detail),
        ("hint", &failure.hint),
        ("context", &failure.context),
    ] {
        if let Some(text) = text {
            out.push_str(&format!(", \"{key}\": {}", JsonString(text)));
        }
    }
    if let Some(attempts) = attempts {
        out.push_str(&format!(", \"attempts\": {attempts}"));
    }
    out.push('}');
    json::parse(&out, "")
}

fn put_aside(projection: &str, position: i64, error: Datum) -> Result<()> {
    as_extension_owner(|| {
        spi::run(
            "INSERT INTO en57.projection_dead_letters (projection, position, error) VALUES ($1, $2, $3)",
            &[
                text(projection),
                (Type::Bigint, Some(Datum::from(position))),
                (Type::Jsonb, Some(error)),
            ],
        )
        .map(drop)
    })
}

/// Makes the event at which a projection has failed a dead letter.
pub fn put_aside_failed(projection: &str) -> Result<()> {
    as_extension_owner(|| {
        spi::run(
            "INSERT INTO en57.projection_dead_letters (projection, position, error)
             SELECT name, failed_position, last_error FROM en57.projections WHERE name = $1",
            &[text(projection)],
        )
        .map(drop)
    })
}
