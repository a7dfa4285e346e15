//! `en57_check` finds what a superuser has spoiled (and in `check_files` what was done to files), and raises no false
//! alarm beside writers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::crew::crew;
use crate::support::findings::{KEYS, event, fill, findings};
use crate::support::random::{Random, scaled};

/// What goes with the index on position.
const NO_IDENTITY: &str = "warning: table en57.events_default: it has no replica identity: en57_erase() fails as soon as a publication has its updates";

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
            "error: index en57.events_default_keys: event at position 3: 4 of its 4 entries are missing",
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
            NO_IDENTITY.into(),
            format!("{lost} position"),
            format!("{lost} id"),
            "error: table en57.events_default: position 5 is there more than once".into()
        ]
    );
    session.run("CREATE INDEX ON en57.events_default (id)");
    assert_eq!(
        findings(&mut session).len(),
        4,
        "an index that is not unique does not do"
    );
    session.run("DROP INDEX en57.events_default_keys");
    let found = findings(&mut session);
    assert_eq!(
        found[1],
        "error: table en57.events_default: it has lost its key index"
    );
    assert_eq!(found.len(), 5);

    // Twice, in two partitions.
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run("SELECT en57_create_partition('acme')");
    fill(&mut session, 20);
    assert_eq!(findings(&mut session), [""; 0]);
    let into_acme = copy(&format!(r#"{{"partition": "acme", {}}}"#, id(1)));
    session.run(&into_acme.replace("INTO en57.events_default", "INTO en57.events"));
    let found = findings(&mut session);
    assert!(
        found.len() == 1 && found[0].ends_with(": position 5 is there more than once"),
        "{found:?}"
    );

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
