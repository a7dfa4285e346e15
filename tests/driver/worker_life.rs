//! The life of a background worker: it comes back when it has died, goes when it is in the way, and does not come
//! back where it is not wanted any more.
//!
//! Without `Process::attend` looking for locks on the database, DROP DATABASE fails; without `begin_to_connect`
//! the worker of a dropped database is started again for ever; without the mark of `stop` one that is stopped
//! comes back; without `Desk::claim` there are two after one was terminated and started at once; without a
//! `deadlock_timeout` of its own it lets clients fail.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, await_that};
use crate::support::session::{Session, state, told};
use crate::support::worker::{create, noting, start, wait_for};

/// The cluster's own level leaves them out.
const WARNINGS: &str = "log_min_messages = warning";
const PID: &str = "SELECT coalesce(en57.worker_pid(), 0)::bigint";

fn event() -> Value {
    json!({"type": "t"})
}

fn lines(cluster: &Cluster, with: &str) -> usize {
    cluster.log().lines().filter(|l| l.contains(with)).count()
}

fn handles(session: &mut Session) {
    session.append(&event(), None);
    wait_for(session, "noting");
    let missing = "SELECT count(*) FROM (SELECT position FROM en57_read() EXCEPT ALL SELECT position FROM noted) m";
    assert_eq!(session.number(missing), 0);
}

#[test]
fn comes_back_unless_it_is_stopped() {
    let cluster = Cluster::own(&[WARNINGS]);
    let db = cluster.database();
    let mut session = noting(&db);
    create(&mut session, "noting", "note", "");
    let (_, first) = start(&mut session);
    handles(&mut session);
    // What is asked of it while it sleeps does no harm.
    session.run(&format!(
        "SELECT pg_cancel_backend({first}), pg_reload_conf()"
    ));
    handles(&mut session);
    assert_eq!(session.number(PID), i64::from(first));
    // Terminated: it comes back by itself.
    session.run(&format!("SELECT pg_terminate_backend({first}, 5000)"));
    await_that("it is back", || {
        let pid = session.number(PID);
        pid != 0 && pid != i64::from(first)
    });
    handles(&mut session);
    // Terminated and stopped before it has come back: it does not.
    let second = session.number(PID);
    session.run(&format!("SELECT pg_terminate_backend({second}, 5000)"));
    session.run("SELECT en57_worker_stop()");
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(session.number(PID), 0);
    // Terminated and started at once: there is one.
    let (_, third) = start(&mut session);
    session.run(&format!("SELECT pg_terminate_backend({third}, 5000)"));
    let (started, fourth) = start(&mut session);
    assert!(started && fourth != third);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(session.number(PID), i64::from(fourth));
    // Killed: PostgreSQL restarts as a whole, and the worker with it.
    assert!(db.cluster.kill_backend(fourth));
    let mut session = db.connect();
    await_that("it is back", || session.number(PID) != 0);
    handles(&mut session);
    // A stop of the server while a function of a user runs is prompt.
    session.run(
        "CREATE FUNCTION dawdle(e en57_event) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(100)'",
    );
    create(&mut session, "slow", "dawdle", "");
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'en57 worker' AND wait_event = 'PgSleep'";
    await_that("it is busy", || session.number(busy) == 1);
    // A batch that takes too long is cut off by a stop.
    session.run("SELECT en57_worker_stop()");
    assert_eq!(session.number(PID), 0);
    start(&mut session);
    await_that("it is busy", || session.number(busy) == 1);
    let before = Instant::now();
    cluster.stop("fast");
    assert!(before.elapsed() < Duration::from_secs(10));
    cluster.start();
}

