//! The table of key locks: who waits goes before who comes later, and whoever holds or wants a key leaves nothing behind,
//! however his transaction, his subtransaction, his statement or his process ends.
//!
//! Without the mark of the first one who waits, an append that checks a type waits for ever beside those who write it. Where
//! a mark or a hold outlives its transaction, others wait for nobody.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database, PATIENCE, await_that};
use crate::support::session::{Session, state, told};

const HELD: &str = "SELECT count(*) FROM en57_key_locks";

fn tagged(tag: &str) -> Value {
    json!({"type": "noted", "tags": [tag]})
}

fn if_none(tag: &str) -> String {
    json!({"tags": [tag], "after": 1_000_000_000}).to_string()
}

fn is_blocked(watch: &mut Session, pid: i32) -> bool {
    let sql = "SELECT cardinality(pg_blocking_pids($1)) > 0";
    watch.row(sql, &[&pid]).get(0)
}

/// A session in whose open transaction a tag is written, or checked as well.
fn holder(db: &Database, tag: &str, checks: bool) -> Session {
    let mut session = db.connect();
    session.run("BEGIN");
    let condition = if_none(tag);
    let condition = checks.then_some(condition.as_str());
    assert!(session.append(&tagged(tag), condition).is_appended());
    session
}

#[test]
fn the_view_tells_who_holds_what() {
    let db = Cluster::shared().database();
    let mut watch = db.connect();
    assert_eq!(watch.number(HELD), 0);
    let mut writer = holder(&db, "seat:1", false);
    let of_tag = "SELECT mode FROM en57_key_locks WHERE key = en57_key(tag => 'seat:1') AND pid = $1 AND NOT waiting
                  AND partition = 'default' AND since <= now()";
    assert_eq!(
        watch.row(of_tag, &[&writer.pid()]).get::<_, String>(0),
        "written"
    );
    let of_type = "SELECT count(*) FROM en57_key_locks WHERE key = en57_key(type => 'noted')";
    assert_eq!(watch.number(of_type), 1);
    assert_eq!(watch.number(HELD), 2);
    let mut checker = db.connect();
    let pid = checker.pid();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| checker.append(&tagged("seat:1"), Some(&if_none("seat:1"))));
        await_that("it waits", || is_blocked(&mut watch, pid));
        let waiting = "SELECT pid FROM en57_key_locks WHERE waiting AND mode IS NULL AND key = en57_key(tag => 'seat:1')";
        assert_eq!(watch.row(waiting, &[]).get::<_, i32>(0), pid);
        let blocking: Vec<i32> = watch.row("SELECT pg_blocking_pids($1)", &[&pid]).get(0);
        assert_eq!(blocking, [writer.pid()]);
        writer.run("COMMIT");
        assert!(waits.join().expect("it ends").is_appended());
    });
    assert_eq!(watch.number(HELD), 0);
    // Those of another database are not shown here.
    let other = Cluster::shared().database();
    let _holder = holder(&other, "seat:1", false);
    assert_eq!(watch.number(HELD), 0);
}

/// Writers of one type take turns so that one of them is always there. One who checks the type comes through.
#[test]
fn nobody_starves() {
    let db = Cluster::shared().database();
    let is_over = AtomicBool::new(false);
    let condition = json!({"types": ["noted"], "after": 1_000_000_000}).to_string();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (db, is_over) = (&db, &is_over);
            scope.spawn(move || {
                let mut session = db.connect();
                let tag = format!("writer:{n}");
                while !is_over.load(SeqCst) {
                    session.run("BEGIN");
                    session.append(&tagged(&tag), None);
                    session.run("SELECT pg_sleep(0.02); COMMIT");
                }
            });
        }
        let mut session = db.connect();
        await_that("they are at it", || {
            session.number("SELECT en57_count()") > 20
        });
        let started = Instant::now();
        let outcomes: Vec<_> = (0..20)
            .map(|_| session.try_append(&tagged("rare"), Some(&condition)))
            .collect();
        is_over.store(true, SeqCst);
        for outcome in outcomes {
            assert!(outcome.is_ok_and(|a| a.is_appended()));
        }
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    });
}

