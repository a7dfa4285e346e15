//! Does the checker find what it is to find? A fault is planted into a good log for each rule: the rule must find it, and
//! the shrinker must cut the log down to a few lines that still show it. A rule without a planted fault fails, too.

mod beside;
mod good;

use std::process::ExitCode;

use good::{Good, good};
use serde_json::json;

use crate::check;
use crate::record::{Answer, Entry, Made};
use crate::shrink;

/// A shrunk log has no more lines than this: two transactions, one of two steps; nor more events at the end.
const FEW: usize = 12;

/// How a rule's name begins, what is planted, and how.
type Plant = (&'static str, &'static str, fn(&mut Good));

/// Tries it all; `ok` or `not ok` for each fault.
pub fn run() -> ExitCode {
    let mut fine = true;
    let mut say = |holds: bool, what: String| {
        fine &= holds;
        println!(
            "{} history: self-test: {what}",
            if holds { "ok" } else { "not ok" }
        );
    };
    let history = good().history();
    for named in check::rules() {
        let seen = check::look(named, &history);
        if seen.seen == 0 || !seen.violations.is_empty() {
            let found = seen.violations.join("; ");
            say(
                false,
                format!("a good log: {}: {} seen, {found}", seen.name, seen.seen),
            );
        }
        let planted = plants().any(|(rule, _, _)| named.0.starts_with(rule));
        if !planted {
            say(false, format!("no fault is planted for: {}", named.0));
        }
    }
    for (prefix, what, plant) in plants() {
        let (holds, found) = planted(prefix, *plant);
        say(holds, format!("{what}: {found}"));
    }
    if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn plants() -> impl Iterator<Item = &'static Plant> {
    PLANTS.iter().chain(beside::PLANTS)
}

fn planted(prefix: &str, plant: fn(&mut Good)) -> (bool, String) {
    let named = check::rules().into_iter().find(|r| r.0.starts_with(prefix));
    let Some(named) = named else {
        return (false, format!("no rule begins with {prefix}"));
    };
    let mut log = good();
    plant(&mut log);
    let all = log.lines.len();
    let Some(short) = shrink::shortest(log.lines, &log.ending, Some(named.0)) else {
        return (false, format!("not found by: {}", named.0));
    };
    let (lines, events) = (short.lines.len(), short.events.len());
    let told = format!(
        "found by: {} ({all} lines shrunk to {lines}, {events} events)",
        named.0
    );
    (lines <= FEW && events <= FEW, told)
}

