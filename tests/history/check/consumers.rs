//! Subscriptions: exactly once where handling and acknowledging are one transaction, else at least once; in order per key.

use std::collections::{HashMap, HashSet};

use super::Rule;
use crate::history::History;
use crate::world::{self, SUBSCRIPTIONS, is_altered};

pub const RULES: [super::Named; 2] = [
    (
        "subscriptions hand out every event: exactly once in a transaction, at least once under a lease",
        delivered,
    ),
    (
        "subscriptions hand out the events of a key in order",
        in_order,
    ),
];

fn delivered(history: &History, rule: &mut Rule) {
    let queries = world::queries();
    let passed = history.passed();
    // Those that are altered have rules of their own.
    let others = SUBSCRIPTIONS.iter().filter(|s| !is_altered(s.0));
    for (name, query, partition, _, leased) in others.copied() {
        let nothing = Vec::new();
        let consumed = history.ending.consumed.get(name).unwrap_or(&nothing);
        let mut got = HashSet::new();
        let events = history.matching(partition, &queries[query], 0, i64::MAX);
        let stored: HashMap<i64, &str> = events
            .iter()
            .map(|e| (e.position, e.mark.as_str()))
            .collect();
        for one in consumed {
            let new = got.insert(one.position);
            rule.expect(new || leased, || {
                format!("{name}: {one:?} was handled twice")
            });
            let there = stored.get(&one.position) == Some(&one.mark.as_str());
            // Of a partition that is gone.
            let was = partition == "*" && passed.contains(one.mark.as_str());
            rule.expect(there || was, || {
                format!("{name} was given {one:?}, which is not there")
            });
        }
        for event in &events {
            rule.expect(got.contains(&event.position), || {
                format!("{name} was never given {event:?}")
            });
        }
    }
}

fn in_order(history: &History, rule: &mut Rule) {
    let events = history.ending.events.iter();
    let keys: HashMap<i64, (u8, &str)> = events.map(|e| (e.position, e.key())).collect();
    for (name, consumed) in history.ending.consumed.iter().filter(|c| !is_altered(c.0)) {
        let mut last: HashMap<(u8, &str), i64> = HashMap::new();
        let mut seen = HashSet::new();
        for one in consumed.iter().filter(|c| seen.insert(c.position)) {
            let Some(key) = keys.get(&one.position) else {
                continue;
            };
            let before = last.insert(*key, one.position).unwrap_or(0);
            rule.expect(one.position > before, || {
                format!("{name} was given {one:?} of key {key:?} after {before}")
            });
        }
    }
}
