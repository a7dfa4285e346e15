//! `en57_wait` sleeps until a commit concerns it, and can be woken by all who may.
//!
//! Without the broadcast in `position::settle` it sleeps to its timeout; with polling in its place it is late;
//! without preparing to sleep before asking, it sometimes misses a commit that comes in between; without the callback that
//! follows the release of a subtransaction's locks, it sleeps on beside a transaction that has gone back to a savepoint.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::crew::{Gate, crew};
use crate::support::random::scaled;
use crate::support::session::{Session, state};

fn wait(session: &mut Session, after: i64, timeout: &str, query: Option<&str>) -> i64 {
    let sql = "SELECT en57_wait($1, $2::text::interval, $3::text::en57_query)";
    session.row(sql, &[&after, &timeout, &query]).get(0)
}

fn await_sleep(watch: &mut Session, pid: i32) {
    await_that("it sleeps", || {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE pid = $1 AND state = 'active' AND wait_event_type = 'Extension'";
        watch.row(sql, &[&pid]).get::<_, i64>(0) > 0
    });
}

fn event(tag: &str) -> serde_json::Value {
    json!({"type": "t", "tags": [tag]})
}

fn store() -> Database {
    Cluster::shared().database()
}

#[test]
fn wakes_with_the_commit() {
    let db = store();
    let [mut sleeper, mut writer] = [db.connect(), db.connect()];
    let pid = sleeper.pid();
    let mut late: Vec<Duration> = (0..scaled(40))
        .map(|n| {
            let after = writer.head();
            let query = (n % 2 == 0).then_some(r#"{"tags": ["a"]}"#);
            thread::scope(|scope| {
                let sleeping =
                    scope.spawn(|| (wait(&mut sleeper, after, "8s", query), Instant::now()));
                await_sleep(&mut writer, pid);
                let position = writer.append(&event("a"), None).position;
                let committed = Instant::now();
                let (frontier, woken) = sleeping.join().expect("it wakes");
                assert_eq!(frontier, position);
                let late = woken.saturating_duration_since(committed);
                assert!(late < Duration::from_secs(5), "woken after {late:?}");
                late
            })
        })
        .collect();
    late.sort();
    let median = late[late.len() / 2];
    assert!(median < Duration::from_millis(50), "{late:?}");
}

#[test]
fn wakes_only_for_what_matches_and_is_committed() {
    let db = store();
    let [mut sleeper, mut writer, mut watch] = [db.connect(), db.connect(), db.connect()];
    let pid = sleeper.pid();
    thread::scope(|scope| {
        // Nothing but the call: only then can the statement's snapshot be given up.
        let call = r#"SELECT en57_wait(0, '30s', '{"tags": ["a"]}')"#;
        let sleeping = scope.spawn(|| sleeper.number(call));
        await_sleep(&mut watch, pid);
        writer.append(&event("b"), None);
        writer.run("BEGIN");
        writer.append(&event("a"), None);
        writer.run("ROLLBACK; BEGIN");
        let position = writer.append(&event("a"), None).position;
        // That nothing happens can only be seen for a while.
        thread::sleep(Duration::from_millis(150));
        assert!(!sleeping.is_finished(), "woken by what it did not ask for");
        await_sleep(&mut watch, pid);
        let xmin = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)";
        assert_eq!(
            watch.row(xmin, &[&pid]).get::<_, i64>(0),
            0,
            "it holds back vacuum"
        );
        writer.run("COMMIT");
        let committed = Instant::now();
        await_that("it wakes", || {
            sleeping.is_finished() || committed.elapsed() > Duration::from_secs(10)
        });
        assert!(sleeping.is_finished(), "not woken by the commit");
        assert!(sleeping.join().expect("it wakes") >= position);
    });
    // What is there already is not waited for.
    let start = Instant::now();
    assert_eq!(wait(&mut sleeper, 0, "30s", None), watch.head());
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// A transaction that goes on without what it had under the key holds back nobody from then on.
#[test]
fn wakes_with_a_rollback_to_a_savepoint() {
    let db = store();
    let [mut sleeper, mut writer, mut idle] = [db.connect(), db.connect(), db.connect()];
    let pid = sleeper.pid();
    // The key is locked before there are positions, and after.
    for before in [
        "",
        "SELECT en57_append('{\"type\": \"t\", \"tags\": [\"b\"]}')",
    ] {
        let after = writer.head();
        idle.run("BEGIN");
        idle.run(before);
        idle.run("SAVEPOINT s");
        idle.append(&event("a"), None);
        let position = writer.append(&event("a"), None).position;
        thread::scope(|scope| {
            let sleeping = scope.spawn(|| {
                let started = Instant::now();
                let query = Some(r#"{"tags": ["a"]}"#);
                (wait(&mut sleeper, after, "30s", query), started.elapsed())
            });
            await_sleep(&mut writer, pid);
            idle.run("ROLLBACK TO s");
            let (frontier, slept) = sleeping.join().expect("it wakes");
            assert!(frontier >= position, "{frontier} is below {position}");
            assert!(slept < Duration::from_secs(20), "woken after {slept:?}");
        });
        idle.run("COMMIT");
    }
}

/// An upcaster gives events another name while somebody waits for that name. Asleep, nobody hears of it; but the next
/// commit must find the name known, or the sleeper goes on to its timeout.
#[test]
fn wakes_for_a_new_name() {
    const NEW: Option<&str> = Some(r#"{"types": ["new"]}"#);
    let db = store();
    let [mut sleeper, mut writer] = [db.connect(), db.connect()];
    let pid = sleeper.pid();
    writer.run("CREATE FUNCTION same(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS 'SELECT e'");
    let rename =
        |old: &str| format!("SELECT en57_register_upcaster('{old}', 1, 'same(en57_event)', 'new')");
    // Of one that is appended later, and of one that the sleeper has looked at before.
    for (first, old, next) in [("none", "old", "old"), ("older", "older", "none")] {
        let after = writer.head();
        let before = writer.append(&json!({"type": first}), None).position;
        thread::scope(|scope| {
            let sleeping = scope.spawn(|| {
                let started = Instant::now();
                (wait(&mut sleeper, after, "60s", NEW), started.elapsed())
            });
            await_sleep(&mut writer, pid);
            writer.run(&rename(old));
            let event = json!({"type": next, "schema_version": 1});
            let position = writer.append(&event, None).position;
            let (frontier, slept) = sleeping.join().expect("it wakes");
            let least = if first == old { before } else { position };
            assert!((least..=position).contains(&frontier), "{frontier}");
            assert!(slept < Duration::from_secs(30), "woken after {slept:?}");
        });
    }
}

#[test]
fn the_time_is_over() {
    let db = store();
    let mut sleeper = db.connect();
    let position = sleeper.append(&event("a"), None).position;
    for (after, query) in [
        (position, None),
        (0, Some(r#"{"tags": ["none"]}"#)),
        (position + 1000, None),
    ] {
        let start = Instant::now();
        assert_eq!(wait(&mut sleeper, after, "200ms", query), position);
        assert!(
            (195..10_000).contains(&start.elapsed().as_millis()),
            "{:?}",
            start.elapsed()
        );
    }
    assert_eq!(wait(&mut sleeper, position, "0", None), position);
}

#[test]
fn it_can_be_cancelled() {
    let db = store();
    let [mut sleeper, mut watch] = [db.connect(), db.connect()];
    let pid = sleeper.pid();
    let is_cancelled = |session: &mut Session| {
        let error = session
            .try_rows("SELECT en57_wait(0, '60s', '{\"tags\": [\"a\"]}')", &[])
            .expect_err("cancelled");
        assert_eq!(state(&error), "57014");
    };
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| is_cancelled(&mut sleeper));
        await_sleep(&mut watch, pid);
        watch.rows("SELECT pg_cancel_backend($1)", &[&pid]);
        sleeping.join().expect("it ends");
    });
    let start = Instant::now();
    sleeper.run("SET statement_timeout = '100ms'");
    is_cancelled(&mut sleeper);
    assert!(start.elapsed() < Duration::from_secs(10));
    sleeper.run("SET statement_timeout = 0");
    // It goes on to wait as if nothing had been.
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| wait(&mut sleeper, 0, "20s", None));
        await_sleep(&mut watch, pid);
        let position = watch.append(&event("a"), None).position;
        assert_eq!(sleeping.join().expect("it wakes"), position);
    });
}