/// The same of one who has written under the type, and then checks it.
#[test]
fn nobody_starves_who_wants_more() {
    let db = Cluster::shared().database();
    let is_over = AtomicBool::new(false);
    let condition = json!({"types": ["noted"], "after": 1_000_000_000}).to_string();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (db, is_over) = (&db, &is_over);
            scope.spawn(move || {
                let mut session = db.connect();
                let tag = format!("writer:{n}");
                while !is_over.load(SeqCst) {
                    session.run("BEGIN");
                    session.append(&tagged(&tag), None);
                    session.run("SELECT pg_sleep(0.02); COMMIT");
                }
            });
        }
        let mut session = db.connect();
        session.run("SET lock_timeout = '30s'");
        await_that("they are at it", || {
            session.number("SELECT en57_count()") > 20
        });
        let mut outcomes = Vec::new();
        for _ in 0..10 {
            session.run("BEGIN");
            session.append(&tagged("rare"), None);
            outcomes.push(session.try_append(&tagged("rare"), Some(&condition)));
            session.run("COMMIT");
        }
        is_over.store(true, SeqCst);
        for outcome in outcomes {
            assert!(outcome.is_ok_and(|a| a.is_appended()));
        }
    });
}

/// A key that a subtransaction has taken, which was committed into another one, is given back with that one.
#[test]
fn subtransactions_within_others() {
    let db = Cluster::shared().database();
    let [mut one, mut other, mut watch] = [db.connect(), db.connect(), db.connect()];
    one.run("BEGIN; SAVEPOINT a; SAVEPOINT b");
    one.append(&tagged("seat:1"), Some(&if_none("seat:1")));
    let pid = other.pid();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| other.append(&tagged("seat:1"), Some(&if_none("seat:1"))));
        await_that("it waits", || is_blocked(&mut watch, pid));
        one.run("RELEASE b");
        await_that("it waits for the parent", || is_blocked(&mut watch, pid));
        one.run("ROLLBACK TO a");
        assert!(waits.join().expect("it ends").is_appended());
    });
    // And it can be had again.
    one.run("SET lock_timeout = '5s'");
    one.append(&tagged("seat:1"), Some(&if_none("seat:1")));
    one.run("COMMIT");
    await_that("all is given back", || watch.number(HELD) == 0);
}

/// Whoever waits and gives up is in nobody's way afterwards, whatever has made him give up.
#[test]
fn those_who_give_up() {
    let db = Cluster::shared().database();
    let mut watch = db.connect();
    let mut writer = holder(&db, "seat:1", false);
    let endings = [
        ("SET lock_timeout = '30ms'", "55P03"),
        ("SET statement_timeout = '60ms'", "57014"),
        ("RESET lock_timeout", "57014"),
        ("RESET lock_timeout", "57P01"),
    ];
    for (n, (setting, expected)) in endings.into_iter().enumerate() {
        for in_savepoint in [false, true] {
            let mut gives_up = db.connect();
            gives_up.run(setting);
            if in_savepoint {
                gives_up.run("BEGIN; SAVEPOINT s");
            }
            let pid = gives_up.pid();
            let mut later = db.connect();
            let later_pid = later.pid();
            std::thread::scope(|scope| {
                let ends = scope.spawn(|| {
                    let outcome = gives_up.try_append(&tagged("seat:1"), Some(&if_none("seat:1")));
                    (outcome, gives_up)
                });
                if n >= 2 {
                    await_that("it waits", || is_blocked(&mut watch, pid));
                    // Another one comes, who could go ahead beside the holder, and waits behind the first.
                    let passes = scope.spawn(|| later.append(&tagged("seat:1"), None));
                    await_that("another one waits", || is_blocked(&mut watch, later_pid));
                    let ending = ["pg_cancel_backend", "pg_terminate_backend"][n - 2];
                    watch.run(&format!("SELECT {ending}({pid})"));
                    assert!(passes.join().expect("it ends").is_appended());
                }
                let (outcome, mut gives_up) = ends.join().expect("it ends");
                let error = outcome.expect_err("the key is held");
                // The connection of one that was terminated may be closed before it is told why.
                let is_closed = error.is_closed() && expected == "57P01";
                let told = told(&error);
                assert!(is_closed || state(&error) == expected, "{told}");
                if in_savepoint && expected != "57P01" {
                    gives_up.run("ROLLBACK TO s");
                }
                let mut newcomer = holder(&db, "seat:1", false);
                newcomer.run("ROLLBACK");
            });
        }
    }
    writer.run("ROLLBACK");
    await_that("all is given back", || watch.number(HELD) == 0);
}

