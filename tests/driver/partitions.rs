//! Partitions under real connections: many of them, made, dropped and read together while others append.
//!
//! Without the look at who attaches partitions (`Places::renew`) the follower of all misses events of a
//! partition that was made and written in one transaction. Without locking the table before it is looked at again
//! (`Store::enter`) an append beside a drop raises "could not open relation".

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::crew::crew;
use crate::support::random::{Random, scaled};
use crate::support::session::{Session, state, told};

const APPEND: &str = "SELECT position FROM en57_append($1, partition => $2)";
const ALL: &str = "SELECT position FROM en57_read(after => $1, partition => '*')";

fn append_to(session: &mut Session, partition: &str) -> i64 {
    let event = json!({"type": "t", "tags": ["x", format!("p:{partition}")]});
    session.row(APPEND, &[&event, &partition]).get(0)
}

/// The median of what `n` runs take.
fn median<T>(n: usize, mut run: impl FnMut(usize) -> T) -> Duration {
    let mut times: Vec<Duration> = (0..n)
        .map(|i| {
            let start = Instant::now();
            run(i);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[n / 2]
}

/// What is done where there are partitions called p0 to p(n-1).
fn work(db: &Database, n: usize) -> Vec<(&'static str, Duration)> {
    let name = |i: usize| format!("p{}", i * 7919 % n);
    let mut warm = db.connect();
    for i in 0..50 {
        append_to(&mut warm, &name(i));
    }
    let query = r#"{"tags": ["x"]}"#;
    let read =
        "SELECT count(*) FROM en57_read($1::text::en57_query, partition => $2, max_count => 10)";
    let condition = "SELECT outcome::text FROM en57_append('{\"type\": \"t\", \"tags\": [\"x\"]}', partition => $1,
            fail_if => en57_query(tags => '{x}', after => en57_head('{\"tags\": [\"x\"]}', $1)))";
    let mut created = 0;
    let mut create = || {
        created += 1;
        warm.run(&format!(
            "SELECT en57_create_partition('more {n} {created}')"
        ));
    };
    let create = median(15, |_| create());
    let mut cold: Vec<Session> = (0..15).map(|_| db.connect()).collect();
    for session in &mut cold {
        // Connecting, and looking into the catalogs for the first time, costs the same anywhere.
        session.number("SELECT count(*) FROM en57_partitions WHERE name IS NULL AND false");
        session.number("SELECT en57_count()");
    }
    vec![
        ("create", create),
        (
            "first append of a session",
            median(15, |i| append_to(&mut cold[i], &name(i))),
        ),
        ("append", median(50, |i| append_to(&mut warm, &name(i)))),
        (
            "append on condition",
            median(50, |i| {
                assert_eq!(
                    warm.row(condition, &[&name(i)]).get::<_, String>(0),
                    "appended"
                );
            }),
        ),
        (
            "read",
            median(50, |i| drop(warm.row(read, &[&query, &name(i)]))),
        ),
        (
            "head",
            median(50, |i| {
                drop(warm.row("SELECT en57_head(partition => $1)", &[&name(i)]))
            }),
        ),
        (
            "read of all, 10 events",
            median(5, |_| drop(warm.row(read, &[&query, &"*"]))),
        ),
    ]
}

/// With a thousand partitions what concerns one of them costs what it costs with ten. (PostgreSQL's own ATTACH
/// PARTITION looks at the bounds of all, and a read of all looks into each.)
#[test]
fn a_thousand() {
    // A transaction that reads all locks each with an index.
    let cluster = Cluster::own(&["max_locks_per_transaction = 256"]);
    let db = cluster.database();
    let mut session = db.connect();
    let mut make = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|i| session.run(&format!("SELECT en57_create_partition('p{i}')")));
    };
    make(0..10);
    let few = work(&db, 10);
    make(10..1000);
    let many = work(&db, 1000);
    for ((what, few), (_, many)) in few.iter().zip(&many) {
        eprintln!("{what}: {few:?} with 10 partitions, {many:?} with 1000");
        if *what == "read of all, 10 events" {
            continue;
        }
        let allowed = match *what {
            "create" => *few * 10 + Duration::from_millis(100),
            _ => *few * 5 + Duration::from_millis(2),
        };
        assert!(
            *many < allowed,
            "{what} grows with the number of partitions"
        );
    }
    let count = "SELECT en57_count('{\"tags\": [\"x\"]}', '*')";
    let stored = "SELECT count(*) FROM en57.events WHERE tags @> '{x}'";
    assert_eq!(session.number(count), session.number(stored));
}

