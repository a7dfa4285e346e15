//! Restarts and crashes: no position is given out twice, and nothing that a follower saw comes back with other
//! content.
//!
//! Without the durable ceiling (`Counter::raise_ceiling`) a crash with synchronous_commit off gives positions
//! again that a follower has seen; without the largest position of the index (`largest_stored`) or the
//! sequence, a restart begins at 1. Without WAL for the key index it would lose entries.

use std::collections::HashMap;
use std::thread;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::random::{Random, scaled};
use crate::support::session::Session;

/// What one saw of a log that then crashed.
#[derive(Default)]
struct Seen {
    events: HashMap<i64, String>,
    head: i64,
}

/// Reads everything as soon as it is there, until the server goes.
fn follow(db: &Database) -> Seen {
    let mut session = db.connect();
    let mut seen = Seen::default();
    let mut after = 0;
    loop {
        let rows = session.try_rows(
            "SELECT position, id::text FROM en57_read(after => $1)",
            &[&after],
        );
        let Ok(rows) = rows else { return seen };
        for row in rows {
            after = row.get(0);
            seen.events.insert(after, row.get(1));
        }
        match session.try_rows("SELECT en57_head()", &[]) {
            Ok(rows) => seen.head = seen.head.max(rows[0].get(0)),
            Err(_) => return seen,
        }
    }
}

/// Appends until the server goes; returns what was acknowledged.
fn write(db: &Database, n: u64, asynchronous: bool) -> Vec<(i64, i64)> {
    let mut session = db.connect();
    session.run(if asynchronous {
        "SET synchronous_commit = off"
    } else {
        "SET synchronous_commit = on"
    });
    let mut random = Random::new(700 + n);
    let mut acknowledged = Vec::new();
    loop {
        let event = |random: &mut Random| json!({"type": format!("y{}", random.below(3)), "tags": [format!("t:{}", random.below(10))]});
        let events = Value::Array(
            (0..random.between(1, 5))
                .map(|_| event(&mut random))
                .collect(),
        );
        if random.chance(10) {
            let undone = session
                .try_run("BEGIN")
                .and_then(|()| session.try_append(&events, None));
            if undone.and_then(|_| session.try_run("ROLLBACK")).is_err() {
                return acknowledged;
            }
            continue;
        }
        match session.try_append(&events, None) {
            Ok(answer) => acknowledged.push((answer.first.unwrap_or(0), answer.position)),
            Err(error) => {
                assert!(
                    error
                        .as_db_error()
                        .is_none_or(|e| e.code().code().starts_with("57")),
                    "{error:?}"
                );
                return acknowledged;
            }
        }
    }
}

/// The key index and the position index find what the table holds.
fn check_indexes(session: &mut Session) {
    let all: i64 = session.number("SELECT count(*) FROM en57.events");
    assert_eq!(session.number("SELECT en57_count()"), all);
    let by = |session: &mut Session, names: &str, key: &str| {
        let sql = format!(
            "SELECT count(*) FROM (
                SELECT n, array_agg(position ORDER BY position) AS positions
                FROM en57.events, {names} GROUP BY n) t
            WHERE positions IS DISTINCT FROM ARRAY(
                SELECT position FROM en57_read(jsonb_build_object('{key}', jsonb_build_array(n))))"
        );
        assert_eq!(
            session.number(&sql),
            0,
            "{key}: the index does not find what the table holds"
        );
    };
    by(session, "unnest(tags) n", "tags");
    by(session, "LATERAL (SELECT type) x(n)", "types");
    let ids = "SELECT count(*) FROM en57.events e WHERE (en57_get(e.id)).position IS DISTINCT FROM e.position";
    assert_eq!(session.number(ids), 0, "some ids are not found");
}

fn crash(asynchronous: bool) {
    let cluster = Cluster::own(&["wal_writer_delay = 10s", "autovacuum = off"]);
    let db = cluster.database();
    let mut seen = Seen::default();
    for round in 0..scaled(3) as u64 {
        let (now, acknowledged) = thread::scope(|scope| {
            let follower = scope.spawn(|| follow(&db));
            let writers: Vec<_> = (0..3)
                .map(|n| {
                    scope.spawn({
                        let db = &db;
                        move || write(db, round * 10 + n, asynchronous)
                    })
                })
                .collect();
            let mut session = db.connect();
            let start = session.head();
            await_that("some thousand events are there", || {
                session.head() > start + 3000
            });
            cluster.stop("immediate");
            let acknowledged: Vec<_> = writers
                .into_iter()
                .flat_map(|w| w.join().expect("a writer ends well"))
                .collect();
            (
                follower.join().expect("the follower ends well"),
                acknowledged,
            )
        });
        seen.events.extend(now.events);
        seen.head = seen.head.max(now.head);
        cluster.start();

        let mut session = db.connect();
        let sql = "SELECT position, id::text FROM en57_read()";
        let stored: HashMap<i64, String> = session
            .rows(sql, &[])
            .iter()
            .map(|r| (r.get(0), r.get(1)))
            .collect();
        for (position, id) in &stored {
            if let Some(was) = seen.events.get(position) {
                assert_eq!(id, was, "position {position} came back with other content");
            }
        }
        let lost = seen
            .events
            .keys()
            .filter(|p| !stored.contains_key(p))
            .count();
        if asynchronous {
            eprintln!(
                "round {round}: {} events seen so far, {lost} of them lost in the crash",
                seen.events.len()
            );
        } else {
            assert_eq!(lost, 0, "events that were seen are lost");
            for position in acknowledged.iter().flat_map(|(first, last)| *first..=*last) {
                assert!(
                    stored.contains_key(&position),
                    "acknowledged event {position} is lost"
                );
            }
        }
        // What was seen and lost is a gap from now on.
        seen.events
            .retain(|p, _| stored.contains_key(p) || asynchronous);
        check_indexes(&mut session);
        let beyond = seen
            .head
            .max(seen.events.keys().copied().max().unwrap_or(0));
        assert!(
            session.head() >= beyond,
            "a follower's checkpoint is beyond the head"
        );
        let next = session.append(&json!({"type": "next", "tags": ["t:1"]}), None);
        assert!(
            next.position > beyond,
            "position {} after {beyond} was seen",
            next.position
        );
        assert_eq!(session.head(), next.position);
        assert!(
            session
                .append(
                    &json!({"type": "next"}),
                    Some(&json!({"tags": ["t:1"], "after": beyond}).to_string())
                )
                .is_conflict()
        );
    }
}

