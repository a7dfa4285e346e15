//! Every refusal had its reason: versions, invariants, deciders, ids; and no other error but those that have a cause.

use std::collections::HashMap;

use super::Rule;
use super::window::{Losses, Timed, found, own, timed};
use crate::ending::Stored;
use crate::history::{History, Step, Transaction};
use crate::record::{Answer, Made};
use crate::world::STOCK;

pub const RULES: [super::Named; 5] = [
    (
        "every version that was refused was another one than expected",
        versions,
    ),
    ("every refusal by an invariant had its reason", invariants),
    ("every decision to append nothing had its reason", decisions),
    ("every id that was refused was known", ids),
    ("every error had a cause that is known", errors),
];

fn steps(history: &History) -> impl Iterator<Item = (&Transaction, &Step)> {
    let all = history.transactions.iter();
    all.flat_map(|t| t.steps.values().map(move |s| (t, s)))
}

fn versions(history: &History, rule: &mut Rule) {
    let losses = Losses::of(history);
    let mut by_stream: HashMap<(&str, &str), Vec<&Stored>> = HashMap::new();
    for event in &history.ending.events {
        if let Some(stream) = &event.stream {
            let key = (event.partition.as_str(), stream.as_str());
            by_stream.entry(key).or_default().push(event);
        }
    }
    let with_times = by_stream.into_iter().map(|(k, l)| (k, timed(history, l)));
    let by_stream: HashMap<(&str, &str), Vec<Timed>> = with_times.collect();
    for (t, step) in steps(history) {
        let Some(Answer::Conflict { version, .. }) = &step.answer else {
            continue;
        };
        let asked = &step.asked;
        let refused = asked.is_refused_for(*version);
        rule.expect(refused || asked.fail_if.is_some(), || {
            format!(
                "transaction {:x} was refused for version {version:?}, which {asked:?} expects",
                t.tx
            )
        });
        if !refused || !History::staying(&asked.partition) {
            continue;
        }
        let version = version.unwrap_or(0);
        let was_there = asked.expectations().iter().any(|(stream, _, _)| {
            let of_stream = |_: &Made, s: Option<&String>, p: &str| {
                s.is_some_and(|s| s == stream) && p == asked.partition
            };
            let nothing = Vec::new();
            let events = by_stream.get(&(asked.partition.as_str(), *stream));
            let (_, counts) = found(events.unwrap_or(&nothing), t, step);
            let own = own(t, step)
                .filter(|(s, e)| of_stream(e, s.asked.stream_of(e), &s.asked.partition))
                .count();
            losses.may_concern(step, of_stream)
                || counts.into_iter().any(|n| (n + own) as i64 == version)
        });
        rule.expect(was_there, || {
            format!(
                "transaction {:x} was told of version {version}, which was not there: {asked:?}",
                t.tx
            )
        });
    }
}

/// The events of each tag that begins so.
fn by_tag<'a>(history: &'a History, prefix: &str) -> HashMap<&'a str, Vec<Timed<'a>>> {
    let mut by_tag: HashMap<&str, Vec<&Stored>> = HashMap::new();
    for event in &history.ending.events {
        for tag in event.tags.iter().filter(|t| t.starts_with(prefix)) {
            by_tag.entry(tag).or_default().push(event);
        }
    }
    let with_times = by_tag.into_iter().map(|(k, l)| (k, timed(history, l)));
    with_times.collect()
}

/// The sums of a tag's amounts that a call may have found, its own transaction's events included. None where a crash has
/// undone something.
fn sums(
    events: Option<&Vec<Timed>>,
    losses: &Losses,
    tag: &str,
    (t, step): (&Transaction, &Step),
) -> Option<Vec<i64>> {
    let has = |e: &Made| e.tags.iter().any(|one| one == tag);
    if losses.may_concern(step, |e, _, _| has(e)) {
        return None;
    }
    let nothing = Vec::new();
    let (others, counts) = found(events.unwrap_or(&nothing), t, step);
    let own: i64 = own(t, step)
        .filter(|(_, e)| has(e))
        .map(|(_, e)| e.amount)
        .sum();
    let mut sum = own;
    let mut found = Vec::new();
    for n in 0..=*counts.end() {
        if n >= *counts.start() {
            found.push(sum);
        }
        sum += others.get(n).and_then(|e| e.amount).unwrap_or(0);
    }
    Some(found)
}

