//! What is written down while the store is used: one line of JSON for each thing, in a file for each process, written
//! at once, so that a process that is killed leaves what it has done.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// An event as a client made it. Its mark is a random text in its data; by that the checker knows it again.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Default)]
pub struct Made {
    pub mark: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub tags: Vec<String>,
    pub amount: i64,
    /// Its id; but for what must be refused it is the mark.
    pub id: Option<String>,
    /// The stream that the event names itself.
    pub stream: Option<String>,
    /// The version that it expects of that stream.
    pub expected: Option<i64>,
    /// What an import gives it: when it was recorded, in microseconds since 1970; its position; its version in the stream.
    #[serde(default)]
    pub recorded_at: Option<i64>,
    #[serde(default)]
    pub position: Option<i64>,
    #[serde(default)]
    pub version: Option<i64>,
}

/// A query that all events match of one of the types, if there are any, with all of the tags, and with one of `any_tags`,
/// if there are any. In a condition events up to `after` do not count.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Default)]
pub struct Criterion {
    pub types: Vec<String>,
    pub tags: Vec<String>,
    pub any_tags: Vec<String>,
    pub after: i64,
}

/// Events that match one of the criteria; all events where there is none.
pub type Query = Vec<Criterion>;

/// What a call of en57_append, en57_decide, en57_import or en57_lock asked for.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Default)]
pub struct Asked {
    pub partition: String,
    pub events: Vec<Made>,
    pub stream: Option<String>,
    pub expected: Option<i64>,
    pub fail_if: Option<Query>,
    /// The decider that makes the events; the client's event is its command.
    pub decider: Option<String>,
    /// A conflict is to be an error.
    pub raise: bool,
    /// A refusal by an invariant is to be an answer.
    pub faults: bool,
    /// The events are imported.
    #[serde(default)]
    pub import: bool,
    /// Nothing is stored: what matches is locked.
    #[serde(default)]
    pub lock: Option<Query>,
}

impl Asked {
    /// The stream that an event of the call goes to.
    pub fn stream_of<'a>(&'a self, event: &'a Made) -> Option<&'a String> {
        event.stream.as_ref().or(self.stream.as_ref())
    }

    /// Whether it may be sent again: then it is stored once.
    pub fn can_be_repeated(&self) -> bool {
        let named = self.events.iter().all(|e| e.id.as_ref() == Some(&e.mark));
        named && !self.import && self.lock.is_none()
    }

    /// Whether it is this version of a stream that kept the call from appending.
    pub fn is_refused_for(&self, version: Option<i64>) -> bool {
        let version = version.unwrap_or(0);
        let expectations = self.expectations();
        let mut refused = expectations
            .iter()
            .filter(|(_, expected, _)| match expected {
                -1 => version == 0,
                n => version != *n,
            });
        // Of several streams it is not known which one the version is of.
        refused.next().is_some()
    }

    /// Streams with the versions that were expected of them before the call, and the first event that goes there.
    pub fn expectations(&self) -> Vec<(&str, i64, &Made)> {
        let mut streams = std::collections::BTreeSet::new();
        let mut found = Vec::new();
        for event in &self.events {
            let Some(stream) = self.stream_of(event) else {
                continue;
            };
            let of_call = event.stream.is_none().then_some(self.expected).flatten();
            if streams.insert(stream) {
                let expected = event.expected.or(of_call);
                found.extend(expected.map(|n| (stream.as_str(), n, event)));
            }
        }
        found
    }
}

/// What an invariant has found in the events of a call: its key, and the state that they would have led to.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Fault {
    pub key: String,
    pub state: i64,
}

/// What the client was told.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum Answer {
    Appended {
        first: i64,
        last: i64,
        version: Option<i64>,
    },
    /// The same events are there already, from an earlier call.
    Repeated { first: i64, last: i64 },
    Conflict {
        positions: Vec<i64>,
        version: Option<i64>,
    },
    /// The decider has nothing to append.
    Nothing,
    /// The positions at which the client has found its events after their import; 0 where it has not.
    Imported { positions: Vec<i64> },
    /// Nothing that matches is missing up to the position. `got` is what the client read after it had the lock, from
    /// `after` on.
    Locked {
        position: i64,
        after: i64,
        got: Seen,
    },
    /// An invariant refuses.
    Faults(Vec<Fault>),
    /// Another error of the server: nothing of the call, or of the transaction, is stored.
    Refused { state: String, message: String },
}

