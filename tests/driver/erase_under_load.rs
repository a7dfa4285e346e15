//! Erasing under load, and where what was erased might still be.
//!
//! Without `Found::Moved` in `fetch.rs` readers miss events while they are erased, and without `found` there they see
//! them twice. Without the lock of the root documents miss appends; without `Renewals` they keep what was erased.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database, End, OwnCluster, await_that};
use crate::support::random::{Random, scaled};
use crate::support::session::{Session, state, told};

const SECRET: &str = "xyzzy-plugh-secret";

/// Documents of each person: how many events, their positions, and the last data.
const FUNCTIONS: &str = "
    CREATE FUNCTION fold(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$
        SELECT jsonb_build_object('positions', coalesce(doc->'positions', '[]') || to_jsonb(e.position),
            'said', coalesce(doc->'said', '[]') || coalesce(e.data, 'null')) $$;
    CREATE FUNCTION who(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(e.data->>'name', 'nobody') $$;
    CREATE FUNCTION fine(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
    SELECT en57_create_document_projection('live', '{\"types\": [\"a\"]}', 'tag:p:', 'fold(jsonb,en57_event)');
    SELECT en57_create_document_projection('later', '{\"types\": [\"a\", \"b\"]}', 'tag:p:', 'fold(jsonb,en57_event)', mode => 'async');
    SELECT en57_create_document_projection('named', '{\"types\": [\"b\"]}', 'who(en57_event)'::regprocedure, 'fold(jsonb,en57_event)');
    SELECT en57_create_invariant('any', '{\"types\": [\"b\"]}', 'tag:p:', 'fold(jsonb,en57_event)', 'fine(jsonb)', key_required => false);
    SELECT en57_create_fold('fold', 'fold(jsonb,en57_event)', snapshot_every => 2);
";

fn setup() -> Database {
    let db = Cluster::shared().database();
    db.connect().run(FUNCTIONS);
    db
}

fn erase(session: &mut Session, query: &str) -> Option<i64> {
    let sql = "SELECT en57_erase($1::text::en57_query, 'a test')";
    match session.try_rows(sql, &[&query]) {
        Ok(rows) => Some(rows[0].get(0)),
        Err(e) if state(&e) == "40P01" => None,
        Err(e) => panic!("{}", told(&e)),
    }
}

fn write(db: &Database, seed: u64, done: &AtomicBool, allowed: &AtomicUsize) {
    let mut session = db.connect();
    let mut random = Random::new(seed);
    while !done.load(Ordering::Relaxed) {
        let events: Vec<Value> = (0..random.between(1, 5))
            .map(|_| {
                json!({
                    "type": random.pick(&["a", "b"]),
                    "tags": [format!("p:{}", random.below(5))],
                    "data": {"said": SECRET, "name": random.pick(&["n1", "n2"])},
                    "meta": {"correlation_id": "c", "by": SECRET}
                })
            })
            .collect();
        let stream = format!("s{}", random.below(3));
        session.run("BEGIN");
        let sql = "SELECT position FROM en57_append($1, stream => $2)";
        match session.try_rows(sql, &[&json!(events), &stream]) {
            Err(e) if state(&e) == "40P01" => session.run("ROLLBACK"),
            Err(e) => panic!("{}", told(&e)),
            Ok(_) => session.run(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"][random.below(4)]),
        }
        let head = session.head();
        await_that("there may be more", || {
            done.load(Ordering::Relaxed) || head < allowed.load(Ordering::Relaxed) as i64
        });
    }
}

/// Nothing that was read before is missing from what is read later, nothing is there twice, and what was erased
/// before says nothing.
fn read(db: &Database, seed: u64, done: &AtomicBool) {
    const QUERIES: [&str; 5] = [
        "{}",
        r#"{"types": ["a"]}"#,
        r#"{"tags": ["p:1"], "types": ["a", "b"]}"#,
        r#"[{"tags": ["p:1"]}, {"types": ["b"]}, {"tags": ["p:1"], "types": ["b"]}]"#,
        r#"{"correlation_id": "c"}"#,
    ];
    let mut session = db.connect();
    let mut random = Random::new(seed);
    let mut seen: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let mut streams = 0;
    while !done.load(Ordering::Relaxed) {
        let query = *random.pick(&QUERIES);
        let erased: Vec<i64> = session
            .rows(
                "SELECT p FROM en57_erasures, unnest(positions) r, generate_series(lower(r), upper(r) - 1) p",
                &[],
            )
            .iter()
            .map(|r| r.get(0))
            .collect();
        let level = random.pick(&["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]);
        session.run(&format!("BEGIN ISOLATION LEVEL {level}"));
        let backwards = random.chance(30);
        let rows = session.rows(
            "SELECT position, data::text, meta::text, id::text FROM en57_read($1::text::en57_query, backwards => $2)",
            &[&query, &backwards],
        );
        session.run("COMMIT");
        let mut positions: Vec<i64> = rows.iter().map(|r| r.get(0)).collect();
        for row in &rows {
            let (position, data, meta): (i64, Option<&str>, &str) =
                (row.get(0), row.get(1), row.get(2));
            assert_eq!(
                data.is_some(),
                meta.contains(SECRET),
                "half of {position} is erased"
            );
            assert!(
                data.is_none()
                    || erased.binary_search(&position).is_err() && !erased.contains(&position),
                "{position} was erased"
            );
        }
        if backwards {
            positions.reverse();
        }
        assert!(
            positions.is_sorted_by(|a, b| a < b),
            "{query}: {positions:?}"
        );
        let before = seen.entry(query).or_default();
        assert!(
            positions.starts_with(before),
            "{query}: {before:?} and then {positions:?}"
        );
        *before = positions;
        if let Some(row) = rows.get(random.below(rows.len().max(1))) {
            let sql = "SELECT (en57_get($1::text::uuid)).position";
            let found: Option<i64> = session.row(sql, &[&row.get::<_, &str>(3)]).get(0);
            assert_eq!(found, Some(row.get(0)), "it is found by its id");
        }
        let n = session.number("SELECT count(*) FROM en57_streams");
        assert!(n >= streams, "{streams} streams, then {n}");
        streams = n;
        let sql = "SELECT bool_and(v = n) IS NOT false FROM (
            SELECT stream_version AS v, row_number() OVER () AS n FROM en57_read_stream('s1')) s";
        assert!(
            session.row(sql, &[]).get::<_, bool>(0),
            "versions have no gaps"
        );
    }
}

#[test]
fn under_load() {
    let db = setup();
    // How far the log may grow: as fast as it is erased.
    let (done, allowed) = (AtomicBool::new(false), AtomicUsize::new(40));
    thread::scope(|scope| {
        for n in 0..3 {
            let (db, done, allowed) = (&db, &done, &allowed);
            scope.spawn(move || {
                let _end = End(done);
                write(db, 5000 + n, done, allowed);
            });
        }
        for n in 0..4 {
            let (db, done) = (&db, &done);
            scope.spawn(move || {
                let _end = End(done);
                read(db, 5100 + n, done);
            });
        }
        scope.spawn(|| {
            let _end = End(&done);
            let mut session = db.connect();
            while !done.load(Ordering::Relaxed) {
                for sql in [
                    "SELECT en57_run('later')",
                    "VACUUM en57.events_default",
                    "CALL en57_rebuild('live')",
                ] {
                    match session.try_run(sql) {
                        Err(e) if ["40P01", "55000"].contains(&state(&e)) => {}
                        other => other.unwrap_or_else(|e| panic!("{sql}: {}", told(&e))),
                    }
                }
                let wrong = session.rows("SELECT object, problem FROM en57_check()", &[]);
                let wrong: Vec<(String, String)> =
                    wrong.iter().map(|r| (r.get(0), r.get(1))).collect();
                assert_eq!(wrong, [], "nothing is damaged");
            }
        });
        let _end = End(&done);
        let mut session = db.connect();
        let mut random = Random::new(5200);
        for _ in 0..scaled(60) {
            let query = match random.below(6) {
                0 => r#"{"types": ["a"]}"#.to_owned(),
                1 => "{}".to_owned(),
                _ => format!(r#"{{"tags": ["p:{}"]}}"#, random.below(5)),
            };
            erase(&mut session, &query);
            let next = session.head() + 20;
            allowed.store(next as usize + 20, Ordering::Relaxed);
            await_that("there is more to erase", || {
                done.load(Ordering::Relaxed) || session.head() >= next
            });
        }
    });
    let mut session = db.connect();
    session.run("SELECT en57_run('later')");
    let same_as_rebuilt = |session: &mut Session| {
        for name in ["live", "later", "named"] {
            session.run(&format!("DROP TABLE IF EXISTS before; CREATE TEMP TABLE before AS TABLE {name}; CALL en57_rebuild('{name}')"));
            let sql = format!("SELECT count(*) FROM (TABLE before EXCEPT TABLE {name}) a");
            assert_eq!(session.number(&sql), 0, "{name} is as it is rebuilt");
            let sql = format!("SELECT count(*) FROM (TABLE {name} EXCEPT TABLE before) a");
            assert_eq!(session.number(&sql), 0, "{name} is as it is rebuilt");
        }
    };
    same_as_rebuilt(&mut session);
    erase(&mut session, r#"[{"tags": ["p:1"]}, {"types": ["b"]}]"#);
    same_as_rebuilt(&mut session);
    assert_eq!(session.rows("SELECT * FROM en57_check()", &[]).len(), 0);
}

/// The tables in which a text is to be seen.
fn tables_with(session: &mut Session, text: &str) -> Vec<String> {
    let tables = session.rows(
        "SELECT c.oid::regclass::text FROM pg_class c
          WHERE relkind = 'r' AND relnamespace IN ('en57'::regnamespace, 'public'::regnamespace) ORDER BY 1",
        &[],
    );
    let names: Vec<String> = tables.iter().map(|r| r.get(0)).collect();
    names
        .into_iter()
        .filter(|name| {
            let sql = format!("SELECT count(*) FROM {name} t WHERE t::text LIKE '%{text}%'");
            session.number(&sql) > 0
        })
        .collect()
}

/// Events whose secrets are everywhere.
fn spread(session: &mut Session) {
    session.run(
        "CREATE FUNCTION fail(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no: %', e.data; END $$;
         SELECT en57_create_projection('failing', '{\"types\": [\"b\"]}', 'fail(en57_event)', mode => 'async');
         SELECT en57_create_projection('skipping', '{\"types\": [\"b\"]}', 'fail(en57_event)', mode => 'async', on_error => 'skip')",
    );
    for n in 0..120 {
        let long: String = (0..300)
            .map(|i| format!("{SECRET}-{n}-{} ", i * i))
            .collect();
        let said = if n % 10 == 0 { long } else { SECRET.to_owned() };
        let kind = ["a", "b"][n % 2];
        let event = json!({"type": kind, "tags": [format!("p:{}", n % 3)],
            "data": {"said": said, "name": SECRET}, "meta": {"by": SECRET, "correlation_id": "c"}});
        session.append(&event, None);
    }
    session.run("SELECT en57_state('fold', '{}'), en57_run('later'), en57_run('failing'), en57_run('skipping')");
    // A rebuild that has stopped on its way.
    session.run(
        "CREATE FUNCTION stopping(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
         BEGIN
             IF e.position > 30 THEN RAISE 'no: %', e.data; END IF;
             RETURN fold(doc, e);
         END $$",
    );
    session
        .try_run("CALL en57_rebuild('live', evolve => 'stopping(jsonb,en57_event)')")
        .expect_err("it stops");
}

#[test]
fn nowhere_any_more() {
    let cluster: OwnCluster = Cluster::own(&["max_prepared_transactions = 2", "autovacuum = off"]);
    let db = cluster.database();
    let mut session = db.connect();
    session.run(FUNCTIONS);
    spread(&mut session);
    assert_eq!(
        tables_with(&mut session, SECRET),
        [
            "en57.events_default",
            "en57.invariant_states",
            "en57.projection_dead_letters",
            "en57.projections",
            "en57.rebuild_documents",
            "en57.rebuilds",
            "en57.snapshots",
            "later",
            "live",
            "named"
        ]
    );
    assert!(erase(&mut session, "{}").is_some());
    let left = tables_with(&mut session, SECRET);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(
        session.number("SELECT en57_count('{\"correlation_id\": \"c\"}')"),
        120
    );
    // A dump has nothing of it, and is restored with what was done.
    let dump = cluster.shell(&format!("$BIN/pg_dump {}", db.name));
    assert!(!dump.contains(SECRET) && dump.contains("a test"));
    let restored = cluster.bare_database();
    cluster.shell(&format!(
        "$BIN/pg_dump {} | $BIN/psql -X -q -o /dev/null -v ON_ERROR_STOP=1 {}",
        db.name, restored.name
    ));
    let mut other = restored.connect();
    assert_eq!(other.rows("SELECT * FROM en57_check()", &[]).len(), 0);
    assert_eq!(other.number("SELECT events FROM en57_erasures"), 120);
    other.append(
        &json!({"type": "a", "tags": ["p:1"], "data": {"said": "more"}}),
        None,
    );
    assert!(erase(&mut other, "{}").is_some());
    assert_eq!(
        other.number("SELECT max(number) FROM en57_erasures"),
        2,
        "numbers go on"
    );
    // The files have it until the tables are written anew.
    let folder = session.text(
        "SELECT current_setting('data_directory') || '/base/' || oid FROM pg_database WHERE datname = current_database()",
    );
    let files = |session: &mut Session| {
        session.run("CHECKPOINT");
        let look = format!("grep -l -a -r '{SECRET}' {folder} || test $? = 1");
        let found = cluster.shell(&look);
        found.trim().to_owned()
    };
    assert_ne!(files(&mut session), "");
    session.run("VACUUM FULL");
    assert_eq!(files(&mut session), "");
    assert_eq!(session.rows("SELECT * FROM en57_check()", &[]).len(), 0);
}

#[test]
fn after_a_crash() {
    let cluster: OwnCluster = Cluster::own(&["max_prepared_transactions = 2"]);
    let db = cluster.database();
    let mut session = db.connect();
    session.run(FUNCTIONS);
    spread(&mut session);
    assert!(erase(&mut session, r#"{"types": ["a"]}"#).is_some_and(|n| n == 60));
    let mut lost = db.connect();
    lost.run("BEGIN");
    assert!(erase(&mut lost, r#"{"types": ["b"]}"#).is_some_and(|n| n == 60));
    // What was not committed reaches the disk all the same.
    session.run("CHECKPOINT");
    cluster.stop("immediate");
    cluster.start();
    let mut session = db.connect();
    let said = |session: &mut Session, query: &str| {
        session.number(&format!("SELECT count(data) FROM en57_read('{query}')"))
    };
    assert_eq!(said(&mut session, r#"{"types": ["a"]}"#), 0);
    assert_eq!(said(&mut session, r#"{"types": ["b"]}"#), 60);
    assert_eq!(session.positions("{}").len(), 120);
    assert_eq!(session.rows("SELECT * FROM en57_check()", &[]).len(), 0);
    // In two phases.
    session.run("BEGIN");
    assert!(erase(&mut session, r#"{"types": ["b"]}"#).is_some());
    session.run("PREPARE TRANSACTION 'erasing'");
    assert_eq!(said(&mut session, r#"{"types": ["b"]}"#), 60);
    cluster.stop("immediate");
    cluster.start();
    let mut session = db.connect();
    let event = json!({"type": "a", "tags": ["p:1"], "data": {"said": "more"}});
    session.run("SET lock_timeout = '200ms'");
    let waits = session
        .try_append(&event, None)
        .expect_err("appends wait for it");
    assert_eq!(state(&waits), "55P03");
    session.run("COMMIT PREPARED 'erasing'");
    assert_eq!(said(&mut session, r#"{"types": ["b"]}"#), 0);
    assert!(session.append(&event, None).is_appended());
    let left = tables_with(&mut session, SECRET);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(session.rows("SELECT * FROM en57_check()", &[]).len(), 0);
}
