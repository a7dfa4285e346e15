//! Every condition held at its place in the order of positions, and where it did not, there was a reason.

use std::collections::HashMap;

use super::Rule;
use crate::history::{Fate, History};
use crate::record::Answer;
use crate::world;

pub const RULES: [super::Named; 2] = [
    ("every condition held at its place in the order", held),
    ("every condition that failed had its reason", reasons),
];

fn held(history: &History, rule: &mut Rule) {
    for t in history.transactions.iter().filter(|t| t.fate != Fate::Gone) {
        for step in t.steps.values() {
            let (Some(query), asked) = (&step.asked.fail_if, &step.asked) else {
                continue;
            };
            let Some(first) = asked
                .events
                .first()
                .and_then(|e| history.stored(&e.mark))
                .map(|s| s.position)
            else {
                continue;
            };
            let found = history.conflicting(&asked.partition, query, first - 1);
            rule.expect(found.is_empty(), || {
                let at = found.iter().map(|e| e.position).collect::<Vec<_>>();
                format!(
                    "transaction {:x} appended {first} if nothing matches {query:?}: {at:?} do",
                    t.tx
                )
            });
        }
    }
}

/// A conflict that is not one of versions tells events for which the condition does not hold.
fn reasons(history: &History, rule: &mut Rule) {
    // By position: what may have been there, and is not any more.
    let mut passed = HashMap::new();
    for t in &history.transactions {
        for step in t.steps.values() {
            let positions: Vec<i64> = match &step.answer {
                Some(Answer::Appended { first, last, .. }) => (*first..=*last).collect(),
                Some(Answer::Imported { positions }) => positions.clone(),
                _ => continue,
            };
            let here = &step.asked.partition;
            for (event, position) in step.asked.events.iter().zip(positions) {
                passed.insert((position, t.tx), (event, here));
                if t.fate == Fate::Open {
                    passed.insert((position, 0), (event, here));
                }
            }
        }
    }
    let at: HashMap<i64, &crate::ending::Stored> = history
        .ending
        .events
        .iter()
        .map(|e| (e.position, e))
        .collect();
    for t in &history.transactions {
        for step in t.steps.values() {
            let (Some(Answer::Conflict { positions, version }), Some(query)) =
                (&step.answer, &step.asked.fail_if)
            else {
                continue;
            };
            let asked = &step.asked;
            if asked.is_refused_for(*version) {
                continue;
            }
            rule.expect(!positions.is_empty(), || {
                format!("transaction {:x} was told of no conflict", t.tx)
            });
            if !History::staying(&asked.partition) {
                continue;
            }
            for position in positions {
                let stored = at.get(position);
                let stored = stored.map(|e| (&e.event_type, &e.tags, &e.partition));
                let was = passed
                    .get(&(*position, t.tx))
                    .or_else(|| passed.get(&(*position, 0)));
                let reason = stored.or_else(|| was.map(|(e, p)| (&e.event_type, &e.tags, *p)));
                let right = reason.is_some_and(|(event_type, tags, partition)| {
                    let mut criteria = query.iter().filter(|c| c.after < *position);
                    *partition == asked.partition
                        && criteria.any(|c| world::matches_one(c, event_type, tags))
                });
                rule.expect(right, || {
                    format!(
                        "transaction {:x} was refused for {position}, {reason:?}, by {query:?}",
                        t.tx
                    )
                });
            }
        }
    }
}
