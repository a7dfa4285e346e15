//! Backends that die leave nothing behind.
//!
//! `kill -9` restarts the server, and shared memory is made anew; a backend that is terminated, or whose client
//! goes away, clears its slot at its abort. Without that the frontier stands still.

use serde_json::json;

use crate::support::cluster::{Cluster, OwnCluster, await_that};
use crate::support::session::{Session, state};

fn moves_on(session: &mut Session, beyond: i64) {
    let answer = session.append(
        &json!({"type": "after", "tags": ["a"]}),
        Some(r#"{"tags": ["a"], "types": ["never"]}"#),
    );
    assert!(
        answer.is_appended() && answer.position > beyond,
        "{answer:?} beyond {beyond}"
    );
    assert_eq!(session.head(), answer.position);
    assert_eq!(session.positions("{}").last(), Some(&answer.position));
    assert_eq!(
        session.positions(r#"{"tags": ["a"]}"#).last(),
        Some(&answer.position)
    );
    let ours = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid <> 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    await_that("no lock is left", || session.number(ours) == 0);
}

#[test]
fn kill_9_of_a_backend() {
    let cluster: OwnCluster = Cluster::own(&[]);
    let db = cluster.database();
    for round in 0..3 {
        let [mut idle, mut sleeper, mut writer] = [db.connect(), db.connect(), db.connect()];
        let before = writer
            .append(&json!({"type": "before", "tags": ["a"]}), None)
            .position;
        let kept = writer.positions("{}");
        idle.run("BEGIN");
        let lost = idle.append(
            &json!([{"type": "lost", "tags": ["a"]}, {"type": "lost", "tags": ["b"]}]),
            None,
        );
        writer.append(&json!({"type": "before", "tags": ["c"]}), None);
        let victim = if round == 1 {
            sleeper.pid()
        } else {
            idle.pid()
        };
        std::thread::scope(|scope| {
            let pid = sleeper.pid();
            let sleeping =
                scope.spawn(|| sleeper.try_rows("SELECT en57_wait(1000000, '60s')", &[]));
            await_that("somebody sleeps", || {
                let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Extension'";
                writer.row(sql, &[&pid]).get::<_, i64>(0) > 0
            });
            assert!(cluster.kill_backend(victim));
            assert!(sleeping.join().expect("no panic").is_err());
        });
        let mut session = db.connect();
        let now = session.positions("{}");
        assert_eq!(now[..kept.len()], kept);
        assert!(now.contains(&before) && !now.contains(&lost.position));
        moves_on(&mut session, lost.position);
    }
}

#[test]
fn terminated_and_deserted_backends() {
    let db = Cluster::shared().database();
    let mut watch = db.connect();
    for desert in [false, true] {
        let mut idle = db.connect();
        idle.run("BEGIN");
        let lost = idle
            .append(&json!({"type": "lost", "tags": ["a"]}), None)
            .position;
        assert!(watch.head() < lost);
        if desert {
            drop(idle);
        } else {
            watch.rows("SELECT pg_terminate_backend($1)", &[&idle.pid()]);
        }
        await_that("the frontier moves", || watch.head() >= lost);
        moves_on(&mut watch, lost);
    }
    // An error inside an append that has its position already: the unique index refuses a known id.
    let event = json!({"type": "once", "id": "0193e3a0-0000-7000-8000-000000000001"});
    watch.append(&event, None);
    let both = json!([{"type": "once"}, event]);
    assert_eq!(
        state(&watch.try_append(&both, None).expect_err("a known id")),
        "23505"
    );
    let head = watch.head();
    moves_on(&mut watch, head);
}
