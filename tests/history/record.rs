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
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Made {
    pub mark: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub tags: Vec<String>,
    pub amount: i64,
    /// Whether the mark is the event's id as well.
    pub with_id: bool,
}

/// A query that all events match of one of the types, if there are any, with all of the tags, and with one of `any_tags`,
/// if there are any.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Default)]
pub struct Criterion {
    pub types: Vec<String>,
    pub tags: Vec<String>,
    #[serde(default)]
    pub any_tags: Vec<String>,
}

/// Events that match one of the criteria; all events where there is none.
pub type Query = Vec<Criterion>;

/// What a call of en57_append asked for.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Asked {
    pub partition: String,
    pub events: Vec<Made>,
    pub stream: Option<String>,
    pub expected: Option<i64>,
    pub fail_if: Option<Query>,
    pub after: i64,
    /// The decider that makes the events; the client's event is its command.
    pub decider: bool,
}

/// What the client was told.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum Answer {
    Appended {
        first: i64,
        last: i64,
    },
    /// The same events are there already, from an earlier call.
    Repeated {
        first: i64,
        last: i64,
    },
    Conflict {
        positions: Vec<i64>,
        version: Option<i64>,
    },
    Nothing,
    /// An error of the server: nothing of the call, or of the transaction, is stored.
    Refused {
        state: String,
    },
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
