//! Replaying dead letters: events that have failed are handled after all.
//!
//! A handler is called with the event. Documents are folded again from their first event on, so that the event comes in
//! position order. Each event has a subtransaction: if it fails again, it stays a dead letter.

use crate::dcb::error::Result;
use crate::store::Datum;
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::subtransaction::{Failure, in_subtransaction};
use crate::store::session::definitions::as_extension_owner;
use crate::store::session::transaction;

use super::definition::{Projection, Work};
use super::erasure::Refolding;
use super::run::error_json;

/// Dead letters whose positions are read together.
const LETTERS_AT_ONCE: i64 = 1000;

/// Lets a projection handle all its dead letters, or the one at a position; returns how many it has handled.
///
/// # Errors
/// 42501, 42704; those of the functions where they are none of the event's making.
pub fn replay(name: Option<&str>, position: Option<i64>) -> Result<i64> {
    let projection = super::manage::to_administer(name, "en57_replay_projection_dead_letters()")?;
    let mut refolding = match &projection.work {
        Work::Documents(_) => Some(Refolding::of(&projection.name)?),
        Work::Handler(_) => None,
    };
    let (mut handled, mut after) = (0, position.map_or(0, |p| p.saturating_sub(1)));
    loop {
        let positions = letters(&projection.name, after, position.unwrap_or(i64::MAX))?;
        for position in &positions {
            pgrx::check_for_interrupts!();
            let outcome = in_subtransaction(|| {
                forget(&projection.name, *position)?;
                match &mut refolding {
                    Some(refolding) => refolding.refold(*position),
                    None => projection.handle_range(position - 1, *position, &|_| None),
                }
            })?;
            match outcome {
                Ok(()) => handled += 1,
                Err(failure) if failure.is_transient() => return failure.raise(),
                Err(failure) => note(&projection, *position, &failure)?,
            }
        }
        let Some(last) = positions.last() else {
            break;
        };
        after = *last;
    }
    if handled > 0 {
        transaction::wake_at_commit();
    }
    Ok(handled)
}

/// The positions of the first dead letters of a range.
fn letters(projection: &str, after: i64, upto: i64) -> Result<Vec<i64>> {
    let number = |n: i64| (Type::Bigint, Some(Datum::from(n)));
    let rows = as_extension_owner(|| {
        spi::run(
            "SELECT position FROM en57.projection_dead_letters
              WHERE projection = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4",
            &[
                text(projection),
                number(after),
                number(upto),
                number(LETTERS_AT_ONCE),
            ],
        )
    })?;
    let position = |row: &spi::Values| row[0].map(|d| d.value() as i64);
    Ok(rows.iter().filter_map(position).collect())
}

fn forget(projection: &str, position: i64) -> Result<()> {
    as_extension_owner(|| {
        spi::run(
            "DELETE FROM en57.projection_dead_letters WHERE projection = $1 AND position = $2",
            &[
                text(projection),
                (Type::Bigint, Some(Datum::from(position))),
            ],
        )
        .map(drop)
    })
}

/// Stores that a dead letter has failed again.
fn note(projection: &Projection, position: i64, failure: &Failure) -> Result<()> {
    let error = error_json(failure, None)?;
    as_extension_owner(|| {
        spi::run(
            "UPDATE en57.projection_dead_letters SET error = $3, attempts = attempts + 1, put_aside_at = clock_timestamp()
              WHERE projection = $1 AND position = $2",
            &[
                text(&projection.name),
                (Type::Bigint, Some(Datum::from(position))),
                (Type::Jsonb, Some(error)),
            ],
        )
        .map(drop)
    })
}
