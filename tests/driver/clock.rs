//! A clock that is set forward or back by hours: positions, order and conditions do not depend on it, leases protect what
//! they protect, and nobody waits for hours.
//!
//! Without the bounds in `en57.hold_shard`, `en57.take_lease` and `en57_poll` a clock that is set back lets a lease of a
//! dead worker, and a poll that waits, last for so many hours longer.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::await_that;
use crate::support::followed::{self, Seen};
use crate::support::session::state;
use crate::support::shim::Shim;
use crate::support::worker;

const HOURS: i64 = 3600;

#[test]
fn jumps_forward_and_back() {
    let (cluster, shim) = Shim::cluster(&["autovacuum = off"]);
    let db = cluster.database();
    let mut session = db.connect();
    followed::prepare(&mut session);
    worker::start(&mut session);
    let mut seen = Seen::default();
    seen.append(&mut session, 10);
    for hours in [5, -7, 20, -3, 0] {
        let before = session.text("SELECT clock_timestamp()::text");
        shim.shift_clock(hours * HOURS);
        assert_ne!(
            session.text("SELECT clock_timestamp()::text")[..13],
            before[..13],
            "the shim sets the clock"
        );
        // The ceiling is raised with whatever time it is.
        seen.append(&mut session, 200);
        seen.append_in_vain(&mut session);
        // A wait is over when it is over.
        let start = Instant::now();
        let last = seen.last;
        session.rows("SELECT en57_wait($1, '100ms')", &[&last]);
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?}",
            start.elapsed()
        );
        // The worker goes on.
        worker::wait_for(&mut session, "noted");
        worker::wait_for(&mut session, "later");
        // The time of recording is what the clock says, the order is not.
        let told = "SELECT (abs(extract(epoch FROM clock_timestamp() - max(recorded_at))) < 60)::int::bigint
            FROM en57_read(backwards => true, max_count => 1)";
        assert_eq!(session.number(told), 1);
    }
    let disorder = "SELECT count(*) FROM (SELECT recorded_at < lag(recorded_at) OVER (ORDER BY position) AS back FROM en57_read()) e WHERE back";
    assert_eq!(session.number(disorder), 2);
    session.run("SELECT en57_worker_stop()");
    seen.goes_on(&db);
}

/// Waits in a poll, and the clock is set back meanwhile.
#[test]
fn a_poll_does_not_wait_for_hours() {
    let (cluster, shim) = Shim::cluster(&["autovacuum = off"]);
    let db = cluster.database();
    let mut session = db.connect();
    session.run("SELECT en57_create_subscription('s', '{\"types\": [\"wanted\"]}')");
    std::thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let mut session = db.connect();
            let start = Instant::now();
            let polled = session.number("SELECT count(*) FROM en57_poll('s', 10, wait => '3s')");
            (polled, start.elapsed())
        });
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%en57_poll%' AND wait_event_type = 'Extension'";
        await_that("it polls", || session.number(waits) == 1);
        shim.shift_clock(-2 * HOURS);
        let (polled, waited) = poller.join().expect("the poll ends");
        assert_eq!(polled, 0);
        assert!(waited < Duration::from_secs(20), "{waited:?}");
    });
}

#[test]
fn leases() {
    let (cluster, shim) = Shim::cluster(&["autovacuum = off"]);
    let db = cluster.database();
    let [mut first, mut second] = [db.connect(), db.connect()];
    first.run("SELECT en57_create_subscription('s', '{}')");
    first.append(&json!([{"type": "a"}, {"type": "b"}]), None);
    let lease =
        "SELECT coalesce(en57_lease('s', '10s', holder => current_setting('application_name')), 0)";
    first.run("SET application_name = 'first'");
    second.run("SET application_name = 'second'");
    let token = first.number(lease);
    assert!(token > 0);
    assert_eq!(second.number(lease), 0, "it is held");
    let poll = |token: i64| format!("SELECT count(*) FROM en57_poll('s', 1, token => {token})");
    assert_eq!(first.number(&poll(token)), 1);

    // Forward: it is over for others at once, and the token of the one who had it is worth nothing then.
    shim.shift_clock(2 * HOURS);
    let taken = second.number(lease);
    assert!(taken > token);
    assert_eq!(second.number(&poll(taken)), 1);
    let late = first.try_run(&format!("SELECT en57_ack('s', 1, token => {token})"));
    assert_eq!(state(&late.expect_err("it was taken over")), "N5705");
    second.run(&format!("SELECT en57_ack('s', 1, token => {taken})"));
    assert_eq!(
        second.number(&format!("SELECT en57_lease('s', '2s', token => {taken})")),
        taken
    );

    // Back: it is over when it would last for hours.
    shim.shift_clock(0);
    let start = Instant::now();
    await_that("the lease is over", || first.number(lease) > taken);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}
