//! `en57_check` finds damage of every kind, done to the files of a stopped server or by a superuser, and
//! raises no false alarm beside writers.
//!
//! Each finding goes with its check: without one the test names the damage that is not found.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Database, OwnCluster};
use crate::crew::crew;
use crate::random::{Random, scaled};
use crate::session::Session;

const PAGE: usize = 8192;
const SPECIAL: usize = PAGE - 16;

/// What it says, a line a finding.
fn findings(session: &mut Session) -> Vec<String> {
    let sql = "SELECT concat_ws(': ', severity, object, problem), hint FROM en57_check()";
    let rows = session.rows(sql, &[]);
    assert!(
        rows.iter()
            .all(|r| r.get::<_, String>(1).ends_with(['.', ')']))
    );
    rows.iter().map(|r| r.get(0)).collect()
}

fn event(n: usize) -> Value {
    json!({"type": format!("y{}", n % 3), "tags": [format!("tag:{n:05}"), format!("t:{}", n % 10)],
        "correlation_id": format!("c:{}", n % 7)})
}

fn fill(session: &mut Session, n: usize) {
    let events: Vec<Value> = (1..=n).map(event).collect();
    session.append(&json!(events), None);
}

/// A server whose files are changed while it is down.
struct Victim {
    cluster: OwnCluster,
    db: Database,
}

impl Victim {
    fn new() -> Self {
        // From 18 on pages have checksums, which would find the damage first.
        let cluster = Cluster::own(&["ignore_checksum_failure = on", "autovacuum = off"]);
        let db = cluster.database();
        fill(&mut db.connect(), 3000);
        assert_eq!(findings(&mut db.connect()), [""; 0]);
        Self { cluster, db }
    }

    /// Changes a relation's file, looks what the check finds, and changes it back.
    fn with_damage(
        &self,
        relation: &str,
        damage: impl FnOnce(&[u8]) -> (usize, Vec<u8>),
    ) -> Vec<String> {
        let mut session = self.db.connect();
        let path = session.text(&format!("SELECT pg_relation_filepath('{relation}')"));
        drop(session);
        self.cluster.stop("fast");
        let path = format!("{}/data/{path}", self.cluster.folder());
        let bytes = std::fs::read(&path).expect("the relation's file");
        let (at, changed) = damage(&bytes);
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("to be changed");
        file.write_all_at(&changed, at as u64).expect("damage");
        self.cluster.start();
        let found = findings(&mut self.db.connect());
        self.cluster.stop("fast");
        let before = &bytes[at..at + changed.len()];
        file.write_all_at(before, at as u64).expect("repair");
        self.cluster.start();
        assert_eq!(findings(&mut self.db.connect()), [""; 0], "repaired");
        found
    }
}

