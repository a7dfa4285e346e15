//! So many sessions as the server takes append, read and follow at a time. `EN57_TEST_SCALE=10` makes them 1,000.
//!
//! Fails where something in shared memory has fewer places than the server has connections: a slot, a cell of counters.

use std::sync::Mutex;

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::crew::{Gate, crew};
use crate::support::random::scaled;
use crate::support::session::Session;

#[test]
fn append_read_and_follow() {
    let size = scaled(100);
    let connections = format!("max_connections = {}", size + 10);
    let cluster = Cluster::own(&[
        &connections,
        "max_worker_processes = 4",
        "shared_buffers = 64MB",
    ]);
    let db = cluster.database();
    db.connect()
        .run("SELECT en57_create_subscription('all', '{}')");
    let gate = Gate::new(size);
    let rounds = 3;
    let started = std::time::Instant::now();
    let all: Mutex<Vec<i64>> = Mutex::default();
    crew(size, |n| {
        let mut session = db.connect();
        let own = format!(r#"{{"tags": ["own:{n}"]}}"#);
        let mut positions = Vec::new();
        // All are connected, and go on together.
        gate.pass();
        for round in 0..rounds {
            let event =
                json!({"type": "t", "tags": [format!("own:{n}"), format!("shared:{}", n % 10)]});
            let condition = format!(
                r#"{{"tags": ["own:{n}"], "after": {}}}"#,
                positions.last().unwrap_or(&0)
            );
            let appended = session.append(&event, Some(&condition));
            assert!(appended.is_appended(), "{appended:?}");
            positions.push(appended.position);
            assert_eq!(session.positions(&own), positions, "round {round}");
            let refused = session.append(&event, Some(&own));
            assert!(refused.is_conflict());
            // Everybody follows what one in ten appends.
            let waits = "SELECT en57_wait($1::bigint, '60s', $2::text::en57_query)";
            let shared = format!(r#"{{"tags": ["shared:{}"]}}"#, n % 10);
            session.rows(waits, &[&(appended.position - 1), &shared]);
        }
        // Each keeps its connection until the last one is done.
        gate.pass();
        all.lock()
            .expect("nobody panics while holding it")
            .extend(positions);
    });
    println!("{size} sessions: {} ms", started.elapsed().as_millis());
    let mut all = all.into_inner().expect("nobody panics while holding it");
    all.sort_unstable();
    let mut session = db.connect();
    assert_eq!(session.positions("{}"), all);
    let events = (size * rounds) as i64;
    assert_eq!(
        session.number("SELECT events FROM en57_stat"),
        events,
        "each session's counters count"
    );
    let polled = |session: &mut Session| {
        let sql = "WITH p AS (SELECT position FROM en57_poll('all', 1000)), l AS (SELECT count(*) AS n, max(position) AS last FROM p)
            SELECT n FROM l, en57_ack('all', l.last)";
        session.number(sql)
    };
    let mut taken = 0;
    loop {
        match polled(&mut session) {
            0 => break,
            n => taken += n,
        }
    }
    assert_eq!(taken, events);
    assert_eq!(session.number("SELECT count(*) FROM en57_check()"), 0);
}
