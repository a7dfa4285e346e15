//! Polls that wait, what they must not see, and what pg_dump keeps of subscriptions; and the tracking of other logs.
//!
//! Fails where a poll keeps its locks while it sleeps, where a position goes beyond what is settled, where a table is
//! left out of the dump, or where a tracked position is compared before its row is locked.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, await_that, until};
use crate::support::crew::crew;
use crate::support::random::scaled;
use crate::support::session::{Session, state};

fn sleeps(watch: &mut Session, pid: i32) {
    await_that("it sleeps", || {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE pid = $1 AND state = 'active' AND wait_event_type = 'Extension'";
        watch.row(sql, &[&pid]).get::<_, i64>(0) > 0
    });
}

/// A poll that waits is woken by an event of its own, holds no lock while it sleeps, and can be cancelled.
#[test]
fn waiting_for_events() {
    let db = Cluster::shared().database();
    let [mut sleeper, mut watch] = [db.connect(), db.connect()];
    watch.run(r#"SELECT en57_create_subscription('s', '{"tags": ["a"]}')"#);
    watch.run("SELECT * FROM en57_poll('s')");
    let pid = sleeper.pid();
    let poll = |session: &mut Session| -> Vec<i64> {
        let rows = session.rows("SELECT position FROM en57_poll('s', wait => '60s')", &[]);
        rows.iter().map(|r| r.get(0)).collect()
    };
    let append = |session: &mut Session, tag: &str| {
        session
            .append(&json!({"type": "t", "tags": [tag]}), None)
            .position
    };
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| (poll(&mut sleeper), Instant::now()));
        sleeps(&mut watch, pid);
        append(&mut watch, "b");
        sleeps(&mut watch, pid);
        // Neither resetting nor another poll has to wait for it.
        watch.run("SET lock_timeout = '5s'");
        watch.run("SELECT en57_reset_subscription('s', 0)");
        assert_eq!(
            watch.rows("SELECT position FROM en57_poll('s')", &[]).len(),
            0
        );
        let position = append(&mut watch, "a");
        let committed = Instant::now();
        let (got, woken) = sleeping.join().expect("it wakes");
        assert_eq!(got, [position]);
        assert!(woken.saturating_duration_since(committed) < Duration::from_secs(5));
    });
    // Two wait: one is given the event, the other one comes to nothing while the first one holds it.
    watch.run("SELECT en57_reset_subscription('s', en57_head())");
    let mut second = db.connect();
    let pids = [pid, second.pid()];
    let take = |session: &mut Session| {
        session.run("BEGIN");
        let got = poll(session);
        if let Some(last) = got.last() {
            session.row("SELECT en57_ack('s', $1)", &[last]);
        }
        session.run("COMMIT");
        got
    };
    thread::scope(|scope| {
        let both = [
            scope.spawn(|| take(&mut sleeper)),
            scope.spawn(|| take(&mut second)),
        ];
        pids.iter().for_each(|pid| sleeps(&mut watch, *pid));
        let first = append(&mut watch, "a");
        await_that("one has taken it", || {
            watch.number("SELECT position FROM en57_subscriptions") == first
        });
        let next = append(&mut watch, "a");
        let mut got: Vec<i64> = both
            .into_iter()
            .flat_map(|b| b.join().expect("it wakes"))
            .collect();
        got.sort_unstable();
        assert_eq!(got, [first, next]);
    });
    // Dropped meanwhile, or cancelled.
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let error = sleeper.try_rows("SELECT position FROM en57_poll('s', wait => '60s')", &[]);
            assert_eq!(state(&error.expect_err("cancelled")), "57014");
        });
        sleeps(&mut watch, pid);
        watch.rows("SELECT pg_cancel_backend($1)", &[&pid]);
        sleeping.join().expect("it ends");
    });
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let error = sleeper.try_rows("SELECT position FROM en57_poll('s', wait => '60s')", &[]);
            assert_eq!(state(&error.expect_err("dropped")), "42704");
        });
        sleeps(&mut watch, pid);
        watch.run("SELECT en57_drop_subscription('s')");
        append(&mut watch, "a");
        sleeping.join().expect("it ends");
    });
}

/// A transaction in flight below the newest events keeps them from a subscription, and nothing is left out.
#[test]
fn no_event_is_passed_by() {
    let db = Cluster::shared().database();
    let [mut idle, mut writer, mut worker] = [db.connect(), db.connect(), db.connect()];
    worker.run("SELECT en57_create_subscription('s')");
    let event = json!({"type": "t", "tags": ["a"]});
    idle.run("BEGIN");
    let slow = idle.append(&event, None).position;
    let quick = writer.append(&event, None).position;
    let poll = |session: &mut Session| -> Vec<i64> {
        let rows = session.rows("SELECT position FROM en57_poll('s', lease => '1 min')", &[]);
        rows.iter().map(|r| r.get(0)).collect()
    };
    assert!(poll(&mut worker).is_empty());
    // Not for the one who has appended either, and without waiting for en57.wait_timeout.
    let start = Instant::now();
    assert!(poll(&mut writer).is_empty());
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(
        worker.number("SELECT sum(lag)::bigint FROM en57_subscriptions"),
        0
    );
    idle.run("COMMIT");
    assert_eq!(
        until(|| Some(poll(&mut worker)).filter(|p| !p.is_empty())),
        Some(vec![slow, quick])
    );
}

