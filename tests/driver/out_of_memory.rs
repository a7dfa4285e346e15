//! Memory that is not to be had ends a statement, or at most its session, with 53200; the server and all other sessions go
//! on, and nothing is left half done.
//!
//! Without en57's allocator (`src/store/pg/allocator.rs`) Rust aborts the process, and PostgreSQL ends all sessions of the
//! server. Without its reserve, errors within the reports of errors do the same. Without the room that `transaction::wrote` makes before a commit, one that is done would have to be undone.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database, until};
use crate::support::followed::{self, Seen};
use crate::support::random::scaled;
use crate::support::session::{Session, state, told};
use crate::support::shim::Shim;

/// What is tried with less memory than it takes. Each leaves the followed log as it is, but for what is appended.
const CALLS: [(&str, &str); 6] = [
    (
        "read",
        "SELECT count(*) FROM (SELECT * FROM en57_read('[{\"tags\": [\"d:1\"]}, {\"stream_prefix\": \"st:\"}]') OFFSET 0) e",
    ),
    (
        "fold",
        "SELECT en57_fold('{\"tags\": [\"d:2\"]}', 'chain(jsonb,en57_event)')",
    ),
    ("lock", "SELECT en57_lock('{\"tags\": [\"d:3\"]}')"),
    (
        "poll",
        "BEGIN; SELECT count(*) FROM en57_poll('s', 10); ROLLBACK",
    ),
    ("check", "SELECT count(*) FROM en57_check()"),
    (
        "import",
        "BEGIN; SELECT en57_import_from('source'); ROLLBACK",
    ),
];

fn is_out_of_memory(error: &postgres::Error, what: &str) {
    let is_told = match state(error) {
        "53200" => true,
        // A time zone whose file there is no memory for.
        "22023" => told(error).contains("TimeZone"),
        // The system's loader says so of a library, where it finds no memory for it.
        "58P01" => told(error).contains("could not load library"),
        // So does PostgreSQL's library for regular expressions.
        "2201B" => told(error).contains("out of memory"),
        _ => error.is_closed(),
    };
    assert!(is_told, "{what}: {}", told(error));
}

/// Whether the session has ended with it; the client may hear of that later.
fn ends_session(error: &postgres::Error) -> bool {
    error.is_closed() || error.as_db_error().is_none_or(|e| e.severity() == "FATAL")
}

/// The same server as before: it has restarted for nobody.
fn started(session: &mut Session) -> String {
    session.text("SELECT pg_postmaster_start_time()::text || (SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'checkpointer')")
}

fn prepared(cluster: &'static Cluster) -> (Database, Session, Seen) {
    let db = cluster.database();
    let mut session = db.connect();
    followed::prepare(&mut session);
    session.run("CREATE TABLE source AS SELECT n::bigint AS position, 'x' AS type, ARRAY['n:' || n] AS tags FROM generate_series(1, 50) n");
    let mut seen = Seen::default();
    seen.append(&mut session, 20);
    (db, session, seen)
}

/// A session that has loaded the library: glibc ends a process itself where it finds no memory for the thread-local values
/// of a library. A session that has loaded PL/pgSQL in part only cannot load the rest later.
fn with_library(db: &Database) -> Session {
    let mut session = db.connect();
    session.run("LOAD 'plpgsql'");
    session.head();
    session
}

/// Refuses one request for memory after the other, of whatever in the process asks for it.
#[test]
fn at_each_request() {
    let (cluster, shim) = Shim::cluster(&["autovacuum = off"]);
    let (db, mut observer, mut seen) = prepared(&cluster);
    let before = started(&mut observer);
    let (mut failed, mut ended) = (0, 0);
    // Appends, with a fresh session each time, and with one that has all that it needs.
    for n in (0..scaled(400)).step_by(scaled(1)) {
        let mut session = with_library(&db);
        if n % 2 == 1 {
            seen.append(&mut session, 2);
        }
        let pid = session.pid();
        shim.refuse_memory(pid, (n / 2) as i64);
        let outcome = seen.try_append(&mut session);
        let was_refused = shim.memory_is_back();
        if let Err(error) = outcome {
            is_out_of_memory(&error, "append");
            failed += 1;
            if ends_session(&error) {
                ended += 1;
                // It may have been committed before its answer was lost.
                assert!(
                    until(|| (observer.number(&format!(
                        "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"
                    )) == 0)
                        .then_some(()))
                    .is_some()
                );
            } else {
                seen.append(&mut session, 1);
            }
        }
        seen.last = seen.last.max(observer.head());
        if !was_refused && n > 20 {
            break;
        }
    }
    println!("append: {failed} refused, {ended} sessions of them ended");
    assert!(failed > 10, "{failed} appends met a lack of memory");
    assert_eq!(observer.number("SELECT count(*) FROM en57.in_flight()"), 0);
    for (what, sql) in CALLS {
        let (mut failed, mut ended) = (0, 0);
        let mut session = with_library(&db);
        for n in 0..scaled(40) {
            let pid = session.pid();
            shim.refuse_memory(pid, (n * (1 + n / 10)) as i64);
            let outcome = session.try_run(sql);
            let was_refused = shim.memory_is_back();
            match outcome {
                Ok(()) if !was_refused => break,
                Ok(()) => {}
                Err(error) => {
                    is_out_of_memory(&error, what);
                    failed += 1;
                    if ends_session(&error) {
                        ended += 1;
                        session = with_library(&db);
                    }
                }
            }
            session.run("ROLLBACK");
        }
        println!("{what}: {failed} refused, {ended} sessions of them ended");
    }
    seen.last = observer.head();
    assert_eq!(started(&mut observer), before, "the server has restarted");
    seen.goes_on(&db);
}

