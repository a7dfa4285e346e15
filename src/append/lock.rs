//! The locks of an append and of `en57_lock`: keys that they write, and keys that they check.

use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::key::Namespace;
use crate::dcb::query::{Criterion, Query};
use crate::invariant;
use crate::store::index::scan;
use crate::store::lock::keys;
use crate::store::lock::plan::Plan;
use crate::store::log::catalog;
use crate::store::log::partition::{Access, Partition};
use crate::store::log::position::Counter;
use crate::store::pg::settings;
use crate::store::row::event::{self, NewEvent};
use crate::store::row::table::Opened;
use crate::store::session::{definitions, transaction};
use crate::upcast::{self, Definitions, Sought};

use super::AppendRequest;
use super::demands::Demands;
use super::steps::Prepared;
use super::streams::Streams;

/// See [`are_many`].
const MANY: usize = 64;

/// Takes the locks that make the condition exact, and those that definitions demand. Returns the condition by the names
/// that events are stored under.
///
/// Definitions were looked at before. They are looked at again when the root lock is held, because only functions can
/// change from then on, and once more when all locks are held.
pub(super) fn lock<'a>(
    request: &AppendRequest<'a>,
    prepared: &Prepared,
    streams: &Streams,
    demands: &mut Demands,
) -> Result<Vec<Sought<&'a Query>>> {
    let (partition, table) = (&*prepared.partition, &prepared.table);
    let mut plan = Plan::default();
    let keys = prepared.keys.iter().flatten().copied();
    plan_events(&mut plan, keys, streams.names(), request.events);
    let mut fail_if = in_stored_names(request.fail_if, &demands.upcasters);
    plan_condition(&mut plan, partition, table, &fail_if)?;
    demands.plan(&mut plan);
    plan.acquire_with(partition.oid, |plan| {
        if demands.look_again(request, plan)? {
            fail_if = in_stored_names(request.fail_if, &demands.upcasters);
            plan_condition(plan, partition, table, &fail_if)?;
        }
        Ok(())
    })?;
    Ok(fail_if)
}

/// Adds the keys under which events are stored, those of their streams, and that of the first id.
pub(super) fn plan_events<'a>(
    plan: &mut Plan,
    keys: impl Iterator<Item = i64>,
    streams: impl Iterator<Item = &'a str>,
    events: &[NewEvent],
) {
    keys.for_each(|key| plan.write(key));
    for name in streams {
        // Checked as well, whatever version is expected: otherwise two appends could give the same version.
        plan.check(event::effective(Namespace::Stream, name.as_bytes()));
    }
    if let Some(id) = events.iter().find_map(|e| e.id) {
        plan.sole(event::effective(Namespace::Id, &id));
    }
}

/// A condition by the names that events are stored under.
pub(super) fn in_stored_names<'a>(
    fail_if: &'a [Query],
    upcasters: &Rc<Definitions>,
) -> Vec<Sought<&'a Query>> {
    let queries = fail_if.iter();
    queries.map(|q| Sought::by(q, upcasters)).collect()
}

/// Adds the keys that a condition checks to the locks of an append.
pub(super) fn plan_condition(
    plan: &mut Plan,
    partition: &Partition,
    table: &Opened,
    fail_if: &[Sought<&Query>],
) -> Result<()> {
    for criterion in fail_if.iter().flat_map(|q| q.stored().criteria()) {
        match keys_to_lock(partition, table, criterion)? {
            Some(keys) => keys.into_iter().for_each(|key| plan.check(key)),
            None => plan.check_all(),
        }
    }
    Ok(())
}

/// The keys whose locks keep out every event of a criterion, because each is stored under one of them: the stream's
/// key; the rarest tag's key, or those of `any_tags` if these are rarer; otherwise the keys of its types. `None`: any
/// event could match. That is so if it only names a prefix of streams, which has no key.
///
/// The stream's key comes first, because appends to a stream exclude each other under it anyway: whoever locks a stream
/// and then appends to it has the lock that he needs. Next come keys that the transaction has locked already: other
/// keys could be out of the lock order, or need a stronger mode of a lock that it holds.
fn keys_to_lock(
    partition: &Partition,
    table: &Opened,
    criterion: &Criterion,
) -> Result<Option<Vec<i64>>> {
    if let Some(stream) = &criterion.stream {
        let key = event::effective(Namespace::Stream, stream.as_bytes());
        return Ok(Some(vec![key]));
    }
    let required = scan::required_keys(criterion).into_iter();
    let mut groups: Vec<Vec<i64>> = required.map(|key| vec![key]).collect();
    let any = scan::any_tag_keys(criterion);
    let types = scan::type_keys(criterion);
    let is_alone = groups.is_empty() && types.is_empty();
    if !any.is_empty() && (is_alone || !are_many(&any)) {
        groups.push(any);
    }
    if groups.is_empty() {
        return Ok(Some(types).filter(|keys| !keys.is_empty()));
    }
    let is_locked = |group: &Vec<i64>| {
        let mut keys = group.iter();
        keys.all(|key| keys::is_checked(partition.oid, *key))
    };
    if groups.len() > 1
        && let Some(locked) = groups.iter().position(is_locked)
    {
        return Ok(Some(groups.swap_remove(locked)));
    }
    rarest(table, groups, criterion.after.unwrap_or(0) + 1).map(Some)
}

