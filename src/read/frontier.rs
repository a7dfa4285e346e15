//! The frontier of a query: the position as of which nothing that matches it is missing. See
//! docs/architecture/frontiers.md for why it is exact.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/frontiers.md"))]

use crate::dcb::codec;
use crate::dcb::error::Result;
use crate::dcb::query::{Criterion, Query};
use crate::store::index::scan;
use crate::store::lock::keys;
use crate::store::log::catalog::{self, Store};
use crate::store::log::partition::{Access, Partition};
use crate::store::log::position::Counter;
use crate::store::pg::settings;
use crate::store::pg::xmin::XminRelease;
use crate::store::session::sleep::{self, Look};
use crate::store::session::transaction;
use crate::upcast::Sought;

use super::partitions::Partitions;
use super::writers;

/// Beyond so many keys a query's frontier is the partition's: asking who holds each would
/// cost more than it gains.
const KEYS_ASKED: usize = 256;

/// The position as of which nothing that matches the query is missing, for this caller.
///
/// # Errors
/// N5706 where the session's own newest append stays behind a transaction in flight for too long; 40P01 where that one
/// waits for this session.
pub fn of(store: &'static Store, partitions: &mut Partitions, sought: &Sought) -> Result<i64> {
    let encoded = codec::encode(sought.stored());
    if let Some(kept) = transaction::kept_frontier(partitions.key(), &encoded) {
        return Ok(kept);
    }
    let counter = Counter::of(store)?;
    let mut result = partitions.current_frontier(&counter, sought);
    let own = partitions
        .iter()
        .map(|p| own_last(p, sought.stored()))
        .max()
        .unwrap_or(0);
    if result < own && transaction::bounded_next(counter.next()) > own {
        let timeout_ms = Some(settings::wait_timeout_ms()).filter(|ms| *ms > 0);
        let reached = sleep::until(timeout_ms, XminRelease::NONE, || {
            partitions.renew(store)?;
            let (frontier, blocker) = partitions.kept_frontier(&counter, sought);
            result = frontier;
            Ok(match blocker {
                _ if result >= own => Look::Ready,
                Some(backend) => Look::Behind(backend),
                None => Look::NotYet,
            })
        })?;
        if !reached {
            return Err(keys::waited_too_long(
                "the session's own last append to become readable",
            ));
        }
    }
    transaction::keep_frontier(partitions.key(), &encoded, result);
    Ok(result)
}

/// The frontier of a query, without waiting: the session's own newest append may be beyond it. Where reads repeat, it
/// is that of the reads before, if there were any.
pub fn now(counter: &Counter, partitions: &Partitions, sought: &Sought) -> i64 {
    let encoded = codec::encode(sought.stored());
    transaction::kept_frontier(partitions.key(), &encoded)
        .unwrap_or_else(|| partitions.current_frontier(counter, sought))
}

/// The frontier of a query in one partition as it stands, whatever was read before.
pub fn current(counter: &Counter, partition: &Partition, sought: &Sought) -> i64 {
    kept(counter, partition, sought).0
}

/// The frontier of a query as it stands, and the backend whose transaction keeps it there, if one does.
pub fn kept(counter: &Counter, partition: &Partition, sought: &Sought) -> (i64, Option<usize>) {
    let criteria = sought.stored().criteria();
    let keys: usize = criteria
        .iter()
        .map(|c| c.tags.len() + c.any_tags.len() + c.types.len() + 3)
        .sum();
    let by_key = !sought.stored().is_everything() && keys <= KEYS_ASKED;
    writers::frontier(counter, partition.oid, || {
        by_key.then(|| criteria.iter().map(scan::key_groups).collect())
    })
}

/// The frontier of a query in a partition, or in all that the caller may see, as it stands: it waits for nothing.
///
/// # Errors
/// 42501, 42704.
pub fn settled(sought: &Sought, partition: Option<&str>, access: Access) -> Result<i64> {
    let store = catalog::store()?;
    let partitions = Partitions::find(store, partition, access)?;
    Ok(partitions.current_frontier(&Counter::of(store)?, sought))
}

/// The frontier of a query for who stores it: it waits for nothing, and of all partitions none is left out.
///
/// # Errors
/// 42501, 42704.
pub fn settled_in_all(sought: &Sought, partition: Option<&str>) -> Result<i64> {
    let store = catalog::store()?;
    let partitions = Partitions::find(store, partition, Access::Watch)?;
    partitions.demand_all()?;
    Ok(partitions.current_frontier(&Counter::of(store)?, sought))
}

/// The last position of the session's own committed appends that the query could match, 0 if none.
fn own_last(partition: &Partition, query: &Query) -> i64 {
    transaction::with_committed(|written| {
        let last = |key: i64| written.last_of(partition.oid, Some(key));
        let of = |c: &Criterion| {
            let of_group = |group: Vec<i64>| group.into_iter().map(last).max().unwrap_or(0);
            let of_groups = scan::key_groups(c).into_iter().map(of_group).min();
            of_groups.unwrap_or_else(|| written.last_of(partition.oid, None))
        };
        query.criteria().iter().map(of).max().unwrap_or(0)
    })
}
