//! Subscriptions: exactly once where handling and acknowledging are one transaction, else at least once; in order per key.

use std::collections::{HashMap, HashSet};

use super::Rule;
use crate::history::History;
use crate::world::{self, SUBSCRIPTIONS};

pub fn rules(history: &History) -> Vec<Rule> {
    vec![delivered(history), in_order(history)]
}

fn delivered(history: &History) -> Rule {
    let mut rule = Rule::new(
        "subscriptions hand out every event: exactly once in a transaction, at least once under a lease",
    );
    let queries = world::queries();
    for (name, query, partition, _, leased) in SUBSCRIPTIONS {
        let nothing = Vec::new();
        let consumed = history.ending.consumed.get(name).unwrap_or(&nothing);
        let mut got = HashSet::new();
        for (shard, position) in consumed {
            let new = got.insert(*position);
            rule.expect(new || leased, || {
                format!("{name}: {position} was handled twice, again by shard {shard}")
            });
        }
        let events = history.matching(partition, &queries[query], 0, i64::MAX);
        for event in &events {
            rule.expect(got.contains(&event.position), || {
                format!("{name} was never given {event:?}")
            });
        }
        let stored: HashSet<i64> = events.iter().map(|e| e.position).collect();
        for position in &got {
            rule.expect(stored.contains(position), || {
                format!("{name} was given {position}, which is not there")
            });
        }
    }
    rule
}

fn in_order(history: &History) -> Rule {
    let mut rule = Rule::new("subscriptions hand out the events of a key in order");
    let keys: HashMap<i64, &str> = history
        .ending
        .events
        .iter()
        .map(|e| (e.position, e.key.as_str()))
        .collect();
    for (name, consumed) in &history.ending.consumed {
        let mut last: HashMap<&str, i64> = HashMap::new();
        let mut seen = HashSet::new();
        for (_, position) in consumed.iter().filter(|c| seen.insert(c.1)) {
            let key = keys.get(position).copied().unwrap_or_default();
            let before = last.insert(key, *position).unwrap_or(0);
            rule.expect(*position > before, || {
                format!("{name} was given {position} of key {key:?} after {before}")
            });
        }
    }
    rule
}
