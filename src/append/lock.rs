//! The locks of an append and of `en57_lock`: of what they write, and of what they depend on.

use std::rc::Rc;

use crate::dcb::error::Result;
use crate::dcb::key::Namespace;
use crate::dcb::query::{Criterion, Query};
use crate::event_type;
use crate::invariant::{self, Rules};
use crate::projection::Due;
use crate::store::index::scan;
use crate::store::lock::keys;
use crate::store::lock::plan::Plan;
use crate::store::log::catalog;
use crate::store::log::partition::{Access, Partition};
use crate::store::log::position::Counter;
use crate::store::pg::settings;
use crate::store::row::event;
use crate::store::row::table::Opened;
use crate::store::session::{definitions, transaction};
use crate::upcast::{self, Definitions, Sought};

use super::streams::Streams;
use super::{AppendRequest, fit};

/// What definitions say of an append, as of when they were looked at.
pub(super) struct Looked<'a> {
    pub upcasters: Rc<Definitions>,
    pub due: Due<'a>,
    pub rules: Rules<'a>,
    /// Whether the events fit their types.
    pub fit: Result<()>,
}

impl Looked<'_> {
    /// Looks again at what has changed, now that locks are held. Returns whether upcasters have.
    fn again(&mut self, request: &AppendRequest, plan: &mut Plan) -> Result<bool> {
        definitions::accept_changes();
        let renamed = !Rc::ptr_eq(&self.upcasters, &upcast::known()?);
        if renamed {
            self.upcasters = upcast::known()?;
        }
        self.due.look_again(plan, renamed)?;
        self.rules.look_again(plan, renamed)?;
        if event_type::has_changed() {
            self.fit = fit::demand(request.events.iter(), true);
        }
        Ok(renamed)
    }
}

/// Takes the locks that make the condition exact, those of invariants and of documents; returns the condition as it is to be
/// looked for. What definitions say is looked at before, again when the root's lock is held, from when on only
/// functions can change, and again when all locks are.
pub(super) fn lock<'a>(
    place: &Partition,
    table: &Opened,
    request: &AppendRequest<'a>,
    streams: &Streams,
    keys: &[Vec<i64>],
    looked: &mut Looked,
) -> Result<Vec<Sought<&'a Query>>> {
    let mut plan = Plan::default();
    keys.iter().flatten().for_each(|key| plan.write(*key));
    for name in streams.names() {
        // Alone, whatever is expected: versions have no gaps.
        plan.check(event::effective(Namespace::Stream, name.as_bytes()));
    }
    let mut fail_if = seek(request)?;
    plan_checks(&mut plan, place, table, &fail_if)?;
    if let Some(id) = request.events.iter().find_map(|e| e.id) {
        plan.sole(event::effective(Namespace::Id, &id));
    }
    looked.due.plan(&mut plan);
    looked.rules.plan(&mut plan);
    plan.acquire_with(place.oid, |plan| {
        if looked.again(request, plan)? {
            fail_if = seek(request)?;
            plan_checks(plan, place, table, &fail_if)?;
        }
        Ok(())
    })?;
    Ok(fail_if)
}

/// The condition by the names that events have by now.
fn seek<'a>(request: &AppendRequest<'a>) -> Result<Vec<Sought<&'a Query>>> {
    let definitions = upcast::known()?;
    let queries = request.fail_if.iter();
    Ok(queries.map(|q| Sought::by(q, &definitions)).collect())
}

/// Adds what a condition checks to the locks of an append.
fn plan_checks(
    plan: &mut Plan,
    place: &Partition,
    table: &Opened,
    fail_if: &[Sought<&Query>],
) -> Result<()> {
    for criterion in fail_if.iter().flat_map(|q| q.stored().criteria()) {
        match keys_to_lock(place, table, criterion)? {
            Some(keys) => keys.into_iter().for_each(|key| plan.check(key)),
            None => plan.check_all(),
        }
    }
    Ok(())
}