/// Whether keys are so many that others are rather locked where there are any: to ask how rare each of them is takes an
/// index probe, and where they are too many to be locked one by one the root lock keeps out everybody.
fn are_many(keys: &[i64]) -> bool {
    keys.len() > settings::max_key_locks().min(MANY)
}

/// The group of keys that has the fewest events, from a position on.
fn rarest(table: &Opened, groups: Vec<Vec<i64>>, from: i64) -> Result<Vec<i64>> {
    if let [_] = groups.as_slice() {
        return Ok(groups.into_iter().flatten().collect());
    }
    let mut rarest = (usize::MAX, Vec::new());
    for group in groups {
        // None can have fewer than no event.
        if rarest.0 == 0 {
            break;
        }
        let mut events = 0;
        for key in &group {
            if events < rarest.0 {
                events += scan::frequency(table, *key, from)?;
            }
        }
        rarest = rarest.min((events, group));
    }
    Ok(rarest.1)
}

/// Takes a query's locks until the end of the transaction. Returns the position up to which no matching event is
/// missing.
///
/// # Errors
/// 42501, 42704.
pub fn lock_query(query: &Query, partition: Option<&str>) -> Result<i64> {
    let (partition, sought) = lock_queries(std::slice::from_ref(query), partition)?;
    let counter = Counter::of(catalog::store()?)?;
    let frontiers = sought
        .iter()
        .map(|s| crate::read::frontier::current(&counter, &partition, s));
    Ok(frontiers.min().unwrap_or(0))
}

/// Takes the locks of several queries until the end of the transaction, in one order. Returns the partition, and the
/// queries by the names that events are stored under.
///
/// # Errors
/// 42501, 42704.
pub fn lock_queries(
    queries: &[Query],
    partition: Option<&str>,
) -> Result<(Rc<Partition>, Vec<Sought>)> {
    catalog::demand_writable("en57_lock()")?;
    let store = catalog::store()?;
    let partition = store.partition(partition, Access::Lock)?;
    Counter::of(store)?;
    let table = partition.open_to_read();
    let mut upcasters = upcast::known()?;
    let by = |upcasters: &Rc<Definitions>| -> Vec<Sought> {
        let queries = queries.iter();
        queries.map(|q| Sought::by(q.clone(), upcasters)).collect()
    };
    let mut sought = by(&upcasters);
    let plan_all = |plan: &mut Plan, sought: &[Sought]| {
        let mut sought = sought.iter();
        sought.try_for_each(|s| plan_query(plan, &partition, &table, s))
    };
    let mut plan = Plan::default();
    plan_all(&mut plan, &sought)?;
    plan.acquire_with(partition.oid, |plan| {
        definitions::accept_changes();
        let now = upcast::known()?;
        let renamed = !Rc::ptr_eq(&upcasters, &now);
        if renamed {
            sought = by(&now);
            upcasters = now;
        }
        if renamed || invariant::has_changed() {
            plan_all(plan, &sought)?;
        }
        Ok(())
    })?;
    // The holder reads what is there now, even in a REPEATABLE READ transaction.
    transaction::renew_moment();
    Ok((partition, sought))
}

/// Adds the locks of a transaction that reads a query, decides, and then appends.
///
/// It may write events of all tags of the query. So all its tags are locked as written, not only those whose locks keep
/// others out: which tag is the rarest changes, and two transactions that lock the same query by different tags must
/// queue here, or they would wait for each other when they append. Only `any_tags` that are many are left out, because
/// nobody locks the query by them. A key that an invariant will check is locked as checked from the start.
fn plan_query(
    plan: &mut Plan,
    partition: &Partition,
    table: &Opened,
    sought: &Sought,
) -> Result<()> {
    for criterion in sought.stored().criteria() {
        let Some(keys) = keys_to_lock(partition, table, criterion)? else {
            plan.check_all();
            continue;
        };
        let checked = invariant::keys_checked(&partition.name, criterion)?;
        for key in keys.into_iter().chain(checked) {
            plan.check_and_write(key);
        }
        let mut any = scan::any_tag_keys(criterion);
        if are_many(&any) {
            any.clear();
        }
        for key in scan::required_keys(criterion).into_iter().chain(any) {
            plan.write(key);
        }
    }
    Ok(())
}