/// How a transaction ended, as far as the client knows. Where nothing is written, nobody knows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum End {
    Committed,
    RolledBack,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum Entry {
    Begin {
        tx: u64,
        isolation: String,
        synchronous: bool,
    },
    Ask {
        tx: u64,
        step: u32,
        asked: Asked,
    },
    Answer {
        tx: u64,
        step: u32,
        answer: Answer,
    },
    /// A savepoint, or a caught exception, undid the steps from this one on.
    Undo {
        tx: u64,
        from: u32,
    },
    /// The client is about to send COMMIT, or a statement that is a transaction by itself.
    Commit {
        tx: u64,
    },
    End {
        tx: u64,
        end: End,
    },
    /// A head that a session was told. `asked` is when it asked, in microseconds.
    Head {
        session: u64,
        query: usize,
        partition: String,
        position: i64,
        asked: u64,
    },
    /// What a read returned that asked for positions up to a head which the client knew.
    Read {
        read: Read,
        got: Seen,
        /// The same read once more in the same transaction, which is one of REPEATABLE READ.
        again: Option<Seen>,
        asked: u64,
    },
    /// A stream read from one version to another, up to a version which the client knew.
    ReadStream {
        stream: String,
        partition: String,
        from: i64,
        upto: i64,
        backwards: bool,
        got: Vec<(i64, String)>,
    },
    /// en57_count, and the position of en57_last, of a query whose head the client knew.
    Counted {
        query: Query,
        partition: String,
        head: i64,
        count: i64,
        last: i64,
        asked: u64,
    },
    /// What was in a database that a dump was restored into.
    Restored {
        dump: Restored,
    },
    /// An error that a client got, for those who count.
    Failed {
        state: String,
        message: String,
    },
    /// What a follower got, and up to where it may take that for complete.
    Follow {
        follower: String,
        query: usize,
        partition: String,
        got: Vec<(i64, String)>,
        upto: i64,
    },
    /// The server has crashed, or is about to.
    Crash,
    /// What the nemesis did, for whoever reads the log.
    Nemesis {
        deed: String,
    },
}

/// Positions and marks of events, as they came.
pub type Seen = Vec<(i64, String)>;

/// The arguments of a read. Nothing at or below `upto` can come later.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Default)]
pub struct Read {
    pub query: Query,
    pub partition: String,
    pub after: i64,
    pub upto: i64,
    pub max_count: Option<i64>,
    pub backwards: bool,
    /// Only what was recorded at this time or later, in microseconds since 1970.
    pub recorded_from: Option<i64>,
}

/// A restored dump.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Default)]
pub struct Restored {
    /// The head of all partitions before the dump began.
    pub head: i64,
    pub events: Seen,
    /// Streams with their partitions, and the versions of their events in the order of positions.
    pub versions: Vec<(String, String, Vec<i64>)>,
    /// The documents of the inline projection: id, number and sum.
    pub documents: Vec<(String, i64, i64)>,
    /// Where the first append after the restore came to be.
    pub next: i64,
    /// What en57_check found.
    pub faults: Vec<String>,
}

/// An entry with its time, in microseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub at: u64,
    pub entry: Entry,
}

/// Where a process writes.
pub struct Log {
    file: Mutex<File>,
    next: AtomicU64,
}

impl Log {
    /// A file of its own for this process.
    pub fn new(folder: &Path) -> Self {
        let name = folder.join(format!("log-{}.jsonl", std::process::id()));
        let file = OpenOptions::new().create(true).append(true).open(&name);
        Self {
            file: Mutex::new(file.unwrap_or_else(|e| panic!("{}: {e}", name.display()))),
            next: AtomicU64::new(1),
        }
    }

    /// A number that no other transaction or session of the run has.
    pub fn number(&self) -> u64 {
        u64::from(std::process::id()) << 32 | self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes an entry. What is written is in the file when this returns.
    pub fn note(&self, entry: Entry) {
        let line = Line { at: now(), entry };
        let mut text = serde_json::to_string(&line).expect("an entry is JSON");
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        file.write_all(text.as_bytes())
            .expect("the log can be written");
    }
}

/// The time, in microseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_micros() as u64)
}
