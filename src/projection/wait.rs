//! Waiting until a projection has handled what is in the log.

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::read;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::xmin::XminRelease;
use crate::store::session::sleep;

use super::definition::by_name;
use super::status::Status;

/// Sleeps until a projection has handled all events up to a position, or the time is over; returns whether
/// it has.
///
/// # Errors
/// 42501, 42704; 55000 where the projection has failed before that position.
pub fn wait(
    name: Option<&str>,
    upto: Option<i64>,
    timeout_ms: u64,
    leave: XminRelease,
) -> Result<bool> {
    let projection = by_name(name, false)?;
    catalog::store()?.partition(Some(&projection.partition), Access::Watch)?;
    if upto.is_some_and(|p| p < 0) {
        return Err(invalid("position must not be negative"));
    }
    let upto = match upto {
        Some(position) => position,
        None => read::head(Some(projection.query), Some(&projection.partition))?,
    };
    sleep::wait_until(Some(timeout_ms), leave, || {
        let projection = by_name(name, false)?;
        if projection.position >= upto || projection.runs_inline() {
            return Ok(true);
        }
        if projection.status == Status::Failed {
            let at = projection.failed_position;
            let at = at.map_or(String::new(), |p| format!(" at position {p}"));
            return Err(Error::new(
                SqlState::NotInPrerequisiteState,
                format!("projection \"{}\" has failed{at}", projection.name),
            )
            .hint("See last_error in en57_projections, then call en57_resume()."));
        }
        Ok(false)
    })
}
