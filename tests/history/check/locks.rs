//! Locks: from the answer of en57_lock until its transaction ends, nobody else appends what matches; and who reads after it
//! reads all of it.

use std::collections::{HashMap, HashSet};

use super::Rule;
use crate::ending::Stored;
use crate::history::{Fate, History, Step, Transaction};
use crate::record::{Answer, Query, Seen};
use crate::world;

pub const RULES: [super::Named; 2] = [
    (
        "nobody appends what another transaction has locked",
        kept_out,
    ),
    (
        "who has a lock reads all that is there up to its position",
        complete,
    ),
];

/// A lock that was answered.
struct Lock<'a> {
    t: &'a Transaction,
    step: &'a Step,
    query: &'a Query,
    position: i64,
    after: i64,
    got: &'a Seen,
}

impl Lock<'_> {
    /// Until when it was held for certain: when the client was about to commit with success, or else when it had the last
    /// answer of the transaction, before it undid the lock, that was no error.
    fn held_until(&self) -> u64 {
        if let (Some(at), Some(_), false) =
            (self.t.committing_at, self.t.committed_at, self.step.undone)
        {
            return at;
        }
        let answered = self
            .t
            .steps
            .values()
            .filter(|s| !is_error(s) && s.answered_at < self.step.undone_at);
        answered.map(|s| s.answered_at).max().unwrap_or(0)
    }

    fn is_own(&self, mark: &str) -> bool {
        let events = self.t.steps.values().flat_map(|s| &s.asked.events);
        events.into_iter().any(|e| e.mark == mark)
    }

    /// The events of others that match, from where the client has read.
    fn others<'h>(&self, history: &'h History, upto: i64) -> Vec<&'h Stored> {
        let partition = &self.step.asked.partition;
        let mut events = history.matching(partition, self.query, self.after, upto);
        events.retain(|e| !self.is_own(&e.mark));
        events
    }
}

/// Whether a step may have ended its transaction, and its locks with it, before the client had the answer: some conflicts
/// and faults are errors.
fn is_error(step: &Step) -> bool {
    let asked = &step.asked;
    match step.answer {
        None | Some(Answer::Refused { .. }) => true,
        Some(Answer::Conflict { .. }) => asked.raise || asked.decider.is_some(),
        Some(Answer::Faults(_)) => !asked.faults,
        Some(_) => false,
    }
}

fn locks(history: &History) -> Vec<Lock<'_>> {
    let all = history.transactions.iter();
    let steps = all.flat_map(|t| t.steps.values().map(move |s| (t, s)));
    let mut locks = Vec::new();
    for (t, step) in steps.filter(|(_, s)| History::staying(&s.asked.partition)) {
        if let (
            Some(query),
            Some(Answer::Locked {
                position,
                after,
                got,
            }),
        ) = (&step.asked.lock, &step.answer)
        {
            locks.push(Lock {
                t,
                step,
                query,
                position: *position,
                after: *after,
                got,
            });
        }
    }
    locks
}

fn kept_out(history: &History, rule: &mut Rule) {
    // When the client that appended an event, for good, had the answer.
    let mut answered = HashMap::new();
    for t in history.transactions.iter().filter(|t| t.fate == Fate::Kept) {
        for step in t.steps.values().filter(|s| s.stores()) {
            for event in &step.asked.events {
                answered.insert(event.mark.as_str(), (step.answered_at, t.tx));
            }
        }
    }
    for lock in locks(history) {
        let until = lock.held_until();
        let got: HashSet<&str> = lock.got.iter().map(|g| g.1.as_str()).collect();
        // What is much later is of no interest.
        for event in lock.others(history, lock.position + 5_000) {
            let Some((at, by)) = answered.get(event.mark.as_str()) else {
                continue;
            };
            let held = *at > until || got.contains(event.mark.as_str());
            rule.expect(held, || {
                format!(
                    "transaction {by:x} has appended {event:?} while {:x} had locked {:?}, after it had read {:?}",
                    lock.t.tx, lock.query, lock.got
                )
            });
        }
    }
}

fn complete(history: &History, rule: &mut Rule) {
    let passed = history.passed();
    for lock in locks(history) {
        let got: HashSet<(i64, &str)> = lock.got.iter().map(|(p, m)| (*p, m.as_str())).collect();
        for event in lock.others(history, lock.position) {
            let there = got.contains(&(event.position, event.mark.as_str()));
            rule.expect(there, || {
                format!(
                    "transaction {:x} has locked {:?} up to {}, and has not read {event:?}",
                    lock.t.tx, lock.query, lock.position
                )
            });
        }
        for (position, mark) in &got {
            let right = match history.stored(mark) {
                Some(e) => {
                    e.position == *position
                        && e.partition == lock.step.asked.partition
                        && world::matches(lock.query, &e.event_type, &e.tags)
                }
                None => passed.contains(mark) || lock.is_own(mark),
            };
            rule.expect(right, || {
                format!(
                    "transaction {:x} has read {mark} at {position} under its lock: {:?}",
                    lock.t.tx,
                    history.stored(mark)
                )
            });
        }
    }
}
