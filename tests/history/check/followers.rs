//! Every follower saw one and the same order without a gap, and no head went back.

use std::collections::{HashMap, HashSet};

use super::Rule;
use crate::history::{Fate, History};
use crate::world::{self, PARTITIONS};

pub fn rules(history: &History) -> Vec<Rule> {
    vec![followed(history), heads(history)]
}

fn followed(history: &History) -> Rule {
    let mut rule = Rule::new(
        "a position that was read is a safe checkpoint: no follower missed an event, or saw one out of order",
    );
    let queries = world::queries();
    // What a follower may have seen and is not there: what a crash has undone, and what was in a partition that is gone.
    let mut passed = HashSet::new();
    for t in &history.transactions {
        for step in t.steps.values().filter(|s| s.may_store()) {
            if t.fate == Fate::Open || !History::staying(&step.asked.partition) {
                passed.extend(step.asked.events.iter().map(|e| e.mark.as_str()));
            }
        }
    }
    for (name, looks) in &history.followers {
        let Some(last) = looks.last() else {
            continue;
        };
        let query = &queries[last.query];
        let mut seen: HashMap<i64, &str> = HashMap::new();
        let mut before = 0;
        for look in looks {
            for (position, mark) in &look.got {
                rule.expect(*position > before, || {
                    format!("{name} got {position} after {before}")
                });
                before = *position;
                seen.insert(*position, mark);
                let stored = history.stored(mark);
                let there = stored.is_some_and(|s| {
                    s.position == *position && world::matches(query, &s.event_type, &s.tags)
                });
                rule.expect(
                    there || stored.is_none() && passed.contains(mark.as_str()),
                    || format!("{name} got {mark} at {position}, which is {stored:?}"),
                );
            }
            rule.expect(look.upto >= before, || {
                format!("{name} got {before} beyond {}", look.upto)
            });
            before = look.upto;
        }
        let partitions: Vec<&str> = if last.partition == "*" {
            PARTITIONS.to_vec()
        } else {
            vec![&last.partition]
        };
        for partition in partitions {
            for event in history.matching(partition, query, 0, before) {
                let got = seen.get(&event.position) == Some(&event.mark.as_str());
                rule.expect(got, || {
                    format!("{name} missed {event:?}, and stands at {before}")
                });
            }
        }
    }
    rule
}

fn heads(history: &History) -> Rule {
    let mut rule = Rule::new("no head goes back, whoever asks");
    let mut by_query: HashMap<(usize, &str), Vec<&crate::history::Told>> = HashMap::new();
    for head in &history.heads {
        by_query
            .entry((head.query, &head.partition))
            .or_default()
            .push(head);
    }
    for ((query, partition), mut heads) in by_query {
        // The highest head of those that were told before this one was asked for.
        let mut told: Vec<_> = heads.clone();
        told.sort_by_key(|h| h.told);
        heads.sort_by_key(|h| h.asked);
        let (mut highest, mut next) = (0, 0);
        let mut whose = 0;
        for head in heads {
            while next < told.len() && told[next].told < head.asked {
                // What a crash has undone may have been beyond what was there afterwards.
                let crashed = history
                    .crashes
                    .iter()
                    .any(|c| told[next].told <= *c + 1_000_000 && *c <= head.told);
                if !crashed && told[next].position > highest {
                    (highest, whose) = (told[next].position, told[next].session);
                }
                next += 1;
            }
            if history
                .crashes
                .iter()
                .any(|c| *c >= head.asked.saturating_sub(10_000_000) && *c <= head.told)
            {
                highest = 0;
            }
            rule.expect(head.position >= highest, || {
                format!("session {:x} was told {} of query {query} in {partition}, {whose:x} had been told {highest}", head.session, head.position)
            });
        }
    }
    rule
}
