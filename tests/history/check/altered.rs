//! Subscriptions whose query and number of shards change while they are polled. For each event the query decides that holds
//! when its shard passes the event's position.

use std::collections::{HashMap, HashSet};

use super::Rule;
use crate::ending::{Altered, Consumed, Stored};
use crate::history::History;
use crate::world::{self, SUBSCRIPTIONS, is_altered};

pub const RULES: [super::Named; 3] = [
    (
        "an altered subscription hands out every event for which its query holds when it passes it: exactly once, or at least once",
        delivered,
    ),
    (
        "what an altered subscription hands out matches its query of that time, in order per key",
        matching,
    ),
    (
        "the events of a key are in one shard, as long as the number of shards is the same",
        sharded,
    ),
];

/// A subscription that is altered.
struct Subject<'a> {
    name: &'static str,
    leased: bool,
    events: Vec<&'a Stored>,
    versions: &'a [Altered],
    consumed: &'a [Consumed],
}

type Key<'a> = (u8, &'a str);

fn subjects(history: &History) -> Vec<Subject<'_>> {
    let altered = SUBSCRIPTIONS.into_iter().filter(|s| is_altered(s.0));
    let subject = |(name, _, partition, _, leased)| Subject {
        name,
        leased,
        events: history.matching(partition, &vec![], 0, i64::MAX),
        versions: history.ending.altered.get(name).map_or(&[][..], |v| v),
        consumed: history.ending.consumed.get(name).map_or(&[][..], |c| c),
    };
    altered.map(subject).collect()
}

impl<'a> Subject<'a> {
    /// By number of shards and key: the shard in which events of that key came.
    fn shards(&self) -> HashMap<(usize, Key<'a>), usize> {
        let keys: HashMap<i64, Key> = self.events.iter().map(|e| (e.position, e.key())).collect();
        let mut shards = HashMap::new();
        for one in self.consumed {
            if let Some(key) = keys.get(&one.position) {
                let number = one.shards as usize;
                shards.insert((number, *key), one.shard as usize);
            }
        }
        shards
    }

    /// The position that a key had reached when a version began: the lowest and the highest one that are possible.
    fn reached(
        &self,
        version: &Altered,
        key: Key<'a>,
        shards: &HashMap<(usize, Key), usize>,
    ) -> (i64, i64) {
        let all = &version.positions;
        let known = shards.get(&(all.len(), key)).and_then(|s| all.get(*s));
        match known {
            Some(position) => (*position, *position),
            None => (
                all.iter().min().copied().unwrap_or(0),
                all.iter().max().copied().unwrap_or(0),
            ),
        }
    }

    /// Whether an event must be handed out, or must not; None where the shard of its key is not known.
    fn must(&self, event: &'a Stored, shards: &HashMap<(usize, Key), usize>) -> Option<bool> {
        let key = event.key();
        let mut answers = HashSet::new();
        for (i, version) in self.versions.iter().enumerate() {
            let (least, _) = self.reached(version, key, shards);
            let next = self.versions.get(i + 1);
            let (_, most) = next.map_or((0, i64::MAX), |v| self.reached(v, key, shards));
            if least < event.position && event.position <= most {
                answers.insert(is_asked_for(version, event));
            }
        }
        let mut answers = answers.into_iter();
        match (answers.next(), answers.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }
}

fn is_asked_for(version: &Altered, event: &Stored) -> bool {
    let query = &world::queries()[version.query];
    world::matches(query, &event.event_type, &event.tags)
}

fn delivered(history: &History, rule: &mut Rule) {
    for subject in subjects(history) {
        let shards = subject.shards();
        let mut times: HashMap<i64, usize> = HashMap::new();
        for one in subject.consumed {
            *times.entry(one.position).or_default() += 1;
        }
        for event in &subject.events {
            let n = times.get(&event.position).copied().unwrap_or(0);
            let right = match subject.must(event, &shards) {
                Some(true) => n == 1 || n > 1 && subject.leased,
                // Under a lease it may have been given out, and not acknowledged, when the query was another one.
                Some(false) => n == 0 || subject.leased,
                None => n <= 1 || subject.leased,
            };
            rule.expect(right, || {
                format!(
                    "{}: {event:?} was handed out {n} times; {:?}",
                    subject.name, subject.versions
                )
            });
        }
    }
}

fn matching(history: &History, rule: &mut Rule) {
    for subject in subjects(history) {
        // The first of the versions that have this query in a row.
        let mut since: HashMap<i64, (i64, &Altered)> = HashMap::new();
        let mut before: Option<(i64, usize)> = None;
        for version in subject.versions {
            let first = match before {
                Some((n, query)) if query == version.query => n,
                _ => version.n,
            };
            before = Some((first, version.query));
            since.insert(version.n, (first, version));
        }
        let events: HashMap<i64, &Stored> =
            subject.events.iter().map(|e| (e.position, *e)).collect();
        let (mut last, mut seen) = (HashMap::new(), HashSet::new());
        for one in subject.consumed {
            let event = events.get(&one.position).copied();
            let version = since.get(&one.version);
            let right = event.zip(version).is_some_and(|(event, (_, version))| {
                event.mark == one.mark && is_asked_for(version, event)
            });
            rule.expect(right, || {
                format!(
                    "{} was given {one:?}, {event:?}, by {version:?}",
                    subject.name
                )
            });
            let (Some(event), Some((first, _))) = (event, version) else {
                continue;
            };
            // In one transaction the order is that of all versions.
            let first = if subject.leased { *first } else { 0 };
            if !seen.insert((first, one.position)) {
                continue;
            }
            let before = last.insert((first, event.key()), one.position).unwrap_or(0);
            rule.expect(one.position > before, || {
                format!(
                    "{} was given {one:?} of key {:?} after {before}",
                    subject.name,
                    event.key()
                )
            });
        }
    }
}

fn sharded(history: &History, rule: &mut Rule) {
    for subject in subjects(history) {
        let shards = subject.shards();
        let keys: HashMap<i64, Key> = subject
            .events
            .iter()
            .map(|e| (e.position, e.key()))
            .collect();
        for one in subject.consumed {
            let Some(key) = keys.get(&one.position) else {
                continue;
            };
            let shard = shards.get(&(one.shards as usize, *key));
            rule.expect(shard == Some(&(one.shard as usize)), || {
                format!(
                    "{}: {one:?} of key {key:?} came in another shard than {shard:?}",
                    subject.name
                )
            });
        }
    }
}
