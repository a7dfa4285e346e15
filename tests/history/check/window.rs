//! What a call may have found: between what was committed before it was asked, and what was asked for before it was
//! answered.

use std::ops::RangeInclusive;

use crate::ending::Stored;
use crate::history::{Fate, History, Step, Times, Transaction};
use crate::record::{Answer, Made};

/// An event that was there, maybe, until a crash undid it.
struct Lost<'a> {
    event: &'a Made,
    stream: Option<&'a String>,
    partition: &'a str,
    asked_at: u64,
    undone_at: u64,
}

/// What was lost in crashes.
pub struct Losses<'a>(Vec<Lost<'a>>);

impl<'a> Losses<'a> {
    pub fn of(history: &'a History) -> Self {
        let mut lost = Vec::new();
        for t in history.transactions.iter().filter(|t| t.fate == Fate::Open) {
            for step in t.steps.values().filter(|s| s.may_store()) {
                // Without a crash it was rolled back, and nobody has seen it. Each crash has two lines.
                let ends = history.crashes.chunks(2).filter_map(|c| c.get(1));
                let Some(end) = ends.copied().find(|c| *c > step.asked_at) else {
                    continue;
                };
                let gone = step.asked.events.iter();
                lost.extend(
                    gone.filter(|e| history.stored(&e.mark).is_none())
                        .map(|event| Lost {
                            event,
                            stream: step.asked.stream_of(event),
                            partition: &step.asked.partition,
                            asked_at: step.asked_at,
                            undone_at: end,
                        }),
                );
            }
        }
        Self(lost)
    }

    /// Whether an event that concerns a call may have been there when it was asked.
    pub fn may_concern(
        &self,
        step: &Step,
        concerns: impl Fn(&Made, Option<&String>, &str) -> bool,
    ) -> bool {
        self.0.iter().any(|l| {
            l.asked_at < step.answered_at
                && l.undone_at > step.asked_at
                && concerns(l.event, l.stream, l.partition)
        })
    }
}

/// An event with what is known of its time.
pub type Timed<'a> = (Option<Times>, &'a Stored);

/// Looks up the times of a key's events, once for all calls that concern it.
pub fn timed<'a>(history: &History, events: Vec<&'a Stored>) -> Vec<Timed<'a>> {
    let one = |e: &'a Stored| (history.times.get(&e.mark).copied(), e);
    events.into_iter().map(one).collect()
}

/// Those of a key's events that are others', and how many of them the call may have found.
pub fn found<'a>(
    events: &[Timed<'a>],
    t: &Transaction,
    step: &Step,
) -> (Vec<&'a Stored>, RangeInclusive<usize>) {
    let is_own = |e: &&Timed| e.0.is_some_and(|times| times.tx == t.tx);
    let (mut others, mut least, mut most) = (Vec::new(), 0, 0);
    for (times, event) in events.iter().filter(|e| !is_own(e)) {
        others.push(*event);
        if times.is_some_and(|times| times.there_at < step.asked_at) {
            least = others.len();
        }
        if times.is_none_or(|times| times.asked_at < step.answered_at) {
            most = others.len();
        }
    }
    (others, least..=most.max(least))
}

/// The events that the transaction itself had appended before, and not undone.
pub fn own<'a>(t: &'a Transaction, step: &Step) -> impl Iterator<Item = (&'a Step, &'a Made)> {
    let asked_at = step.asked_at;
    let before = t.steps.values().filter(move |s| {
        let appended = matches!(
            s.answer,
            Some(Answer::Appended { .. } | Answer::Imported { .. })
        );
        s.asked_at < asked_at && appended && s.undone_at > asked_at
    });
    before.flat_map(|s| s.asked.events.iter().map(move |e| (s, e)))
}
