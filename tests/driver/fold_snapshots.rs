//! Snapshots change nothing: a state is what its fold makes of the events up to its position, whoever writes, rolls
//! back, replaces the function, redefines the fold, registers and drops upcasters, renaming ones too, drops snapshots,
//! erases events or empties the partition meanwhile; and no reader fails or waits for a snapshot, at any isolation
//! level.
//!
//! Without the generation of upcasters in `snapshot.rs` states go on from events that were read in another way, and
//! without `snapshot::forget` in `erase.rs` they hold what was erased.
//! Without the function's mark in `kept_state.rs` states go on from what an older function has made; without the second
//! look at it in `fold::resume`, so does one that is under way when the function is replaced. Without `has_own`
//! in `snapshot.rs` a transaction keeps what it has not committed (pg_regress/sql/folds.sql), and without
//! `forget_all` in `partitions.rs` truncated events are still in states.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::support::cluster::{Cluster, Database, End, await_that};
use crate::support::random::{Random, scaled};
use crate::support::session::{Session, state, told};

/// A chain of hashes over the initial text, what the events are read as, and the version of the function.
fn evolve(version: usize) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION chain(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$
            SELECT state || jsonb_build_object('version', '{version}', 'n', (state->>'n')::int + 1,
                'sum', md5(concat(state->>'sum', e.position, e.type, e.data, '{version}'))) $$"
    )
}

fn create(session: &mut Session, number: usize) {
    session.run(&format!(
        "SELECT en57_create_fold('chain', 'chain(jsonb,en57_event)', '{{\"initial\": \"i{number}\", \"sum\": \"i{number}\", \"n\": 0}}',
             snapshot_every => {}, or_replace => true)",
        [1, 2, 10][number % 3]
    ));
}

/// What is registered of upcasters: one that gives `a` other data, and one by which `b` is called `c`.
#[derive(Default)]
struct Upcasting {
    registered: [bool; 2],
}

impl Upcasting {
    const ONES: [(&str, &str); 2] = [("a", "a"), ("b", "c")];

    /// Registers one, drops it, or lets its function do something else.
    fn change(&mut self, session: &mut Session, random: &mut Random, number: usize) {
        let n = random.below(2);
        let (from, to) = Self::ONES[n];
        let function = format!(
            "CREATE OR REPLACE FUNCTION up_{from}(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
             BEGIN e.data := coalesce(e.data, '{{}}') || '{{\"up\": {number}}}'; RETURN e; END $$"
        );
        let is_registered = self.registered[n];
        let sql = match (is_registered, random.chance(50)) {
            (true, true) => function,
            (true, false) => format!("SELECT en57_drop_upcaster('{from}', 1)"),
            (false, _) => format!(
                "{function}; SELECT en57_register_upcaster('{from}', 1, 'up_{from}(en57_event)', '{to}', 2)"
            ),
        };
        match session.try_run(&sql) {
            Err(e) if state(&e) == "40P01" => {}
            other => {
                other.unwrap_or_else(|e| panic!("{}", told(&e)));
                self.registered[n] =
                    sql.contains("en57_register") || is_registered && !sql.contains("en57_drop");
            }
        }
    }
}

const QUERIES: [&str; 6] = [
    r#"{"types": ["c"]}"#,
    r#"[{"types": ["b"]}, {"types": ["a"], "tags": ["k:0"]}]"#,
    "{}",
    r#"{"tags": ["k:0"]}"#,
    r#"{"tags": ["k:1"]}"#,
    r#"[{"tags": ["k:0"], "types": ["a"]}, {"tags": ["k:2"]}]"#,
];

fn setup() -> Database {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(&evolve(0));
    session.run(
        "CREATE FUNCTION expected(query en57_query, upto bigint, initial text, version text) RETURNS text LANGUAGE plpgsql AS $$
        DECLARE
            sum text := initial;
            e en57_event;
        BEGIN
            FOR e IN SELECT * FROM en57_read(query, upto => upto) LOOP
                sum := md5(concat(sum, e.position, e.type, e.data, version));
            END LOOP;
            RETURN sum;
        END $$",
    );
    create(&mut session, 0);
    db
}

