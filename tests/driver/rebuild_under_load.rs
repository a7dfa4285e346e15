//! Rebuilds under load: readers see the old documents or the new ones, all of them; what is swapped in is the fold of
//! the whole log, whoever appended meanwhile; and a rebuild goes on after a crash where it was.
//!
//! Without the exclusion of appends in the swap (`projection/rebuild/swap.rs`, `lock`), or without the last batch
//! in it, events are missing. With a commit between the pages of a swap, readers see a mixture.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::support::cluster::{Cluster, Database, End, OwnCluster, await_that};
use crate::support::documents::{
    BY_FUNCTION, BY_TAG, CLIENTS, EVOLVE, create, look, read, write, wrong,
};
use crate::support::random::scaled;
use crate::support::session::{state, told};

/// The same fold, with a mark that tells the two apart.
const MARKED: &str = "
    CREATE FUNCTION marked(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT chain(doc, e) || '{\"marked\": true}' $$";

/// More documents than the swap compares at once. They stay.
const STEADY: i64 = 5000;

fn prepare(db: &Database) {
    let mut session = db.connect();
    session.run(EVOLVE);
    session.run(MARKED);
    create(&mut session, "by_tag", BY_TAG, "inline");
    create(&mut session, "by_function", BY_FUNCTION, "inline");
    session.run(&format!(
        "SELECT en57_append(jsonb_agg(jsonb_build_object('type', 'changed', 'tags', jsonb_build_array('d:s' || n))))
           FROM generate_series(1, {STEADY}) n"
    ));
}

/// The same in transactions that must see one state from their first look to their last.
fn read_repeatedly(db: &Database, done: &AtomicBool, rebuilt: &AtomicUsize) {
    let mut session = db.connect();
    let all = "SELECT md5(string_agg(d::text, ',' ORDER BY id)) FROM by_tag d";
    while !done.load(Ordering::Relaxed) {
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        let before = rebuilt.load(Ordering::Relaxed);
        let (kind, whole) = (look(&mut session, STEADY), session.text(all));
        // Until there was a swap in between.
        await_that("a swap", || {
            rebuilt.load(Ordering::Relaxed) > before || done.load(Ordering::Relaxed)
        });
        assert_eq!(
            (look(&mut session, STEADY), session.text(all)),
            (kind, whole)
        );
        session.run("COMMIT");
    }
}

#[test]
fn rebuilt_under_load() {
    let db = Cluster::shared().database();
    prepare(&db);
    let (done, rebuilt) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (db, done, rebuilt) = (&db, &done, &rebuilt);
        let mut writers = Vec::new();
        for client in 0..CLIENTS as u64 {
            writers.push(scope.spawn(move || {
                let mut session = db.connect();
                write(&mut session, 5000 + client, 20, |_| {
                    !done.load(Ordering::Relaxed)
                })
            }));
        }
        let readers = [(); 2].map(|()| scope.spawn(move || read(db, STEADY, done)));
        scope.spawn(move || read_repeatedly(db, done, rebuilt));
        let end = End(done);
        thread::scope(|scope| {
            let helper = scope.spawn(|| {
                let mut session = db.connect();
                for _ in 0..scaled(4) {
                    session.run("CALL en57_rebuild('by_function')");
                    // Begins one, or joins that of the other session.
                    if let Err(e) = session.try_run("CALL en57_rebuild('by_tag')") {
                        assert_eq!(state(&e), "55000", "{}", told(&e));
                    }
                }
            });
            let mut session = db.connect();
            for n in 0..2 * scaled(4) {
                let evolve = ["marked(jsonb,en57_event)", "chain(jsonb,en57_event)"][n % 2];
                // The other session may be about to rebuild it as it is.
                crate::support::cluster::until(|| {
                    match session.try_run(&format!("CALL en57_rebuild('by_tag', '{evolve}')")) {
                        Ok(()) => Some(()),
                        Err(e) => {
                            assert_eq!(state(&e), "55000", "{}", told(&e));
                            None
                        }
                    }
                })
                .expect("the rebuild comes to its turn");
                rebuilt.fetch_add(1, Ordering::Relaxed);
            }
            helper.join().expect("the helper succeeds");
        });
        drop(end);
        for writer in writers {
            assert!(
                writer.join().expect("a writer succeeds") > 1,
                "it has written"
            );
        }
        for reader in readers {
            assert!(
                reader.join().expect("a reader succeeds") > 0,
                "it has seen a swap"
            );
        }
    });
    let mut session = db.connect();
    for table in ["by_tag", "by_function"] {
        assert_eq!(wrong(&mut session, table), 0, "documents of {table}");
        session.run(&format!(
            "CREATE TABLE before_{table} AS SELECT * FROM {table}"
        ));
        session.run(&format!("CALL en57_rebuild('{table}')"));
        let differs = format!(
            "SELECT count(*) FROM {table} d FULL JOIN before_{table} b USING (id) WHERE d::text IS DISTINCT FROM b::text"
        );
        assert_eq!(
            session.number(&differs),
            0,
            "rebuilt when nobody writes: {table}"
        );
    }
}