/// pg_dump takes positions, leases, dead letters and tracked sources with it.
#[test]
fn dumped_and_restored() {
    restored(|cluster, from, to| {
        cluster.shell(&format!(
            "$BIN/pg_dump {from} | $BIN/psql -qX -v ON_ERROR_STOP=1 {to}"
        ));
    });
}

/// The largest tables are filled first then, as that of shards: none may refer to another one.
#[test]
fn restored_in_parallel() {
    restored(|cluster, from, to| {
        let folder = format!("{}/{from}.dump", cluster.folder());
        cluster.shell(&format!("$BIN/pg_dump -Fd -f {folder} {from}"));
        cluster.shell(&format!(
            "$BIN/pg_restore --exit-on-error -j 2 -d {to} {folder}"
        ));
    });
}

fn restored(restore: impl Fn(&Cluster, &str, &str)) {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.database(), cluster.bare_database());
    let mut session = from.connect();
    let events: Vec<Value> = (0..20)
        .map(|n| json!({"type": "t", "tags": [format!("k:{}", n % 5)]}))
        .collect();
    session.append(&json!(events), None);
    session.run(
        "SELECT en57_create_subscription('a', max_attempts => 1), en57_create_subscription('b', '{\"tags\": [\"k:1\"]}', hold_key => true);
         SELECT count(*) FROM en57_poll('a', 7, lease => '1 hour');
         SELECT en57_ack('a', 6);
         SELECT en57_nack('a', 7, 'an error'' with \"quotes\"');
         SELECT en57_lease('a', '1 hour', holder => 'w');
         SELECT count(*) FROM en57_poll('b', shard => 1, shards => 300, lease => '1 hour');
         SELECT en57_track('kafka', 42)",
    );
    restore(cluster, &from.name, &to.name);
    let mut restored = to.connect();
    for table in [
        "subscriptions",
        "subscription_shards",
        "dead_letters",
        "tracked",
    ] {
        let sql = format!(
            "SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM en57.{table} t"
        );
        let expected = session.text(&sql);
        assert!(!expected.is_empty());
        assert_eq!(restored.text(&sql), expected, "{table}");
    }
    assert_eq!(restored.number("SELECT count(*) FROM en57_check()"), 0);
    // It goes on: the lease is in force, a new subscription gets a new id, the source is known.
    assert!(
        restored
            .rows("SELECT 1 FROM en57_poll('a')", &[])
            .is_empty()
    );
    let token = restored.number("SELECT max(token) FROM en57.subscription_shards");
    let sql = "SELECT array_agg(position) FROM en57_poll('a', 3, token => $1)";
    let got: Vec<i64> = restored.row(sql, &[&token]).get(0);
    assert_eq!(got, [8, 9, 10]);
    restored.run("SELECT en57_create_subscription('c')");
    let error = restored.try_run("SELECT en57_track('kafka', 42)");
    assert_eq!(state(&error.expect_err("taken")), "N5707");
}

/// Many pipes of one source, each of which believes that it is the only one.
#[test]
fn each_event_of_a_source_is_taken_once() {
    const PIPES: usize = 8;
    let last = scaled(300) as i64;
    let db = Cluster::shared().database();
    let taken: i64 = crew(PIPES, |_| {
        let mut session = db.connect();
        let mut taken = 0;
        loop {
            let sql = "SELECT coalesce(en57_tracked('source'), 0)";
            let next = session.number(sql) + 1;
            if next > last {
                return taken;
            }
            session.run("BEGIN");
            let tracked = session.try_rows("SELECT en57_track('source', $1)", &[&next]);
            match tracked {
                Ok(_) => {
                    session.append(
                        &json!({"type": "taken", "tags": [format!("n:{next}")]}),
                        None,
                    );
                    session.run("COMMIT");
                    taken += 1;
                }
                Err(e) => {
                    assert_eq!(state(&e), "N5707");
                    session.run("ROLLBACK");
                }
            }
        }
    })
    .into_iter()
    .sum();
    let mut session = db.connect();
    assert_eq!((taken, session.number("SELECT en57_count()")), (last, last));
    let tags = "SELECT count(DISTINCT tags) FROM en57_read()";
    assert_eq!(session.number(tags), last);
}
