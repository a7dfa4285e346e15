//! The logs of all processes, read and put together: transactions with their steps and their fate.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::ending::{Ending, Stored};
use crate::record::{Answer, Asked, Criterion, End, Entry, Line, Query, Read, Restored, Seen};
use crate::world::{self, PARTITIONS};

/// How long after a commit that did not wait for the disk a crash may still undo it, in microseconds. PostgreSQL says
/// three times wal_writer_delay, 0.6 seconds; a busy machine takes longer.
const SETTLES: u64 = 10_000_000;

/// One call in a transaction.
#[derive(Debug)]
pub struct Step {
    pub asked: Asked,
    pub answer: Option<Answer>,
    pub undone: bool,
    /// When the client was about to ask, and when it had the answer; when it undid the step.
    pub asked_at: u64,
    pub answered_at: u64,
    pub undone_at: u64,
}

impl Step {
    /// Whether it has stored events, if its transaction is committed.
    pub fn stores(&self) -> bool {
        !self.undone
            && matches!(
                self.answer,
                Some(Answer::Appended { .. } | Answer::Imported { .. })
            )
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
    /// When the client knew that it was committed, and when it was about to ask for that.
    pub committed_at: Option<u64>,
    pub committing_at: Option<u64>,
}

/// What is known of an event's time.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub tx: u64,
    /// It was not there before.
    pub asked_at: u64,
    /// It was there at this time; u64::MAX where nobody knows.
    pub there_at: u64,
}

/// A read up to a head that the client knew.
pub struct Reading {
    pub read: Read,
    pub got: Seen,
    pub again: Option<Seen>,
}

/// A read of a stream's versions.
pub struct StreamReading {
    pub stream: String,
    pub partition: String,
    pub from: i64,
    pub upto: i64,
    pub backwards: bool,
    pub got: Vec<(i64, String)>,
}

/// What en57_count and en57_last told.
pub struct Count {
    pub query: Query,
    pub partition: String,
    pub head: i64,
    pub count: i64,
    pub last: i64,
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
    pub readings: Vec<Reading>,
    pub stream_readings: Vec<StreamReading>,
    pub counts: Vec<Count>,
    pub dumps: Vec<Restored>,
    pub crashes: Vec<u64>,
    /// What the nemesis did, and the errors that clients got, each with how often.
    pub deeds: BTreeMap<String, usize>,
    pub errors: BTreeMap<(String, String), usize>,
    pub ending: Ending,
    /// Of all events that were asked for, by their mark.
    pub times: HashMap<String, Times>,
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

/// The lines and the ending of a folder.
pub fn load(folder: &Path) -> (Vec<Line>, Ending) {
    let text = std::fs::read_to_string(folder.join("ending.json")).expect("the ending was written");
    let ending = serde_json::from_str(&text).expect("the ending is JSON");
    (lines(folder), ending)
}

/// A transaction while its lines are read.
#[derive(Default)]
struct Open {
    synchronous: bool,
    steps: BTreeMap<u32, Step>,
    committing: Option<u64>,
    end: Option<(u64, End)>,
}

impl History {
    pub fn new(lines: &[Line], ending: Ending) -> Self {
        let mut open: BTreeMap<u64, Open> = BTreeMap::new();
        let mut history = Self {
            transactions: Vec::new(),
            heads: Vec::new(),
            followers: BTreeMap::new(),
            readings: Vec::new(),
            stream_readings: Vec::new(),
            counts: Vec::new(),
            dumps: Vec::new(),
            crashes: Vec::new(),
            deeds: BTreeMap::new(),
            errors: BTreeMap::new(),
            by_mark: HashMap::new(),
            by_tag: HashMap::new(),
            by_type: HashMap::new(),
            by_partition: HashMap::new(),
            times: HashMap::new(),
            ending,
        };
        for line in lines {
            history.take(line, &mut open);
        }
        let crashes = &history.crashes;
        let closed = open.into_iter().map(|(tx, o)| Transaction {
            tx,
            fate: fate(&o, crashes),
            committing_at: o.committing,
            steps: o.steps,
            committed_at: o.end.filter(|e| e.1 == End::Committed).map(|e| e.0),
        });
        history.transactions = closed.collect();
        history.index();
        history
    }

