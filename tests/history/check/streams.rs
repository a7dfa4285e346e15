//! Versions of streams have no gaps, and every version that was expected was there.

use std::collections::HashMap;

use super::Rule;
use crate::history::{Fate, History};
use crate::record::Answer;

pub fn rules(history: &History) -> Vec<Rule> {
    vec![versions(history), expected(history)]
}

fn versions(history: &History) -> Rule {
    let mut rule =
        Rule::new("versions of a stream count from 1 without gaps, in the order of positions");
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
    rule
}

fn expected(history: &History) -> Rule {
    let mut rule =
        Rule::new("every expected version was there, and every refusal told another one");
    for t in &history.transactions {
        for step in t.steps.values() {
            let Some(expected) = step.asked.expected else {
                continue;
            };
            if let Some(Answer::Conflict { version, .. }) = &step.answer {
                let other = match (expected, version) {
                    (-1, v) => v.is_none_or(|v| v == 0),
                    (n, v) => v.unwrap_or(0) != n,
                };
                rule.expect(other, || {
                    format!("{expected} was refused where the version was {version:?}")
                });
            }
            let stored = step
                .asked
                .events
                .first()
                .and_then(|e| history.stored(&e.mark));
            let Some(version) = stored
                .and_then(|s| s.version)
                .filter(|_| t.fate != Fate::Gone)
            else {
                continue;
            };
            let held = if expected == -1 {
                version > 1
            } else {
                version == expected + 1
            };
            rule.expect(held, || {
                format!("{expected} was expected, {version} was appended")
            });
        }
    }
    rule
}
