//! Asynchronous projections: what is handled after the append, in transactions of its own.
//!
//! Position and effects are of one transaction: so each event is handled exactly once. The projection's row
//! is locked meanwhile, so that two who run it do not do the same.

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::query::JsonString;
use crate::read::frontier;
use crate::read::partitions::Partitions;
use crate::store::Datum;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::scratch::Scratch;
use crate::store::pg::spi::{self, Type};
use crate::store::pg::subtransaction::{Failure, in_subtransaction};
use crate::store::pg::{fmgr, json};
use crate::store::session::definitions::as_extension_owner;
use crate::store::session::transaction;
use crate::upcast::{self, ReadBy, Sought};

use super::apply::{Events, Item};
use super::definition::Projection;

/// Handles the events that are settled by now, at most so many; returns how many.
///
/// # Errors
/// 42501, 42704; 55000 where the projection is inline or has failed; the functions' own where they are none
/// of the event's making, like a deadlock: then the transaction ends as ever, and nothing has happened.
pub fn run(name: Option<&str>, max_events: Option<i64>) -> Result<i64> {
    let projection = super::manage::to_administer(name, "en57_run()")?;
    let name = &projection.name;
    let left = max_events.unwrap_or(i64::MAX);
    if left < 0 {
        return Err(Error::new(
            SqlState::InvalidParameter,
            "max_events must not be negative",
        ));
    }
    let refused = |message: String| Err(Error::new(SqlState::NotInPrerequisiteState, message));
    if projection.is_inline {
        return refused(format!("projection \"{name}\" is inline"))
            .map_err(|e| e.detail("It handles events as they are appended."));
    }
    match projection.status.as_str() {
        "running" => {}
        "paused" => return Ok(0),
        _ => {
            return refused(format!("projection \"{name}\" has failed")).map_err(|e| {
                e.hint("See last_error in en57_projections, then call en57_resume().")
            });
        }
    }
    let store = catalog::store()?;
    let mut places = Partitions::find(store, Some(&projection.partition), Access::Own)?;
    let sought = Sought::by(projection.query.clone(), &upcast::known()?);
    let head = frontier::of(store, &mut places, &sought)?;
    let mut progress = Progress::new(&projection, Deferral::Left);
    progress.go(head, left)?;
    progress.save()?;
    Ok(progress.handled)
}

/// When deferred constraints are checked of what a handler has written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deferral {
    /// At the end of the transaction: it is the caller's.
    Left,
    /// With the handler, so that it is known which event they refuse. It is the transaction of one batch.
    Ended,
}

/// How far a run has come.
pub struct Progress<'p> {
    projection: &'p Projection,
    deferral: Deferral,
    pub position: i64,
    handled: i64,
    /// Where it has stopped, and why.
    pub failed: Option<(i64, Failure)>,
}

impl<'p> Progress<'p> {
    /// Begins where the projection is, whose row is locked.
    pub fn new(projection: &'p Projection, deferral: Deferral) -> Self {
        Self {
            projection,
            deferral,
            position: projection.position,
            handled: 0,
            failed: None,
        }
    }

    /// Handles the events up to the query's frontier, at most so many.
    ///
    /// # Errors
    /// As [`run`].
    pub fn go(&mut self, head: i64, mut left: i64) -> Result<()> {
        let mut events = Events::new(self.projection, self.position, head)?;
        let way = events.way();
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
            scratch.run(|| self.handle(&items, &way))?;
            scratch.reset();
        }
        Ok(())
    }

    /// Handles events together; where that fails, one by one, to find the one that does.
    fn handle(&mut self, items: &[Item], way: &ReadBy) -> Result<()> {
        let together = in_subtransaction(|| self.try_to_handle(items, way))?;
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
                        self.handle(some, way)?;
                    }
                }
                return Ok(());
            }
            Err(_) => {}
        }
        for item in items {
            let one = std::slice::from_ref(item);
            match in_subtransaction(|| self.try_to_handle(one, way))? {
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

    fn try_to_handle(&self, items: &[Item], way: &ReadBy) -> Result<()> {
        self.projection.handle(items, way)?;
        match self.deferral {
            Deferral::Left => Ok(()),
            Deferral::Ended => spi::command("SET CONSTRAINTS ALL IMMEDIATE"),
        }
    }

    fn advance(&mut self, items: &[Item]) {
        self.handled += items.len() as i64;
        self.position = items.last().map_or(self.position, |i| i.position);
    }

    /// Puts an event aside, or stops before it.
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
        let (failed_position, error) = match &self.failed {
            Some((position, failure)) => (
                Some(Datum::from(*position)),
                Some(error_json(failure, None)?),
            ),
            None => (None, None),
        };
        let status = if self.failed.is_some() {
            "failed"
        } else {
            "running"
        };
        let name = fmgr::make_varlena(self.projection.name.as_bytes());
        // Two statements: a change of the status is told to every backend.
        as_extension_owner(|| {
            spi::run(
                "UPDATE en57.projections SET position = $2, last_error = NULL, updated_at = clock_timestamp() WHERE name = $1",
                &[
                    (Type::Text, Some(name)),
                    (Type::Bigint, Some(Datum::from(self.position))),
                ],
            )?;
            if self.failed.is_some() {
                spi::run(
                    "UPDATE en57.projections SET status = $2, failed_position = $3, last_error = $4 WHERE name = $1",
                    &[
                        (Type::Text, Some(name)),
                        (Type::Text, Some(fmgr::make_varlena(status.as_bytes()))),
                        (Type::Bigint, failed_position),
                        (Type::Jsonb, error),
                    ],
                )?;
            }
            Ok(())
        })?;
        transaction::wake_at_commit();
        Ok(())
    }
}

/// An error as `last_error` shows it, with how often in a row it was met, where that is counted.
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
                (Type::Text, Some(fmgr::make_varlena(projection.as_bytes()))),
                (Type::Bigint, Some(Datum::from(position))),
                (Type::Jsonb, Some(error)),
            ],
        )
        .map(drop)
    })
}

/// Puts the event aside at which a projection has failed.
pub fn put_aside_failed(projection: &str) -> Result<()> {
    as_extension_owner(|| {
        spi::run(
            "INSERT INTO en57.projection_dead_letters (projection, position, error)
             SELECT name, failed_position, last_error FROM en57.projections WHERE name = $1",
            &[(Type::Text, Some(fmgr::make_varlena(projection.as_bytes())))],
        )
        .map(drop)
    })
}
