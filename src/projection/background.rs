//! The worker's part of async projections: a survey finds those that have events to handle, and each of them handles one
//! batch in a transaction of its own.

use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::query::Query;
use crate::read::{self, frontier};
use crate::store::log::partition::Access;
use crate::store::pg::rights;
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::subtransaction::Failure;
use crate::store::session::definitions::as_extension_owner;
use crate::store::session::transaction;
use crate::store::{Datum, Oid};
use crate::upcast::{self, Definitions, Sought};

use super::definition::{self, Projection};
use super::run::{Deferral, Progress, error_json};
use super::status::Status;

/// A running async projection, as it was at a survey.
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Tells it from another one that has had the name before.
    pub number: i64,
    /// All events up to here are handled.
    pub position: i64,
    /// Which events it takes.
    query: Query,
    /// The role as which it runs.
    pub role: Option<Oid>,
    /// What there is to do.
    pub todo: ToDo,
}

/// What there is to do for a projection.
pub enum ToDo {
    /// It was not looked at.
    Unknown,
    /// There are events to handle.
    Due,
    /// There are none up to here.
    NoneUpTo(i64),
}

/// The running async projections. `looked` gets the number and the position of each and returns the position after which
/// to look for events, or `None` if the survey is to leave the projection out.
///
/// # Errors
/// 55000 where tables are missing; those of reading.
pub fn survey(mut looked: impl FnMut(i64, i64) -> Option<i64>) -> Result<Vec<Standing>> {
    let upcasters = upcast::known()?;
    let standing = |projection: Projection| {
        let todo = match looked(projection.number, projection.position) {
            None => ToDo::Unknown,
            // If something is wrong, the batch meets the same error and reports it.
            Some(after) => look(&projection, after, &upcasters).unwrap_or(ToDo::Due),
        };
        Standing {
            todo,
            role: projection.role(),
            number: projection.number,
            position: projection.position,
            query: projection.query,
            name: projection.name,
        }
    };
    let all = definition::running_async()?;
    Ok(all.into_iter().map(standing).collect())
}

fn look(projection: &Projection, after: i64, upcasters: &Rc<Definitions>) -> Result<ToDo> {
    let head = head(projection, upcasters)?;
    if head <= after {
        return Ok(ToDo::NoneUpTo(head));
    }
    let (query, partition) = (projection.query.clone(), &projection.partition);
    Ok(if read::is_anything_in(query, partition, after, head)? {
        ToDo::Due
    } else {
        ToDo::NoneUpTo(head)
    })
}

/// The frontier of a projection's query. It does not wait for transactions in flight: one that does not end must not stop
/// the worker.
fn head(projection: &Projection, upcasters: &Rc<Definitions>) -> Result<i64> {
    let sought = Sought::by(projection.query.clone(), upcasters);
    frontier::settled(&sought, Some(&projection.partition), Access::Own)
}

/// The outcome of a batch.
pub enum BatchOutcome {
    /// Another session has locked the projection, or it was dropped.
    Taken,
    /// The projection was changed after the survey.
    Changed,
    /// It has come up to this position.
    At(i64),
    /// It has failed at this position.
    Failed(i64, String),
}

/// Handles one batch, in a transaction that is the projection's alone and has its role.
///
/// # Errors
/// 55000 where tables are missing, 42704 where the partition is gone; the functions' own where they are none
/// of an event's making.
pub fn run_batch(standing: &Standing) -> Result<BatchOutcome> {
    let Some(projection) = definition::locked_nowait(standing.number)? else {
        return Ok(BatchOutcome::Taken);
    };
    let is_running = !projection.is_inline && projection.status == Status::Running;
    if !is_running || projection.role() != standing.role {
        return Ok(BatchOutcome::Changed);
    }
    // For deferred triggers, which run at the end of the batch or of the transaction.
    rights::set_local(c"search_path", &projection.path);
    let head = head(&projection, &upcast::known()?)?;
    let mut progress = Progress::new(&projection, Deferral::Ended);
    progress.go(head, projection.batch_size as i64)?;
    progress.save()?;
    Ok(match progress.failed {
        None => BatchOutcome::At(progress.position),
        Some((position, failure)) => BatchOutcome::Failed(position, failure.in_words()),
    })
}

/// Moves the positions of projections up over events that are not theirs. No event of theirs is between their position at
/// the survey and the new one. The commit does not wait for the disk: if a crash loses a move, it is made again.
///
/// # Errors
/// 55000 where the table is missing.
pub fn move_up(moves: &[(&Standing, i64)]) -> Result<()> {
    rights::set_local(c"synchronous_commit", c"off");
    as_extension_owner(|| {
        for (standing, upto) in moves {
            spi::run(
                "UPDATE en57.projections SET position = $4, updated_at = clock_timestamp()
                  WHERE name = (SELECT p.name FROM en57.projections p
                                 WHERE p.name = $1 AND p.number = $2 AND p.position = $3 AND p.status = $6
                                   AND p.query::text = $5 FOR UPDATE SKIP LOCKED)",
                &[
                    text(&standing.name),
                    (Type::Bigint, Some(Datum::from(standing.number))),
                    (Type::Bigint, Some(Datum::from(standing.position))),
                    (Type::Bigint, Some(Datum::from(*upto))),
                    text(&standing.query.to_string()),
                    Status::Running.parameter(),
                ],
            )?;
        }
        Ok(())
    })?;
    transaction::wake_at_commit();
    Ok(())
}

/// Stores the error that keeps a projection from going on. With `fails`, the projection is not tried again: its status
/// becomes failed.
///
/// # Errors
/// 55000 where the table is missing.
pub fn note_trouble(
    standing: &Standing,
    failure: &Failure,
    attempts: u32,
    fails: bool,
) -> Result<()> {
    let error = error_json(failure, Some(attempts))?;
    let name = text(&standing.name);
    let number = (Type::Bigint, Some(Datum::from(standing.number)));
    as_extension_owner(|| {
        let free = spi::run(
            "SELECT 1 FROM en57.projections WHERE name = $1 AND number = $2 AND status = $3
                FOR UPDATE SKIP LOCKED",
            &[name, number, Status::Running.parameter()],
        )?;
        if free.is_empty() {
            return Ok(());
        }
        spi::run(
            "UPDATE en57.projections SET last_error = $2, updated_at = clock_timestamp() WHERE name = $1",
            &[name, (Type::Jsonb, Some(error))],
        )?;
        if fails {
            // A statement of its own, since a change of the status makes every backend load its definitions again.
            spi::run(
                "UPDATE en57.projections SET status = $2 WHERE name = $1",
                &[name, Status::Failed.parameter()],
            )?;
            transaction::wake_at_commit();
        }
        Ok(())
    })
}
