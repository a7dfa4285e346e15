//! Finds the shortest log that still shows what is wrong: transactions, looks, heads, and what was there at the end are
//! left out as long as the same violation is found with the same words.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use crate::check::{self, Named};
use crate::ending::{Ending, Stored};
use crate::history::{self, History};
use crate::record::{Entry, Line};

/// A log, cut down.
pub struct Short {
    /// The rule and its violation.
    pub rule: &'static str,
    pub violation: String,
    pub lines: Vec<Line>,
    pub events: Vec<Stored>,
}

/// Shrinks the logs of a folder and prints what is left of them.
pub fn shrink(folder: &Path) -> ExitCode {
    let (lines, ending) = history::load(folder);
    let Some(short) = shortest(lines, &ending, None) else {
        println!("history: nothing is wrong in {}", folder.display());
        return ExitCode::SUCCESS;
    };
    println!("history: {}: {}", short.rule, short.violation);
    let text = |line: serde_json::Result<String>| line.unwrap_or_default();
    for line in &short.lines {
        println!("{}", text(serde_json::to_string(line)));
    }
    println!("history: of the events at the end it needs");
    for event in &short.events {
        println!("{}", text(serde_json::to_string(event)));
    }
    ExitCode::FAILURE
}

/// The shortest log that shows the first violation, of any rule or of the one that is named. None where there is none.
pub fn shortest(lines: Vec<Line>, ending: &Ending, of: Option<&str>) -> Option<Short> {
    let history = History::new(&lines, ending.clone());
    let rules = check::rules().into_iter();
    let (named, wanted) = rules
        .filter(|named| of.is_none_or(|name| name == named.0))
        .find_map(|named| {
            let seen = check::look(named, &history).violations;
            seen.into_iter().next().map(|v| (named, v))
        })?;
    let shows = |lines: &[Vec<Line>], events: &[Stored]| {
        let flat: Vec<Line> = lines.iter().flatten().cloned().collect();
        let ending = Ending {
            events: events.to_vec(),
            ..ending.clone()
        };
        found(named, &History::new(&flat, ending)).contains(&wanted)
    };
    let mut events = ending.events.clone();
    // What only the lines need can go only when the lines are gone, and the other way round.
    let mut groups = grouped(lines);
    groups = fewer(groups, |groups| shows(groups, &events));
    events = fewer(events, |events| shows(&groups, events));
    groups = fewer(groups, |groups| shows(groups, &events));
    Some(Short {
        rule: named.0,
        violation: wanted,
        lines: groups.into_iter().flatten().collect(),
        events,
    })
}

fn found(named: Named, history: &History) -> Vec<String> {
    check::look(named, history).violations
}

/// Leaves out as much as it can: halves first, then smaller and smaller parts.
fn fewer<T: Clone>(mut all: Vec<T>, shows: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut size = all.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < all.len() {
            let mut rest = all.clone();
            rest.drain(start..(start + size).min(all.len()));
            if shows(&rest) {
                all = rest;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    all
}

/// Lines that only make sense together: those of a transaction; each other one alone.
fn grouped(lines: Vec<Line>) -> Vec<Vec<Line>> {
    let mut groups: Vec<Vec<Line>> = Vec::new();
    let mut of = HashMap::new();
    for line in lines {
        match transaction(&line.entry) {
            Some(tx) => {
                let i = *of.entry(tx).or_insert_with(|| {
                    groups.push(Vec::new());
                    groups.len() - 1
                });
                groups[i].push(line);
            }
            None => groups.push(vec![line]),
        }
    }
    groups
}

fn transaction(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::Begin { tx, .. }
        | Entry::Ask { tx, .. }
        | Entry::Answer { tx, .. }
        | Entry::Undo { tx, .. }
        | Entry::Commit { tx }
        | Entry::End { tx, .. } => Some(*tx),
        _ => None,
    }
}