/// A rollback to a savepoint gives back what was taken since, and wakes those who wait for it. What a subtransaction has taken
/// that is committed lasts until the end of the transaction.
#[test]
fn subtransactions() {
    let db = Cluster::shared().database();
    let mut watch = db.connect();
    for (n, is_nested) in [false, true].into_iter().enumerate() {
        let mut one = db.connect();
        let (kept, undone) = (format!("kept:{n}"), format!("undone:{n}"));
        one.run("BEGIN; SAVEPOINT s");
        one.append(&tagged(&kept), Some(&if_none(&kept)));
        one.run("RELEASE s; SAVEPOINT s");
        if is_nested {
            one.run("SAVEPOINT t");
        }
        one.append(&tagged(&undone), Some(&if_none(&undone)));
        // What was held before stays as it was: here as both, and the type as written.
        one.append(&tagged(&kept), None);
        let mut other = db.connect();
        let pid = other.pid();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let answer = other.append(&tagged(&undone), Some(&if_none(&undone)));
                (answer, other)
            });
            await_that("it waits", || is_blocked(&mut watch, pid));
            one.run("ROLLBACK TO s");
            let (answer, other) = waits.join().expect("it ends");
            assert!(answer.is_appended());
            drop(other);
        });
        let mut third = db.connect();
        third.run("SET lock_timeout = '20ms'");
        let error = third
            .try_append(&tagged(&kept), None)
            .expect_err("it is checked");
        assert_eq!(state(&error), "55P03");
        one.run("COMMIT");
        third.append(&tagged(&kept), None);
    }
    await_that("all is given back", || watch.number(HELD) == 0);
}

/// A key that was taken as less before the savepoint is held as that again after the rollback to it.
#[test]
fn a_stronger_hold_is_taken_back() {
    let db = Cluster::shared().database();
    let mut one = holder(&db, "seat:1", false);
    let mut other = db.connect();
    other.run("SET lock_timeout = '20ms'");
    one.run("SAVEPOINT s");
    one.append(&tagged("seat:2"), Some(&if_none("seat:1")));
    let error = other
        .try_append(&tagged("seat:1"), None)
        .expect_err("it is checked now");
    assert_eq!(state(&error), "55P03");
    one.run("ROLLBACK TO s");
    assert!(other.append(&tagged("seat:1"), None).is_appended());
    let error = other
        .try_append(&tagged("seat:3"), Some(&if_none("seat:1")))
        .expect_err("it is still written");
    assert_eq!(state(&error), "55P03");
    one.run("COMMIT");
}

/// Many subtransactions in one transaction need no room that grows with their number.
#[test]
fn ten_thousand_savepoints() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(
        "DO $$
         BEGIN
             FOR n IN 1..10000 LOOP
                 BEGIN
                     PERFORM en57_append(jsonb_build_object('type', 'noted', 'tags', jsonb_build_array('seat:' || n % 10)));
                     IF n % 2 = 0 THEN RAISE 'back'; END IF;
                 EXCEPTION WHEN raise_exception THEN
                 END;
             END LOOP;
         END $$",
    );
    assert_eq!(session.number("SELECT en57_count()"), 5000);
    assert_eq!(session.number(HELD), 0);
}

/// The server's next start finds nothing of a backend that was killed.
#[test]
fn a_killed_backend() {
    let cluster = Cluster::own(&[]);
    let db = cluster.database();
    let mut killed = holder(&db, "seat:1", true);
    let pid = killed.pid();
    cluster.kill_backend(pid);
    let mut session = db.connect();
    assert_eq!(session.number(HELD), 0);
    session.run("SET lock_timeout = '5s'");
    let appended = session.append(&tagged("seat:1"), Some(&if_none("seat:1")));
    assert!(appended.is_appended());
}

/// Prepared transactions belong to no backend: so they cannot hold keys.
#[test]
fn a_prepared_transaction_cannot_hold_keys() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(r#"BEGIN; SELECT en57_lock('{"tags": ["seat:1"]}')"#);
    let error = session
        .try_run("PREPARE TRANSACTION 'en57 key'")
        .expect_err("a key is held");
    assert_eq!(state(&error), "0A000", "{}", told(&error));
    session.run("ROLLBACK");
    assert_eq!(session.number(HELD), 0);
}

/// Batches whose keys are apart do not wait for each other, however many keys they have.
#[test]
fn large_batches_beside_each_other() {
    let db = Cluster::shared().database();
    let batch = |by: usize| -> Value {
        let event = |n: usize| json!({"type": "noted", "tags": [format!("{by}:{n}")]});
        Value::Array((0..1000).map(event).collect())
    };
    let condition = |by: usize| -> String {
        let one = |n: usize| json!({"tags": [format!("{by}:{n}")]});
        Value::Array((0..20).map(one).collect()).to_string()
    };
    let mut sessions: Vec<Session> = (0..4).map(|_| db.connect()).collect();
    for (n, session) in sessions.iter_mut().enumerate() {
        session.run("SET lock_timeout = '2s'; BEGIN");
        let appended = session.append(&batch(n), Some(&condition(n)));
        assert!(appended.is_appended(), "{appended:?}");
    }
    sessions
        .iter_mut()
        .for_each(|session| session.run("COMMIT"));
    let mut session = db.connect();
    assert_eq!(session.number("SELECT en57_count()"), 4000);
}
