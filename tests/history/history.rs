//! The logs of all processes, read and put together: transactions with their steps and their fate.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::ending::{Ending, Stored};
use crate::record::{Answer, Asked, Criterion, End, Entry, Line, Query};
use crate::world;

/// How long after a commit that did not wait for the disk a crash may still undo it, in microseconds. PostgreSQL says
/// three times wal_writer_delay, 0.6 seconds; a busy machine takes longer.
const SETTLES: u64 = 10_000_000;

/// One call in a transaction.
#[derive(Debug)]
pub struct Step {
    pub asked: Asked,
    pub answer: Option<Answer>,
    pub undone: bool,
}

impl Step {
    /// Whether it has stored events, if its transaction is committed.
    pub fn stores(&self) -> bool {
        !self.undone && matches!(self.answer, Some(Answer::Appended { .. }))
    }

    /// Whether it may have.
    pub fn may_store(&self) -> bool {
        !self.undone && (self.answer.is_none() || self.stores())
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there.
    Kept,
    /// It is not there.
    Gone,
    /// It is there whole, or not at all.
    Open,
}

#[derive(Debug)]
pub struct Transaction {
    pub tx: u64,
    pub steps: BTreeMap<u32, Step>,
    pub fate: Fate,
}

/// What a session was told by en57_head.
pub struct Told {
    pub session: u64,
    pub query: usize,
    pub partition: String,
    pub position: i64,
    pub asked: u64,
    pub told: u64,
}

/// A look of a follower.
pub struct Look {
    pub query: usize,
    pub partition: String,
    pub got: Vec<(i64, String)>,
    pub upto: i64,
}

/// All that is known.
pub struct History {
    pub transactions: Vec<Transaction>,
    pub heads: Vec<Told>,
    pub followers: BTreeMap<String, Vec<Look>>,
    pub crashes: Vec<u64>,
    pub ending: Ending,
    /// Mark → place in the ending's events.
    pub by_mark: HashMap<String, usize>,
    /// Partition and tag → places, in the order of positions; likewise types, and all of a partition.
    by_tag: HashMap<(String, String), Vec<usize>>,
    by_type: HashMap<(String, String), Vec<usize>>,
    by_partition: HashMap<String, Vec<usize>>,
}

/// The lines of all logs of a folder, in the order of their times.
pub fn lines(folder: &Path) -> Vec<Line> {
    let mut lines = Vec::new();
    for file in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = file.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            let text = std::fs::read_to_string(&path).expect("a log can be read");
            // A process that is killed may leave half a line.
            lines.extend(
                text.lines()
                    .filter_map(|l| serde_json::from_str::<Line>(l).ok()),
            );
        }
    }
    lines.sort_by_key(|l| l.at);
    lines
}

#[derive(Default)]
struct Open {
    synchronous: bool,
    steps: BTreeMap<u32, Step>,
    committing: bool,
    end: Option<(u64, End)>,
}

