//! Waiting for the log to move on.

use crate::dcb::error::{Result, invalid};
use crate::dcb::query::Query;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::log::position::Counter;
use crate::store::pg::xmin::XminRelease;
use crate::store::session::{definitions, sleep};
use crate::upcast::{self, Sought};

use super::partitions::Partitions;
use super::{Options, Reading};

/// Returns the frontier (the query's, where one is given) as soon as it is beyond `after` and, with a
/// query, an event after it matches; or as it stands when the time is over.
///
/// # Errors
/// 42501, 42704, 22023; PostgreSQL's own when it is cancelled.
pub fn wait(
    after: i64,
    timeout_ms: u64,
    query: Option<&Query>,
    partition: Option<&str>,
    leave: XminRelease,
) -> Result<i64> {
    if after < 0 {
        return Err(invalid("after must not be negative"));
    }
    let store = catalog::store()?;
    let mut partitions = Partitions::find(store, partition, Access::Watch)?;
    let counter = Counter::of(store)?;
    let everything = Query::everything();
    let mut frontier = 0;
    // What was looked at once is settled: each event is looked at once only, unless it gets another name.
    let mut seen = after;
    let mut definitions = upcast::for_readers()?;
    sleep::wait_until(Some(timeout_ms), leave, || {
        partitions.renew(store)?;
        definitions::accept_changes();
        let now = upcast::for_readers()?;
        if now.chains().renames_unlike(definitions.chains()) {
            seen = after;
        }
        definitions = now;
        let sought = Sought::by(query.unwrap_or(&everything).clone(), &definitions);
        frontier = partitions.current_frontier(&counter, &sought);
        if frontier <= seen {
            return Ok(false);
        }
        let Some(query) = query else { return Ok(true) };
        let options = Options {
            after: seen,
            upto: frontier,
            max_count: 1,
            ..Options::default()
        };
        let mut found = false;
        Reading::settled(query.clone(), options, partition, frontier)?.each_row(|_| {
            found = true;
            Ok(())
        })?;
        seen = frontier;
        Ok(found)
    })?;
    Ok(frontier)
}
