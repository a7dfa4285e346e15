//! The background worker at work: what it runs is handled exactly once, beside sessions that run the same; what
//! fails is nobody else's business; and while there is nothing to do it holds nothing and does nothing.
//!
//! Without the row lock in `definition::free` events are handled twice; without the lock round starting
//! (`key_lock::while_worker_is_changed`) several of sixteen sessions have started it; without a look at the moment it
//! sleeps through commits; without the role of `attempt::transaction` triggers run as a superuser. Without pauses, or with
//! ones that do not grow, it is busy; without `Failure::is_passing` what passes is given up; without the look for changed
//! definitions in `Worker::round` a pause is kept although somebody has removed the cause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, await_that};
use crate::support::crew::crew;
use crate::support::random::scaled;
use crate::support::session::{Session, state, told};
use crate::support::worker::{create, noting, start, wait_for};

const WORKERS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'en57 worker'";
/// Positions that were noted in another number than once.
const WRONG: &str = "SELECT count(*) FROM (SELECT position FROM en57_read()) e
    FULL JOIN (SELECT position, count(*) AS times FROM noted GROUP BY 1) n USING (position)
    WHERE e.position IS NULL OR times IS DISTINCT FROM 1";

fn event() -> Value {
    json!({"type": "t", "tags": ["a"]})
}

fn column(session: &mut Session, name: &str, column: &str) -> Option<String> {
    let sql = format!("SELECT {column}::text FROM en57.projections WHERE name = '{name}'");
    session.row(&sql, &[]).get(0)
}

#[test]
fn exactly_once_beside_sessions_that_run_the_same() {
    let db = Cluster::shared().database();
    let mut session = noting(&db);
    create(&mut session, "noting", "note", ", batch_size => 7");
    start(&mut session);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..2 {
            let (db, done) = (&db, &done);
            scope.spawn(move || {
                let mut session = db.connect();
                while !done.load(Ordering::Relaxed) {
                    session.run("BEGIN");
                    session.run("SELECT en57_run('noting', 5)");
                    session.run(if n == 0 { "COMMIT" } else { "ROLLBACK" });
                }
            });
        }
        let written = crew(8, |client| {
            let mut session = db.connect();
            for n in 0..scaled(150) {
                session.run("BEGIN");
                session.append(&event(), None);
                session.run(if (n + client) % 5 == 0 {
                    "ROLLBACK"
                } else {
                    "COMMIT"
                });
            }
        });
        assert_eq!(written.len(), 8);
        done.store(true, Ordering::Relaxed);
    });
    let last = session.append(&event(), None).position;
    wait_for(&mut session, "noting");
    assert_eq!(session.number("SELECT max(position) FROM noted"), last);
    assert_eq!(session.number(WRONG), 0, "missed, or noted twice");
}

#[test]
fn one_however_many_ask() {
    let db = Cluster::shared().database();
    for _ in 0..scaled(5) {
        let answers = crew(16, |_| start(&mut db.connect()));
        assert_eq!(answers.iter().filter(|(started, _)| *started).count(), 1);
        assert!(
            answers.iter().all(|(_, pid)| *pid == answers[0].1),
            "{answers:?}"
        );
        let mut session = db.connect();
        assert_eq!(session.number(WORKERS), 1);
        let status = session.text("SELECT value FROM en57_status() WHERE name = 'worker'");
        assert_eq!(status, format!("running, process {}", answers[0].1));
        let stop = "SELECT en57_worker_stop()::int::bigint";
        let stopped = crew(4, |_| db.connect().number(stop));
        assert_eq!(stopped.iter().sum::<i64>(), 1);
        await_that("it is gone", || session.number(WORKERS) == 0);
        let status = session.text("SELECT value FROM en57_status() WHERE name = 'worker'");
        assert_eq!(status, "not running");
    }
}

