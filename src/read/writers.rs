//! Who could still add to the result of a query, and from which position on: what a query's frontier is made of.
//!
//! **Invariant:** `next` is loaded first, then the slots, then the holders of keys, then their late keys. See
//! docs/architecture/frontiers.md for why the frontier is exact by this order.

use crate::store::Oid;
use crate::store::lock::keys;
use crate::store::log::position::{Counter, Flight};
use crate::store::session::transaction;

/// The keys of a criterion, in groups: an event that matches stands under a key of each group.
pub type KeyGroups = Vec<Vec<i64>>;

/// The frontier of a query in a partition as it stands, and the backend whose transaction keeps it there, if one does.
/// `criteria` are the query's; `None`: whoever may be in the partition counts.
pub fn frontier(
    counter: &Counter,
    partition: Oid,
    criteria: impl Fn() -> Option<Vec<KeyGroups>>,
) -> (i64, Option<usize>) {
    let next = transaction::bounded_next(counter.next());
    let flights = counter.in_flight(next);
    let flights: Vec<Flight> = flights.filter(|f| f.may_be_in(partition)).collect();
    if flights.is_empty() {
        return (next - 1, None);
    }
    let criteria = criteria();
    let ask = || Writers::of(partition, criteria.as_deref());
    let writers = ask();
    let bounds = flights.into_iter().filter_map(|flight| {
        let earliest = |flight: Flight, is_again: bool| match is_again {
            false => writers.earliest(counter, flight, next),
            true => ask().earliest(counter, flight, next),
        };
        let bound = counter.look(flight, next, earliest).flatten()?;
        Some((bound, flight.backend))
    });
    match bounds.min() {
        Some((bound, backend)) if bound < next => (bound - 1, Some(backend)),
        _ => (next - 1, None),
    }
}

/// Who holds the keys of a query in a partition as written, asked once.
struct Writers {
    partition: Oid,
    /// `None`: whoever does counts.
    by_key: Option<KeyWriters>,
}

struct KeyWriters {
    anything: Vec<usize>,
    criteria: Vec<CriterionWriters>,
}

/// Keys with the backends that hold them.
type Held = Vec<(i64, Vec<usize>)>;

/// Of each group of keys, who holds which of them.
struct CriterionWriters(Vec<Held>);

impl Writers {
    fn of(partition: Oid, criteria: Option<&[KeyGroups]>) -> Self {
        let held = |keys: &Vec<i64>| -> Held {
            keys.iter()
                .map(|key| (*key, keys::writers_of(partition, *key)))
                .collect()
        };
        let criterion = |groups: &KeyGroups| CriterionWriters(groups.iter().map(held).collect());
        Self {
            partition,
            by_key: criteria.map(|criteria| KeyWriters {
                anything: keys::writers_of_anything(partition),
                criteria: criteria.iter().map(criterion).collect(),
            }),
        }
    }

    /// The first position at which a transaction in flight could have an event that matches; `None`
    /// where it can have none.
    fn earliest(&self, counter: &Counter, flight: Flight, next: i64) -> Option<i64> {
        let here = counter.bound_in(flight, next, self.partition)?;
        let Some(writers) = &self.by_key else {
            return Some(here);
        };
        let under =
            |key: Option<i64>| here.max(counter.bound_under(flight, next, self.partition, key));
        let of_key = |(key, holders): &(i64, Vec<usize>)| {
            holders.contains(&flight.backend).then(|| under(Some(*key)))
        };
        // It must hold a key of each group that an event stands under, and has none before it locked the last.
        let of_group = |group: &Held| group.iter().filter_map(of_key).min();
        let of_criterion = |CriterionWriters(groups): &CriterionWriters| {
            let mut groups = groups.iter().map(of_group);
            groups.try_fold(here, |bound, group| Some(bound.max(group?)))
        };
        let anything = writers.anything.contains(&flight.backend);
        anything
            .then(|| under(None))
            .into_iter()
            .chain(writers.criteria.iter().filter_map(of_criterion))
            .min()
    }
}
