//! Finds the shortest log that still shows what is wrong: transactions, looks and heads are left out as long as the
//! first violation is found with the same words.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use crate::check;
use crate::history::{self, History};
use crate::record::{Entry, Line};

/// Shrinks the logs of a folder and prints what is left of them.
pub fn shrink(folder: &Path) -> ExitCode {
    let text = std::fs::read_to_string(folder.join("ending.json")).expect("the ending was written");
    let violations = |lines: &[Line]| -> Vec<String> {
        let ending = serde_json::from_str(&text).expect("the ending is JSON");
        let rules = check::all(&History::new(lines, ending)).into_iter();
        let told = |r: check::Rule| {
            let name = r.name;
            r.violations
                .into_iter()
                .map(move |v| format!("{name}: {v}"))
        };
        rules.flat_map(told).collect()
    };
    let mut groups = grouped(history::lines(folder));
    let flat = |groups: &[Vec<Line>]| groups.iter().flatten().cloned().collect::<Vec<_>>();
    let Some(wanted) = violations(&flat(&groups)).into_iter().next() else {
        println!("history: nothing is wrong in {}", folder.display());
        return ExitCode::SUCCESS;
    };
    println!("history: {wanted}");
    let mut size = groups.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < groups.len() {
            let mut fewer = groups.clone();
            fewer.drain(start..(start + size).min(groups.len()));
            if violations(&flat(&fewer)).contains(&wanted) {
                groups = fewer;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    for line in groups.iter().flatten() {
        println!("{}", serde_json::to_string(line).unwrap_or_default());
    }
    ExitCode::FAILURE
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