/// A transaction that has appended and does not end: the rebuild waits for it, others do not wait for the rebuild.
#[test]
fn an_open_transaction_holds_up_the_swap_alone() {
    let db = Cluster::shared().database();
    prepare(&db);
    let [mut idle, mut other, mut rebuilder] = [db.connect(), db.connect(), db.connect()];
    idle.run("BEGIN");
    idle.append(&json!({"type": "changed", "tags": ["d:1"]}), None);
    let pid = rebuilder.pid();
    thread::scope(|scope| {
        let rebuilding = scope.spawn(|| rebuilder.try_run("CALL en57_rebuild('by_tag')"));
        let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Extension'";
        let mut watcher = db.connect();
        await_that("the rebuild pauses", || {
            watcher.row(sleeps, &[&pid]).get::<_, i64>(0) > 0
        });
        for _ in 0..scaled(20) {
            // Longer than the rebuild's patience would be a deadlock in disguise.
            other.run("SET statement_timeout = '10s'");
            other.append(&json!({"type": "changed", "tags": ["d:2"]}), None);
        }
        assert_eq!(
            watcher.text("SELECT phase FROM en57_stat_progress_rebuild"),
            "swapping"
        );
        idle.run("COMMIT");
        rebuilding
            .join()
            .expect("no panic")
            .expect("the rebuild succeeds");
    });
    assert_eq!(wrong(&mut other, "by_tag"), 0);
}

