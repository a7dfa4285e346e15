//! A position, once read, is a safe checkpoint: readers that go on from the last position they saw get every
//! committed event once, in order, and none late, whatever the writers do.
//!
//! Without the slots (`Counter::cover`), or with a slot set after the position is allotted, or with the
//! snapshot taken before the frontier, readers miss events. Without the lock manager's answer for escalated
//! batches (`writers_of_anything`) the readers of a tag do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use postgres::Error;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database};
use crate::support::random::{Random, scaled};
use crate::support::session::{Session, state, told};

const WRITERS: usize = 10;

/// How a reader goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// From the last event it saw.
    Event,
    /// The same, and sleeps in `en57_wait` when there is nothing new.
    Wait,
    /// From the query's head, having read up to it.
    Head,
    /// In REPEATABLE READ, where the same read must give the same again.
    Repeat,
}

const READERS: [(Way, &str); 14] = [
    (Way::Event, "{}"),
    (Way::Wait, "{}"),
    (Way::Head, "{}"),
    (Way::Repeat, "{}"),
    (Way::Event, r#"{"tags": ["t:1"]}"#),
    (Way::Head, r#"{"tags": ["t:2"]}"#),
    (Way::Event, r#"{"types": ["y1"]}"#),
    (
        Way::Wait,
        r#"[{"types": ["y0"], "tags": ["t:3"]}, {"tags": ["t:4", "u:1"]}]"#,
    ),
    (Way::Head, r#"[{"types": ["y2", "y3"]}, {"tags": ["t:5"]}]"#),
    (
        Way::Repeat,
        r#"{"tags": ["t:6"], "types": ["y0", "y1", "y2"]}"#,
    ),
    (Way::Wait, r#"{"correlation_id": "c1"}"#),
    (
        Way::Event,
        r#"{"any_tags": ["t:0", "t:7"], "types": ["y1", "y3"]}"#,
    ),
    (
        Way::Head,
        r#"[{"any_tags": ["t:1", "u:2"], "tags": ["u:0"]}, {"any_tags": ["t:3", "many:5"]}]"#,
    ),
    (Way::Repeat, r#"{"any_tags": ["u:0", "u:1", "none"]}"#),
];

fn batch(random: &mut Random) -> Value {
    let n = match random.below(20) {
        0 => 100,
        1..=5 => random.between(2, 12),
        _ => 1,
    };
    let event = |random: &mut Random, i: usize| {
        let mut tags = vec![format!("t:{}", random.below(8))];
        if random.chance(50) {
            tags.push(format!("u:{}", random.below(3)));
        }
        if n == 100 {
            // More keys than en57.max_key_locks.
            tags.push(format!("many:{i}"));
        }
        let mut event = json!({"type": format!("y{}", random.below(4)), "tags": tags});
        if random.chance(30) {
            event["correlation_id"] = json!(format!("c{}", random.below(3)));
        }
        event
    };
    Value::Array((0..n).map(|i| event(random, i)).collect())
}

fn condition(random: &mut Random) -> Option<String> {
    let tag = format!("t:{}", random.below(8));
    // Mostly one that never holds good, for its locks; sometimes one that does.
    let after = if random.chance(10) {
        1
    } else {
        1_000_000_000_000_i64
    };
    random
        .chance(30)
        .then(|| json!({"tags": [tag], "after": after}).to_string())
}

fn write(session: &mut Session, random: &mut Random) {
    // One that meets transactions of several appends may be the one whom the deadlock detector ends.
    let is_deadlock = |error: &Error| assert_eq!(state(error), "40P01", "{}", told(error));
    if random.chance(40) {
        let (batch, condition) = (batch(random), condition(random));
        let _ = session
            .try_append(&batch, condition.as_deref())
            .map_err(|e| is_deadlock(&e));
        return;
    }
    session.run("BEGIN");
    for step in 0..random.between(1, 3) {
        if step > 0 && random.chance(50) {
            session.run("SAVEPOINT s");
        }
        let (batch, condition) = (batch(random), condition(random));
        if let Err(error) = session.try_append(&batch, condition.as_deref()) {
            is_deadlock(&error);
            session.run("ROLLBACK");
            return;
        }
        if random.chance(30) {
            // Idle in transaction: that time must pass is the point.
            thread::sleep(Duration::from_millis(random.below(20) as u64));
        }
        if random.chance(20) {
            let _ = session
                .try_run("ROLLBACK TO s")
                .map_err(|_| session.run("ROLLBACK; BEGIN"));
        }
    }
    session.run(if random.chance(25) {
        "ROLLBACK"
    } else {
        "COMMIT"
    });
}

fn follow(db: &Database, n: usize, way: Way, query: &str, done: &AtomicBool) -> Vec<(i64, String)> {
    const READ: &str = "SELECT position, id::text FROM en57_read($1::text::en57_query, after => $2,
        upto => $3, max_count => $4)";
    let mut session = db.connect();
    let mut random = Random::new(500 + n as u64);
    let mut seen: Vec<(i64, String)> = Vec::new();
    let mut after = 0_i64;
    loop {
        // Asked before the read: a read that comes after the last commit and finds nothing is the end.
        let last_round = done.load(Ordering::SeqCst);
        let head: Option<i64> = (way == Way::Head).then(|| {
            session
                .row("SELECT en57_head($1::text::en57_query)", &[&query])
                .get(0)
        });
        let max_count = head.is_none().then(|| random.between(1, 60) as i64);
        if way == Way::Repeat {
            session.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        }
        let mut read = || -> Vec<(i64, String)> {
            let rows = session.rows(READ, &[&query, &after, &head, &max_count]);
            rows.iter().map(|r| (r.get(0), r.get(1))).collect()
        };
        let found = read();
        if way == Way::Repeat {
            if read() != found {
                // Told with what else went wrong at the end.
                seen.push((0, "a repeated read is not the same".into()));
            }
            session.run("COMMIT");
        }
        for event in &found {
            assert!(event.0 > after, "out of order: {event:?} after {after}");
            after = event.0;
        }
        if let Some(head) = head {
            after = after.max(head);
        }
        let nothing = found.is_empty();
        seen.extend(found);
        if nothing && last_round {
            return seen;
        }
        if nothing && way == Way::Wait {
            session.rows(
                "SELECT en57_wait($1, '100ms', $2::text::en57_query)",
                &[&after, &query],
            );
        }
    }
}

#[test]
fn followers_see_every_committed_event_once_in_order() {
    let db = Cluster::shared().database().with_few_key_locks();
    let done = AtomicBool::new(false);
    let writing = AtomicUsize::new(WRITERS);
    let (db, done, writing) = (&db, &done, &writing);
    let seen: Vec<Vec<(i64, String)>> = thread::scope(|scope| {
        let followers: Vec<_> = READERS
            .iter()
            .enumerate()
            .map(|(n, (way, query))| scope.spawn(move || follow(db, n, *way, query, done)))
            .collect();
        for writer in 0..WRITERS {
            scope.spawn(move || {
                // Also when it panics: the followers must come to an end.
                struct Leaves<'a>(&'a AtomicUsize, &'a AtomicBool);
                impl Drop for Leaves<'_> {
                    fn drop(&mut self) {
                        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
                            self.1.store(true, Ordering::SeqCst);
                        }
                    }
                }
                let _leaves = Leaves(writing, done);
                let mut session = db.connect();
                session.run("SET deadlock_timeout = '50ms'");
                let mut random = Random::new(400 + writer as u64);
                (0..scaled(150)).for_each(|_| write(&mut session, &mut random));
            });
        }
        followers
            .into_iter()
            .map(|f| f.join().expect("a follower succeeds"))
            .collect()
    });

    let mut session = db.connect();
    let total = session.number("SELECT count(*) FROM en57.events");
    assert!(total > 1000, "{total} events");
    let mut failures = Vec::new();
    for ((way, query), seen) in READERS.iter().zip(seen) {
        // Straight from the table, and matched one by one.
        let sql =
            "SELECT e.position, e.id::text FROM en57_read() e JOIN en57.events USING (position)
            WHERE en57_matches($1::text::en57_query, e) ORDER BY 1";
        let rows = session.rows(sql, &[query]);
        let stored: Vec<(i64, String)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
        assert!(!stored.is_empty(), "{query} matched nothing");
        if seen != stored {
            let missed = stored
                .iter()
                .filter(|e| !seen.contains(e))
                .map(|e| e.0)
                .take(5);
            let (n, of) = (seen.len(), stored.len());
            failures.push(format!(
                "{way:?} {query} saw {n} of {of}, not {:?}",
                missed.collect::<Vec<_>>()
            ));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(session.number("SELECT en57_count()"), total);
}