impl History {
    pub fn new(lines: &[Line], ending: Ending) -> Self {
        let mut open: BTreeMap<u64, Open> = BTreeMap::new();
        let (mut heads, mut followers, mut crashes) = (Vec::new(), BTreeMap::new(), Vec::new());
        for line in lines {
            match &line.entry {
                Entry::Begin {
                    tx, synchronous, ..
                } => open.entry(*tx).or_default().synchronous = *synchronous,
                Entry::Ask { tx, step, asked } => {
                    let step_of = Step {
                        asked: asked.clone(),
                        answer: None,
                        undone: false,
                    };
                    open.entry(*tx).or_default().steps.insert(*step, step_of);
                }
                Entry::Answer { tx, step, answer } => {
                    if let Some(step) = open.entry(*tx).or_default().steps.get_mut(step) {
                        step.answer = Some(answer.clone());
                    }
                }
                Entry::Undo { tx, from } => {
                    let undone = open.entry(*tx).or_default().steps.range_mut(from..);
                    undone.for_each(|(_, s)| s.undone = true);
                }
                Entry::Commit { tx } => open.entry(*tx).or_default().committing = true,
                Entry::End { tx, end } => open.entry(*tx).or_default().end = Some((line.at, *end)),
                Entry::Head {
                    session,
                    query,
                    partition,
                    position,
                    asked,
                } => heads.push(Told {
                    session: *session,
                    query: *query,
                    partition: partition.clone(),
                    position: *position,
                    asked: *asked,
                    told: line.at,
                }),
                Entry::Follow {
                    follower,
                    query,
                    partition,
                    got,
                    upto,
                } => {
                    let looks: &mut Vec<Look> = followers.entry(follower.clone()).or_default();
                    looks.push(Look {
                        query: *query,
                        partition: partition.clone(),
                        got: got.clone(),
                        upto: *upto,
                    });
                }
                Entry::Crash => crashes.push(line.at),
                Entry::Nemesis { .. } => (),
            }
        }
        let transactions = open.into_iter().map(|(tx, o)| Transaction {
            tx,
            fate: fate(&o, &crashes),
            steps: o.steps,
        });
        let transactions = transactions.collect();
        let mut history = Self {
            transactions,
            heads,
            followers,
            crashes,
            by_mark: HashMap::new(),
            by_tag: HashMap::new(),
            by_type: HashMap::new(),
            by_partition: HashMap::new(),
            ending,
        };
        history.index();
        history
    }

    fn index(&mut self) {
        for (i, event) in self.ending.events.iter().enumerate() {
            self.by_mark.insert(event.mark.clone(), i);
            let partition = &event.partition;
            for tag in &event.tags {
                self.by_tag
                    .entry((partition.clone(), tag.clone()))
                    .or_default()
                    .push(i);
            }
            self.by_type
                .entry((partition.clone(), event.event_type.clone()))
                .or_default()
                .push(i);
            self.by_partition
                .entry(partition.clone())
                .or_default()
                .push(i);
        }
    }

    /// The stored event of a mark.
    pub fn stored(&self, mark: &str) -> Option<&Stored> {
        self.by_mark.get(mark).map(|i| &self.ending.events[*i])
    }

    /// The events of a partition that match, with positions after the first number and up to the second one.
    pub fn matching(&self, partition: &str, query: &Query, after: i64, upto: i64) -> Vec<&Stored> {
        let mut found = Vec::new();
        let everything = vec![Criterion::default()];
        for criterion in if query.is_empty() { &everything } else { query } {
            let lists: Vec<&Vec<usize>> = match (criterion.tags.first(), criterion.types.as_slice())
            {
                (Some(tag), _) => self
                    .by_tag
                    .get(&(partition.into(), tag.clone()))
                    .into_iter()
                    .collect(),
                (None, []) => self.by_partition.get(partition).into_iter().collect(),
                (None, types) => types
                    .iter()
                    .filter_map(|t| self.by_type.get(&(partition.into(), t.clone())))
                    .collect(),
            };
            for list in lists {
                let from = list.partition_point(|i| self.ending.events[*i].position <= after);
                let events = list[from..].iter().map(|i| &self.ending.events[*i]);
                let within = events.take_while(|e| e.position <= upto);
                found.extend(within.filter(|e| world::matches(query, &e.event_type, &e.tags)));
            }
        }
        found.sort_by_key(|e| e.position);
        found.dedup_by_key(|e| e.position);
        found
    }

    /// All partitions that have events, but for those that come and go.
    pub fn staying(partition: &str) -> bool {
        !partition.starts_with("passing")
    }
}

fn fate(open: &Open, crashes: &[u64]) -> Fate {
    match open.end {
        Some((at, End::Committed)) if !open.synchronous => {
            let undone = crashes
                .iter()
                .any(|c| *c + 1_000_000 >= at && *c <= at + SETTLES);
            if undone { Fate::Open } else { Fate::Kept }
        }
        Some((_, End::Committed)) => Fate::Kept,
        Some((_, End::RolledBack)) => Fate::Gone,
        None if open.committing => Fate::Open,
        None => Fate::Gone,
    }
}
