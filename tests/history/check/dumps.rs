//! A dump is one moment of the log, and what is restored from it goes on.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Rule;
use crate::history::History;
use crate::record::{Made, Restored};

pub const RULES: [super::Named; 2] = [
    (
        "a dump has every event below the head that was told before, and nothing that was never there",
        whole,
    ),
    (
        "a restored dump fits together, and goes on behind all of it",
        restored,
    ),
];

fn whole(history: &History, rule: &mut Rule) {
    let passed = history.passed();
    for dump in &history.dumps {
        let mut seen = HashSet::new();
        for (position, mark) in &dump.events {
            seen.insert((*position, mark.as_str()));
            let right = match history.stored(mark) {
                Some(event) => event.position == *position,
                None => passed.contains(mark.as_str()),
            };
            rule.expect(right, || {
                format!(
                    "a dump has {mark} at {position}: {:?}",
                    history.stored(mark)
                )
            });
        }
        let below = history.ending.events.iter();
        for event in below.filter(|e| e.position <= dump.head && History::staying(&e.partition)) {
            let there = seen.contains(&(event.position, event.mark.as_str()));
            rule.expect(there, || {
                format!("a dump lacks {event:?}; the head was {}", dump.head)
            });
        }
    }
}

fn restored(history: &History, rule: &mut Rule) {
    let mut made = HashMap::new();
    for step in history.transactions.iter().flat_map(|t| t.steps.values()) {
        for event in &step.asked.events {
            made.insert(event.mark.as_str(), event);
        }
    }
    for dump in &history.dumps {
        for (partition, stream, versions) in &dump.versions {
            let legal = versions.iter().copied().eq(1..=versions.len() as i64);
            rule.expect(legal, || {
                format!("{stream} in {partition} has the versions {versions:?} in a dump")
            });
        }
        let (is, must) = (documents(dump), folded(dump, &made));
        rule.expect(is == must, || {
            format!("a dump has the documents {is:?}, and must have {must:?}")
        });
        let last = dump.events.iter().map(|e| e.0).max().unwrap_or(0);
        rule.expect(dump.next > last.max(dump.head), || {
            format!(
                "{} was appended to a dump with {last}, the head was {}",
                dump.next, dump.head
            )
        });
        rule.expect(dump.faults.is_empty(), || {
            format!("en57_check finds in a dump: {}", dump.faults.join("; "))
        });
    }
}

fn documents(dump: &Restored) -> BTreeMap<&str, (i64, i64)> {
    let documents = dump.documents.iter();
    documents
        .map(|(id, n, sum)| (id.as_str(), (*n, *sum)))
        .collect()
}

fn folded<'a>(dump: &Restored, made: &HashMap<&str, &'a Made>) -> BTreeMap<&'a str, (i64, i64)> {
    let mut sums: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let events = dump.events.iter();
    for event in events.filter_map(|(_, mark)| made.get(mark.as_str())) {
        let accounts = event.tags.iter().filter_map(|t| t.strip_prefix("account:"));
        for account in accounts.filter(|_| event.event_type == "moved") {
            let (n, sum) = sums.entry(account).or_default();
            (*n, *sum) = (*n + 1, *sum + event.amount);
        }
    }
    sums
}
