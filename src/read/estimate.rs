//! About how many events a read returns, for the planner. It looks at two pages of the index for each key, and at no row.

use crate::dcb::error::Result;
use crate::dcb::query::{Criterion, Query};
use crate::store::index::scan::{self, Range};
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::row::table::Opened;
use crate::upcast::Sought;

use super::partitions::Partitions;

/// So many keys are looked for at most: a query of thousands is not to be planned for longer than it is read.
const KEYS_AT_MOST: usize = 64;

/// What a stream's prefix leaves, nobody knows: PostgreSQL expects that of a pattern.
const PREFIX_PART: f64 = 0.05;

/// About how many events match in a range of positions.
///
/// # Errors
/// As [`super::Reading::start`], but it waits for nothing.
pub fn events(query: Option<Query>, range: Range, partition: Option<&str>) -> Result<f64> {
    let store = catalog::store()?;
    let partitions = Partitions::find(store, partition, Access::Read)?;
    let sought = Sought::now(query.unwrap_or_else(Query::everything))?;
    let mut events = 0.0;
    for table in partitions.open(store, &sought)? {
        if sought.stored().is_everything() {
            events += scan::about(&table, None, range)?;
            continue;
        }
        let mut left = KEYS_AT_MOST;
        for criterion in sought.stored().criteria() {
            events += of_criterion(&table, criterion, range, &mut left)?;
        }
    }
    Ok(events)
}

/// No more than a caller has asked for.
pub fn at_most(events: f64, count: Option<i64>) -> f64 {
    count.map_or(events, |count| events.min(count.max(0) as f64))
}

/// By the rarest of its groups of keys. How often they meet is not known, but that tags which are asked for together mostly
/// belong together.
fn of_criterion(
    table: &Opened,
    criterion: &Criterion,
    range: Range,
    left: &mut usize,
) -> Result<f64> {
    let range = Range {
        after: range.after.max(criterion.after.unwrap_or(0)),
        ..range
    };
    let mut rarest: Option<f64> = None;
    for group in scan::key_groups(criterion) {
        if group.len() > *left {
            continue;
        }
        *left -= group.len();
        let mut events = 0.0;
        for key in group {
            events += scan::about(table, Some(key), range)?;
        }
        rarest = Some(rarest.map_or(events, |r| r.min(events)));
    }
    match rarest {
        Some(events) => Ok(events),
        None if criterion.has_keys() => Ok(100.0),
        None => {
            let part = criterion.lone_prefix().map_or(1.0, |_| PREFIX_PART);
            Ok(scan::about(table, None, range)? * part)
        }
    }
}