#[test]
fn crash_with_synchronous_commit() {
    crash(false);
}

#[test]
fn crash_without_synchronous_commit() {
    crash(true);
}

/// The first positions after a start need a higher ceiling. A crash follows before anything else is flushed. Without the
/// flush in `write_ceiling` they are given out again, although a reader has passed them.
#[test]
fn crash_at_once() {
    let cluster = Cluster::own(&["wal_writer_delay = 10s", "autovacuum = off"]);
    let db = cluster.database();
    let mut lost = 0;
    for round in 0..6 {
        let mut session = db.connect();
        session.run("SET synchronous_commit = off");
        let event = json!({"type": "y", "tags": ["a"]});
        let seen = session.append(&event, None).position;
        let undone = round % 2 == 1;
        if undone {
            session.run("BEGIN");
            session.append(&event, None);
            session.run("ROLLBACK");
        }
        let head = db.connect().head();
        assert!(head >= seen + i64::from(undone));
        cluster.stop("immediate");
        cluster.start();
        let mut session = db.connect();
        lost += i32::from(!session.positions("{}").contains(&seen));
        assert!(
            session.head() >= head,
            "a follower's checkpoint is beyond the head"
        );
        session.run("SET synchronous_commit = off");
        let next = session.append(&event, None).position;
        assert!(next > head, "position {next} after {head} was seen");
    }
    assert!(
        lost > 0,
        "everything was flushed: the test has shown nothing"
    );
}

#[test]
fn restarts() {
    let cluster = Cluster::own(&[]);
    let db = cluster.database();
    let mut last = 0;
    for mode in ["fast", "fast", "immediate", "fast"] {
        let mut session = db.connect();
        let before = session.append(
            &json!([{"type": "y", "tags": ["a"]}, {"type": "y", "tags": ["b"]}]),
            None,
        );
        assert!(before.first.unwrap_or(0) > last);
        session.run("BEGIN");
        let undone = session
            .append(&json!({"type": "y", "tags": ["a"]}), None)
            .position;
        session.run("ROLLBACK");
        let head = session.head();
        assert_eq!(head, undone);
        let kept = session.positions("{}");
        // One is in flight when it goes down.
        let mut idle = db.connect();
        idle.run("BEGIN");
        idle.append(&json!({"type": "y", "tags": ["a"]}), None);
        cluster.stop(mode);
        cluster.start();
        let mut session = db.connect();
        assert_eq!(session.positions("{}"), kept, "{mode}");
        assert!(session.head() >= head, "{mode}");
        assert!(
            session
                .append(&json!({"type": "y"}), Some(r#"{"tags": ["b"]}"#))
                .is_conflict()
        );
        let next = session
            .append(&json!({"type": "y", "tags": ["c"]}), None)
            .position;
        assert!(next > head, "{mode}: {next} after {head}");
        check_indexes(&mut session);
        last = next;
    }
}

/// Rows that a restore brings are covered by the ceiling before they can be seen. Without
/// `Counter::raise_ceiling_above` their positions are given out again after a crash that loses the restore's
/// commit, and whoever has read them skips what stands there then.
#[test]
fn positions_of_a_lost_restore_do_not_return() {
    let cluster = Cluster::own(&["wal_writer_delay = 10s", "autovacuum = off"]);
    let db = cluster.database();
    let mut restore = db.connect();
    restore.run("SET synchronous_commit = off; BEGIN");
    restore.run(
        "INSERT INTO en57.events_default
         SELECT i, gen_random_uuid(), 't', NULL, NULL, '{a}', NULL, NULL, 1, now(), now(), 'default', 0
           FROM generate_series(1, 1000) i",
    );
    restore.run("COMMIT");
    let seen = db.connect().head();
    assert_eq!(seen, 1000);
    cluster.stop("immediate");
    cluster.start();
    let mut session = db.connect();
    assert_eq!(session.number("SELECT en57_count()"), 0, "nothing was lost");
    let next = session.append(&json!({"type": "new"}), None).position;
    assert!(next > seen, "{next} after {seen}");
}