#[test]
fn without_the_extension() {
    let cluster = Cluster::own(&[WARNINGS]);
    let db = cluster.database();
    let mut session = noting(&db);
    create(&mut session, "noting", "note", "");
    start(&mut session);
    handles(&mut session);
    for round in 0..2 {
        session.run("DROP FUNCTION note; DROP EXTENSION en57; TRUNCATE noted");
        // Something that wakes it.
        let mut elsewhere = cluster.database().connect();
        elsewhere.append(&event(), None);
        session.run("CREATE EXTENSION en57; CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS 'INSERT INTO noted VALUES (e.position)'");
        create(&mut session, "noting", "note", "");
        if round == 1 {
            assert!(!start(&mut session).0, "it runs still");
        }
        handles(&mut session);
    }
    // Dropped while the worker looks at the tables, and waits for them: that is no trouble.
    let mut dropper = db.connect();
    dropper.run("BEGIN; LOCK en57.projections");
    session.append(&event(), None);
    await_that("the worker looks", || {
        dropper.number("SELECT count(*) FROM pg_locks WHERE relation = 'en57.projections'::regclass AND NOT granted") > 0
    });
    dropper.run("DROP FUNCTION note; DROP EXTENSION en57; COMMIT; TRUNCATE noted");
    dropper.run("CREATE EXTENSION en57; CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS 'INSERT INTO noted VALUES (e.position)'");
    create(&mut session, "noting", "note", "");
    handles(&mut session);
    assert_eq!(lines(&cluster, "tries again"), 0);
    // A version that it does not know: it says so once, and waits.
    session.run("UPDATE pg_extension SET extversion = '99.0' WHERE extname = 'en57'");
    for _ in 0..3 {
        session.append(&event(), None);
    }
    let unknown = "does not know version 99.0";
    await_that("it says so", || lines(&cluster, unknown) > 0);
    let position = "SELECT position FROM en57.projections";
    let before = session.number(position);
    session.append(&event(), None);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(session.number(position), before);
    assert_eq!(lines(&cluster, unknown), 1);
    session.run(
        "UPDATE pg_extension SET extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'en57')
         WHERE extname = 'en57'",
    );
    handles(&mut session);
    let complaints: Vec<String> = cluster
        .log()
        .lines()
        .filter(|l| l.contains("WARNING") || l.contains("ERROR"))
        .map(str::to_owned)
        .collect();
    assert!(complaints.len() <= 2, "{complaints:#?}");
}

/// DROP DATABASE, also of a worker that sleeps, and a copy of the database while it runs.
#[test]
fn gives_way_to_who_needs_the_database_alone() {
    let cluster = Cluster::own(&[WARNINGS, "max_worker_processes = 6"]);
    let (plain, forced) = (cluster.database(), cluster.database());
    let mut outside = cluster.connect("postgres");
    for db in [&plain, &forced] {
        let mut session = noting(db);
        create(&mut session, "noting", "note", "");
        start(&mut session);
        handles(&mut session);
    }
    // Connections need a moment to be gone; the worker, for its part, must leave.
    outside.run(&format!("CREATE DATABASE copied TEMPLATE {}", plain.name));
    let mut session = plain.connect();
    await_that("it is back", || session.number(PID) != 0);
    handles(&mut session);
    drop(session);
    let mut copied = cluster.connect("copied");
    assert_eq!(copied.number(PID), 0);
    assert!(start(&mut copied).0);
    copied.append(&event(), None);
    wait_for(&mut copied, "noting");
    outside.run(&format!("DROP DATABASE {}", plain.name));
    outside.run(&format!("DROP DATABASE {} WITH (FORCE)", forced.name));
    // Each tries once to come back.
    await_that("both give up", || lines(&cluster, "gives up") == 2);
    std::thread::sleep(Duration::from_secs(6));
    let log = cluster.log();
    let vain = log
        .lines()
        .filter(|l| l.contains("FATAL") && l.contains("does not exist"))
        .count();
    assert_eq!(vain, 2, "{log}");
    // Their places are free again.
    for _ in 0..2 {
        assert!(start(&mut cluster.database().connect()).0);
    }
}

