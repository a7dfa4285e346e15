//! `en57_context`: events, and up to where they are all, of one moment.

use crate::dcb::error::{Result, invalid};
use crate::dcb::query::Query;
use crate::store::row::door::Event;
use crate::store::row::srf::Source;

use super::{Options, Reading};

/// Which part of what matches.
#[derive(Clone, Copy)]
pub struct Part {
    /// Behind this position.
    pub after: i64,
    /// At most so many events, and not many more bytes than a page of them has; `None`: all.
    pub max_count: Option<i64>,
}

/// Hands the first events of a part to `sink`, and returns the position up to which none that matches is missing among
/// them: the last one's where more follow, the query's frontier where none does.
///
/// # Errors
/// As [`Reading::start`].
pub fn context(
    query: Option<Query>,
    part: Part,
    partition: Option<&str>,
    sink: &mut dyn FnMut(&Event) -> Result<()>,
) -> Result<i64> {
    let at_most = part.max_count.map(usize::try_from).transpose();
    let at_most = at_most.map_err(|_| invalid("max_count must not be negative"))?;
    let options = Options {
        after: part.after,
        ..Options::default()
    };
    let mut reading = Reading::start(query, options, partition)?;
    let frontier = reading.frontier();
    let Some(at_most) = at_most else {
        reading.each(sink)?;
        return Ok(frontier);
    };
    let mut last = part.after;
    let more = at_most == 0
        || reading.fill(at_most, &mut |event| {
            last = event.position();
            sink(event)
        })?;
    // The transaction's own events are shown beyond the frontier, where others' may be missing.
    Ok(if more { last.min(frontier) } else { frontier })
}
