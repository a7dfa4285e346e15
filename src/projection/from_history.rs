//! A new inline projection makes documents of the stored events while appends go on. Appends are excluded only for the
//! last events.
//!
//! Meanwhile others can make these documents wrong: they erase events, or replace a function or an upcaster. This is
//! checked after appends are excluded. If it has happened, everything is undone and done again without appends.

use crate::dcb::error::Result;
use crate::definition::erasure;
use crate::read::catch_up;
use crate::store::log::partition::{Partition, exclude_appends};
use crate::store::pg::subtransaction::{Failure, Then, in_subtransaction_then};
use crate::upcast::{self, Sought};

use super::definition::{Projection, Work, by_name};
use super::manage::{activate, set};
use super::rebuild;
use super::status::Status;

/// Calls `make`, which makes a paused projection at its start position, and brings it up to date. Returns `false`, with
/// everything undone, if documents could be wrong.
///
/// # Errors
/// Those of `make` and of the functions.
pub fn bring_up(
    name: &str,
    partition: &Partition,
    make: impl FnOnce() -> Result<()>,
) -> Result<bool> {
    let outcome = in_subtransaction_then(|| {
        make()?;
        let projection = by_name(Some(name), true)?;
        let before = Basis::of(&projection)?;
        let sought = Sought::by(projection.query.clone(), &upcast::known()?);
        let take = |after, upto| projection.handle_range(after, upto, &|_| None);
        let position =
            catch_up::take_most(&sought, &projection.partition, projection.position, take)?;
        set(name, Status::Paused, position)?;
        exclude_appends(partition)?;
        if Basis::of(&projection)? != before {
            return Ok((false, Then::Undo));
        }
        activate(name)?;
        Ok((true, Then::Keep))
    })?;
    outcome.or_else(Failure::raise)
}

/// What documents depend on beside the events that are appended.
#[derive(PartialEq)]
struct Basis {
    /// A hash of functions and upcasters.
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