/// PostgreSQL lets nobody but superusers end a superuser's process, and the worker is one. So an owner who is none
/// drops his database without FORCE, or has the worker stopped first.
#[test]
fn dropped_by_its_owner() {
    let cluster = Cluster::own(&[WARNINGS]);
    let mut outside = cluster.connect("postgres");
    outside.run("CREATE ROLE owner CREATEDB");
    let (plain, forced) = (cluster.database(), cluster.database());
    for db in [&plain, &forced] {
        outside.run(&format!("ALTER DATABASE {} OWNER TO owner", db.name));
        start(&mut db.connect());
    }
    outside.run("SET ROLE owner");
    for db in [&plain, &forced] {
        let refused = outside
            .try_run(&format!("DROP DATABASE {} WITH (FORCE)", db.name))
            .expect_err("the worker is in the way");
        assert_eq!(state(&refused), "42501", "{}", told(&refused));
    }
    outside.run(&format!("DROP DATABASE {}", plain.name));
    // Who may be allowed to stop it.
    let mut session = forced.connect();
    session.run("GRANT EXECUTE ON FUNCTION en57_worker_stop() TO owner");
    session.run("SET ROLE owner; SELECT en57_worker_stop()");
    drop(session);
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    await_that("the connection is gone", || {
        outside.row(gone, &[&forced.name]).get::<_, i64>(0) == 0
    });
    outside.run(&format!("DROP DATABASE {} WITH (FORCE)", forced.name));
}

