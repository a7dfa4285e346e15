//! Streams under 16 connections: versions are 1, 2, 3.. in position order, a conflict tells the truth, and no
//! error of class 40 or 23 appears, at any isolation level.
//!
//! Without the lock of the stream's key (`append::lock`) versions are given twice or left out, and creating a
//! stream twice fails on the unique index. With the transaction's snapshot for the head, REPEATABLE READ and
//! SERIALIZABLE give versions twice. Without the frontier readers see versions come and gaps close.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::crew::{Gate, crew};
use crate::support::random::{Random, scaled};
use crate::support::session::Session;
use crate::support::streams::no_gaps;

const CLIENTS: usize = 16;
const STREAMS: usize = 10;

struct Answer {
    outcome: String,
    position: Option<i64>,
    version: Option<i64>,
    conflicts: Option<Value>,
}

fn append(session: &mut Session, events: &Value, stream: &str, expected: Option<i64>) -> Answer {
    const SQL: &str = "SELECT outcome::text, position, stream_version, conflicts
        FROM en57_append($1, stream => $2, expected_version => $3)";
    let row = session.row(SQL, &[events, &stream, &expected]);
    Answer {
        outcome: row.get(0),
        position: row.get(1),
        version: row.get(2),
        conflicts: row.get(3),
    }
}

fn versions(session: &mut Session, stream: &str) -> Vec<i64> {
    let sql = "SELECT stream_version FROM en57_read_stream($1)";
    let rows = session.rows(sql, &[&stream]);
    rows.iter().map(|r| r.get(0)).collect()
}

/// A conflict must be one, name the version as it is, and the events beyond the expected one.
fn check_conflict(answer: &Answer, expected: i64) -> i64 {
    assert_eq!(answer.outcome, "conflict");
    let version = answer.version.expect("a conflict tells the version");
    assert!(
        version > expected,
        "a conflict at version {version}, {expected} was expected"
    );
    let list = answer.conflicts.as_ref().and_then(Value::as_array);
    let told: Vec<i64> = list
        .expect("a conflict tells the events")
        .iter()
        .map(|e| e["stream_version"].as_i64().expect("a version"))
        .collect();
    let beyond: Vec<i64> = (expected + 1..=version).collect();
    assert_eq!(told, beyond[beyond.len().saturating_sub(100)..]);
    version
}

/// Appends at the version that this client knows, until it is the right one. Returns the version reached.
fn append_at(
    session: &mut Session,
    random: &mut Random,
    begin: Option<&str>,
    stream: &str,
    mut known: i64,
) -> i64 {
    let events: Vec<Value> = (0..random.between(1, 3))
        .map(|_| json!({"type": "happened", "tags": [format!("of:{stream}")]}))
        .collect();
    let events = json!(events);
    for _ in 0..10_000 {
        if let Some(begin) = begin {
            session.run(begin);
        }
        let mut answer = append(session, &events, stream, Some(known));
        if answer.outcome == "conflict" {
            known = check_conflict(&answer, known);
            if begin.is_some() && random.chance(50) {
                // The stream's key is held: in this transaction the version that was told stays right.
                answer = append(session, &events, stream, Some(known));
                assert_eq!(answer.outcome, "appended");
            }
        }
        let undo = begin.is_some() && random.chance(15);
        if begin.is_some() {
            session.run(if undo { "ROLLBACK" } else { "COMMIT" });
        }
        if answer.outcome == "appended" && !undo {
            let reached = answer.version.expect("a version");
            assert_eq!(
                reached,
                known + events.as_array().map_or(0, Vec::len) as i64
            );
            assert!(answer.position.is_some());
            return reached;
        }
    }
    panic!("no append stands")
}

fn exact_versions(begin: Option<&str>) {
    let db = Cluster::shared().database();
    let each = scaled(100);
    crew(CLIENTS, |client| {
        let mut session = db.connect();
        let mut random = Random::new(500 + client as u64);
        let mut known = BTreeMap::new();
        if client % 4 == 0 {
            // More keys than it may lock: the partition's lock stands for those that it writes.
            session.run("SET en57.max_key_locks = 1");
        }
        for _ in 0..each {
            let stream = format!("stream-{}", random.below(STREAMS));
            let at = known.get(&stream).copied().unwrap_or(0);
            let reached = append_at(&mut session, &mut random, begin, &stream, at);
            known.insert(stream.clone(), reached);
            if random.chance(20) {
                // What this session has committed is there when it reads.
                let read = versions(&mut session, &stream);
                assert!(
                    read.len() as i64 >= reached,
                    "own version {reached} is missing"
                );
                assert!(read.iter().copied().eq(1..=read.len() as i64), "{read:?}");
            }
            if random.chance(10) {
                let answer = append(&mut session, &json!({"type": "any"}), &stream, None);
                assert_eq!(answer.outcome, "appended");
                known.insert(stream, answer.version.expect("a version"));
            }
        }
    });
    no_gaps(&db, STREAMS);
}

#[test]
fn exact_versions_in_single_statements() {
    exact_versions(None);
}

#[test]
fn exact_versions_under_read_committed() {
    exact_versions(Some("BEGIN"));
}

#[test]
fn exact_versions_under_repeatable_read() {
    exact_versions(Some("BEGIN ISOLATION LEVEL REPEATABLE READ"));
}

#[test]
fn exact_versions_under_serializable() {
    exact_versions(Some("BEGIN ISOLATION LEVEL SERIALIZABLE"));
}