/// A token goes round: each waits for the one before, so that a lost wake-up stops them all.
#[test]
fn no_wake_up_is_lost() {
    const CLIENTS: usize = 8;
    let db = store();
    let rounds = scaled(60);
    let gate = Gate::new(CLIENTS);
    let start = Instant::now();
    crew(CLIENTS, |client| {
        let mut session = db.connect();
        let query = |n: usize| json!({"tags": [format!("token:{n}")]}).to_string();
        let mut after = 0;
        gate.pass();
        for round in 0..rounds {
            let mine = round * CLIENTS + client;
            if mine > 0 {
                let before = query(mine - 1);
                after = wait(&mut session, after, "30s", Some(&before));
                assert_eq!(session.positions(&before).len(), 1, "woken without a token");
                // The next one is beyond this only if it was not there yet.
                after = after.min(session.positions(&before)[0]);
            }
            session.append(&event(&format!("token:{mine}")), None);
        }
    });
    assert!(
        start.elapsed() < Duration::from_secs(30) * scaled(1) as u32,
        "{:?}",
        start.elapsed()
    );
}

/// A wait in vain takes all of its time, also the part of it that is less than a millisecond.
#[test]
fn does_not_return_early() {
    let mut session = store().connect();
    for timeout_us in [300u32, 999, 1000, 1900, 2500] {
        for _ in 0..scaled(10) {
            let start = Instant::now();
            wait(&mut session, 0, &format!("{timeout_us} us"), None);
            let slept = start.elapsed();
            assert!(
                slept >= Duration::from_micros(timeout_us.into()),
                "{slept:?} of {timeout_us} microseconds"
            );
        }
    }
}