#[test]
fn started_with_the_server() {
    let cluster = Cluster::own(&[
        WARNINGS,
        "shared_preload_libraries = 'en57'",
        "en57.databases = 'postgres, \"Other one\", none_of_these'",
        "wal_level = replica",
    ]);
    let mut session = cluster.connect("postgres");
    // The extension comes later than the worker.
    let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'en57 worker'";
    await_that("it runs", || session.number(workers) == 1);
    await_that("it says what is missing", || {
        lines(&cluster, "database \"none_of_these\" does not exist") == 1
            && lines(&cluster, "database \"Other one\" does not exist") == 1
    });
    session.run("CREATE EXTENSION en57; CREATE TABLE noted (position bigint);
        CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS 'INSERT INTO noted VALUES (e.position)'");
    create(&mut session, "noting", "note", "");
    let before = Instant::now();
    handles(&mut session);
    assert!(
        before.elapsed() < Duration::from_secs(30),
        "it was not told of the extension"
    );
    assert!(!start(&mut session).0);
    session.run("CREATE DATABASE \"Other one\"");
    cluster.stop("fast");
    cluster.start();
    let mut session = cluster.connect("postgres");
    await_that("both run", || session.number(workers) == 2);
    handles(&mut session);
    session.run(
        "SELECT en57_create_projection('within', '{\"types\": [\"none\"]}', 'note(en57_event)');
         SELECT en57_create_subscription('mailer')",
    );
    stands_by(&cluster);
}

/// On a standby there is none, until it is promoted.
fn stands_by(cluster: &Cluster) {
    let folder = cluster.folder();
    cluster.base_backup(&format!("{folder}/standby"), "-R -c fast");
    cluster.shell(&format!(
        "mkdir -m 700 {folder}/socket
         echo \"unix_socket_directories = '{folder}/socket'\" >> {folder}/standby/postgresql.conf
         $BIN/pg_ctl start -s -w -D {folder}/standby -l {folder}/standby.log > /dev/null 2>&1"
    ));
    let psql = |sql: &str| {
        let run =
            format!("$BIN/psql -qXAt -h {folder}/socket -d postgres -c \"{sql}\" 2>&1 || true");
        cluster.shell(&run).trim().to_owned()
    };
    let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'en57%'";
    assert_eq!(psql(workers), "0");
    let refused = psql("SELECT en57_worker_start()");
    assert!(
        refused.contains("cannot execute en57_worker_start()"),
        "{refused}"
    );
    tells_what_it_knows(&psql);
    psql("SELECT pg_promote()");
    await_that("they run", || psql(workers) == "2");
    psql("SELECT FROM en57_append('{\\\"type\\\": \\\"t\\\"}')");
    assert_eq!(
        psql("SELECT en57_wait_projection('noting', timeout => '60s')"),
        "t"
    );
    cluster.shell(&format!(
        "$BIN/pg_ctl stop -s -w -m immediate -D {folder}/standby"
    ));
}

/// A standby has no frontiers, so what they say is NULL there; a view that is nothing else says why it fails.
fn tells_what_it_knows(psql: &impl Fn(&str) -> String) {
    let views = psql(
        "SELECT string_agg(viewname, ' ') FROM pg_views WHERE schemaname = 'public' AND viewname LIKE 'en57%'",
    );
    for view in views.split(' ') {
        let answer = psql(&format!("SELECT count(v::text) FROM {view} v"));
        if ["en57_stat", "en57_streams"].contains(&view) {
            assert!(
                answer.contains("en57 cannot be used on a standby"),
                "{answer}"
            );
        } else {
            assert!(answer.parse::<i64>().is_ok(), "{view}: {answer}");
        }
    }
    for (question, answer) in [
        (
            "SELECT name, status, position > 0, head, lag FROM en57_projections ORDER BY name",
            "noting|running|t||\nwithin|running|||",
        ),
        ("SELECT name, head FROM en57_partitions", "default|"),
        (
            "SELECT name, position, head, lag FROM en57_subscriptions",
            "mailer|0||",
        ),
    ] {
        assert_eq!(psql(question), answer);
    }
}

/// In a deadlock it is the worker that gives way: it can try again, a client would get an error.
#[test]
fn gives_way_in_a_deadlock() {
    let cluster = Cluster::own(&[WARNINGS, "deadlock_timeout = 20s"]);
    let db = cluster.database();
    let (mut session, mut client, mut gate) = (noting(&db), db.connect(), db.connect());
    session.run(
        "CREATE TABLE first(); CREATE TABLE second();
         CREATE FUNCTION lock_both(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             LOCK first; PERFORM pg_advisory_xact_lock(57); LOCK second;
         END $$",
    );
    create(&mut session, "both", "lock_both", "");
    gate.run("SELECT pg_advisory_lock(57)");
    client.run("SET deadlock_timeout = '10s'; BEGIN; LOCK second");
    start(&mut session);
    session.append(&event(), None);
    let waiters =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('advisory', 'relation')";
    await_that("the worker has the first", || session.number(waiters) == 1);
    let client = std::thread::spawn(move || client.try_run("LOCK first; COMMIT").map(|_| ()));
    await_that("the client waits for it", || session.number(waiters) == 2);
    gate.run("SELECT pg_advisory_unlock(57)");
    let outcome = client.join().expect("it ends");
    assert!(outcome.is_ok(), "{}", told(&outcome.expect_err("refused")));
    wait_for(&mut session, "both");
    assert_eq!(lines(&cluster, "WARNING"), 0, "{}", cluster.log());
}

#[test]
fn no_process_left() {
    let cluster = Cluster::own(&["max_worker_processes = 0"]);
    let mut session = cluster.database().connect();
    let refused = session
        .try_run("SELECT en57_worker_start()")
        .expect_err("there is none");
    assert_eq!(state(&refused), "53400", "{}", told(&refused));
    assert!(
        told(&refused).contains("Raise max_worker_processes"),
        "{}",
        told(&refused)
    );
    assert_eq!(session.number(PID), 0);
}

/// Thousands of batches leave the process as large as some did.
#[test]
fn its_memory_does_not_grow() {
    let db = Cluster::shared().database();
    let mut session = noting(&db);
    create(&mut session, "noting", "note", ", batch_size => 2");
    let (_, pid) = start(&mut session);
    let size_kb = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells");
        let line = status
            .lines()
            .find(|l| l.starts_with("RssAnon"))
            .expect("a size");
        line.split_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<i64>().ok())
            .expect("a number")
    };
    let mut handle = |n: usize| {
        for _ in 0..n {
            let events: Vec<Value> = (0..1000)
                .map(|_| json!({"type": "t", "data": {"text": "x".repeat(100)}}))
                .collect();
            session.append(&json!(events), None);
            wait_for(&mut session, "noting");
        }
    };
    handle(2);
    let before = size_kb();
    handle(8);
    let grown = size_kb() - before;
    assert!(grown < 2048, "{grown} kB more after 4,000 batches");
}