const PLANTS: &[Plant] = &[
    (
        "no event is stored twice",
        "an event is there twice",
        |log| {
            let mut twin = log.ending.events[0].clone();
            twin.position = 1_000;
            log.ending.events.push(twin);
        },
    ),
    (
        "no position is given twice",
        "what was undone had a position of others",
        |log| {
            told_at(log, 2, 1);
        },
    ),
    (
        "what is stored is what was asked for",
        "an event has another tag",
        |log| {
            log.ending.events[0].tags.push("z".into());
        },
    ),
    (
        "what was acknowledged is there",
        "an event vanishes",
        |log| {
            log.ending.events.remove(3);
        },
    ),
    (
        "what was refused or rolled back",
        "an event stays that was rolled back",
        |log| {
            let undone = made(log)
                .into_iter()
                .find(|m| missing(log, m))
                .expect("one");
            let mut event = log.ending.events[0].clone();
            (event.position, event.mark, event.id) = (1_000, undone.mark, None);
            log.ending.events.push(event);
        },
    ),
    (
        "a transaction is there whole",
        "half a transaction is there",
        |log| {
            log.ending.events.pop();
        },
    ),
    (
        "a batch has contiguous positions",
        "a batch was told of another position",
        |log| {
            told_at(log, 3, 4);
        },
    ),
    ("every condition held", "a condition is violated", |log| {
        asks(log, |a| {
            if a.fail_if.as_ref().is_some_and(|q| q[0].after != 0) {
                a.fail_if = Some(good::tag("a:0"));
            }
        });
    }),
    (
        "every condition that failed",
        "a conflict is told that is none",
        |log| {
            answers(log, |a| {
                if let Answer::Conflict { positions, .. } = a {
                    positions.iter_mut().for_each(|p| *p = 3);
                }
            });
        },
    ),
    (
        "every version that was refused",
        "the version that was expected is refused",
        |log| {
            answers(log, |a| {
                if let Answer::Conflict { version, .. } = a {
                    *version = version.map(|_| 0);
                }
            });
        },
    ),
    (
        "every version that was refused",
        "a version is told that never was",
        |log| {
            answers(log, |a| {
                if let Answer::Conflict { version, .. } = a {
                    *version = version.map(|_| 7);
                }
            });
        },
    ),
    (
        "every refusal by an invariant",
        "an invariant refuses for a state that never was",
        |log| {
            answers(log, |a| {
                if let Answer::Faults(faults) = a {
                    faults[0].state -= 1;
                }
            });
        },
    ),
    (
        "every decision to append nothing",
        "a decider refuses what is allowed",
        |log| {
            asks(log, |a| {
                if a.decider.is_some() && a.events[0].amount < 0 {
                    a.events[0].amount = 1;
                }
            });
        },
    ),
    ("every id that was refused", "a new id is refused", |log| {
        asks(log, |a| {
            for event in &mut a.events {
                if event.id.as_ref().is_some_and(|id| *id != event.mark) {
                    event.id = Some("new".into());
                }
            }
        });
    }),
    (
        "every error had a cause",
        "an internal error is told",
        |log| {
            answers(log, |a| {
                if let Answer::Refused { state, .. } = a {
                    *state = "XX000".into();
                }
            });
        },
    ),
    ("versions of a stream", "a version is doubled", |log| {
        let mut events = log.ending.events.iter_mut();
        events.find(|e| e.version == Some(2)).expect("one").version = Some(1);
    }),
    (
        "every expected version was there",
        "another version was expected than was there",
        |log| {
            asks(log, |a| {
                if a.expected == Some(1) {
                    a.expected = Some(3);
                }
            });
        },
    ),
    (
        "a position that was read",
        "a follower misses an event",
        |log| {
            follow(log, |got| drop(got.remove(1)));
        },
    ),
    (
        "a position that was read",
        "a follower sees two events in another order",
        |log| {
            follow(log, |got| got.swap(0, 1));
        },
    ),
    ("no head goes back", "a head goes back", |log| {
        for line in log.lines.iter_mut().rev() {
            if let Entry::Head { position, .. } = &mut line.entry {
                *position = 1;
                return;
            }
        }
    }),
    ("a read up to a head", "a read misses an event", |log| {
        read(log, |got, _| drop(got.remove(0)));
    }),
    (
        "a repeatable read",
        "a read returns something else the second time",
        |log| {
            read(log, |_, again| drop(again.pop()));
        },
    ),
    (
        "a stream is read whole",
        "a version is missing in a read",
        |log| {
            for line in &mut log.lines {
                if let Entry::ReadStream { got, .. } = &mut line.entry {
                    got.remove(0);
                }
            }
        },
    ),
    ("counts and last events", "a count is too small", |log| {
        for line in &mut log.lines {
            if let Entry::Counted { count, .. } = &mut line.entry {
                *count -= 1;
            }
        }
    }),
    (
        "subscriptions hand out every event",
        "a subscription skips an event",
        |log| {
            consumed(log, "leased", |c| drop(c.remove(0)));
        },
    ),
    (
        "subscriptions hand out every event",
        "a subscription hands out an event twice",
        |log| {
            consumed(log, "once", |c| c.push(c[0].clone()));
        },
    ),
    (
        "subscriptions hand out the events of a key",
        "two events of a key change places",
        |log| {
            consumed(log, "once", |c| c.swap(0, 1));
        },
    ),
    ("the invariant holds", "a balance is below zero", |log| {
        amount(log, "moved", -70);
    }),
    (
        "every decision was right",
        "more is reserved than there is",
        |log| {
            amount(log, "reserved", 26);
        },
    ),
    ("documents are what", "a document differs", |log| {
        let documents = log.ending.documents.get_mut("accounts").expect("documents");
        documents.insert("1".into(), json!({"n": 2, "sum": 31}));
    }),
    (
        "handlers of projections",
        "a handler was not called",
        |log| {
            log.ending.handled.get_mut("async").expect("one").remove(0);
        },
    ),
    (
        "handlers of projections",
        "a handler was called out of order",
        |log| {
            log.ending.handled.get_mut("async").expect("one").swap(0, 1);
        },
    ),
    ("a dump has every event", "a dump lacks an event", |log| {
        dump(log, |d| drop(d.events.remove(0)));
    }),
    ("a restored dump", "a restored stream has a gap", |log| {
        dump(log, |d| d.versions[0].2[1] = 3);
    }),
    (
        "a restored dump",
        "a restored log gives a position again",
        |log| {
            dump(log, |d| d.next = 2);
        },
    ),
    (
        "en57_check finds nothing",
        "en57_check finds something",
        |log| {
            log.ending.faults.push("a fault".into());
        },
    ),
    ("no process of the server", "a process crashes", |log| {
        log.ending.crashed.push("terminated by signal 11".into());
    }),
    ("every page at the end", "a page is torn", |log| {
        log.ending.wrong_pages.push("block 3".into());
    }),
    ("every page at the end", "no page was looked at", |log| {
        log.ending.pages = 0;
    }),
];