/// What was done when the server was killed is not done again.
#[test]
fn goes_on_after_kill_9() {
    let cluster: OwnCluster = Cluster::own(&[]);
    let db = cluster.database();
    let mut session = db.connect();
    session.run(
        "CREATE FUNCTION slow(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
         BEGIN
             IF e.position <= coalesce(current_setting('t.done', true)::bigint, 0) THEN RAISE 'event % once more', e.position; END IF;
             PERFORM pg_sleep(coalesce(current_setting('t.pause', true)::float8, 0));
             RETURN to_jsonb(coalesce((doc#>>'{}')::int, 0) + 1);
         END $$",
    );
    session.run("SELECT en57_create_document_projection('slow', '{}', 'tag:d:', 'slow(jsonb,en57_event)', mode => 'async')");
    session.run(
        "SELECT en57_append(jsonb_agg(jsonb_build_object('type', 'a', 'tags', jsonb_build_array('d:' || n % 100))))
           FROM generate_series(1, 3000) n",
    );
    let mut rebuilder = db.connect();
    let pid = rebuilder.pid();
    // By itself: several statements sent as one are one transaction.
    rebuilder.run("SET t.pause = 0.001");
    thread::scope(|scope| {
        let rebuilding = scope.spawn(|| rebuilder.try_run("CALL en57_rebuild('slow')"));
        let progress = "SELECT count(*) FROM en57_stat_progress_rebuild WHERE events_done > 0 AND per_second > 0 AND remaining > '0'";
        await_that("some batches are done", || session.number(progress) > 0);
        assert!(cluster.kill_backend(pid));
        assert!(rebuilding.join().expect("no panic").is_err());
    });
    let mut session = db.connect();
    let done =
        session.number("SELECT position FROM en57_stat_progress_rebuild WHERE phase = 'building'");
    assert!(done > 0 && done < 3000, "{done}");
    assert_eq!(
        session.number("SELECT count(*) FROM slow"),
        0,
        "the live ones are as they were"
    );
    session.run(&format!("SET t.done = {done}"));
    session.run("CALL en57_rebuild('slow')");
    assert_eq!(
        session.number("SELECT sum((doc#>>'{}')::bigint)::bigint FROM slow"),
        3000
    );
    assert_eq!(
        session.number("SELECT count(*) FROM slow WHERE version = 30"),
        100
    );
}

/// A dump has what is done of a rebuild, and the restored database goes on there.
///
/// Without `pg_extension_config_dump` on the tables it begins anew.
#[test]
fn goes_on_after_a_restore() {
    let cluster = Cluster::shared();
    let (from, to) = (cluster.database(), cluster.bare_database());
    let mut session = from.connect();
    session.run(
        "CREATE FUNCTION fussy(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
         BEGIN
             IF e.position <= current_setting('t.done', true)::bigint OR e.position > current_setting('t.upto', true)::bigint THEN RAISE 'refused'; END IF;
             RETURN to_jsonb(coalesce((doc#>>'{}')::int, 0) + 1);
         END $$",
    );
    session.run("SELECT en57_create_document_projection('fussy', '{}', 'tag:d:', 'fussy(jsonb,en57_event)', mode => 'async')");
    for _ in 0..4 {
        session.append(&json!({"type": "a", "tags": ["d:1"]}), None);
    }
    session.run("SET t.upto = 2");
    assert!(session.try_run("CALL en57_rebuild('fussy')").is_err());
    cluster.shell(&format!(
        "$BIN/pg_dump {} | $BIN/psql -qX -v ON_ERROR_STOP=1 {}",
        from.name, to.name
    ));
    let mut restored = to.connect();
    restored.run("SET t.done = 2");
    restored.run("CALL en57_rebuild('fussy')");
    assert_eq!(
        restored.number("SELECT version FROM fussy WHERE id = '1'"),
        4
    );
}

/// Dropped, truncated, cancelled from another session: the rebuild ends, and nothing is left.
#[test]
fn ended_by_others() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(EVOLVE);
    session.run(
        "CREATE FUNCTION slow(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_sleep(0.001); RETURN to_jsonb(coalesce((doc#>>'{}')::int, 0) + 1); END $$",
    );
    for (command, fails) in [
        ("SELECT en57_cancel_rebuild('slow')", true),
        ("SELECT en57_drop_projection('slow')", true),
        ("SELECT en57_truncate('default')", false),
    ] {
        session.run("SELECT en57_create_document_projection('slow', '{}', 'tag:d:', 'slow(jsonb,en57_event)', mode => 'async')");
        session.run(
            "SELECT en57_append(jsonb_agg(jsonb_build_object('type', 'a', 'tags', jsonb_build_array('d:' || n % 10))))
               FROM generate_series(1, 2500) n",
        );
        let mut rebuilder = db.connect();
        thread::scope(|scope| {
            let rebuilding = scope.spawn(|| rebuilder.try_run("CALL en57_rebuild('slow')"));
            let progress = "SELECT count(*) FROM en57_stat_progress_rebuild WHERE events_done > 0";
            await_that("a batch is done", || session.number(progress) > 0);
            session.run(command);
            let outcome = rebuilding.join().expect("no panic");
            assert_eq!(
                outcome.as_ref().is_err_and(|e| state(e) == "55000"),
                fails,
                "{command}"
            );
        });
        if command.contains("truncate") {
            assert_eq!(session.number("SELECT count(*) FROM slow"), 0);
        }
        session.try_run("SELECT en57_drop_projection('slow')").ok();
        let left = "SELECT (SELECT count(*) FROM en57.rebuilds) + (SELECT count(*) FROM en57.rebuild_documents)";
        assert_eq!(session.number(left), 0, "{command}");
    }
}
