//! Swaps by files under load: readers see the old documents or the new ones, all of them, whatever their snapshot; what
//! is there afterwards is the fold of the whole log, with indexes that agree; and whatever ends a swap early leaves
//! neither a table nor a file behind.
//!
//! Without the last events under the lock (`rebuild/files.rs`, `lock_all`), or without those that came while the files
//! were made (`catch_up`), events are missing. Where rows are not written as frozen, or replaced ones are not buried
//! (`store/new_files.rs`), snapshots from before the swap miss documents, or see old ones. Where it does not go away when
//! somebody waits for the table (`obstruction`), a drop and a rebuild wait for each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::{Cluster, Database, End, OwnCluster, await_that};
use crate::support::documents::{BY_FUNCTION, BY_TAG, CLIENTS, EVOLVE, create, write, wrong};
use crate::support::documents::{look, read};
use crate::support::random::scaled;
use crate::support::session::{Session, state, told};

/// The same fold, with a mark that tells the two apart; some documents are so long that they are stored elsewhere.
const MARKED: &str = "
    CREATE FUNCTION marked(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT chain(doc, e) || jsonb_build_object('marked', CASE WHEN e.position % 50 = 0 THEN
            (SELECT string_agg(md5(n::text || e.position), '') FROM generate_series(1, 200) n) ELSE '' END) $$;
    CREATE FUNCTION held(doc jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        IF current_setting('application_name') = 'held' THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
        RETURN doc->>'sum';
    END $$";

/// More than are written row by row unasked.
const STEADY: i64 = 10_500;

fn prepare(db: &Database) -> Session {
    let mut session = db.connect();
    session.run(EVOLVE);
    session.run(MARKED);
    create(&mut session, "by_tag", BY_TAG, "inline");
    create(&mut session, "by_function", BY_FUNCTION, "inline");
    session.run(
        "CREATE INDEX ON by_tag USING gin (doc);
         CREATE INDEX ON by_tag (version DESC, position) WHERE version > 1;
         CREATE UNIQUE INDEX ON by_tag ((doc->>'sum'), id) INCLUDE (updated_at);
         CREATE INDEX ON by_tag USING hash (position);
         CREATE VIEW unmarked AS SELECT id, doc - 'marked' AS doc, version, position FROM by_tag",
    );
    session.run(&format!(
        "SELECT en57_append(jsonb_agg(jsonb_build_object('type', 'changed', 'tags', jsonb_build_array('d:s' || n))))
           FROM generate_series(1, {STEADY}) n"
    ));
    session
}

/// A snapshot from before a swap, used after it.
fn read_with_old_snapshot(db: &Database, done: &AtomicBool, swaps: &AtomicUsize) {
    let [mut session, mut other] = [db.connect(), db.connect()];
    while !done.load(Ordering::Relaxed) {
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        session.run("SELECT 1");
        let before = swaps.load(Ordering::Relaxed);
        await_that("a swap", || {
            swaps.load(Ordering::Relaxed) > before || done.load(Ordering::Relaxed)
        });
        look(&mut session, STEADY);
        session.run("COMMIT");
        look(&mut other, STEADY);
    }
}

/// Nothing of a swap is left: no table, no lock, no file that belongs to no table.
fn assert_nothing_left(session: &mut Session) {
    session.run("CHECKPOINT");
    let tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^pg_temp_' OR relrewrite <> 0";
    assert_eq!(session.number(tables), 0, "tables");
    let files = "SELECT count(*) FROM pg_database d, pg_ls_dir('base/' || d.oid) f
        WHERE datname = current_database() AND f ~ '^[0-9]' AND (pg_stat_file('base/' || d.oid || '/' || f, true)).size > 0
          AND NOT EXISTS (SELECT FROM pg_class c WHERE pg_relation_filenode(c.oid)::text = substring(f FROM '^[0-9]+'))";
    assert_eq!(session.number(files), 0, "files");
}

/// The table agrees with its indexes, its visibility map and its TOAST table.
fn assert_sound(session: &mut Session, table: &str) {
    let mut looks = Vec::new();
    if session.has("amcheck") {
        session.run(&format!(
            "SELECT bt_index_check(c.oid, true) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
              WHERE indrelid = '{table}'::regclass AND relam = 403"
        ));
        looks.push(format!("verify_heapam('{table}', check_toast => true)"));
    }
    if session.has("pg_visibility") {
        looks.push(format!("pg_check_visible('{table}')"));
        looks.push(format!("pg_check_frozen('{table}')"));
    }
    for wrong in looks {
        assert_eq!(
            session.number(&format!("SELECT count(*) FROM {wrong}")),
            0,
            "{wrong}"
        );
    }
    let counts = |session: &mut Session, way: &str| {
        session.run(&format!("SET enable_{way} = off"));
        let conditions = [
            "doc ? 'marked'",
            "doc ? 'n'",
            "version > 1",
            "position = 7",
            "id > ''",
        ];
        let counts =
            conditions.map(|c| session.number(&format!("SELECT count(*) FROM {table} WHERE {c}")));
        session.run(&format!("RESET enable_{way}"));
        counts
    };
    let by_index = counts(session, "seqscan");
    session.run("SET enable_indexscan = off; SET enable_indexonlyscan = off");
    assert_eq!(counts(session, "bitmapscan"), by_index);
    session.run("RESET enable_indexscan; RESET enable_indexonlyscan");
}

/// Rebuilt when nobody writes, and compared: nothing differs.
fn assert_exact(session: &mut Session, table: &str) {
    session.run(&format!(
        "CREATE TABLE before_{table} AS SELECT * FROM {table}"
    ));
    session.run(&format!("CALL en57_rebuild('{table}', swap => 'rows')"));
    let differs = format!(
        "SELECT count(*) FROM {table} d FULL JOIN before_{table} b USING (id) WHERE d::text IS DISTINCT FROM b::text"
    );
    assert_eq!(session.number(&differs), 0, "{table}");
    session.run(&format!("DROP TABLE before_{table}"));
}

#[test]
fn swapped_under_load() {
    let db = Cluster::shared().database();
    let mut session = prepare(&db);
    let (done, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut changes = 0;
    thread::scope(|scope| {
        let (db, done, swaps) = (&db, &done, &swaps);
        let mut writers = Vec::new();
        for client in 0..CLIENTS as u64 {
            writers.push(scope.spawn(move || {
                let mut session = db.connect();
                write(&mut session, 9000 + client, 20, |_| {
                    !done.load(Ordering::Relaxed)
                })
            }));
        }
        let reader = scope.spawn(move || read(db, STEADY, done));
        scope.spawn(move || read_with_old_snapshot(db, done, swaps));
        let end = End(done);
        for n in 0..2 * scaled(2) {
            let evolve = ["marked(jsonb,en57_event)", "chain(jsonb,en57_event)"][n % 2];
            session.run(&format!(
                "CALL en57_rebuild('by_tag', '{evolve}', swap => 'files')"
            ));
            session.run("CALL en57_rebuild('by_function', swap => 'files')");
            swaps.fetch_add(1, Ordering::Relaxed);
            // A later swap would hide what this one has lost.
            session.run("BEGIN; SELECT en57_lock('{}')");
            assert_eq!(look(&mut session, STEADY), n % 2 == 0);
            for table in ["unmarked", "by_function"] {
                assert_eq!(wrong(&mut session, table), 0, "documents of {table}");
            }
            session.run("COMMIT");
        }
        drop(end);
        for writer in writers {
            assert!(
                writer.join().expect("a writer succeeds") > 1,
                "it has written"
            );
        }
        changes += reader.join().expect("a reader succeeds");
    });
    assert!(changes > 0, "the reader has seen a swap");
    for table in ["by_tag", "by_function"] {
        assert_eq!(wrong(&mut session, table), 0, "documents of {table}");
        assert_sound(&mut session, table);
        assert_exact(&mut session, table);
    }
    session.run("CALL en57_rebuild('by_tag', 'marked(jsonb,en57_event)')");
    assert_sound(&mut session, "by_tag");
    assert_nothing_left(&mut session);
}

/// By itself it takes files for many documents that differ, unless somebody reads all the time; who reads
/// later than he waits for little.
#[test]
fn a_long_reader_is_not_interrupted() {
    let db = Cluster::shared().database();
    let mut session = prepare(&db);
    let file = "SELECT pg_relation_filenode('by_tag')::bigint";
    let before = session.number(file);
    session.run("CALL en57_rebuild('by_tag', 'marked(jsonb,en57_event)')");
    let swapped = session.number(file);
    assert_ne!(swapped, before, "files were exchanged");
    let [mut reader, mut other, mut rebuilder] = [db.connect(), db.connect(), db.connect()];
    reader.run("BEGIN");
    assert!(look(&mut reader, STEADY));
    thread::scope(|scope| {
        let rebuilding =
            scope.spawn(|| rebuilder.run("CALL en57_rebuild('by_tag', 'chain(jsonb,en57_event)')"));
        other.run("SET statement_timeout = '5s'");
        while !rebuilding.is_finished() {
            let since = Instant::now();
            other.number("SELECT count(*) FROM by_tag WHERE id = 's1'");
            other.append(&json!({"type": "changed", "tags": ["d:1"]}), None);
            assert!(since.elapsed() < Duration::from_secs(5));
        }
        rebuilding.join().expect("it succeeds");
    });
    assert_eq!(session.number(file), swapped, "rows were written");
    assert!(!look(&mut reader, STEADY), "and are seen");
    // Who insists gets it when the reader has gone.
    let pid = rebuilder.pid();
    thread::scope(|scope| {
        let insisting = scope.spawn(|| {
            rebuilder
                .run("CALL en57_rebuild('by_tag', 'marked(jsonb,en57_event)', swap => 'files')");
        });
        let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Extension'";
        await_that("it pauses", || {
            session.row(sleeps, &[&pid]).get::<_, i64>(0) > 0
        });
        reader.run("COMMIT");
        insisting.join().expect("it succeeds");
    });
    assert_ne!(session.number(file), swapped);
    assert_eq!(wrong(&mut session, "unmarked"), 0);
    assert_nothing_left(&mut session);
}

/// A rebuild that makes its files, and waits there for a lock that `session` holds.
fn while_files_are_made(
    db: &Database,
    session: &mut Session,
    then: impl FnOnce(&mut Session, i32),
) -> Result<(), postgres::Error> {
    let mut rebuilder = db.connect();
    rebuilder.run("SET application_name = 'held'");
    let pid = rebuilder.pid();
    session.run("SELECT pg_advisory_lock(1)");
    thread::scope(|scope| {
        let rebuilding = scope.spawn(|| {
            rebuilder
                .try_run("CALL en57_rebuild('by_tag', 'marked(jsonb,en57_event)', swap => 'files')")
        });
        let waits = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted";
        await_that("an index is being built", || {
            session.row(waits, &[&pid]).get::<_, i64>(0) > 0
        });
        then(session, pid);
        rebuilding.join().expect("no panic")
    })
}

/// Cancelled, terminated, given up, dropped, changed while the files are made: nothing is left, and the
/// documents are as they were.
#[test]
fn ended_while_files_are_made() {
    let db = Cluster::shared().database();
    let mut session = prepare(&db);
    session.run("CREATE INDEX ON by_tag (held(doc))");
    for (end, code) in [
        ("pg_cancel_backend", "57014"),
        ("pg_terminate_backend", "57P01"),
    ] {
        let outcome = while_files_are_made(&db, &mut session, |session, pid| {
            session.run(&format!("SELECT {end}({pid})"));
        });
        // What it was told may not have come through before the connection was closed.
        let error = outcome.expect_err("it was ended");
        assert!(
            error.code().is_none() || state(&error) == code,
            "{}",
            told(&error)
        );
        session.run("SELECT pg_advisory_unlock(1)");
        assert!(!look(&mut session, STEADY));
        await_that("it has gone", || {
            session.number("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'held' AND state = 'active'") == 0
        });
        assert_nothing_left(&mut session);
    }
    // Others need not wait for it who end the rebuild, or begin it anew.
    let outcome = while_files_are_made(&db, &mut session, |session, _| {
        assert_eq!(
            session.number("SELECT en57_cancel_rebuild('by_tag')::int::bigint"),
            1
        );
        session.run("SELECT pg_advisory_unlock(1)");
    });
    assert_eq!(state(&outcome.expect_err("it was ended")), "55000");
    assert!(!look(&mut session, STEADY));
    assert_nothing_left(&mut session);
    // Who wants to change the table goes first; then it is done as far as it can be.
    let mut owner = db.connect();
    let outcome = while_files_are_made(&db, &mut session, |session, _| {
        thread::scope(|scope| {
            let altering = scope.spawn(|| owner.run("CREATE INDEX added ON by_tag (updated_at)"));
            await_that("the other waits", || {
                session.number("SELECT count(*) FROM pg_locks WHERE relation = 'by_tag'::regclass AND NOT granted") > 0
            });
            session.run("SELECT pg_advisory_unlock(1)");
            altering.join().expect("it succeeds");
        });
    });
    outcome.expect("it goes on");
    assert!(look(&mut session, STEADY));
    assert_sound(&mut session, "by_tag");
    // Dropping it takes the table along.
    session.run("DROP VIEW unmarked");
    let outcome = while_files_are_made(&db, &mut session, |session, _| {
        thread::scope(|scope| {
            let mut owner = db.connect();
            let dropping = scope.spawn(move || owner.run("SELECT en57_drop_projection('by_tag')"));
            await_that("the other waits", || {
                session.number("SELECT count(*) FROM pg_locks WHERE relation = 'by_tag'::regclass AND NOT granted") > 0
            });
            session.run("SELECT pg_advisory_unlock(1)");
            dropping.join().expect("it succeeds");
        });
    });
    assert_eq!(state(&outcome.expect_err("it was ended")), "55000");
    assert_nothing_left(&mut session);
}

/// The server dies right before the commit of a swap, and right after it, whatever the WAL has of new files.
#[test]
fn crashes_around_the_commit() {
    for wal_level in ["minimal", "replica"] {
        let wal_level = format!("wal_level = {wal_level}");
        let cluster: OwnCluster = Cluster::own(&[&wal_level, "max_wal_senders = 0"]);
        let db = cluster.database();
        let mut session = prepare(&db);
        let events = |session: &mut Session| {
            session.run("SELECT en57_append(jsonb_agg(jsonb_build_object('type', 'changed', 'tags', jsonb_build_array('d:s' || n))))
                           FROM generate_series(1, 500) n");
        };
        session
            .run("BEGIN; CALL en57_rebuild('by_tag', 'marked(jsonb,en57_event)', swap => 'files')");
        assert!(look(&mut session, STEADY));
        cluster.stop("immediate");
        cluster.start();
        let mut session = db.connect();
        assert!(!look(&mut session, STEADY), "nothing was committed");
        assert_sound(&mut session, "by_tag");
        session.run("CALL en57_rebuild('by_tag', 'marked(jsonb,en57_event)', swap => 'files')");
        events(&mut session);
        cluster.stop("immediate");
        cluster.start();
        let mut session = db.connect();
        assert!(look(&mut session, STEADY), "it was committed");
        assert_sound(&mut session, "by_tag");
        assert_eq!(wrong(&mut session, "unmarked"), 0);
        events(&mut session);
        assert_exact(&mut session, "by_tag");
        // Written to in the same transaction.
        session.run(
            "SELECT en57_truncate('default'); SELECT en57_append('{\"type\": \"changed\", \"tags\": [\"d:1\"]}'); BEGIN; CALL en57_rebuild('by_tag', swap => 'files')",
        );
        events(&mut session);
        session.run("COMMIT");
        cluster.stop("immediate");
        cluster.start();
        let mut session = db.connect();
        assert_sound(&mut session, "by_tag");
        assert_eq!(wrong(&mut session, "unmarked"), 0);
        // With a swap that is undone in the same transaction.
        session.run("BEGIN; SAVEPOINT s; CALL en57_rebuild('by_tag', 'chain(jsonb,en57_event)', swap => 'files'); ROLLBACK TO s;
                     CALL en57_rebuild('by_tag', 'chain(jsonb,en57_event)', swap => 'files'); COMMIT");
        cluster.stop("immediate");
        cluster.start();
        let mut session = db.connect();
        assert_sound(&mut session, "by_tag");
        assert_eq!(wrong(&mut session, "by_tag"), 0);
    }
}