/// All create the same stream at once: one does, the others are told its version, and nobody gets an error.
#[test]
fn a_stream_is_created_once() {
    let db = Cluster::shared().database();
    let rounds = scaled(150);
    let gate = Gate::new(CLIENTS);
    let answers = crew(CLIENTS, |client| {
        let mut session = db.connect();
        let event = json!({"type": "created", "data": client});
        let create = |n| {
            gate.pass();
            append(&mut session, &event, &format!("new-{n}"), Some(0))
        };
        (0..rounds).map(create).collect::<Vec<_>>()
    });
    for n in 0..rounds {
        let of_round: Vec<&Answer> = answers.iter().map(|a| &a[n]).collect();
        let created = of_round.iter().filter(|a| a.outcome == "appended").count();
        assert_eq!(created, 1, "stream new-{n}");
        for answer in of_round.iter().filter(|a| a.outcome != "appended") {
            assert_eq!(check_conflict(answer, 0), 1);
        }
    }
    no_gaps(&db, rounds);
}

/// Transactions over two streams each, some rolled back, some to a savepoint: both streams or neither.
#[test]
fn several_streams_in_a_transaction() {
    let db = Cluster::shared().database();
    let each = scaled(60);
    crew(8, |client| {
        let mut session = db.connect();
        let mut random = Random::new(600 + client as u64);
        for n in 0..each {
            let mut pair = [random.below(STREAMS), random.below(STREAMS - 1)];
            pair[1] += usize::from(pair[1] >= pair[0]);
            // One order for all: of transactions that cross PostgreSQL would end one.
            pair.sort_unstable();
            let [a, b] = pair.map(|s| format!("account-{s}"));
            let event = |type_name: &str| json!({"type": type_name, "tags": [format!("transfer:{client}:{n}")]});
            session.run("BEGIN");
            if random.chance(30) {
                session.run("SAVEPOINT s");
                append(
                    &mut session,
                    &json!([event("undone"), event("undone")]),
                    &a,
                    None,
                );
                session.run("ROLLBACK TO s");
            }
            let first = append(&mut session, &event("taken"), &a, None);
            let second = append(&mut session, &event("given"), &b, None);
            let third = append(&mut session, &event("noted"), &a, first.version);
            assert_eq!(second.outcome, "appended");
            assert_eq!(third.version, first.version.map(|v| v + 1));
            session.run(if random.chance(25) {
                "ROLLBACK"
            } else {
                "COMMIT"
            });
        }
    });
    no_gaps(&db, STREAMS);
    let mut session = db.connect();
    let halves =
        "SELECT count(*) FROM (SELECT tags FROM en57_read() GROUP BY tags HAVING count(*) <> 3) h";
    assert_eq!(session.number(halves), 0, "a transfer is stored by half");
    assert_eq!(
        session.number("SELECT en57_count('{\"types\": [\"undone\"]}')"),
        0
    );
}

/// While streams grow and appends are rolled back, a reader sees each of them whole up to a version, and what it
/// has seen stays: by one read, by the stream's own row, and in the list.
#[test]
fn readers_see_whole_streams() {
    let db = Cluster::shared().database();
    let done = AtomicBool::new(false);
    let writers = 6;
    let each = scaled(120);
    let reads: usize = crew(writers + 2, |client| {
        let mut session = db.connect();
        let mut random = Random::new(700 + client as u64);
        if client < writers {
            for _ in 0..each {
                session.run("BEGIN");
                for _ in 0..random.between(1, 2) {
                    // Its own streams, so that none waits and positions mix.
                    let stream = format!("stream-{client}-{}", random.below(2));
                    let events = json!([{"type": "a"}, {"type": "b"}]);
                    append(&mut session, &events, &stream, None);
                }
                session.run(if random.chance(30) { "ROLLBACK" } else { "COMMIT" });
            }
            done.store(true, Ordering::SeqCst);
            return 0;
        }
        let mut seen: BTreeMap<String, i64> = BTreeMap::new();
        let mut listed: BTreeMap<String, i64> = BTreeMap::new();
        let mut reads = 0;
        while !done.load(Ordering::SeqCst) {
            for row in session.rows("SELECT stream, version FROM en57_streams", &[]) {
                let (stream, version): (String, i64) = (row.get(0), row.get(1));
                let before = listed.insert(stream.clone(), version).unwrap_or(0);
                assert!(version >= before, "{stream} was at {before} in the list, now at {version}");
            }
            for (stream, listed) in &listed {
                let read = versions(&mut session, stream);
                let last = read.len() as i64;
                assert!(read.iter().copied().eq(1..=last), "{stream}: {read:?}");
                let alone: i64 = session
                    .row("SELECT (en57_stream($1)).version", &[stream])
                    .get(0);
                let before = seen.insert(stream.clone(), alone).unwrap_or(0);
                assert!(last >= *listed && last >= before && alone >= last, "{stream}");
                let newest = session.rows(
                    "SELECT stream_version FROM en57_read_stream($1, from_version => $2, backwards => true)",
                    &[stream, &last],
                );
                assert!(newest.last().is_some_and(|r| r.get::<_, i64>(0) == last));
                reads += 1;
            }
        }
        reads
    })
    .into_iter()
    .sum();
    assert!(reads > 0, "nobody read");
    no_gaps(&db, writers * 2);
}
