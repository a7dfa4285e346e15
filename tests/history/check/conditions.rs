//! Every condition held at its place in the order of positions, and every refusal had its reason.

use std::collections::HashMap;

use super::Rule;
use crate::history::{Fate, History};
use crate::record::{Answer, Query};
use crate::world;

pub fn rules(history: &History) -> Vec<Rule> {
    vec![held(history), reasons(history)]
}

fn held(history: &History) -> Rule {
    let mut rule = Rule::new("every condition held at its place in the order");
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
            let found = history.matching(&asked.partition, query, asked.after, first - 1);
            rule.expect(found.is_empty(), || {
                let at = found.iter().map(|e| e.position).collect::<Vec<_>>();
                format!("transaction {:x} appended {first} if nothing matches {query:?} after {}: {at:?} do", t.tx, asked.after)
            });
        }
    }
    rule
}

fn reasons(history: &History) -> Rule {
    let mut rule = Rule::new("every refusal had its reason");
    // By position: what may have been there, and is not any more.
    let mut passed = HashMap::new();
    for t in &history.transactions {
        for step in t.steps.values() {
            if let Some(Answer::Appended { first, .. }) = step.answer {
                for (event, position) in step.asked.events.iter().zip(first..) {
                    passed.insert((position, t.tx), event);
                    if t.fate == Fate::Open {
                        passed.insert((position, 0), event);
                    }
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
            let (
                Some(Answer::Conflict {
                    positions,
                    version: _,
                }),
                Some(query),
            ) = (&step.answer, &step.asked.fail_if)
            else {
                continue;
            };
            let asked = &step.asked;
            rule.expect(!positions.is_empty(), || {
                format!("transaction {:x} was told of no conflict", t.tx)
            });
            if !History::staying(&asked.partition) {
                continue;
            }
            for position in positions {
                let stored = at.get(position).map(|e| (&e.event_type, &e.tags));
                let was = passed
                    .get(&(*position, t.tx))
                    .or_else(|| passed.get(&(*position, 0)));
                let reason = stored.or_else(|| was.map(|e| (&e.event_type, &e.tags)));
                let right = *position > asked.after && matched(query, reason);
                rule.expect(right, || format!("transaction {:x} was refused for {position}, {reason:?}, by {query:?} after {}", t.tx, asked.after));
            }
        }
    }
    rule
}

fn matched(query: &Query, event: Option<(&String, &Vec<String>)>) -> bool {
    event.is_some_and(|(event_type, tags)| world::matches(query, event_type, tags))
}