fn answers(log: &mut Good, mut change: impl FnMut(&mut Answer)) {
    for line in &mut log.lines {
        if let Entry::Answer { answer, .. } = &mut line.entry {
            change(answer);
        }
    }
}

/// Tells another position to the call that was told this one.
fn told_at(log: &mut Good, position: i64, other: i64) {
    answers(log, |a| {
        if let Answer::Appended { first, last, .. } = a
            && *first == position
        {
            (*first, *last) = (other, other);
        }
    });
}

fn asks(log: &mut Good, mut change: impl FnMut(&mut crate::record::Asked)) {
    for line in &mut log.lines {
        if let Entry::Ask { asked, .. } = &mut line.entry {
            change(asked);
        }
    }
}

/// The events that were asked for.
fn made(log: &Good) -> Vec<Made> {
    let asks = log.lines.iter().filter_map(|l| match &l.entry {
        Entry::Ask { asked, .. } => Some(&asked.events),
        _ => None,
    });
    asks.flatten().cloned().collect()
}

fn missing(log: &Good, event: &Made) -> bool {
    log.ending.events.iter().all(|e| e.mark != event.mark)
}

/// Changes the first look of a follower.
fn follow(log: &mut Good, change: impl Fn(&mut crate::record::Seen)) {
    for line in &mut log.lines {
        if let Entry::Follow { got, .. } = &mut line.entry {
            return change(got);
        }
    }
}

fn read(log: &mut Good, change: impl Fn(&mut crate::record::Seen, &mut crate::record::Seen)) {
    for line in &mut log.lines {
        if let Entry::Read {
            got,
            again: Some(again),
            ..
        } = &mut line.entry
        {
            return change(got, again);
        }
    }
}

fn consumed(log: &mut Good, name: &str, change: impl Fn(&mut Vec<crate::ending::Consumed>)) {
    change(log.ending.consumed.get_mut(name).expect("a subscription"));
}

/// Changes the amount of the last event of a type.
fn amount(log: &mut Good, event_type: &str, amount: i64) {
    let mut events = log.ending.events.iter_mut().rev();
    let event = events.find(|e| e.event_type == event_type);
    event.expect("one").amount = Some(amount);
}

fn dump(log: &mut Good, change: impl Fn(&mut crate::record::Restored)) {
    for line in &mut log.lines {
        if let Entry::Restored { dump } = &mut line.entry {
            change(dump);
        }
    }
}