/// A process that has reached the limit of its memory, in the middle of large things.
#[test]
fn at_the_limit_of_a_process() {
    let cluster = Cluster::own(&["autovacuum = off"]);
    let (db, mut observer, mut seen) = prepared(&cluster);
    let before = started(&mut observer);
    observer.run(
        "SELECT en57_create_partition('large');
         CREATE TABLE large AS SELECT n::bigint AS position, 'x' AS type, to_jsonb(repeat(md5(n::text), 6000)) AS data,
             ARRAY['t:' || n % 7] AS tags FROM generate_series(1, 150) n;
         SELECT en57_import_from('large', partition => 'large');
         CREATE FUNCTION gather(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
             $$ SELECT coalesce(doc, '[]') || jsonb_build_array(e.data) $$;
         SELECT en57_create_document_projection('gathered', '{}', 'tag:t:', 'gather(jsonb,en57_event)', partition => 'large', mode => 'async')",
    );
    let many: Vec<Value> = (0..3000)
        .map(|n| json!({"type": "y", "data": "x".repeat(5000), "tags": [format!("many:{n}")]}))
        .collect();
    let many = json!(many).to_string().replace('\'', "");
    let calls = [
        (
            "import",
            "BEGIN; SELECT en57_import_from('large', partition => 'large'); ROLLBACK".to_owned(),
        ),
        (
            "append",
            format!("BEGIN; SELECT en57_append('{many}', partition => 'large'); ROLLBACK"),
        ),
        (
            "fold",
            "SELECT en57_fold('{}', 'gather(jsonb,en57_event)', partition => 'large')".to_owned(),
        ),
        ("rebuild", "CALL en57_rebuild('gathered')".to_owned()),
        ("run", "SELECT en57_run('gathered')".to_owned()),
        (
            "context",
            "SELECT en57_context('{}', partition => 'large', max_count => 300)".to_owned(),
        ),
    ];
    for (what, sql) in &calls {
        let mut refused = 0;
        // Each of them ends at another request for memory: one of PostgreSQL's, of Rust's, or of the report of an error.
        let rooms = 1..=scaled(32);
        for room in rooms.clone() {
            let mut session = db.connect();
            session.number("SELECT count(*) FROM en57_read()");
            limit(session.pid(), room as u64 * 375_000);
            if let Err(error) = session.try_run(sql) {
                is_out_of_memory(&error, what);
                refused += 1;
            }
        }
        println!("{what}: {refused} of {} refused", rooms.end());
        observer.run("SELECT en57_create_partition('anew'); SELECT en57_drop_partition('anew')");
    }
    assert_eq!(started(&mut observer), before, "the server has restarted");
    observer.run("DROP TABLE IF EXISTS none; CALL en57_rebuild('gathered'); SELECT en57_drop_projection('gathered'); SELECT en57_drop_partition('large')");
    seen.last = observer.head();
    seen.goes_on(&db);
}

/// Lets a process have so much more memory than it has.
fn limit(pid: i32, bytes: u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells");
    let line = status.lines().find(|l| l.starts_with("VmSize"));
    let kb: u64 = line
        .and_then(|l| l.split_whitespace().nth(1))
        .and_then(|n| n.parse().ok())
        .expect("a size");
    let limit = format!("--as={}", (kb << 10) + bytes);
    let done =
        crate::support::cluster::as_user(&["prlimit", &format!("--pid={pid}"), &limit]).status();
    assert!(
        done.is_ok_and(|s| s.success()),
        "prlimit (util-linux) is needed for this test"
    );
}
