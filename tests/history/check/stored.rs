//! What was acknowledged is there once; what was refused is not; batches are whole and in order.

use std::collections::{HashMap, HashSet};

use super::Rule;
use crate::history::{Fate, History, Step, Transaction};
use crate::record::Answer;

pub const RULES: [super::Named; 7] = [
    ("no event is stored twice, and no position or id", once),
    (
        "no position is given twice, even if what had it was undone",
        given_once,
    ),
    ("what is stored is what was asked for", as_asked),
    ("what was acknowledged is there", kept),
    ("what was refused or rolled back is not there", gone),
    ("a transaction is there whole or not at all", whole),
    (
        "a batch has contiguous positions, as it was told; later calls have higher ones",
        batches,
    ),
];

fn once(history: &History, rule: &mut Rule) {
    let (mut marks, mut ids) = (HashSet::new(), HashSet::new());
    let mut last = 0;
    for event in &history.ending.events {
        rule.expect(marks.insert(&event.mark), || {
            format!(
                "{} is stored twice, again at {}",
                event.mark, event.position
            )
        });
        rule.expect(event.position > last, || {
            format!("position {} follows {last}", event.position)
        });
        last = event.position;
        if let Some(id) = &event.id {
            rule.expect(ids.insert((&event.partition, id)), || {
                format!("id {id} is stored twice, again at {}", event.position)
            });
        }
    }
}

fn given_once(history: &History, rule: &mut Rule) {
    let mut given = Vec::new();
    for (t, step) in steps(history) {
        if let Some(Answer::Appended { first, last, .. }) = step.answer {
            given.push((first, last, t.tx));
        }
        if let Some(Answer::Imported { positions }) = &step.answer {
            let found = positions.iter().filter(|p| **p > 0);
            given.extend(found.map(|p| (*p, *p, t.tx)));
        }
    }
    given.sort_unstable();
    for pair in given.windows(2) {
        let ((first, last, one), (next, _, other)) = (pair[0], pair[1]);
        rule.expect(last < next, || {
            format!("transaction {one:x} was given {first} to {last}, {other:x} was given {next}")
        });
    }
}

fn steps(history: &History) -> impl Iterator<Item = (&Transaction, &Step)> {
    history
        .transactions
        .iter()
        .flat_map(|t| t.steps.values().map(move |s| (t, s)))
}

fn as_asked(history: &History, rule: &mut Rule) {
    let mut made = HashMap::new();
    for (_, step) in steps(history) {
        for event in &step.asked.events {
            made.insert(event.mark.as_str(), (event, step));
        }
    }
    for event in &history.ending.events {
        let Some((asked, step)) = made.get(event.mark.as_str()) else {
            rule.expect(false, || format!("nobody has asked for {event:?}"));
            continue;
        };
        let same = event.event_type == asked.event_type
            && event.tags == asked.tags
            && event.stream.as_ref() == step.asked.stream_of(asked)
            && (asked.id.is_none() || event.id == asked.id)
            && event.partition == step.asked.partition
            && event.amount.is_none_or(|a| a == asked.amount);
        rule.expect(same, || {
            format!("{event:?} was asked for as {asked:?} of {:?}", step.asked)
        });
    }
}

fn kept(history: &History, rule: &mut Rule) {
    for (t, step) in steps(history) {
        let repeated = matches!(step.answer, Some(Answer::Repeated { .. }));
        if t.fate != Fate::Kept
            || !History::staying(&step.asked.partition)
            || !(step.stores() || repeated && !step.undone)
        {
            continue;
        }
        for event in &step.asked.events {
            let found = history.stored(&event.mark).is_some();
            rule.expect(found, || {
                format!(
                    "{event:?} of transaction {:x} is missing; answered {:?}",
                    t.tx, step.answer
                )
            });
        }
    }
}

fn gone(history: &History, rule: &mut Rule) {
    // An append whose answer was lost is sent again: then either call may have stored it.
    let mut wanted = HashSet::new();
    for (t, step) in steps(history) {
        if t.fate != Fate::Gone
            && (step.may_store() || matches!(step.answer, Some(Answer::Repeated { .. })))
        {
            wanted.extend(step.asked.events.iter().map(|e| &e.mark));
        }
    }
    for (t, step) in steps(history) {
        for event in step
            .asked
            .events
            .iter()
            .filter(|e| !wanted.contains(&e.mark))
        {
            let found = history.stored(&event.mark);
            rule.expect(found.is_none(), || {
                format!(
                    "{found:?} of transaction {:x}, {:?}, answered {:?}, is there",
                    t.tx, t.fate, step.answer
                )
            });
        }
    }
}

fn whole(history: &History, rule: &mut Rule) {
    let mut asks: HashMap<&str, usize> = HashMap::new();
    for (_, step) in steps(history) {
        step.asked
            .events
            .iter()
            .for_each(|e| *asks.entry(&e.mark).or_default() += 1);
    }
    for t in history.transactions.iter().filter(|t| t.fate == Fate::Open) {
        let staying = t
            .steps
            .values()
            .filter(|s| s.may_store() && History::staying(&s.asked.partition));
        // What was asked for by two calls may be the other one's.
        let marks: Vec<&str> = staying
            .flat_map(|s| s.asked.events.iter().map(|e| e.mark.as_str()))
            .filter(|m| asks[m] == 1)
            .collect();
        let found = marks.iter().filter(|m| history.stored(m).is_some()).count();
        rule.expect(found == 0 || found == marks.len(), || {
            format!(
                "{found} of {} events of transaction {:x} are there",
                marks.len(),
                t.tx
            )
        });
    }
}

fn batches(history: &History, rule: &mut Rule) {
    for t in history.transactions.iter().filter(|t| t.fate != Fate::Gone) {
        let mut before = 0;
        for step in t.steps.values().filter(|s| !s.undone) {
            let events = &step.asked.events;
            let n = events.len() as i64;
            let first = match &step.answer {
                Some(Answer::Appended { first, last, .. }) => {
                    rule.expect(last - first + 1 == n && *first > before, || {
                        format!("{first} to {last} for {n} events, after {before}")
                    });
                    before = *last;
                    first
                }
                Some(Answer::Imported { positions }) => {
                    for (event, position) in events.iter().zip(positions) {
                        let stored = history.stored(&event.mark);
                        let right = stored.is_none_or(|s| s.position == *position);
                        rule.expect(right && *position > before, || {
                            format!("{stored:?} was imported to {position}, after {before}")
                        });
                        before = *position;
                    }
                    continue;
                }
                Some(Answer::Repeated { first, last }) => {
                    rule.expect(last - first + 1 == n, || {
                        format!("repeated are {first} to {last} for {n} events")
                    });
                    first
                }
                _ => continue,
            };
            for (event, position) in events.iter().zip(*first..) {
                let stored = history.stored(&event.mark);
                let right = stored.is_none_or(|s| s.position == position);
                rule.expect(right, || format!("{stored:?} was told to be at {position}"));
            }
        }
    }
}
