//! Notifications of the worker: `en57.notify`.
//!
//! Without the comparison of frontiers in `Worker::news` there is one for each round, and without the look for an event
//! below it one for each move of the frontier; without the interval in `Worker::tell` they come faster than promised.
//! Sent inside appends, they would come before the frontier has moved, and queue the appends' commits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postgres::fallible_iterator::FallibleIterator;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::crew::crew;
use crate::support::random::scaled;
use crate::support::session::Session;
use crate::support::worker::start;

/// What has come within some time of silence: the payloads in their order.
fn heard(session: &mut Session, silence: Duration) -> Vec<Value> {
    let mut notifications = session.client.notifications();
    let mut waiting = notifications.timeout_iter(silence);
    let mut heard = Vec::new();
    while let Some(one) = waiting.next().expect("the connection holds") {
        assert_eq!(one.channel(), "news");
        heard.push(serde_json::from_str(one.payload()).expect("JSON"));
    }
    heard
}

/// Listens until a partition's position is heard.
fn hear(session: &mut Session, partition: &str, position: i64) {
    let mut last = None;
    await_that(&format!("{position} of {partition} is heard"), || {
        for one in heard(session, Duration::from_millis(20)) {
            if one["partition"] == partition {
                last = one["position"].as_i64();
            }
        }
        last == Some(position)
    });
}

fn switch(session: &mut Session, on: bool) {
    let on = if on { "on" } else { "off" };
    session.run("ALTER SYSTEM SET en57.channel = 'news'");
    session.run(&format!("ALTER SYSTEM SET en57.notify = {on}"));
    session.run("SELECT pg_reload_conf()");
}

fn listener(db: &Database) -> Session {
    let mut session = db.connect();
    session.run("LISTEN news");
    session
}

#[test]
fn told_after_the_frontier_has_moved() {
    let cluster = Cluster::own(&[]);
    let db = cluster.database();
    let mut session = db.connect();
    session.run("SELECT en57_create_partition('other')");
    let mut listening = listener(&db);
    start(&mut session);
    let event = json!({"type": "t"});
    session.append(&event, None);
    assert!(
        heard(&mut listening, Duration::from_millis(300)).is_empty(),
        "off by default"
    );
    // Turned on: the reload alone wakes the worker.
    switch(&mut session, true);
    hear(&mut listening, "default", 1);
    // Not before what is below has ended.
    let mut pending = db.connect();
    pending.run("BEGIN");
    pending.append(&event, None);
    session.append(&event, None);
    assert!(
        heard(&mut listening, Duration::from_millis(300)).is_empty(),
        "told too early"
    );
    pending.run("COMMIT");
    hear(&mut listening, "default", 3);
    session.run("SET en57.partition = 'other'");
    session.append(&event, None);
    hear(&mut listening, "other", 4);
    session.run("RESET en57.partition");
    // Many appends, fewer notifications; the last one is of the last position, and none goes back.
    let n = scaled(300) as i64;
    let begin = Instant::now();
    crew(8, |_| {
        let mut session = db.connect();
        (0..n).for_each(|_| drop(session.append(&event, None)));
    });
    let last = session.head();
    let mut all = Vec::new();
    await_that("the last is heard", || {
        all.extend(heard(&mut listening, Duration::from_millis(50)));
        let mut of_default = all.iter().rev().filter(|one| one["partition"] == "default");
        of_default.next().is_some_and(|one| one["position"] == last)
    });
    let mut lasts = BTreeMap::new();
    for one in &all {
        let partition = one["partition"].as_str().expect("a name").to_owned();
        let position = one["position"].as_i64().expect("a number");
        let before = lasts.insert(partition, position);
        assert!(before < Some(position), "{before:?} before {position}");
    }
    // At most one in 10 milliseconds.
    let most = begin.elapsed().as_millis() / 10 + 2;
    assert!(
        all.len() as u128 <= most,
        "{} for {} appends",
        all.len(),
        n * 8
    );
    switch(&mut session, false);
    await_that("it is off", || {
        heard(&mut listening, Duration::from_millis(10));
        session.append(&event, None);
        heard(&mut listening, Duration::from_millis(300)).is_empty()
    });
    // A name that is none is refused.
    for name in ["", &"x".repeat(64)] {
        let refused = session.try_run(&format!("ALTER SYSTEM SET en57.channel = '{name}'"));
        assert!(refused.is_err(), "{name}");
    }
}