/// The keys whose locks keep out every event of a criterion, since each stands under one of them: the stream's; that of
/// a tag, or of the tags of which one suffices, whichever are the rarest; otherwise those of its types. `None`: any
/// event could be one, as where a prefix of streams, which is no key, is all that it says.
///
/// The stream's key because an append to it excludes others there anyway: who locks a stream, and then
/// appends to it, has what it needs. What the transaction has locked already serves as well: other keys
/// could be out of order, or a stronger lock of what is held.
fn keys_to_lock(
    place: &Partition,
    table: &Opened,
    criterion: &Criterion,
) -> Result<Option<Vec<i64>>> {
    if let Some(stream) = &criterion.stream {
        let key = event::effective(Namespace::Stream, stream.as_bytes());
        return Ok(Some(vec![key]));
    }
    let mut groups: Vec<Vec<i64>> = scan::required_keys(criterion)
        .into_iter()
        .map(|key| vec![key])
        .collect();
    let (any, types) = (scan::any_tag_keys(criterion), scan::type_keys(criterion));
    let is_alone = groups.is_empty() && types.is_empty();
    if !any.is_empty() && (is_alone || !are_many(&any)) {
        groups.push(any);
    }
    if groups.is_empty() {
        return Ok(Some(types).filter(|keys| !keys.is_empty()));
    }
    let is_held = |group: &Vec<i64>| {
        let mut keys = group.iter();
        keys.all(|key| keys::is_checked(place.oid, *key))
    };
    if groups.len() > 1
        && let Some(held) = groups.iter().position(is_held)
    {
        return Ok(Some(groups.swap_remove(held)));
    }
    rarest(table, groups, criterion.after.unwrap_or(0) + 1).map(Some)
}

/// Whether keys are so many that they cannot be locked one by one: they would keep everybody out.
fn are_many(keys: &[i64]) -> bool {
    keys.len() > settings::max_key_locks()
}

/// The group of keys under which the fewest events stand, from a position on.
fn rarest(table: &Opened, groups: Vec<Vec<i64>>, from: i64) -> Result<Vec<i64>> {
    if let [_] = groups.as_slice() {
        return Ok(groups.into_iter().flatten().collect());
    }
    let mut rarest = (usize::MAX, Vec::new());
    for group in groups {
        // None at all: it cannot get rarer.
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

/// Takes a query's locks until the end of the transaction and returns the position as of which nothing
/// that matches is missing.
///
/// # Errors
/// 42501, 42704.
pub fn lock_query(query: &Query, partition: Option<&str>) -> Result<i64> {
    catalog::demand_writable("en57_lock()")?;
    let store = catalog::store()?;
    let place = store.partition(partition, Access::Lock)?;
    let counter = Counter::of(store)?;
    let table = place.open_to_read();
    let mut sought = Sought::by(query.clone(), &upcast::known()?);
    let mut plan = Plan::default();
    plan_query(&mut plan, &place, &table, &sought)?;
    plan.acquire_with(place.oid, |plan| {
        definitions::accept_changes();
        let renamed = upcast::has_changed();
        if renamed {
            sought = Sought::by(query.clone(), &upcast::known()?);
        }
        if renamed || invariant::has_changed() {
            plan_query(plan, &place, &table, &sought)?;
        }
        Ok(())
    })?;
    // What was locked is read as of now, also where the transaction's reads repeat.
    transaction::renew_moment();
    Ok(crate::read::frontier::current(&counter, &place, &sought))
}

/// Adds what a query locks for reading, deciding and appending.
///
/// Who reads events of several tags may write events of them all. So the others are locked as written, also those of
/// which one suffices unless these are many, when nobody locks the query by them: which tag is the rarest changes, and two
/// who lock the same query by different ones must queue here, or they would wait for each other when they append. A key that an invariant will check is locked so from the start.
fn plan_query(plan: &mut Plan, place: &Partition, table: &Opened, sought: &Sought) -> Result<()> {
    for criterion in sought.stored().criteria() {
        let Some(keys) = keys_to_lock(place, table, criterion)? else {
            plan.check_all();
            continue;
        };
        let checked = invariant::keys_checked(&place.name, criterion)?;
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