/// A worker that sleeps holds nothing, does nothing, and is woken by commits, also by definitions alone.
#[test]
fn asleep_and_woken() {
    // Commits in other databases would wake it for a moment.
    let cluster = Cluster::own(&[]);
    let db = cluster.database();
    let mut session = noting(&db);
    let (_, pid) = start(&mut session);
    let asleep = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'idle' AND xact_start IS NULL
            AND backend_xmin IS NULL AND backend_xid IS NULL AND wait_event_type = 'Extension'"
    );
    session.append(&event(), None);
    // A definition is enough.
    create(&mut session, "noting", "note", "");
    await_that("the event is handled", || {
        session.number("SELECT count(*) FROM noted") == 1
    });
    let mut late: Vec<Duration> = (0..scaled(40))
        .map(|n| {
            await_that("it sleeps", || session.number(&asleep) == 1);
            let position = session.append(&event(), None).position;
            let committed = Instant::now();
            let sql = format!("SELECT en57_wait_projection('noting', {position})::int::bigint");
            assert_eq!(session.number(&sql), 1, "round {n}");
            committed.elapsed()
        })
        .collect();
    late.sort();
    assert!(late[late.len() / 2] < Duration::from_millis(50), "{late:?}");
    await_that("it sleeps", || session.number(&asleep) == 1);
    let locks = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid}");
    assert_eq!(session.number(&locks), 0);
    // That nothing happens can only be seen for a while.
    let since = format!("SELECT state_change::text FROM pg_stat_activity WHERE pid = {pid}");
    let (before, used) = (session.text(&since), cpu_ticks(pid));
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(session.text(&since), before, "it was not asleep");
    assert!(cpu_ticks(pid) - used <= 1, "it was busy");
    // Events that are not its own move it up, too.
    session.run(r#"SELECT en57_create_projection('other', '{"types": ["other"]}', 'note(en57_event)', mode => 'async')"#);
    session.append(&event(), None);
    wait_for(&mut session, "other");
    for change in ["pause", "resume"] {
        session.run(&format!("SELECT en57_{change}('noting')"));
        session.append(&event(), None);
    }
    wait_for(&mut session, "noting");
    assert_eq!(session.number(WRONG), 0);
}

/// What the process has used of the processor, in hundredths of a second.
fn cpu_ticks(pid: i32) -> i64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux tells");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split(' ').collect();
    let ticks = |n: usize| fields[n].parse::<i64>().expect("a number");
    ticks(12) + ticks(13)
}

#[test]
fn who_fails_stops_nobody_else() {
    let db = Cluster::shared().database();
    let mut session = noting(&db);
    session.run(
        "CREATE FUNCTION fail_at_3(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             IF e.position = 3 THEN RAISE 'not this one'; END IF;
         END $$;
         CREATE TABLE only_once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE FUNCTION fail_late(e en57_event) RETURNS void LANGUAGE sql AS 'INSERT INTO only_once VALUES (e.position / 4)';
         CREATE TABLE busy (yes boolean);
         INSERT INTO busy VALUES (true);
         CREATE FUNCTION collide(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM busy) THEN RAISE 'in the way' USING ERRCODE = '40001'; END IF;
         END $$",
    );
    for (name, handler, more) in [
        ("stops", "fail_at_3", ""),
        ("skips", "fail_at_3", ", on_error => 'skip'"),
        ("late", "fail_late", ""),
        ("again", "collide", ""),
        ("noting", "note", ""),
    ] {
        create(&mut session, name, handler, more);
    }
    start(&mut session);
    for _ in 0..10 {
        session.append(&event(), None);
    }
    wait_for(&mut session, "noting");
    wait_for(&mut session, "skips");
    let letters = "SELECT position FROM en57.projection_dead_letters WHERE projection = 'skips'";
    assert_eq!(session.number(letters), 3);
    for (name, position, at) in [("stops", "2", "3"), ("late", "1", "2")] {
        await_that("it has failed", || {
            column(&mut session, name, "status").as_deref() == Some("failed")
        });
        assert_eq!(
            column(&mut session, name, "position").as_deref(),
            Some(position)
        );
        assert_eq!(
            column(&mut session, name, "failed_position").as_deref(),
            Some(at),
            "{name}"
        );
    }
    // What passes is tried again, and is seen.
    await_that("it was tried, and that is told", || {
        let attempts = column(&mut session, "again", "last_error->>'attempts'");
        attempts.is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n >= 2))
    });
    assert_eq!(
        column(&mut session, "again", "status").as_deref(),
        Some("running")
    );
    assert_eq!(
        column(&mut session, "again", "last_error->>'sqlstate'").as_deref(),
        Some("40001")
    );
    session.run("DELETE FROM busy");
    wait_for(&mut session, "again");
    assert_eq!(column(&mut session, "again", "last_error"), None);
    // The rest goes on.
    session.append(&event(), None);
    wait_for(&mut session, "noting");
    assert_eq!(session.number(WRONG), 0);
}

