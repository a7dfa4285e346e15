//! Every follower saw one and the same order without a gap, and no head went back.

use std::collections::HashMap;

use super::Rule;
use crate::history::History;
use crate::world;

pub const RULES: [super::Named; 2] = [
    (
        "a position that was read is a safe checkpoint: no follower missed an event, or saw one out of order",
        followed,
    ),
    ("no head goes back, whoever asks", heads),
];

fn followed(history: &History, rule: &mut Rule) {
    let queries = world::queries();
    let passed = history.passed();
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
        for event in history.matching(&last.partition, query, 0, before) {
            let got = seen.get(&event.position) == Some(&event.mark.as_str());
            rule.expect(got, || {
                format!("{name} missed {event:?}, and stands at {before}")
            });
        }
    }
}

fn heads(history: &History, rule: &mut Rule) {
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
                if told[next].position > highest {
                    (highest, whose) = (told[next].position, told[next].session);
                }
                next += 1;
            }
            rule.expect(head.position >= highest, || {
                format!("session {:x} was told {} of query {query} in {partition}, {whose:x} had been told {highest}", head.session, head.position)
            });
        }
    }
}
