//! `en57_truncate` beside others, and its restart of positions through rollbacks and crashes.
//!
//! Without the lock on the other partitions, or with the counter moved before the commit, positions are given
//! out twice; without the reset of the stored ceiling they do not begin at 1 after a crash. Where bounds of before
//! go on to count, or the stages' do, readers see rows of a transaction that may still append below them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, End, await_that};
use crate::support::random::scaled;
use crate::support::session::{state, told};

fn batch(tag: &str) -> Value {
    Value::Array(vec![json!({"type": "t", "tags": ["all", tag]}); 5])
}

/// In the order in which a read of all locks them: PostgreSQL would end one of the two otherwise.
const RESTART: &str = "SELECT en57_truncate('default'), en57_truncate('other', restart => true)";

/// The result, or nothing where PostgreSQL ended a deadlock. A transaction that appends again after a rollback
/// to a savepoint can come into one: it has kept the lock of the ceiling's sequence, and lost the table's.
fn unless_deadlock<T>(result: Result<T, postgres::Error>) -> Option<T> {
    match result {
        Err(error) if state(&error) == "40P01" => None,
        other => Some(other.unwrap_or_else(|e| panic!("{}", told(&e)))),
    }
}

/// Readers see whole batches, and no position comes twice.
#[test]
fn beside_readers_and_appenders() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run("SELECT en57_create_partition('other')");
    let done = AtomicBool::new(false);
    let (reads, appends) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let _end = End(&done);
        for n in 0..4 {
            let (db, done, appends) = (&db, &done, &appends);
            scope.spawn(move || {
                let mut session = db.connect();
                if n == 3 {
                    session.run("SET en57.partition = 'other'");
                }
                let mut i = 0;
                while !done.load(Ordering::Relaxed) {
                    i += 1;
                    // A rolled-back append of an open transaction meets a restart, too.
                    let undoes = i % 4 == 0;
                    if undoes {
                        session.run("BEGIN; SAVEPOINT s");
                        session.append(&batch("undone"), None);
                        session.run("ROLLBACK TO s");
                    }
                    let tagged = batch(&format!("w:{n}"));
                    let answer = session.try_append(&tagged, Some(r#"{"tags": ["never"]}"#));
                    let Some(answer) = unless_deadlock(answer) else {
                        assert!(undoes, "a single append is in no deadlock");
                        session.run("ROLLBACK");
                        continue;
                    };
                    assert_eq!(answer.position - answer.first.expect("a position"), 4);
                    if undoes {
                        session.run("COMMIT");
                    }
                    appends.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for partition in ["default", "*"] {
            let (db, done, reads) = (&db, &done, &reads);
            scope.spawn(move || {
                let mut session = db.connect();
                let sql = "SELECT count(*), count(DISTINCT position) FROM en57_read('{\"tags\": [\"all\"]}', partition => $1)";
                while !done.load(Ordering::Relaxed) {
                    let row = session.row(sql, &[&partition]);
                    let (all, positions): (i64, i64) = (row.get(0), row.get(1));
                    assert_eq!(all, positions, "a position came twice");
                    assert_eq!(all % 5, 0, "half a batch");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..scaled(60) {
            let before = (
                reads.load(Ordering::Relaxed),
                appends.load(Ordering::Relaxed),
            );
            await_that("others read and append", || {
                reads.load(Ordering::Relaxed) > before.0
                    && appends.load(Ordering::Relaxed) > before.1 + 4
            });
            match round % 3 {
                0 => session.run("SELECT en57_truncate('default')"),
                _ => {
                    unless_deadlock(session.try_run(RESTART));
                }
            }
        }
    });
    let twice =
        "SELECT count(*) FROM (SELECT 1 FROM en57.events GROUP BY position HAVING count(*) > 1) t";
    assert_eq!(session.number(twice), 0);
    let last = session.number("SELECT coalesce(max(position), 0) FROM en57.events");
    assert!(session.append(&batch("last"), None).first > Some(last));
    assert!(!Cluster::shared().log().contains("terminated by signal"));
}

#[test]
fn positions_begin_again_and_survive_crashes() {
    let cluster = Cluster::own(&[]);
    let db = cluster.database();
    let mut session = db.connect();
    session.run("SELECT en57_create_partition('other')");
    let many: Value = (0..1000)
        .map(|n| json!({"type": "t", "tags": [format!("n:{n}")]}))
        .collect();
    session.append(&many, None);
    let crash = |cluster: &'static Cluster| {
        cluster.stop("immediate");
        cluster.start();
        db.connect()
    };
    // Undone: positions go on, also after a crash.
    session.run("BEGIN; SELECT en57_truncate('default', restart => true)");
    session.run("ROLLBACK");
    assert_eq!(other_head(&cluster, &db.name), 1000);
    let next = session.append(&json!({"type": "t"}), None).position;
    assert_eq!(next, 1001);
    session.run("BEGIN; SELECT en57_truncate('default', restart => true)");
    session = crash(&cluster);
    let next = session.append(&json!({"type": "t"}), None).position;
    assert!(next > 1001, "{next} was given out before");

    // A crash right after the commit.
    session.run(RESTART);
    session = crash(&cluster);
    assert_eq!(session.head(), 0);
    assert_eq!(session.append(&json!({"type": "t"}), None).position, 1);

    // A crash after some appends: they are there, and the next ones are beyond, but not far.
    session.run(RESTART);
    for expected in 1..=3 {
        assert_eq!(
            session.append(&json!({"type": "t"}), None).position,
            expected
        );
    }
    assert_eq!(other_head(&cluster, &db.name), 3);
    session = crash(&cluster);
    assert_eq!(session.positions("{}"), [1, 2, 3]);
    let next = session.append(&json!({"type": "t"}), None).position;
    assert!((4..2000).contains(&next), "{next}");

    // Committed asynchronously: what is appended after it makes it last.
    session.run("SET synchronous_commit = off");
    session.run(RESTART);
    assert_eq!(session.append(&json!({"type": "t"}), None).position, 1);
    session = crash(&cluster);
    let stored = session.positions("{}");
    assert!(stored.is_empty() || stored == [1], "{stored:?}");
    let next = session.append(&json!({"type": "t"}), None).position;
    assert!(next > 1, "{next} was given out before");
}

fn other_head(cluster: &Cluster, name: &str) -> i64 {
    cluster
        .connect(name)
        .number("SELECT en57_head(partition => 'other')")
}

/// A session that has appended before a restart knows nothing of its old positions.
#[test]
fn sessions_forget_positions_of_before() {
    let db = Cluster::shared().database();
    let [mut old, mut idle, mut admin] = [db.connect(), db.connect(), db.connect()];
    admin.run("SELECT en57_create_partition('other')");
    for _ in 0..20 {
        old.append(&batch("x"), None);
    }
    admin.run(RESTART);
    idle.run("BEGIN");
    idle.append(&json!({"type": "t", "tags": ["y"]}), None);
    // Beyond what the session has appended before.
    for _ in 0..30 {
        admin.append(&batch("z"), None);
    }
    old.run("SET en57.wait_timeout = '50ms'");
    assert_eq!(
        old.number("SELECT en57_count()"),
        0,
        "the idle one holds position 1"
    );
    idle.run("COMMIT");
    assert_eq!(old.number("SELECT en57_count()"), 151);
}

/// A transaction whose rows were all undone appends on after a restart: its bounds begin anew, that of the
/// transaction and those of each stage, below and beyond the positions of before.
#[test]
fn bounds_of_undone_rows_begin_anew() {
    let db = Cluster::shared().database();
    let [mut old, mut admin, mut reader] = [db.connect(), db.connect(), db.connect()];
    admin.run("SELECT en57_create_partition('other')");
    let head = "SELECT en57_head('{\"tags\": [\"all\"]}')";
    for before in [1, 20] {
        for after in [0, 10] {
            // Others raise the ceiling, whose lock would keep a restart waiting.
            for _ in 0..before {
                admin.append(&batch("w"), None);
            }
            old.run("BEGIN; SAVEPOINT s");
            old.append(&batch("undone"), None);
            old.run("ROLLBACK TO s");
            for _ in 0..20 {
                admin.append(&batch("w"), None);
            }
            // With a stage of its own.
            old.append(&batch("undone"), None);
            old.run("ROLLBACK TO s");
            admin.run(RESTART);
            for _ in 0..after {
                admin.append(&batch("w"), None);
            }
            let settled = 5 * after;
            let first = old.append(&batch("y"), None).first;
            assert_eq!(first, Some(settled + 1));
            admin.append(&json!([{"type": "t", "tags": ["w"]}]), None);
            assert_eq!(reader.number(head), settled, "{before} before");
            assert_eq!(reader.number("SELECT en57_head()"), settled);
            let read = "SELECT count(*) FROM en57_read('{\"tags\": [\"all\"]}')";
            assert_eq!(reader.number(read), settled);
            old.run("COMMIT");
            assert_eq!(reader.number(read), settled + 5);
            admin.run(RESTART);
        }
    }
}

/// Who has looked at a partition in which nothing is may look again: what he finds below his frontier is settled.
#[test]
fn a_restart_waits_for_readers_of_all_partitions() {
    let db = Cluster::shared().database();
    let [mut reader, mut admin] = [db.connect(), db.connect()];
    admin.run("SELECT en57_create_partition('other')");
    admin.append(&batch("x"), None);
    // The first use looks at all partitions.
    reader.head();
    reader.run("BEGIN; SELECT en57_count(partition => 'other')");
    admin.run("SET lock_timeout = '50ms'");
    let restart = "SELECT en57_truncate('default', restart => true)";
    let waited = admin.try_run(restart).expect_err("a reader is there");
    assert_eq!(state(&waited), "55P03");
    reader.run("COMMIT");
    admin.run(restart);
    assert_eq!(admin.append(&batch("x"), None).first, Some(1));
}

/// A restart waits for those who append to other partitions, and is refused if they do; who only sleeps until the
/// log moves on holds up nobody.
#[test]
fn waits_for_appenders_and_not_for_sleepers() {
    let db = Cluster::shared().database();
    let [mut appender, mut admin, mut watch, mut sleeper] =
        [db.connect(), db.connect(), db.connect(), db.connect()];
    admin.run("SELECT en57_create_partition('other')");
    // The first use after a start looks at all partitions, and keeps its locks until the transaction ends.
    admin.head();
    let (pid, asleep) = (admin.pid(), sleeper.pid());
    let state_of = "SELECT coalesce(wait_event_type, '') FROM pg_stat_activity WHERE pid = $1";
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| sleeper.try_run("SELECT en57_wait(1000000, '30s')"));
        await_that("it sleeps", || {
            watch.row(state_of, &[&asleep]).get::<_, String>(0) == "Extension"
        });
        admin.run("SET lock_timeout = '10s'; SELECT en57_truncate('default', restart => true); RESET lock_timeout");

        appender.run("BEGIN; SET LOCAL en57.partition = 'other'");
        appender.append(&batch("x"), None);
        let restarting =
            scope.spawn(|| admin.try_run("SELECT en57_truncate('default', restart => true)"));
        await_that("it waits for the appender", || {
            watch.row(state_of, &[&pid]).get::<_, String>(0) == "Lock"
        });
        appender.run("COMMIT");
        let error = restarting
            .join()
            .expect("it ends")
            .expect_err("there are events");
        assert_eq!(state(&error), "55000");
        assert_eq!(appender.append(&batch("y"), None).first, Some(6));
        watch.run(&format!("SELECT pg_cancel_backend({asleep})"));
        let cancelled = sleeping
            .join()
            .expect("it ends")
            .expect_err("it was cancelled");
        assert_eq!(state(&cancelled), "57014");
    });
}