/// A commit that fails for reasons of no event's making, each time, ends in 'failed' after some attempts.
#[test]
fn a_failure_that_promises_nothing() {
    let db = Cluster::shared().database();
    let mut session = noting(&db);
    create(&mut session, "noting", "note", "");
    session.run("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE OF position ON en57.projections FOR EACH ROW WHEN (NEW.name = 'noting')
            EXECUTE FUNCTION refuse()");
    session.append(&event(), None);
    start(&mut session);
    let (name, status) = ("noting", "status");
    // In between: at each change of a definition it is tried at once.
    await_that("it has failed", || {
        session.run("UPDATE en57.projections SET status = status WHERE false");
        column(&mut session, name, status).as_deref() == Some("failed")
    });
    assert_eq!(
        column(&mut session, name, "last_error->>'attempts'").as_deref(),
        Some("5")
    );
    session.run("DROP TRIGGER refuse ON en57.projections; SELECT en57_resume('noting')");
    wait_for(&mut session, name);
    assert_eq!(session.number(WRONG), 0);
}

/// What passes is tried ever more seldom, without end, and at once after each change of a definition.
#[test]
fn a_failure_that_passes() {
    let db = Cluster::shared().database();
    let mut session = noting(&db);
    session.run(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION collide(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             PERFORM nextval('tries');
             RAISE 'in the way' USING ERRCODE = '40001';
         END $$",
    );
    create(&mut session, "again", "collide", "");
    session.append(&event(), None);
    start(&mut session);
    let attempts = |session: &mut Session| {
        let attempts = column(session, "again", "last_error->>'attempts'");
        attempts.map_or(0, |n| n.parse::<i64>().expect("a number"))
    };
    // Seven times in a second, then after one and two seconds.
    await_that("it was tried nine times", || attempts(&mut session) == 9);
    // The next pause is one of four: that nothing happens can only be seen for a while.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(attempts(&mut session), 9);
    for n in 10..=14 {
        let before = Instant::now();
        session.run("UPDATE en57.projections SET status = status WHERE false");
        await_that("it is tried again", || attempts(&mut session) == n);
        assert!(
            before.elapsed() < Duration::from_secs(3),
            "the pause was kept"
        );
    }
    assert_eq!(
        column(&mut session, "again", "status").as_deref(),
        Some("running")
    );
    // An event that fails alone is looked for in each attempt: two calls.
    let tries = session.number("SELECT last_value FROM tries");
    assert!((14..=28).contains(&tries), "{tries}");
    session.run(
        "CREATE OR REPLACE FUNCTION collide(e en57_event) RETURNS void LANGUAGE sql AS 'SELECT';
         SELECT en57_pause('again'), en57_resume('again')",
    );
    let before = Instant::now();
    wait_for(&mut session, "again");
    assert!(before.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_slow_one_keeps_others_waiting_for_a_batch() {
    let db = Cluster::shared().database();
    let mut session = noting(&db);
    session.run(
        "CREATE FUNCTION dawdle(e en57_event) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(0.2)'",
    );
    create(&mut session, "slow", "dawdle", ", batch_size => 1");
    create(&mut session, "noting", "note", "");
    let events: Vec<Value> = (0..200).map(|_| event()).collect();
    session.append(&json!(events), None);
    let (_, pid) = start(&mut session);
    let shown = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active' AND query = 'en57 projection slow'"
    );
    await_that("it says what it does", || session.number(&shown) == 1);
    wait_for(&mut session, "noting");
    let position = column(&mut session, "slow", "position").expect("it has one");
    assert!(
        position.parse::<i64>().expect("a number") < 100,
        "{position}"
    );
    // It may finish its batch.
    let before = Instant::now();
    session.run("SELECT en57_worker_stop()");
    assert!(before.elapsed() < Duration::from_secs(2));
}

/// While a session holds a projection, the worker leaves it alone and does the rest.
#[test]
fn held_by_a_session() {
    let db = Cluster::shared().database();
    let mut session = noting(&db);
    create(&mut session, "held", "note", "");
    session.run("CREATE FUNCTION ignore(e en57_event) RETURNS void LANGUAGE sql AS ''");
    create(&mut session, "free", "ignore", "");
    let mut holder = db.connect();
    session.append(&event(), None);
    holder.run("BEGIN; SELECT en57_run('held')");
    let (_, pid) = start(&mut session);
    let used = cpu_ticks(pid);
    session.append(&event(), None);
    wait_for(&mut session, "free");
    // That it does not try all the time can only be seen for a while.
    thread::sleep(Duration::from_millis(1500));
    assert!(cpu_ticks(pid) - used < 30, "it was busy");
    assert_eq!(
        column(&mut session, "held", "position").as_deref(),
        Some("0")
    );
    holder.run("COMMIT");
    wait_for(&mut session, "held");
    assert_eq!(session.number(WRONG), 0);
}

/// Functions run as their owners, and so does what they have deferred; what they do to the session is undone.
#[test]
fn with_the_rights_of_the_owner() {
    let db = Cluster::shared().database();
    let mut session = noting(&db);
    session.run(&format!(
        "CREATE ROLE {0}_owner; GRANT CREATE ON SCHEMA public TO {0}_owner; GRANT INSERT ON noted TO {0}_owner;
         SET ROLE {0}_owner;
         CREATE TABLE written (position bigint);
         CREATE TABLE seen (as_whom text, bypass text);
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO seen VALUES (current_user, (SELECT CASE WHEN rolsuper THEN 'on' ELSE 'off' END FROM pg_roles WHERE rolname = current_user));
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER look AFTER INSERT ON written DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
         CREATE FUNCTION write(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO written VALUES (e.position);
             SET CONSTRAINTS ALL DEFERRED;
             PERFORM set_config('en57.partition', 'elsewhere', false), set_config('default_transaction_read_only', 'on', false),
                 pg_advisory_lock(1);
             CREATE TEMP TABLE IF NOT EXISTS left_over ();
             BEGIN
                 SET ROLE NONE;
                 RAISE 'the role was changed';
             EXCEPTION WHEN insufficient_privilege OR invalid_parameter_value THEN NULL;
             END;
         END $$;
         RESET ROLE",
        db.name
    ));
    session.run(
        "CREATE TABLE left_behind (n bigint);
         CREATE FUNCTION observe(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO left_behind SELECT
             (SELECT count(*) FROM pg_class WHERE relname = 'left_over')
             + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objsubid = 1)
             + (coalesce(current_setting('en57.partition', true), '') <> '')::int
             + (current_setting('transaction_read_only') = 'on')::int $$",
    );
    create(&mut session, "writing", "write", "");
    create(&mut session, "observing", "observe", "");
    start(&mut session);
    for n in 0..3 {
        session.append(&event(), None);
        await_that("it is handled", || {
            column(&mut session, "writing", "position") == Some((n + 1).to_string()) || {
                column(&mut session, "writing", "last_error").is_some()
            }
        });
        assert_eq!(column(&mut session, "writing", "last_error"), None);
        wait_for(&mut session, "observing");
        assert_eq!(
            column(&mut session, "writing", "last_error"),
            None,
            "round {n}"
        );
    }
    assert_eq!(session.number("SELECT count(*) FROM written"), 3);
    assert_eq!(session.number("SELECT sum(n)::bigint FROM left_behind"), 0);
    let seen = "SELECT string_agg(DISTINCT as_whom || ' ' || bypass, ', ') || count(*) FROM seen";
    assert_eq!(session.text(seen), format!("{}_owner off3", db.name));
    session.run("SELECT en57_worker_stop()");
    // Administering it is not everybody's.
    session.run(&format!("SET ROLE {}_owner", db.name));
    for call in [
        "en57_worker_start()",
        "en57_worker_stop()",
        "en57.worker_pid()",
    ] {
        let refused = session
            .try_run(&format!("SELECT {call}"))
            .expect_err("it is refused");
        assert_eq!(state(&refused), "42501", "{}", told(&refused));
    }
}
