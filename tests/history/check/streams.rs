//! Versions of streams have no gaps, and every version that was expected was there.

use std::collections::HashMap;

use super::Rule;
use crate::history::{Fate, History};
use crate::record::Answer;

pub const RULES: [super::Named; 2] = [
    (
        "versions of a stream count from 1 without gaps, in the order of positions",
        versions,
    ),
    (
        "every expected version was there, and versions are as they were told",
        expected,
    ),
];

fn versions(history: &History, rule: &mut Rule) {
    let mut last: HashMap<(&str, &str), i64> = HashMap::new();
    for event in history
        .ending
        .events
        .iter()
        .filter(|e| History::staying(&e.partition))
    {
        match (&event.stream, event.version) {
            (Some(stream), Some(version)) => {
                let before = last.entry((&event.partition, stream)).or_default();
                rule.expect(version == *before + 1, || {
                    format!("{event:?} follows version {before}")
                });
                *before = version;
            }
            (None, None) => (),
            _ => rule.expect(false, || {
                format!("{event:?} has only one of stream and version")
            }),
        }
    }
}

fn expected(history: &History, rule: &mut Rule) {
    for t in history.transactions.iter().filter(|t| t.fate != Fate::Gone) {
        for step in t.steps.values() {
            for (stream, expected, first) in step.asked.expectations() {
                let stored = history.stored(&first.mark);
                let Some(version) = stored.and_then(|s| s.version) else {
                    continue;
                };
                let held = if expected == -1 {
                    version > 1
                } else {
                    version == expected + 1
                };
                // What was repeated had its version the first time.
                let repeated = matches!(step.answer, Some(Answer::Repeated { .. }));
                rule.expect(held || repeated, || {
                    format!(
                        "{expected} of {stream} was expected, {version} was appended: {first:?}"
                    )
                });
            }
            let (Some(Answer::Appended { version, .. }), Some(_)) =
                (&step.answer, &step.asked.stream)
            else {
                continue;
            };
            let last = step.asked.events.last();
            let stored = last.and_then(|e| history.stored(&e.mark));
            let right = stored.is_none_or(|s| s.version == *version);
            rule.expect(right, || {
                format!("{stored:?} was told to have version {version:?}")
            });
        }
    }
}
