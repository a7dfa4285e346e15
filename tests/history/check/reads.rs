//! Reads with every option return exactly what is there.

use std::collections::HashSet;

use super::Rule;
use crate::history::{History, Reading};

pub const RULES: [super::Named; 4] = [
    (
        "a read up to a head returns exactly the events that it asks for",
        exact,
    ),
    ("a repeatable read repeats", repeated),
    (
        "a stream is read whole, in the order of its versions",
        streams,
    ),
    ("counts and last events miss nothing below the head", counts),
];

fn exact(history: &History, rule: &mut Rule) {
    let passed = history.passed();
    for reading in &history.readings {
        let Reading { read, got, .. } = reading;
        let in_order = |pair: &[(i64, String)]| (pair[0].0 < pair[1].0) != read.backwards;
        rule.expect(got.windows(2).all(in_order), || {
            format!("{read:?} is out of order: {got:?}")
        });
        let is_full = read.max_count.is_some_and(|max| got.len() as i64 >= max);
        let most = read.max_count.is_none_or(|max| got.len() as i64 <= max);
        rule.expect(most, || format!("{read:?} got {} events", got.len()));
        // Up to where it looked.
        let (mut after, mut upto) = (read.after, read.upto);
        if is_full {
            match got.last() {
                Some((last, _)) if read.backwards => after = last - 1,
                Some((last, _)) => upto = *last,
                None => continue,
            }
        }
        let mut expected = history.matching(&read.partition, &read.query, after, upto);
        if let Some(from) = read.recorded_from {
            expected.retain(|e| e.recorded_at >= from);
        }
        let there: HashSet<(i64, &str)> = expected
            .iter()
            .map(|e| (e.position, e.mark.as_str()))
            .collect();
        let mut seen = HashSet::new();
        for (position, mark) in got {
            seen.insert((*position, mark.as_str()));
            // What may be gone, or be of a partition that comes and goes, need not be there now. If it is, it is there.
            let was = passed.contains(mark.as_str())
                && history.stored(mark).is_none_or(|e| {
                    e.position == *position
                        && !History::staying(&e.partition)
                        && crate::world::matches(&read.query, &e.event_type, &e.tags)
                });
            rule.expect(there.contains(&(*position, mark)) || was, || {
                format!(
                    "{read:?} got {position}, {mark}: {:?}",
                    history.stored(mark)
                )
            });
        }
        for event in &expected {
            let missed = !seen.contains(&(event.position, event.mark.as_str()));
            rule.expect(!missed, || format!("{read:?} missed {event:?}"));
        }
    }
}

fn repeated(history: &History, rule: &mut Rule) {
    for reading in &history.readings {
        if let Some(again) = &reading.again {
            rule.expect(*again == reading.got, || {
                format!(
                    "{:?} got {:?} and then {again:?}",
                    reading.read, reading.got
                )
            });
        }
    }
}

fn streams(history: &History, rule: &mut Rule) {
    let passed = history.passed();
    for reading in &history.stream_readings {
        let (from, upto, stream) = (reading.from, reading.upto, &reading.stream);
        let mut versions: Vec<i64> = reading.got.iter().map(|g| g.0).collect();
        if reading.backwards {
            versions.reverse();
        }
        rule.expect(versions.iter().copied().eq(from..=upto), || {
            format!("{from} to {upto} of {stream} are {versions:?}")
        });
        for (version, mark) in &reading.got {
            let right = match history.stored(mark) {
                Some(e) => {
                    e.version == Some(*version)
                        && e.stream.as_ref() == Some(stream)
                        && e.partition == reading.partition
                }
                None => passed.contains(mark.as_str()),
            };
            rule.expect(right, || {
                format!(
                    "version {version} of {stream} was {mark}: {:?}",
                    history.stored(mark)
                )
            });
        }
    }
}

fn counts(history: &History, rule: &mut Rule) {
    for count in &history.counts {
        let below = history.matching(&count.partition, &count.query, 0, count.head);
        let last = below.last().map_or(0, |e| e.position);
        let right = count.count >= below.len() as i64 && count.last >= last;
        rule.expect(right, || {
            format!(
                "{} of {:?} in {}, the last at {}, where {} are below {}, the last at {last}",
                count.count,
                count.query,
                count.partition,
                count.last,
                below.len(),
                count.head
            )
        });
    }
}
