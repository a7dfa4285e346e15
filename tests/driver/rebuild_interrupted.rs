//! Rebuilds whose ground is taken away: the extension is dropped, the whole server is killed, a standby takes over.
//!
//! Where a batch does not store its position with its documents (`projection/rebuild/state.rs`, `advance`), a
//! killed server does events twice, or leaves some out.

use std::thread;

use crate::support::cluster::kill_postmaster;
use crate::support::cluster::{Cluster, Database, OwnCluster, as_user, await_that, until};
use crate::support::session::{Session, state, told};

/// A fold that counts, refuses what was done before, and takes its time.
const SLOW: &str = "
    CREATE FUNCTION slow(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN
        IF e.position <= coalesce(current_setting('t.done', true)::bigint, 0) THEN RAISE 'event % once more', e.position; END IF;
        PERFORM pg_sleep(coalesce(current_setting('t.pause', true)::float8, 0));
        RETURN to_jsonb(coalesce((doc#>>'{}')::int, 0) + 1);
    END $$";

fn prepare(db: &Database, mode: &str) -> Session {
    let mut session = db.connect();
    session.run(SLOW);
    session.run(&format!(
        "SELECT en57_create_document_projection('slow', '{{}}', 'tag:d:', 'slow(jsonb,en57_event)', mode => '{mode}')"
    ));
    session.run(
        "SELECT en57_append(jsonb_agg(jsonb_build_object('type', 'a', 'tags', jsonb_build_array('d:' || n % 100))))
           FROM generate_series(1, 3000) n",
    );
    session
}

const PROGRESS: &str = "SELECT count(*) FROM en57_stat_progress_rebuild WHERE events_done > 0";

/// DROP EXTENSION ends a rebuild, wherever it is, and takes all of it along; afterwards the extension can be made
/// again.
#[test]
fn the_extension_is_dropped() {
    let db = Cluster::shared().database();
    for swap in ["NULL", "'files'"] {
        let mut session = prepare(&db, "inline");
        // For the second round: it comes to its files at once, and stays there.
        let is_building = swap == "NULL";
        session.run(
            "CREATE FUNCTION held(doc jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
             BEGIN
                 IF current_setting('application_name') = 'held' THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
                 RETURN doc;
             END $$;
             CREATE INDEX ON slow (held(doc))",
        );
        let mut rebuilder = db.connect();
        let pid = rebuilder.pid();
        if is_building {
            rebuilder.run("SET t.pause = 0.001");
        } else {
            rebuilder.run("SET application_name = 'held'");
            session.run("SELECT pg_advisory_lock(1)");
        }
        thread::scope(|scope| {
            let rebuilding = scope
                .spawn(|| rebuilder.try_run(&format!("CALL en57_rebuild('slow', swap => {swap})")));
            if is_building {
                await_that("a batch is done", || session.number(PROGRESS) > 0);
                drop_extension(&mut session);
            } else {
                let waits = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted";
                await_that("an index is being built", || {
                    session.row(waits, &[&pid]).get::<_, i64>(0) > 0
                });
                let mut owner = db.connect();
                let dropping = scope.spawn(move || drop_extension(&mut owner));
                await_that("the drop waits", || {
                    session.number(
                        "SELECT count(*) FROM pg_locks WHERE relation IS NOT NULL AND NOT granted",
                    ) > 0
                });
                session.run("SELECT pg_advisory_unlock(1)");
                dropping.join().expect("it is dropped");
            }
            let outcome = rebuilding.join().expect("no panic");
            // The swap may have been faster than the drop.
            if let Err(error) = &outcome {
                assert!(
                    ["55000", "42P01", "40P01"].contains(&state(error)),
                    "{}",
                    told(error)
                );
            } else {
                assert!(!is_building, "it was not done");
            }
        });
        let left = "SELECT count(*) FROM pg_class WHERE relname ~ '^(rebuild|pg_temp_)' OR relrewrite <> 0";
        assert_eq!(session.number(left), 0, "nothing is left");
        session.run("DROP TABLE slow; DROP FUNCTION IF EXISTS slow; DROP FUNCTION held; CREATE EXTENSION en57");
        session.run("SELECT en57_append('{\"type\": \"a\"}')");
        // A session from before finds its way, too.
        assert_eq!(rebuilder.number("SELECT en57_head()"), 1);
        session.run("DROP EXTENSION en57 CASCADE; CREATE EXTENSION en57");
    }
}

fn drop_extension(session: &mut Session) {
    let dropped = until(|| match session.try_run("DROP EXTENSION en57 CASCADE") {
        Ok(()) => Some(()),
        Err(e) if state(&e) == "40P01" => None,
        Err(e) => panic!("{}", told(&e)),
    });
    dropped.expect("it comes to its turn");
}

/// The postmaster is killed, and all its backends die with it: what was done is not done again, the rest is.
#[test]
fn goes_on_after_the_server_was_killed() {
    let cluster: OwnCluster = Cluster::own(&[]);
    let db = cluster.database();
    let mut session = prepare(&db, "inline");
    let mut rebuilder = db.connect();
    rebuilder.run("SET t.pause = 0.001");
    thread::scope(|scope| {
        let rebuilding = scope.spawn(|| rebuilder.try_run("CALL en57_rebuild('slow')"));
        await_that("a batch is done", || session.number(PROGRESS) > 0);
        let file = format!("{}/data/postmaster.pid", cluster.folder());
        let pid = cluster.shell(&format!("head -n 1 {file}"));
        kill_postmaster(pid.trim().parse().expect("a number"));
        assert!(rebuilding.join().expect("no panic").is_err());
    });
    // Its memory is in use until the last backend has noticed.
    let data = format!("{}/data", cluster.folder());
    let started = until(|| {
        let script = format!(
            "'{}'/pg_ctl start -s -w -D {data} -l {data}/../log >/dev/null 2>&1",
            crate::support::cluster::bindir()
        );
        as_user(&["sh", "-c", &script])
            .status()
            .ok()?
            .success()
            .then_some(())
    });
    started.expect("the server starts");
    let mut session = db.connect();
    let done = session.number("SELECT position FROM en57_stat_progress_rebuild");
    assert!(done > 0 && done < 3000, "{done}");
    session.run("SELECT en57_append(jsonb_agg('{\"type\": \"a\", \"tags\": [\"d:new\"]}'::jsonb)) FROM generate_series(1, 10)");
    session.run(&format!("SET t.done = {done}"));
    session.run("CALL en57_rebuild('slow')");
    assert_eq!(
        session.number("SELECT sum((doc#>>'{}')::bigint)::bigint FROM slow"),
        3010
    );
    assert_eq!(
        session.number("SELECT count(*) FROM slow WHERE version = 30"),
        100
    );
    assert_eq!(
        session.number("SELECT version FROM slow WHERE id = 'new'"),
        10
    );
    let left = "SELECT (SELECT count(*) FROM en57.rebuilds) + (SELECT count(*) FROM en57.rebuild_documents)";
    assert_eq!(session.number(left), 0);
}

/// A standby has the new files, in indexes and all, while it follows and when it takes over.
#[test]
fn a_standby_follows_a_swap_by_files() {
    let cluster: OwnCluster = Cluster::own(&["wal_level = replica"]);
    let db = cluster.database();
    let mut session = prepare(&db, "inline");
    session.run("CREATE INDEX ON slow USING gin (doc)");
    let has_amcheck = session.has("amcheck");
    let folder = cluster.folder();
    cluster.base_backup(&format!("{folder}/standby"), "-R -c fast");
    cluster.shell(&format!(
        "mkdir {folder}/socket
         echo \"unix_socket_directories = '{folder}/socket'\" >> {folder}/standby/postgresql.conf
         $BIN/pg_ctl start -s -w -D {folder}/standby -l {folder}/standby.log > /dev/null 2>&1"
    ));
    let ask = |sql: &str| {
        let script = format!(
            "$BIN/psql -XAtq -h {folder}/socket -d {} -c \"{sql}\"",
            db.name
        );
        cluster.shell(&script).trim().to_owned()
    };
    session.run("UPDATE slow SET doc = '0'");
    session.run("CALL en57_rebuild('slow', swap => 'files')");
    session.run("SELECT en57_append('{\"type\": \"a\", \"tags\": [\"d:1\", \"d:new\"]}')");
    let sums = "SELECT sum((doc#>>'{}')::int) || ' ' || count(*) FROM slow";
    let assert_sound = || {
        let sound = "SELECT count(bt_index_check(indexrelid, true)) FROM pg_index WHERE indexrelid = 'slow_pkey'::regclass";
        if has_amcheck {
            assert_eq!(ask(sound), "1");
        }
    };
    await_that("it has followed", || ask(sums) == "3002 101");
    assert_sound();
    cluster.shell(&format!("$BIN/pg_ctl promote -s -w -D {folder}/standby"));
    assert_eq!(ask(sums), "3002 101");
    assert_eq!(
        ask("SET enable_seqscan = off; SELECT count(*) FROM slow WHERE doc @> '31'"),
        "1"
    );
    ask("CALL en57_rebuild('slow', swap => 'files')");
    assert_eq!(ask(sums), "3002 101");
    assert_sound();
    cluster.shell(&format!(
        "$BIN/pg_ctl stop -s -w -m immediate -D {folder}/standby"
    ));
}
