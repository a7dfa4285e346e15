//! Documents of a new inline projection are made of what is stored while appends go on. These are kept out for the last
//! events alone.
//!
//! What others do meanwhile can make documents wrong that are made already: they erase events, or replace a function or
//! an upcaster. It shows when appends are kept out, and then all of it is undone, and done again with them kept out.

use std::cell::Cell;

use crate::dcb::error::{Error, Result, SqlState};
use crate::erase;
use crate::frontier;
use crate::store::attempt::attempt;
use crate::store::partition::{Access, Partition};
use crate::upcast::{self, Sought};

use super::definition::{Projection, Work, by_name};
use super::{activate, exclude_appends, rebuild, set};

/// So many positions are left to be handled while appends are kept out.
const FEW: i64 = 2_000;
/// How often it is tried to come so near. Where appends are as quick as documents are made, it cannot be done.
const ROUNDS: usize = 8;

/// Makes a projection by `make`, paused and where it is to begin, and brings it up to date. Returns `false`, with nothing
/// made, where documents could be wrong.
///
/// # Errors
/// Those of `make` and of the functions.
pub fn bring_up(name: &str, place: &Partition, make: impl FnOnce() -> Result<()>) -> Result<bool> {
    let is_wrong = Cell::new(false);
    let outcome = attempt(|| {
        make()?;
        let projection = by_name(Some(name), true)?;
        let before = Moment::of(&projection)?;
        let position = handle_most(&projection)?;
        set(name, "paused", position)?;
        exclude_appends(place)?;
        if Moment::of(&projection)? != before {
            is_wrong.set(true);
            return Err(Error::new(
                SqlState::Internal,
                "documents are to be made anew",
            ));
        }
        activate(name)
    })?;
    match outcome {
        Ok(()) => Ok(true),
        Err(_) if is_wrong.get() => Ok(false),
        Err(failure) => failure.raise(),
    }
}

/// Handles what is settled, until few positions are left. Returns up to where.
fn handle_most(projection: &Projection) -> Result<i64> {
    let mut position = projection.position;
    for _ in 0..ROUNDS {
        let sought = Sought::by(projection.query.clone(), &upcast::known()?);
        let head = frontier::settled(&sought, Some(&projection.partition), Access::Own)?;
        if head - position < FEW {
            break;
        }
        projection.handle_range(position, head, &|_| None)?;
        position = head;
    }
    Ok(position)
}

/// What documents depend on beside the events that come.
#[derive(PartialEq)]
struct Moment {
    /// Functions and upcasters.
    functions: Option<String>,
    /// How many erasures there were in the partition.
    erasures: usize,
}

impl Moment {
    fn of(projection: &Projection) -> Result<Self> {
        let functions = match &projection.work {
            Work::Documents(documents) => rebuild::functions_of(projection, documents)?,
            Work::Handler(_) => None,
        };
        Ok(Self {
            functions,
            erasures: erase::count(&projection.partition)?,
        })
    }
}
