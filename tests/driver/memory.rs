//! A cursor over many events keeps the backend's memory where it is, since `SELECT en57_read(..)` streams; so does a fold.
//!
//! Without the batches of `rows` (a tuplestore, or a list of all that matches) it grows with the log.

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::random::scaled;
use crate::support::session::Session;

fn used_bytes(session: &mut Session) -> i64 {
    session.number("SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts")
}

#[test]
fn a_cursor_over_many_events() {
    const GROWTH_BYTES: i64 = 32 << 20;
    let total = scaled(200_000) / 10_000 * 10_000;
    let db = Cluster::shared().database();
    let mut session = db.connect();
    for first in (0..total).step_by(10_000) {
        let event = |n: usize| json!({"type": format!("y{}", n % 3), "tags": [format!("t:{}", n % 7), "all"], "data": {"n": n}});
        session.append(
            &Value::Array((first..first + 10_000).map(event).collect()),
            None,
        );
    }
    // Nothing of the appends is left either.
    let mut session = db.connect();
    let of = |n: usize| total.div_ceil(n);
    let reads = [
        ("en57_read()", total),
        ("en57_read(backwards => true)", total),
        (r#"en57_read('{"tags": ["all"]}')"#, total),
        (
            r#"en57_read('[{"types": ["y0"], "tags": ["all"]}, {"types": ["y1", "y2"]}]', backwards => true)"#,
            total,
        ),
        (r#"en57_read('{"tags": ["all", "t:0"]}')"#, of(7)),
    ];
    for (read, expected) in reads {
        session.run(&format!(
            "BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT {read}"
        ));
        session.run("MOVE 10 IN c");
        let before = used_bytes(&mut session);
        let mut moved = 10;
        loop {
            let n = session
                .client
                .simple_query("MOVE 9999 IN c")
                .expect("it moves");
            let n = n.iter().find_map(|m| match m {
                postgres::SimpleQueryMessage::CommandComplete(n) => Some(*n as usize),
                _ => None,
            });
            let grown = used_bytes(&mut session) - before;
            assert!(
                grown < GROWTH_BYTES,
                "{read}: {grown} bytes more after {moved} events"
            );
            match n {
                None | Some(0) => break,
                Some(n) => moved += n,
            }
        }
        assert_eq!(moved, expected, "{read}");
        session.run("COMMIT");
    }
}

/// The most memory that a backend has had, in kB.
fn peak_kb(pid: i32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells");
    let line = status.lines().find(|l| l.starts_with("VmHWM"));
    let number = line.and_then(|l| l.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).expect("a number")
}

/// What upcasters leave behind is given back event by event: a fold reads all events at once.
#[test]
fn a_fold_over_many_upcast_events() {
    const GROWTH_KB: i64 = 16 << 10;
    let total = scaled(20_000) / 10_000 * 10_000;
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(
        "CREATE FUNCTION up(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN e.data := e.data || '{\"up\": 1}'; RETURN e; END $$;
         CREATE FUNCTION ups(state jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN RETURN to_jsonb(coalesce(state::int, 0) + coalesce((e.data->>'up')::int, 0)); END $$;
         SELECT en57_create_fold('ups', 'ups(jsonb,en57_event)', snapshot_every => NULL)",
    );
    for first in (0..total).step_by(10_000) {
        let event = |n: usize| json!({"type": "t", "data": {"n": n, "text": "x".repeat(200)}});
        session.append(
            &Value::Array((first..first + 10_000).map(event).collect()),
            None,
        );
    }
    let mut session = db.connect();
    let pid = session.pid();
    let fold = "SELECT state::text::bigint FROM en57_fold('{}', 'ups(jsonb,en57_event)')";
    // The pages of the log are in the process now.
    assert_eq!(session.number(fold), 0);
    let before = peak_kb(pid);
    session.run("SELECT en57_register_upcaster('t', 1, 'up(en57_event)')");
    let states = [
        fold,
        "SELECT state::text::bigint FROM en57_state('ups', '{}')",
    ];
    for sql in states {
        assert_eq!(session.number(sql), total as i64, "{sql}");
        let grown = peak_kb(pid) - before;
        assert!(grown < GROWTH_KB, "{sql}: {grown} kB more");
    }
}

/// What each way to get at large events takes of memory; the page on importing and the reference show the table.
/// Without bounds by bytes each takes hundreds of MB.
#[test]
fn of_large_events() {
    const GROWTH_KB: i64 = 96 << 10;
    const EVENTS: i64 = 100;
    let db = Cluster::shared().database();
    let mut session = db.connect();
    // They compress well, so the server's buffers, which count as well once they are touched, say little.
    session.run(&format!(
        "CREATE TABLE source AS SELECT n::bigint AS position, 'large' AS type, to_jsonb(repeat(n::text, 3000000 / length(n::text))) AS data
             FROM generate_series(1, {EVENTS}) n;
         CREATE TABLE seen (n bigint);
         CREATE FUNCTION see(e en57_event) RETURNS void LANGUAGE sql AS 'INSERT INTO public.seen VALUES (e.position)';
         CREATE FUNCTION last(d jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
             $$ SELECT to_jsonb(length(e.data #>> '{{}}')) $$;
         CREATE FUNCTION one(e en57_event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'one' $$;"
    ));
    let ways = [
        ("import", "SELECT en57_import_from('source')"),
        ("import in batches", "CALL en57_import_in_batches('again', 'source')"),
        (
            "refused append",
            "SELECT outcome FROM en57_append('{\"type\": \"x\"}', fail_if => '{\"types\": [\"large\"]}')",
        ),
        (
            "refused append, raised",
            "DO $$ BEGIN PERFORM en57_append('{\"type\": \"x\"}', fail_if => '{\"types\": [\"large\"]}', on_conflict => 'raise');
                EXCEPTION WHEN SQLSTATE 'N5701' THEN NULL; END $$",
        ),
        (
            "cursor",
            "BEGIN; DECLARE c CURSOR FOR SELECT en57_read('{\"types\": [\"large\"]}'); MOVE 1 IN c; MOVE ALL IN c; COMMIT",
        ),
        (
            "page of a context",
            "SELECT position, cardinality(events) FROM en57_context('{\"types\": [\"large\"]}', max_count => 100)",
        ),
        (
            "run of a handler",
            "SELECT en57_create_projection('seen', '{\"types\": [\"large\"]}', 'see(en57_event)', mode => 'async'); SELECT en57_run('seen')",
        ),
        (
            "document projection",
            "SELECT en57_create_document_projection('one', '{\"types\": [\"large\"]}', key => 'one(en57_event)'::regprocedure, evolve => 'last(jsonb,en57_event)')",
        ),
        ("rebuild", "CALL en57_rebuild('one')"),
    ];
    for (way, sql) in ways {
        let mut session = db.connect();
        session.run("SELECT en57_count('{\"types\": [\"none\"]}')");
        let pid = session.pid();
        let before = peak_kb(pid);
        session
            .client
            .batch_execute(sql)
            .unwrap_or_else(|e| panic!("{way}: {e:?}"));
        let grown = peak_kb(pid) - before;
        println!("{way}: {} MB", grown >> 10);
        assert!(grown < GROWTH_KB, "{way}: {grown} kB more");
    }
    assert_eq!(session.number("SELECT count(*) FROM seen"), 2 * EVENTS);
}

/// A rebuild has some large documents in memory, not all that its next thousand events change: 320 MB here.
#[test]
fn of_large_documents() {
    const GROWTH_KB: i64 = 190 << 10;
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(
        "CREATE FUNCTION grow(d jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
             $$ SELECT jsonb_build_object('n', coalesce((d ->> 'n')::int, 0) + 1, 'text', coalesce(d ->> 'text', repeat('x', 2000000))) $$;
         SELECT en57_create_document_projection('large', '{}', 'tag:k:', 'grow');",
    );
    for _ in 0..2 {
        let events = (0..160).map(|n| json!({"type": "t", "tags": [format!("k:{n}")]}));
        session.append(&Value::Array(events.collect()), None);
    }
    let mut session = db.connect();
    session.run("SELECT en57_count('{}')");
    let pid = session.pid();
    let before = peak_kb(pid);
    session.run("CALL en57_rebuild('large')");
    let grown = peak_kb(pid) - before;
    println!("rebuild of large documents: {} MB", grown >> 10);
    assert!(grown < GROWTH_KB, "{grown} kB more");
    let right =
        "SELECT count(*) FROM large WHERE doc ->> 'n' = '2' AND length(doc ->> 'text') = 2000000";
    assert_eq!(session.number(right), 160);
}