fn invariants(history: &History, rule: &mut Rule) {
    let losses = Losses::of(history);
    let accounts = by_tag(history, "account:");
    for (t, step) in steps(history) {
        let Some(Answer::Faults(faults)) = &step.answer else {
            continue;
        };
        rule.expect(!faults.is_empty(), || {
            format!("transaction {:x} was told of no fault", t.tx)
        });
        for fault in faults {
            let tag = format!("account:{}", fault.key);
            let of_account = step.asked.events.iter().filter(|e| e.tags.contains(&tag));
            let change: i64 = of_account.map(|e| e.amount).sum();
            let sums = sums(accounts.get(tag.as_str()), &losses, &tag, (t, step));
            let right = sums
                .as_ref()
                .is_none_or(|sums| sums.contains(&(fault.state - change)));
            rule.expect(right && fault.state < 0, || {
                format!("transaction {:x} was refused for {fault:?}: the balances were {sums:?}, and {change} was asked for", t.tx)
            });
        }
    }
}

fn decisions(history: &History, rule: &mut Rule) {
    let losses = Losses::of(history);
    let stocks = by_tag(history, "stock:");
    for (t, step) in steps(history) {
        let (Some(Answer::Nothing), Some(event)) = (&step.answer, step.asked.events.first()) else {
            continue;
        };
        let tag = event.tags[0].as_str();
        let sums = sums(stocks.get(tag), &losses, tag, (t, step));
        let right = sums.as_ref().is_none_or(|sums| {
            sums.iter()
                .any(|sum| !(0..=STOCK).contains(&(sum + event.amount)))
        });
        rule.expect(right, || {
            format!(
                "transaction {:x} may not reserve {event:?}, where {sums:?} were",
                t.tx
            )
        });
    }
}

fn ids(history: &History, rule: &mut Rule) {
    let mut asked: HashMap<&str, Vec<(u64, u32)>> = HashMap::new();
    for t in &history.transactions {
        for (n, step) in &t.steps {
            for id in step.asked.events.iter().filter_map(|e| e.id.as_deref()) {
                asked.entry(id).or_default().push((t.tx, *n));
            }
        }
    }
    for t in &history.transactions {
        for (n, step) in &t.steps {
            let Some(Answer::Refused { state, .. }) = &step.answer else {
                continue;
            };
            if state != "23505" {
                continue;
            }
            let others = |id: &str| asked[id].iter().any(|by| *by != (t.tx, *n));
            let mut ids = step.asked.events.iter().filter_map(|e| e.id.as_deref());
            rule.expect(ids.any(others), || {
                format!(
                    "transaction {:x}: nobody else has used an id of {:?}",
                    t.tx, step.asked
                )
            });
        }
    }
}

fn errors(history: &History, rule: &mut Rule) {
    // Cancelled or out of time, a lock that did not come in time, a deadlock, a serialization failure, a known id.
    const KNOWN: [&str; 5] = ["57014", "55P03", "40P01", "40001", "23505"];
    for (t, step) in steps(history) {
        let Some(Answer::Refused { state, message }) = &step.answer else {
            continue;
        };
        // A partition that comes and goes may not be there.
        let is_gone = state == "42704" && !History::staying(&step.asked.partition);
        // Of an import's positions and versions there is another rule.
        let is_of_import = state == "22023" && step.asked.import;
        rule.expect(
            KNOWN.contains(&state.as_str()) || is_gone || is_of_import,
            || {
                format!(
                    "transaction {:x} got {state}, {message}, for {:?}",
                    t.tx, step.asked
                )
            },
        );
    }
}