/// Reads states and compares them, until it is told to stop; counts them.
fn read(db: &Database, seed: u64, done: &AtomicBool, compared: &AtomicUsize) {
    let mut session = db.connect();
    let mut random = Random::new(seed);
    let levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
    while !done.load(Ordering::Relaxed) {
        let (level, query) = (random.pick(&levels), *random.pick(&QUERIES));
        let looks_before = random.chance(30);
        // Between state and expectation upcasters may change, or events be erased; but hardly each time.
        let mut differences =
            (0..8).map_while(|_| difference(&mut session, level, query, looks_before));
        if let Some(difference) = differences.nth(7) {
            panic!("{difference}");
        }
        compared.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a state differs from what is expected.
fn difference(
    session: &mut Session,
    level: &str,
    query: &str,
    looks_before: bool,
) -> Option<String> {
    session.run(&format!("BEGIN ISOLATION LEVEL {level}"));
    if looks_before {
        session.run("SELECT en57_count()");
    }
    let row = session.row(
            "SELECT s.position, s.state->>'sum', s.state::text,
                    expected($1::text::en57_query, s.position, s.state->>'initial', s.state->>'version')
               FROM en57_state('chain', $1::text::en57_query) s",
            &[&query],
        );
    let (sum, whole): (String, String) = (row.get(1), row.get(2));
    // Without an event there is no version.
    let expected = row.get::<_, Option<String>>(3).unwrap_or(sum.clone());
    session.run("COMMIT");
    (sum != expected).then(|| format!("{level} {query} at {}: {whole}", row.get::<_, i64>(0)))
}

/// Appends, some of it rolled back, and looks at the state with own events in it.
fn write(db: &Database, seed: u64, done: &AtomicBool) {
    let mut session = db.connect();
    let mut random = Random::new(seed);
    while !done.load(Ordering::Relaxed) {
        let events: Vec<_> = (0..random.between(1, 4))
            .map(|_| json!({"type": random.pick(&["a", "b"]), "schema_version": 1, "tags": [format!("k:{}", random.below(3))], "data": {"n": random.below(1000)}}))
            .collect();
        session.run("BEGIN");
        session.append(&json!(events), None);
        if random.chance(50) {
            let query = random.pick(&QUERIES);
            session.rows(
                "SELECT position FROM en57_state('chain', $1::text::en57_query)",
                &[query],
            );
        }
        session.run(["COMMIT", "COMMIT", "ROLLBACK"][random.below(3)]);
    }
}

#[test]
fn snapshots_change_nothing() {
    let db = setup();
    let (done, compared) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for n in 0..6 {
            let (db, done, compared) = (&db, &done, &compared);
            scope.spawn(move || {
                // The others end, too, when one has failed.
                let _end = End(done);
                read(db, 3000 + n, done, compared);
            });
        }
        for n in 0..3 {
            let (db, done) = (&db, &done);
            scope.spawn(move || write(db, 3100 + n, done));
        }
        let end = End(&done);
        let mut session = db.connect();
        let mut random = Random::new(3200);
        let mut upcasting = Upcasting::default();
        for n in 1..=scaled(60) {
            match random.below(16) {
                10..=13 => upcasting.change(&mut session, &mut random, n),
                14 => {
                    let tag = random.below(3);
                    let sql =
                        format!("SELECT en57_erase('{{\"tags\": [\"k:{tag}\"]}}', 'step {n}')");
                    match session.try_run(&sql) {
                        Err(e) if state(&e) == "40P01" => {}
                        other => other.unwrap_or_else(|e| panic!("{}", told(&e))),
                    }
                }
                0..=3 => session.run(&evolve(n)),
                4..=6 => create(&mut session, n),
                7 => session.run("SELECT en57_drop_snapshots('chain')"),
                8 => match session.try_run("SELECT en57_truncate('default')") {
                    Err(e) if state(&e) == "40P01" => {}
                    other => other.unwrap_or_else(|e| panic!("{}", told(&e))),
                },
                _ => {}
            }
            let enough = compared.load(Ordering::Relaxed) + 12;
            await_that("states were compared", || {
                done.load(Ordering::Relaxed) || compared.load(Ordering::Relaxed) >= enough
            });
        }
        drop(end);
    });
    let mut session = db.connect();
    session.run("SELECT en57_append('[{\"type\": \"a\", \"tags\": [\"k:0\"]}, {\"type\": \"a\", \"tags\": [\"k:0\"]}]')");
    create(&mut session, 0);
    session.run("SELECT en57_state('chain', '{}')");
    assert!(
        session.number("SELECT count(*) FROM en57.snapshots") > 0,
        "snapshots are taken"
    );
    let orphans = "SELECT count(*) FROM en57.snapshots s WHERE NOT EXISTS (SELECT 1 FROM en57.folds f WHERE f.number = s.fold)";
    assert_eq!(
        session.number(orphans),
        0,
        "those of old definitions are gone"
    );
}