    fn take(&mut self, line: &Line, open: &mut BTreeMap<u64, Open>) {
        match line.entry.clone() {
            Entry::Begin {
                tx, synchronous, ..
            } => open.entry(tx).or_default().synchronous = synchronous,
            Entry::Ask { tx, step, asked } => {
                let step_of = Step {
                    asked,
                    answer: None,
                    undone: false,
                    asked_at: line.at,
                    answered_at: u64::MAX,
                    undone_at: u64::MAX,
                };
                open.entry(tx).or_default().steps.insert(step, step_of);
            }
            Entry::Answer { tx, step, answer } => {
                if let Some(step) = open.entry(tx).or_default().steps.get_mut(&step) {
                    step.answer = Some(answer);
                    step.answered_at = line.at;
                }
            }
            Entry::Undo { tx, from } => {
                let steps = open.entry(tx).or_default().steps.range_mut(from..);
                for (_, step) in steps.filter(|(_, s)| !s.undone) {
                    (step.undone, step.undone_at) = (true, line.at);
                }
            }
            Entry::Commit { tx } => open.entry(tx).or_default().committing = Some(line.at),
            Entry::End { tx, end } => open.entry(tx).or_default().end = Some((line.at, end)),
            other => self.take_other(line.at, other),
        }
    }

    fn take_other(&mut self, at: u64, entry: Entry) {
        match entry {
            Entry::Head {
                session,
                query,
                partition,
                position,
                asked,
            } => self.heads.push(Told {
                session,
                query,
                partition,
                position,
                asked,
                told: at,
            }),
            Entry::Follow {
                follower,
                query,
                partition,
                got,
                upto,
            } => self.followers.entry(follower).or_default().push(Look {
                query,
                partition,
                got,
                upto,
            }),
            Entry::Read {
                read, got, again, ..
            } => self.readings.push(Reading { read, got, again }),
            Entry::ReadStream {
                stream,
                partition,
                from,
                upto,
                backwards,
                got,
            } => self.stream_readings.push(StreamReading {
                stream,
                partition,
                from,
                upto,
                backwards,
                got,
            }),
            Entry::Counted {
                query,
                partition,
                head,
                count,
                last,
                ..
            } => self.counts.push(Count {
                query,
                partition,
                head,
                count,
                last,
            }),
            Entry::Restored { dump } => self.dumps.push(dump),
            Entry::Crash => self.crashes.push(at),
            Entry::Failed { state, message } => {
                *self.errors.entry((state, message)).or_default() += 1;
            }
            Entry::Nemesis { deed } => *self.deeds.entry(deed).or_default() += 1,
            _ => (),
        }
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
        for t in &self.transactions {
            for step in t.steps.values() {
                let kept = t.fate != Fate::Gone && step.stores();
                for event in &step.asked.events {
                    let times = self.times.entry(event.mark.clone()).or_insert(Times {
                        tx: t.tx,
                        asked_at: step.asked_at,
                        there_at: u64::MAX,
                    });
                    times.asked_at = times.asked_at.min(step.asked_at);
                    if kept {
                        times.tx = t.tx;
                        let there_at = t.committed_at.unwrap_or(u64::MAX);
                        times.there_at = times.there_at.min(there_at);
                    }
                }
            }
        }
    }

    /// What may have been seen and is not there: what a crash has undone, and what was in a partition that is gone.
    pub fn passed(&self) -> HashSet<&str> {
        let mut passed = HashSet::new();
        for t in &self.transactions {
            for step in t.steps.values().filter(|s| s.may_store()) {
                if t.fate == Fate::Open || !History::staying(&step.asked.partition) {
                    passed.extend(step.asked.events.iter().map(|e| e.mark.as_str()));
                }
            }
        }
        passed
    }

    /// The stored event of a mark.
    pub fn stored(&self, mark: &str) -> Option<&Stored> {
        self.by_mark.get(mark).map(|i| &self.ending.events[*i])
    }

    /// The events of a partition, or of all that stay, that match, with positions after the first number and up to the
    /// second one.
    pub fn matching(&self, partition: &str, query: &Query, after: i64, upto: i64) -> Vec<&Stored> {
        let mut found = Vec::new();
        if partition == "*" {
            for partition in PARTITIONS {
                found.extend(self.matching(partition, query, after, upto));
            }
            found.sort_by_key(|e| e.position);
            return found;
        }
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

    /// The events up to a position for which a condition does not hold.
    pub fn conflicting(&self, partition: &str, condition: &Query, upto: i64) -> Vec<&Stored> {
        let mut found = Vec::new();
        for criterion in condition {
            let query = vec![criterion.clone()];
            found.extend(self.matching(partition, &query, criterion.after, upto));
        }
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
        None if open.committing.is_some() => Fate::Open,
        None => Fate::Gone,
    }
}