/// Those who append to a partition that is dropped are done, or told that there is none; nothing of them stays.
#[test]
fn dropped_while_others_append() {
    let db = Cluster::shared().database();
    let mut dropper = db.connect();
    let done = AtomicBool::new(false);
    let appended = AtomicU64::new(0);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|n| {
                let (db, done, appended) = (&db, &done, &appended);
                scope.spawn(move || {
                    let mut session = db.connect();
                    let mut refused = 0;
                    let mut random = Random::new(1100 + n);
                    while !done.load(Ordering::Relaxed) {
                        let several = random.chance(30);
                        if several {
                            session.run("BEGIN");
                        }
                        let mut outcome = Ok(());
                        for _ in 0..if several { 3 } else { 1 } {
                            let event = json!({"type": "t", "tags": [format!("w:{n}")]});
                            let condition = format!(r#"{{"tags": ["w:{n}", "never"]}}"#);
                            let conditional = "SELECT position FROM en57_append($1, fail_if => $3::text::en57_query, partition => $2)";
                            outcome = if random.chance(50) {
                                session.try_rows(conditional, &[&event, &"gone", &condition]).map(drop)
                            } else {
                                session.try_rows(APPEND, &[&event, &"gone"]).map(drop)
                            };
                            if outcome.is_err() {
                                break;
                            }
                        }
                        match outcome {
                            Ok(()) => drop(appended.fetch_add(1, Ordering::Relaxed)),
                            Err(ref error) => {
                                assert_eq!(state(error), "42704", "{}", told(error));
                                refused += 1;
                            }
                        }
                        if several {
                            session.run(if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" });
                        }
                    }
                    refused
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut session = db.connect();
            while !done.load(Ordering::Relaxed) {
                for sql in [
                    "SELECT en57_count(partition => 'gone')",
                    "SELECT en57_head(partition => 'gone')",
                ] {
                    if let Err(error) = session.try_rows(sql, &[]) {
                        assert_eq!(state(&error), "42704", "{}", told(&error));
                    }
                }
                // A partition that goes while all are read is not missed.
                session.number("SELECT en57_count(partition => '*')");
            }
        });
        for round in 0..scaled(25) {
            dropper.run("SELECT en57_create_partition('gone')");
            let before = appended.load(Ordering::Relaxed);
            await_that("somebody appends", || {
                appended.load(Ordering::Relaxed) > before + 20
            });
            if round % 3 == 2 {
                dropper.run("BEGIN; SELECT en57_detach_partition('gone'); DROP TABLE en57.events_gone; COMMIT");
            } else {
                dropper.run("SELECT en57_drop_partition('gone')");
            }
        }
        done.store(true, Ordering::Relaxed);
        let refused: u64 = writers
            .into_iter()
            .map(|w| w.join().expect("it ends well"))
            .sum();
        reader.join().expect("it ends well");
        assert!(refused > 0, "nobody met a drop");
    });
    let position = append_to(&mut dropper, "default");
    assert_eq!(
        db.connect().number("SELECT en57_head(partition => '*')"),
        position,
        "a slot was left"
    );
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(dropper.number(locks), 0);
    assert!(!Cluster::shared().log().contains("terminated by signal"));
}

/// Whoever reads all after his last position misses nothing: not of transactions that write to several, nor of
/// partitions that are made and written in one.
#[test]
fn a_follower_of_all_misses_nothing() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    (0..4).for_each(|i| session.run(&format!("SELECT en57_create_partition('p{i}')")));
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let followers: Vec<_> = (0..2)
            .map(|n| {
                let (db, done) = (&db, &done);
                scope.spawn(move || {
                    let mut session = db.connect();
                    let (mut seen, mut after) = (Vec::new(), 0_i64);
                    loop {
                        let last = done.load(Ordering::Relaxed);
                        if n == 1 {
                            // As from a checkpoint: the head, then what is up to it.
                            let wait = "SELECT en57_wait($1, '20ms', NULL, '*')";
                            let head: i64 = session.row(wait, &[&after]).get(0);
                            let upto = "SELECT position FROM en57_read(after => $1, upto => $2, partition => '*')";
                            seen.extend(session.rows(upto, &[&after, &head]).iter().map(|r| r.get::<_, i64>(0)));
                            after = after.max(head);
                        } else {
                            seen.extend(session.rows(ALL, &[&after]).iter().map(|r| r.get::<_, i64>(0)));
                            after = seen.last().copied().unwrap_or(0);
                        }
                        if last {
                            return seen;
                        }
                    }
                })
            })
            .collect();
        crew(5, |n| {
            let mut session = db.connect();
            let mut random = Random::new(1200 + n as u64);
            for i in 0..scaled(60) {
                session.run("BEGIN");
                if n < 2 && random.chance(40) {
                    let name = format!("made {n} {i}");
                    session.run(&format!("SELECT en57_create_partition('{name}')"));
                    append_to(&mut session, &name);
                }
                for _ in 0..random.between(1, 3) {
                    append_to(&mut session, &format!("p{}", random.below(4)));
                }
                if random.chance(30) {
                    thread::sleep(Duration::from_millis(random.below(4) as u64));
                }
                session.run(if random.chance(85) {
                    "COMMIT"
                } else {
                    "ROLLBACK"
                });
            }
        });
        done.store(true, Ordering::Relaxed);
        followers
            .into_iter()
            .map(|f| f.join().expect("it ends well"))
            .collect::<Vec<_>>()
    });
    let stored: Vec<i64> = session
        .rows("SELECT position FROM en57.events ORDER BY position", &[])
        .iter()
        .map(|r| r.get(0))
        .collect();
    assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), stored.len());
    for seen in seen {
        assert!(seen.is_sorted(), "not in order");
        let missing: Vec<_> = stored.iter().filter(|p| !seen.contains(p)).collect();
        assert!(missing.is_empty(), "a follower missed {missing:?}");
        assert_eq!(seen.len(), stored.len(), "some came twice");
    }
}