/// Who keeps a snapshot in a transaction that does not end keeps nobody from reading.
#[test]
fn nobody_waits_for_a_snapshot() {
    let db = setup();
    let mut idle = db.connect();
    let mut other = db.connect();
    other.run("SET statement_timeout = '20s'");
    for n in 0..5 {
        other.append(&json!([{"type": "a"}, {"type": "a"}]), None);
        if n == 1 {
            idle.run("BEGIN; SELECT en57_state('chain', '{}')");
        }
        other.run("SELECT en57_state('chain', '{}')");
    }
    let mine = "SELECT count(*) FROM en57.snapshots";
    assert_eq!(other.number(mine), 1, "the one from before");
    assert_eq!(idle.number(mine), 2, "and its own");
    idle.run("ROLLBACK");
    other.run("SELECT en57_state('chain', '{}')");
    assert_eq!(other.number(mine), 2);
}

/// Definitions are dumped, snapshots are not.
#[test]
fn restored_from_a_dump() {
    let db = setup();
    let mut session = db.connect();
    session.append(&json!([{"type": "a"}, {"type": "a"}, {"type": "a"}]), None);
    let look = "SELECT state::text || position FROM en57_state('chain', '{}')";
    let before = session.text(look);
    assert!(session.number("SELECT count(*) FROM en57.snapshots") > 0);
    let restored = Cluster::shared().bare_database();
    Cluster::shared().shell(&format!(
        "$BIN/pg_dump {} | $BIN/psql -X -q -o /dev/null -v ON_ERROR_STOP=1 {}",
        db.name, restored.name
    ));
    let mut session = restored.connect();
    assert_eq!(session.number("SELECT count(*) FROM en57.snapshots"), 0);
    assert_eq!(
        session.text(look).split('}').next(),
        before.split('}').next()
    );
    session.run(&evolve(1));
    session.run("SELECT en57_create_fold('another', 'chain(jsonb,en57_event)')");
    let distinct = "SELECT count(DISTINCT number) FROM en57.folds";
    assert_eq!(session.number(distinct), 2, "numbers go on");
}

/// A function is replaced while a state is being made on a snapshot of the old one: nothing of that is in the result.
#[test]
fn replaced_under_way() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    let replace = |version: usize| {
        format!(
            "CREATE OR REPLACE FUNCTION slow(state jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
             BEGIN
                 IF e.type = 'wait' THEN PERFORM pg_advisory_xact_lock(1); END IF;
                 RETURN state || '{version}';
             END $$"
        )
    };
    session.run(&replace(1));
    session.run(
        "SELECT en57_create_fold('slow', 'slow(jsonb,en57_event)', '[]', snapshot_every => 2)",
    );
    session.append(&json!([{"type": "a"}, {"type": "a"}]), None);
    session.run("SELECT en57_state('slow', '{}')");
    assert_eq!(session.number("SELECT count(*) FROM en57.snapshots"), 1);
    session.append(&json!([{"type": "wait"}, {"type": "a"}]), None);
    session.run("SELECT pg_advisory_lock(1)");
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            db.connect()
                .text("SELECT state::text FROM en57_state('slow', '{}')")
        });
        await_that("the function waits", || {
            session.number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND NOT granted") == 1
        });
        session.run(&replace(2));
        session.run("SELECT pg_advisory_unlock(1)");
        assert_eq!(reader.join().expect("the reader succeeds"), "[2, 2, 2, 2]");
    });
    let again = "SELECT state::text FROM en57_state('slow', '{}')";
    assert_eq!(session.text(again), "[2, 2, 2, 2]");
}