/// Where an entry for a position begins in an index on (key, position).
fn entry_of(bytes: &[u8], position: i64) -> usize {
    let is_entry = |at: &usize| {
        bytes[at + 6..at + 8] == 24u16.to_le_bytes()
            && bytes[at + 16..at + 24] == position.to_le_bytes()
    };
    (0..bytes.len() - 24)
        .step_by(8)
        .find(is_entry)
        .expect("an entry")
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The first leaf page that is neither the first nor the last one of its level.
fn inner_leaf(bytes: &[u8]) -> usize {
    (1..bytes.len() / PAGE)
        .map(|n| n * PAGE)
        .find(|page| {
            let special = page + SPECIAL;
            bytes[special + 12] & 1 == 1
                && number(bytes, special) != 0
                && number(bytes, special + 4) != 0
        })
        .expect("a tree of several leaves")
}

const KEYS: &str = "en57.events_default_keys_position_idx";

#[test]
fn damaged_files() {
    let victim = Victim::new();
    let expect = |found: Vec<String>, expected: &[&str]| {
        assert_eq!(found, expected);
    };

    // An entry that leads to another row, whose own entry is missing then.
    let found = victim.with_damage(KEYS, |bytes| {
        let at = entry_of(bytes, 1234) + 4;
        let place = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (
            at,
            (if place > 1 { place - 1 } else { 2 }).to_le_bytes().into(),
        )
    });
    expect(
        found,
        &[
            "error: index en57.events_default_keys_position_idx: event at position 1234: 1 of its 4 entries are missing",
            "error: index en57.events_default_keys_position_idx: entry for position 1234: the row in its place has another position",
        ],
    );
    // One that leads to nothing.
    let found = victim.with_damage(KEYS, |bytes| {
        (entry_of(bytes, 1234) + 4, 250u16.to_le_bytes().into())
    });
    assert!(
        found[1].ends_with("entry for position 1234: there is no row in its place"),
        "{found:?}"
    );
    let found = victim.with_damage(KEYS, |bytes| {
        (entry_of(bytes, 1234), 7u16.to_le_bytes().into())
    });
    assert!(
        found[1].ends_with("entry for position 1234: its row lies beyond the end of the table"),
        "{found:?}"
    );

    // A tag that was changed on the row.
    let found = victim.with_damage("en57.events_default", |bytes| {
        let at = bytes.windows(9).position(|w| w == b"tag:01234");
        (at.expect("the tag"), b"tag:99999".into())
    });
    expect(
        found,
        &[
            "error: index en57.events_default_keys_position_idx: event at position 1234: 1 of its 4 entries are missing",
            "error: index en57.events_default_keys_position_idx: entry for position 1234: the row in its place has no such type, tag, stream or id",
        ],
    );
    let found = victim.with_damage("en57.events_default", |bytes| {
        let at = bytes.windows(9).position(|w| w == b"tag:01234");
        (at.expect("the tag"), b"a".into())
    });
    assert!(
        found.iter().any(|f| f == "error: table en57.events_default: event at position 1234: its tags are not sorted and distinct"),
        "{found:?}"
    );

    // The index on position.
    let found = victim.with_damage("en57.events_default_position", |bytes| {
        let position = 1234i64.to_le_bytes();
        let at = bytes
            .chunks(8)
            .position(|w| w == position)
            .expect("an entry")
            * 8
            - 4;
        let place = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (
            at,
            (if place > 1 { place - 1 } else { 2 }).to_le_bytes().into(),
        )
    });
    expect(
        found,
        &[
            "error: index en57.events_default_position: event at position 1234: its entry is missing",
            "error: index en57.events_default_position: entry for position 1234: the row in its place has another position",
        ],
    );
}

#[test]
fn broken_pages() {
    let victim = Victim::new();
    let one = |found: Vec<String>, expected: &str| {
        assert!(
            found.len() == 1
                && found[0].starts_with("error: index en57.")
                && found[0].ends_with(expected),
            "{found:?} instead of {expected}"
        );
    };
    // An entry's key.
    one(
        victim.with_damage(KEYS, |bytes| {
            (entry_of(bytes, 1234) + 8, vec![0, 0, 0, 0, 0, 0, 0, 0x80])
        }),
        ": its entries are not in order",
    );
    // Links.
    one(
        victim.with_damage(KEYS, |bytes| {
            (inner_leaf(bytes) + SPECIAL, vec![0x77, 0, 0, 0])
        }),
        "but it names page 119",
    );
    one(
        victim.with_damage(KEYS, |bytes| {
            (inner_leaf(bytes) + SPECIAL + 4, vec![0x77, 7, 0, 0])
        }),
        ": a link leads to it, but there is no such page",
    );
    // Levels and kinds of pages.
    one(
        victim.with_damage(KEYS, |bytes| (inner_leaf(bytes) + SPECIAL + 8, vec![1])),
        ": it is of another level",
    );
    one(
        victim.with_damage(KEYS, |bytes| (inner_leaf(bytes) + SPECIAL + 12, vec![5])),
        ": it is deleted, but its sibling leads to it",
    );
    // A line pointer, an entry's size, the metapage.
    one(
        victim.with_damage(KEYS, |bytes| (inner_leaf(bytes) + 24 + 40, vec![0xFF; 4])),
        ": entry 11 is not on the page",
    );
    one(
        victim.with_damage(KEYS, |bytes| (entry_of(bytes, 1234) + 6, vec![25])),
        " has another size than it says",
    );
    one(
        victim.with_damage(KEYS, |_| (24, vec![0; 4])),
        "page 0: it is no metapage of nbtree's",
    );
    one(
        victim.with_damage("en57.events_default_position", |bytes| {
            (inner_leaf(bytes) + SPECIAL, vec![0x77, 0, 0, 0])
        }),
        "but it names page 119",
    );
}

/// What a superuser can do who switches the triggers off.
#[test]
fn damaged_by_a_superuser() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    fill(&mut session, 20);
    let copy = |set: &str| {
        format!(
            "INSERT INTO en57.events_default SELECT (jsonb_populate_record(e, '{set}')).* FROM en57.events e WHERE position = 5 LIMIT 1"
        )
    };
    let id = |n: usize| format!(r#""id": "0193e3a0-0000-7000-8000-0000000000{n:02}""#);

    // The triggers off, and an event changed while the key index was not looked after.
    session.run("ALTER TABLE en57.events_default DISABLE TRIGGER USER");
    let ready = |yes| {
        format!("UPDATE pg_index SET indisready = {yes} WHERE indexrelid = '{KEYS}'::regclass")
    };
    session.run(&ready(false));
    let mut other = db.connect();
    other.run("UPDATE en57.events_default SET type = 'changed' WHERE position = 3");
    session.run(&ready(true));
    let found = findings(&mut db.connect());
    assert_eq!(
        found,
        [
            "warning: table en57.events_default: trigger en57_guard is not in force, so events can be changed",
            "warning: table en57.events_default: trigger en57_guard_truncate is not in force, so events can be changed",
            "error: index en57.events_default_keys_position_idx: event at position 3: 4 of its 4 entries are missing",
        ]
    );
    for trigger in ["en57_guard", "en57_guard_truncate"] {
        session.run(&format!(
            "ALTER TABLE en57.events_default ENABLE ALWAYS TRIGGER {trigger}"
        ));
    }
    session.run(&format!("REINDEX INDEX {KEYS}"));
    assert_eq!(findings(&mut session), [""; 0]);

    // Duplicates, which only a lost index lets in.
    session.run("DROP INDEX en57.events_default_position; DROP INDEX en57.events_default_id");
    session.run(&copy(&format!("{{{}}}", id(1))));
    session.run(&copy(r#"{"position": 40, "stable": 39}"#));
    let lost = "error: table en57.events_default: it has lost its unique index on";
    assert_eq!(
        findings(&mut session),
        [
            format!("{lost} position"),
            format!("{lost} id"),
            "error: table en57.events_default: position 5 is there more than once".into()
        ]
    );
    session.run("CREATE INDEX ON en57.events_default (id)");
    assert_eq!(
        findings(&mut session).len(),
        3,
        "an index that is not unique does not do"
    );
    session.run("DROP INDEX en57.events_keys");
    let found = findings(&mut session);
    assert_eq!(
        found[0],
        "error: table en57.events_default: it has lost its key index"
    );
    assert_eq!(found.len(), 4);

    // Values that no append writes.
    let db = Cluster::shared().database();
    let mut session = db.connect();
    fill(&mut session, 20);
    let odd = [
        (
            r#""position": 41, "stable": 41"#,
            "its frontier (column stable) is 41, not below it",
        ),
        (
            r#""position": 42, "stable": -1"#,
            "its frontier (column stable) is -1, not below it",
        ),
        (r#""position": -1"#, "positions begin at 1"),
        (
            r#""position": 44, "tags": ["b", "a"]"#,
            "its tags are not sorted and distinct",
        ),
        (
            r#""position": 45, "tags": ["a", "a"]"#,
            "its tags are not sorted and distinct",
        ),
        (
            r#""position": 46, "stream": "s""#,
            "it has only one of stream and version",
        ),
        (
            r#""position": 47, "stream_version": 1"#,
            "it has only one of stream and version",
        ),
        (r#""position": 48, "stream": "s", "stream_version": 1"#, ""),
        (r#""position": 49, "stream": "s", "stream_version": 2"#, ""),
        (
            r#""position": 50, "stream": "u", "stream_version": 2"#,
            "it has version 2 of its stream, where 1 comes next",
        ),
        (
            r#""position": 51, "stream": "s", "stream_version": 2"#,
            "it has version 2 of its stream, where 3 comes next",
        ),
        (
            r#""position": 52, "stream": "s", "stream_version": 4"#,
            "it has version 4 of its stream, where 3 comes next",
        ),
    ];
    for (n, (set, _)) in odd.iter().enumerate() {
        session.run(&copy(&format!("{{{set}, {}}}", id(n))));
    }
    let mut expected: Vec<String> = odd
        .iter()
        .filter(|(_, problem)| !problem.is_empty())
        .map(|(set, problem)| {
            let position = set.split([' ', ',']).nth(1).unwrap_or("");
            format!("error: table en57.events_default: event at position {position}: {problem}")
        })
        .collect();
    let mut found = findings(&mut session);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);

    // The ceiling set back; and in shared memory nothing is known of a row that no index noted.
    let db = Cluster::shared().database();
    let mut session = db.connect();
    fill(&mut session, 200);
    session.run("SELECT setval('en57.position_ceiling', 100)");
    assert_eq!(
        findings(&mut session),
        [
            "error: sequence en57.position_ceiling: position 200 is stored, but the durable ceiling is 100"
        ]
    );
    session.run("SELECT setval('en57.position_ceiling', 1000)");
    session.run(
        "UPDATE pg_index SET indisready = false WHERE indrelid = 'en57.events_default'::regclass",
    );
    db.connect()
        .run(&copy(&format!(r#"{{"position": 500, {}}}"#, id(1))));
    session.run(
        "UPDATE pg_index SET indisready = true WHERE indrelid = 'en57.events_default'::regclass",
    );
    let found = findings(&mut db.connect());
    assert_eq!(
        found.last().map(String::as_str),
        Some("error: shared memory: position 500 is stored, but 201 is the next to be allotted")
    );
    assert_eq!(found.len(), 4, "{found:?}");
}

/// Writers, rolled-back appends, vacuum and rebuilt indexes raise no alarm.
#[test]
fn no_false_alarms() {
    let db = Cluster::shared().database();
    fill(&mut db.connect(), 2000);
    let stop = AtomicBool::new(false);
    let running = |stop: &AtomicBool| !stop.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for n in 0..3 {
            let (db, stop) = (&db, &stop);
            scope.spawn(move || {
                let (mut session, mut random) = (db.connect(), Random::new(900 + n));
                while running(stop) {
                    let events: Vec<Value> = (0..random.between(1, 30))
                        .map(|_| event(random.below(100)))
                        .collect();
                    session.run("BEGIN");
                    session.append(&json!(events), None);
                    session.run(if random.chance(50) {
                        "ROLLBACK"
                    } else {
                        "COMMIT"
                    });
                }
            });
        }
        let (db_of, stop_of) = (&db, &stop);
        scope.spawn(move || {
            let mut session = db_of.connect();
            while running(stop_of) {
                for _ in 0..5 {
                    session.run("VACUUM en57.events_default");
                }
                session.run(&format!("REINDEX INDEX CONCURRENTLY {KEYS}"));
            }
        });
        let checked = std::panic::catch_unwind(|| {
            crew(2, |_| {
                let mut session = db_of.connect();
                for _ in 0..scaled(4) {
                    let alarms: Vec<String> = findings(&mut session)
                        .into_iter()
                        .filter(|f| !f.ends_with(": it is not valid")) // while it is rebuilt
                        .collect();
                    assert_eq!(alarms, [""; 0]);
                }
            })
        });
        stop.store(true, Ordering::Relaxed);
        checked.expect("no alarm");
    });
    let mut session = db.connect();
    assert_eq!(findings(&mut session), [""; 0]);
    // Entries that a crash of the transaction left are no damage, nor are their rows.
    session.run("BEGIN");
    fill(&mut session, 3000);
    session.run("ROLLBACK");
    assert_eq!(findings(&mut session), [""; 0]);
    session.run("VACUUM en57.events_default");
    assert_eq!(findings(&mut session), [""; 0]);
    // The transaction's own rows, and a moment that repeats.
    session.run("BEGIN ISOLATION LEVEL SERIALIZABLE");
    fill(&mut session, 100);
    assert_eq!(findings(&mut session), [""; 0]);
    session.run("COMMIT");
}
