//! Documents of a new inline projection are made of what is stored while appends go on. These are kept out for the last
//! events alone.
//!
//! What others do meanwhile can make documents wrong that are made already: they erase events, or replace a function or
//! an upcaster. It shows when appends are kept out, and then all of it is undone, and done again with them kept out.

use crate::dcb::error::Result;
use crate::definition::erasure;
use crate::read::catch_up;
use crate::store::log::partition::{Partition, exclude_appends};
use crate::store::pg::subtransaction::{Failure, Then, in_subtransaction_then};
use crate::upcast::{self, Sought};

use super::definition::{Projection, Work, by_name};
use super::manage::{activate, set};
use super::rebuild;

/// Makes a projection by `make`, paused and where it is to begin, and brings it up to date. Returns `false`, with nothing
/// made, where documents could be wrong.
///
/// # Errors
/// Those of `make` and of the functions.
pub fn bring_up(name: &str, place: &Partition, make: impl FnOnce() -> Result<()>) -> Result<bool> {
    let outcome = in_subtransaction_then(|| {
        make()?;
        let projection = by_name(Some(name), true)?;
        let before = Basis::of(&projection)?;
        let sought = Sought::by(projection.query.clone(), &upcast::known()?);
        let take = |after, upto| projection.handle_range(after, upto, &|_| None);
        let position =
            catch_up::take_most(&sought, &projection.partition, projection.position, take)?;
        set(name, "paused", position)?;
        exclude_appends(place)?;
        if Basis::of(&projection)? != before {
            return Ok((false, Then::Undo));
        }
        activate(name)?;
        Ok((true, Then::Keep))
    })?;
    outcome.or_else(Failure::raise)
}

/// What documents depend on beside the events that come.
#[derive(PartialEq)]
struct Basis {
    /// Functions and upcasters.
    functions: Option<String>,
    /// How many erasures there were in the partition.
    erasures: usize,
}

impl Basis {
    fn of(projection: &Projection) -> Result<Self> {
        let functions = match &projection.work {
            Work::Documents(documents) => rebuild::functions_of(projection, documents)?,
            Work::Handler(_) => None,
        };
        Ok(Self {
            functions,
            erasures: erasure::count(&projection.partition)?,
        })
    }
}
