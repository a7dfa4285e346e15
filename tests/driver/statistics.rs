//! Counters, the state of the log, and the shared memory that both are in.
//!
//! Without `count_for` taking a cell's counts over, those of a backend that is gone are lost as soon as its
//! number is given to one of another database; with `reset` writing to the cells, counts of others that come in
//! between are.

use serde_json::json;

use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::crew::crew;
use crate::support::random::scaled;
use crate::support::session::Session;

const COUNTS: &str =
    "SELECT appends, repeated, conflicts, events, lock_waits, reads, events_read FROM en57_stat";

fn counts(session: &mut Session) -> Vec<i64> {
    let row = session.row(COUNTS, &[]);
    (0..row.len()).map(|i| row.get(i)).collect()
}

/// What `en57_status` says of something: its value, and the warning.
fn says(session: &mut Session, name: &str) -> (Option<String>, Option<String>) {
    let row = session.row(
        "SELECT value, warning FROM en57_status() WHERE name = $1",
        &[&name],
    );
    (row.get(0), row.get(1))
}

#[test]
fn counts_of_many_sessions() {
    let db = Cluster::shared().database();
    let rounds = scaled(200);
    crew(8, |n| {
        // Each connection has another backend number, some of them those of connections that are gone.
        for _ in 0..4 {
            let mut session = db.connect();
            let tag = format!("s:{n}");
            for _ in 0..rounds / 4 {
                session.append(&json!([{"type": "a", "tags": [tag]}, {"type": "b"}]), None);
                let never = format!(r#"{{"tags": ["{tag}"]}}"#);
                session.append(&json!({"type": "never"}), Some(&never));
                session.row("SELECT en57_last()", &[]);
            }
        }
    });
    let n = 8 * (rounds / 4 * 4) as i64;
    assert_eq!(counts(&mut db.connect()), [n, 0, n, 2 * n, 0, n, n]);
}

/// One connection after the other has the same number; they count for two databases in turns.
#[test]
fn counts_of_backends_that_are_gone() {
    let cluster = Cluster::own(&[]);
    let databases = [cluster.database(), cluster.database()];
    for _ in 0..5 {
        for db in &databases {
            db.connect().append(&json!({"type": "a"}), None);
        }
    }
    for db in &databases {
        assert_eq!(counts(&mut db.connect())[0], 5);
        db.connect().run("SELECT en57_stat_reset()");
        assert_eq!(counts(&mut db.connect())[0], 0);
    }
}

/// What others count while it is reset is counted before or after, never lost: the sum of what was seen before
/// each reset cannot be more than was done, and the last look sees all since the last reset.
#[test]
fn resets_beside_writers() {
    let db = Cluster::shared().database();
    let rounds = scaled(300);
    crew(4, |n| {
        let mut session = db.connect();
        for _ in 0..rounds {
            if n == 0 {
                session.run("SELECT en57_stat_reset()");
            } else {
                session.append(&json!({"type": "a"}), None);
            }
            let now = counts(&mut session)[0];
            assert!((0..=3 * rounds as i64).contains(&now), "{now}");
        }
    });
    let mut session = db.connect();
    session.run("SELECT en57_stat_reset()");
    crew(4, |_| {
        let mut session = db.connect();
        (0..10).for_each(|_| drop(session.append(&json!({"type": "a"}), None)));
    });
    assert_eq!(counts(&mut session)[0], 40);
}

#[test]
fn counts_locks_that_had_to_wait() {
    let db = Cluster::shared().database();
    let [mut first, mut second, mut watch] = [db.connect(), db.connect(), db.connect()];
    let event = json!({"type": "a", "tags": ["t"]});
    let condition = Some(r#"{"tags": ["t"]}"#);
    first.run("BEGIN");
    first.append(&event, condition);
    assert_eq!(counts(&mut watch)[4], 0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| second.append(&event, condition));
        await_that("it waits", || {
            watch.number("SELECT count(*) FROM en57_key_locks WHERE waiting") == 1
        });
        let counted = counts(&mut watch)[4];
        first.run("COMMIT");
        assert!(waiting.join().expect("it ends").is_conflict());
        assert_eq!(counted, 1, "as soon as it waits");
    });
    assert_eq!(counts(&mut watch), [1, 0, 1, 1, 1, 0, 0]);
}

#[test]
fn an_idle_transaction_is_told_of() {
    let db = Cluster::shared().database();
    let [mut idle, mut late, mut watch] = [db.connect(), db.connect(), db.connect()];
    watch.append(&json!([{"type": "a"}, {"type": "a"}]), None);
    idle.run("BEGIN");
    idle.append(&json!({"type": "a"}), None);
    late.run("BEGIN");
    late.append(&json!({"type": "a"}), None);
    let (pid, backend) = (idle.pid(), format!("({})", idle.pid()));
    assert_eq!(says(&mut watch, "next_position").0.as_deref(), Some("5"));
    assert_eq!(says(&mut watch, "head").0.as_deref(), Some("2"));
    assert_eq!(says(&mut watch, "in_flight").0.as_deref(), Some("2"));
    let (oldest, _) = says(&mut watch, "oldest_in_flight");
    let oldest = oldest.expect("one is in flight");
    assert!(
        oldest.starts_with(&format!("process {pid}, idle in transaction, since "))
            && oldest.ends_with(", from position 3"),
        "{oldest}"
    );
    // As soon as it is older than a reader would wait.
    watch.run("SET en57.wait_timeout = '1h'");
    assert_eq!(says(&mut watch, "oldest_in_flight").1, None);
    watch.run("SET en57.wait_timeout = '1ms'");
    let warning = says(&mut watch, "oldest_in_flight").1.expect("a warning");
    assert!(
        warning.starts_with(&format!("Process {pid} is idle in its transaction since "))
            && warning.contains("from position 3 on")
            && warning.contains(&backend),
        "{warning}"
    );
    // It is told in all databases of their own transactions alone.
    let other = Cluster::shared().database();
    assert_eq!(
        says(&mut other.connect(), "in_flight").0.as_deref(),
        Some("0")
    );
    idle.run("COMMIT");
    late.run("ROLLBACK");
    assert_eq!(says(&mut watch, "head").0.as_deref(), Some("4"));
    assert_eq!(says(&mut watch, "oldest_in_flight"), (None, None));
}

fn works(db: &Database, origin: &str) {
    let sessions = crew(8, |n| {
        let mut session = db.connect();
        for _ in 0..20 {
            session.append(
                &json!({"type": "a", "tags": [format!("t:{}", n % 2)]}),
                None,
            );
        }
        session
    });
    drop(sessions);
    let mut session = db.connect();
    assert_eq!(session.positions("{}"), (1..=160).collect::<Vec<i64>>());
    let (memory, warning) = says(&mut session, "shared_memory");
    assert!(memory.is_some_and(|m| m.starts_with(origin)) && warning.is_none());
    assert_eq!(counts(&mut session)[0], 160);
}

/// PostgreSQL's reserve would not do for so many.
#[test]
fn room_for_very_many_connections() {
    let cluster = Cluster::own(&["max_connections = 5000"]);
    works(
        &cluster.database(),
        "dynamic, made on first use, with room for 50",
    );
    // A crash makes it anew.
    cluster.stop("immediate");
    cluster.start();
    works(
        &cluster.database(),
        "dynamic, made on first use, with room for 50",
    );
}

#[test]
fn room_that_was_requested_at_the_start() {
    let cluster = Cluster::own(&["shared_preload_libraries = 'en57'"]);
    works(
        &cluster.database(),
        "requested at the server's start, with room for 1",
    );
}
