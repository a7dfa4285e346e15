//! Imports: events come in with what they were given, alone in their partition, and behind everything that anybody may
//! have taken for complete.

use std::collections::HashMap;

use super::Rule;
use super::window::{Losses, Timed, found, own, timed};
use crate::ending::Stored;
use crate::history::{Fate, History, Step, Transaction};
use crate::record::{Answer, Made};

pub const RULES: [super::Named; 3] = [
    (
        "an import keeps the times, versions and positions that it is given, and nobody comes between its events",
        kept,
    ),
    (
        "an import comes behind every position that was told before",
        behind,
    ),
    ("every import that was refused had its reason", refused),
];

fn imports(history: &History) -> impl Iterator<Item = (&Transaction, &Step)> {
    let all = history.transactions.iter();
    let steps = all.flat_map(|t| t.steps.values().map(move |s| (t, s)));
    steps.filter(|(_, s)| s.asked.import)
}

fn kept(history: &History, rule: &mut Rule) {
    for (t, step) in imports(history).filter(|(t, _)| t.fate != Fate::Gone) {
        let mut bounds: Option<(i64, i64)> = None;
        for event in &step.asked.events {
            let Some(stored) = history.stored(&event.mark) else {
                continue;
            };
            let same = event.recorded_at.is_none_or(|at| at == stored.recorded_at)
                && event.position.is_none_or(|p| p == stored.position)
                && event.version.is_none_or(|v| Some(v) == stored.version);
            rule.expect(same, || format!("{stored:?} was imported as {event:?}"));
            let at = stored.position;
            bounds = Some(bounds.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        }
        let Some((first, last)) = bounds else {
            continue;
        };
        let own = |e: &&Stored| step.asked.events.iter().any(|m| m.mark == e.mark);
        let there = history.matching(&step.asked.partition, &vec![], first - 1, last);
        let others: Vec<_> = there.into_iter().filter(|e| !own(e)).collect();
        rule.expect(others.is_empty(), || {
            format!(
                "{others:?} are amid the import of transaction {:x}, {first} to {last}",
                t.tx
            )
        });
    }
    for (t, step) in imports(history) {
        if let Some(Answer::Imported { positions }) = &step.answer {
            let seen = positions.len() == step.asked.events.len() && !positions.contains(&0);
            rule.expect(seen, || {
                format!(
                    "transaction {:x} has imported {:?}, and found them at {positions:?}",
                    t.tx, step.asked.events
                )
            });
        }
    }
}

/// Positions that somebody was told, with the times, in the order of these; each with the highest one up to there.
fn told(history: &History) -> Vec<(u64, i64)> {
    let mut told: Vec<(u64, i64)> = history.heads.iter().map(|h| (h.told, h.position)).collect();
    for step in history.transactions.iter().flat_map(|t| t.steps.values()) {
        let last = match &step.answer {
            Some(Answer::Appended { last, .. }) => Some(*last),
            Some(Answer::Imported { positions }) => positions.last().copied(),
            Some(Answer::Locked { position, .. }) => Some(*position),
            _ => None,
        };
        told.extend(last.map(|last| (step.answered_at, last)));
    }
    told.sort_unstable();
    let mut highest = 0;
    for (_, position) in &mut told {
        highest = highest.max(*position);
        *position = highest;
    }
    told
}

fn behind(history: &History, rule: &mut Rule) {
    let told = told(history);
    for (t, step) in imports(history) {
        let Some(Answer::Imported { positions }) = &step.answer else {
            continue;
        };
        let before = told.partition_point(|(at, _)| *at < step.asked_at);
        let highest = before.checked_sub(1).map_or(0, |i| told[i].1);
        let first = positions.first().copied().unwrap_or(0);
        rule.expect(first > highest, || {
            format!(
                "transaction {:x} has imported to {first}, where {highest} had been told",
                t.tx
            )
        });
    }
}

/// A position is refused if the log has given it out, or a higher one, and then nobody can get a lower one later. A version
/// is refused if it does not follow the stream's last one.
fn refused(history: &History, rule: &mut Rule) {
    let losses = Losses::of(history);
    let mut given: Vec<(u64, i64)> = Vec::new();
    for step in history.transactions.iter().flat_map(|t| t.steps.values()) {
        if let Some(Answer::Appended { first, .. }) = step.answer {
            given.push((step.asked_at, first));
        }
    }
    given.sort_unstable();
    // The lowest one of those that were asked for at this time or later.
    let mut lowest = i64::MAX;
    for (_, first) in given.iter_mut().rev() {
        lowest = lowest.min(*first);
        *first = lowest;
    }
    let streams = by_stream(history);
    for (t, step) in imports(history) {
        let Some(Answer::Refused { state, message }) = &step.answer else {
            continue;
        };
        if state != "22023" {
            continue;
        }
        let first = &step.asked.events[0];
        let right = if message.contains("is not beyond the last one of the log") {
            let later = given.partition_point(|(at, _)| *at <= step.answered_at);
            let next = given.get(later).map_or(i64::MAX, |g| g.1);
            first.position.is_some_and(|p| p <= next)
        } else {
            message.contains("does not follow")
                && first.version.is_some_and(|version| {
                    !History::staying(&step.asked.partition)
                        || follows_not(&losses, &streams, (t, step), version)
                })
        };
        rule.expect(right, || {
            format!(
                "transaction {:x} may not import {:?}: {message}",
                t.tx, step.asked
            )
        });
    }
}

fn by_stream(history: &History) -> HashMap<(&str, &str), Vec<Timed<'_>>> {
    let mut streams: HashMap<(&str, &str), Vec<&Stored>> = HashMap::new();
    for event in &history.ending.events {
        if let Some(stream) = &event.stream {
            let key = (event.partition.as_str(), stream.as_str());
            streams.entry(key).or_default().push(event);
        }
    }
    let with_times = streams.into_iter().map(|(k, l)| (k, timed(history, l)));
    with_times.collect()
}

/// Whether the stream may have had a version which this one does not follow.
fn follows_not(
    losses: &Losses,
    streams: &HashMap<(&str, &str), Vec<Timed>>,
    (t, step): (&Transaction, &Step),
    version: i64,
) -> bool {
    let Some(stream) = &step.asked.events[0].stream else {
        return false;
    };
    let partition = &step.asked.partition;
    let of_stream =
        |_: &Made, s: Option<&String>, p: &str| s.is_some_and(|s| s == stream) && p == partition;
    let nothing = Vec::new();
    let events = streams.get(&(partition.as_str(), stream.as_str()));
    let (_, counts) = found(events.unwrap_or(&nothing), t, step);
    let own = own(t, step)
        .filter(|(s, e)| of_stream(e, s.asked.stream_of(e), &s.asked.partition))
        .count();
    losses.may_concern(step, of_stream)
        || counts.into_iter().any(|n| (n + own) as i64 + 1 != version)
}