/// An idle appender in one partition holds back nobody in others, neither conditions, nor reads, nor heads; nor
/// what the session has appended itself to another one.
#[test]
fn an_idle_appender_elsewhere() {
    let db = Cluster::shared().database();
    let [mut idle, mut own] = [db.connect(), db.connect()];
    for name in ["acme", "beta"] {
        idle.run(&format!("SELECT en57_create_partition('{name}')"));
    }
    append_to(&mut own, "beta");
    idle.run("BEGIN");
    append_to(&mut idle, "acme");
    own.run("SET en57.wait_timeout = '50ms'; SET lock_timeout = '5s'");
    for _ in 0..20 {
        let position = append_to(&mut own, "beta");
        assert_eq!(
            own.number("SELECT en57_head(partition => 'beta')"),
            position
        );
        assert_eq!(
            own.number("SELECT max(position) FROM en57_read(partition => 'beta')"),
            position
        );
        // Its own append was to beta: a read of acme does not wait for it.
        assert_eq!(own.number("SELECT en57_count(partition => 'acme')"), 0);
    }
    crew(8, |n| {
        let mut session = db.connect();
        session.run(
            "SET en57.wait_timeout = '50ms'; SET lock_timeout = '5s'; SET en57.partition = 'beta'",
        );
        for _ in 0..scaled(30) {
            let tag = format!("n:{n}");
            let query = json!({"tags": [tag]}).to_string();
            let sql = "SELECT position FROM en57_context($1::text::en57_query)";
            let after: i64 = session.row(sql, &[&query]).get(0);
            let condition = json!({"tags": [tag], "after": after}).to_string();
            assert!(
                session
                    .append(&json!({"type": "t", "tags": [tag]}), Some(&condition))
                    .is_appended()
            );
        }
    });
    // What it appended to acme itself it waits for.
    append_to(&mut own, "acme");
    let error = own
        .try_rows("SELECT en57_count(partition => 'acme')", &[])
        .expect_err("it waits");
    assert_eq!(state(&error), "N5706");
    let error = own
        .try_rows("SELECT en57_count(partition => '*')", &[])
        .expect_err("it waits");
    assert_eq!(state(&error), "N5706");
    // Appending elsewhere in between does not make it forget.
    append_to(&mut own, "beta");
    let error = own
        .try_rows("SELECT en57_count(partition => 'acme')", &[])
        .expect_err("it waits");
    assert_eq!(state(&error), "N5706");
    idle.run("COMMIT");
    assert_eq!(own.number("SELECT en57_count(partition => 'acme')"), 2);
}
