//! What is made of events: invariants, decisions, documents, and what handlers did.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::Rule;
use crate::ending::Stored;
use crate::history::History;
use crate::record::Criterion;
use crate::world::STOCK;

pub const RULES: [super::Named; 4] = [
    ("the invariant holds after every append", balances),
    ("every decision was right at its place in the order", stocks),
    ("documents are what the events make of them", documents),
    (
        "handlers of projections are called once for every event, the async ones in order",
        handled,
    ),
];

/// Sums per rest of the first tag with this prefix, with what they were after each event.
fn sums<'a>(events: &[&'a Stored], prefix: &str, mut after: impl FnMut(&'a Stored, i64)) {
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for event in events {
        for tag in event.tags.iter().filter(|t| t.starts_with(prefix)) {
            let sum = sums.entry(tag).or_default();
            *sum += event.amount.unwrap_or(0);
            after(event, *sum);
        }
    }
}

fn of_type<'a>(history: &'a History, partition: &str, event_type: &str) -> Vec<&'a Stored> {
    let query = vec![Criterion {
        types: vec![event_type.into()],
        ..Criterion::default()
    }];
    history.matching(partition, &query, 0, i64::MAX)
}

fn balances(history: &History, rule: &mut Rule) {
    // Only the last event of an account in a call must leave it above zero.
    let mut last_of_call = HashSet::new();
    for step in history.transactions.iter().flat_map(|t| t.steps.values()) {
        let mut accounts = HashSet::new();
        let moved = step
            .asked
            .events
            .iter()
            .rev()
            .filter(|e| e.event_type == "moved");
        last_of_call.extend(
            moved
                .filter(|e| accounts.insert(&e.tags))
                .map(|e| e.mark.as_str()),
        );
    }
    sums(
        &of_type(history, "default", "moved"),
        "account:",
        |event, sum| {
            if last_of_call.contains(event.mark.as_str()) {
                rule.expect(sum >= 0, || format!("the balance is {sum} after {event:?}"));
            }
        },
    );
}

fn stocks(history: &History, rule: &mut Rule) {
    sums(
        &of_type(history, "default", "reserved"),
        "stock:",
        |event, sum| {
            rule.expect((0..=STOCK).contains(&sum), || {
                format!("{sum} are reserved after {event:?}")
            });
        },
    );
}

fn documents(history: &History, rule: &mut Rule) {
    let moved = of_type(history, "default", "moved");
    let by_account = |e: &Stored| {
        e.tags
            .iter()
            .find_map(|t| t.strip_prefix("account:"))
            .map(str::to_owned)
    };
    let streams: Vec<&Stored> = history
        .ending
        .events
        .iter()
        .filter(|e| e.partition == "second")
        .collect();
    let expected = [
        ("accounts", fold(&moved, by_account)),
        ("accounts_later", fold(&moved, by_account)),
        ("accounts_beside", fold(&moved, by_account)),
        ("streams_later", fold(&streams, |e| e.stream.clone())),
    ];
    for (name, documents) in expected {
        let there = history
            .ending
            .documents
            .get(name)
            .cloned()
            .unwrap_or_default();
        let ids: HashSet<&String> = documents.keys().chain(there.keys()).collect();
        for id in ids {
            let (is, must) = (there.get(id), documents.get(id));
            rule.expect(is == must, || {
                format!("document {id} of {name} is {is:?}, and must be {must:?}")
            });
        }
    }
}

fn fold(events: &[&Stored], id: impl Fn(&Stored) -> Option<String>) -> BTreeMap<String, Value> {
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for event in events {
        if let Some(id) = id(event) {
            let (n, sum) = sums.entry(id).or_default();
            *n += 1;
            *sum += event.amount.unwrap_or(0);
        }
    }
    sums.into_iter()
        .map(|(id, (n, sum))| (id, json!({"n": n, "sum": sum})))
        .collect()
}

fn handled(history: &History, rule: &mut Rule) {
    let query = vec![Criterion {
        tags: vec!["b:0".into()],
        ..Criterion::default()
    }];
    let events: Vec<i64> = history
        .matching("default", &query, 0, i64::MAX)
        .iter()
        .map(|e| e.position)
        .collect();
    for name in ["inline", "async"] {
        let mut positions = history
            .ending
            .handled
            .get(name)
            .cloned()
            .unwrap_or_default();
        let sorted = positions.is_sorted();
        rule.expect(sorted || name == "inline", || {
            format!("{name} did not go in order")
        });
        positions.sort_unstable();
        let missing: Vec<_> = events
            .iter()
            .filter(|p| positions.binary_search(p).is_err())
            .collect();
        rule.expect(missing.is_empty(), || {
            format!("{name} has not handled {missing:?}")
        });
        rule.expect(positions.len() == events.len(), || {
            format!(
                "{name} has handled {} of {} events",
                positions.len(),
                events.len()
            )
        });
        rule.seen += events.len();
    }
}
