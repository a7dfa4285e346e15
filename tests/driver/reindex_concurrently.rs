//! REINDEX CONCURRENTLY beside appends. At its end the old index is still written, but soon not by everybody any more.
//!
//! Where an append looks into the old index because it is the first one of its kind (`Opened::index` takes any that
//! is written), it misses what others have written into the new one alone: a stream's version is given twice, and a
//! condition does not see what it should.

use serde_json::{Value, json};

use crate::dcb::key::{Namespace, key};
use crate::support::cluster::{Cluster, Database, await_that};
use crate::support::session::Session;

const OLD_INDEXES: &str = "SELECT array_agg(indexrelid::oid) FROM pg_index WHERE indrelid = 'en57.events_default'::regclass";

/// How many of the old indexes are such.
fn count(watch: &mut Session, old: &[u32], what: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM pg_index WHERE indexrelid = ANY ($1) AND {what}");
    watch.row(&sql, &[&old]).get(0)
}

fn blocks(watch: &mut Session, one: i32, other: i32) -> bool {
    let sql = "SELECT $1 = ANY (pg_blocking_pids($2))";
    watch.row(sql, &[&one, &other]).get(0)
}

/// A transaction that keeps a step of REINDEX waiting.
fn holder(db: &Database) -> (Session, i32) {
    let mut session = db.connect();
    session.run("BEGIN; LOCK TABLE en57.events_default IN ROW EXCLUSIVE MODE");
    let pid = session.pid();
    (session, pid)
}

/// Lets REINDEX go on until the new indexes have taken the place of the old ones, which are still written. Returns
/// who keeps it there.
fn lead_to_the_exchange(
    db: &Database,
    watch: &mut Session,
    old: &[u32],
    reindex: i32,
    first: (Session, i32),
) -> Session {
    let (mut now, mut pid) = first;
    loop {
        await_that("REINDEX waits", || blocks(watch, pid, reindex));
        if count(watch, old, "indisvalid") == 0 {
            assert_eq!(count(watch, old, "indisready"), old.len() as i64);
            return now;
        }
        let (next, next_pid) = holder(db);
        now.run("COMMIT");
        (now, pid) = (next, next_pid);
    }
}

/// A tag whose lock comes before those of others: locks are taken in the order of keys.
fn tag_before(keys: &[i64]) -> String {
    let tags = (0..).map(|n| format!("w:{n}"));
    let mut early = tags.filter(|tag| {
        keys.iter()
            .all(|k| key(Namespace::Tag, tag.as_bytes()) < *k)
    });
    early.next().expect("there are many tags")
}

#[test]
fn appends_that_have_waited_since_the_exchange_of_indexes_find_what_was_written_after_it() {
    let db = Cluster::shared().database();
    let mut watch = db.connect();
    watch.append(&json!({"type": "before", "tags": ["t"]}), None);
    let old: Vec<u32> = watch.row(OLD_INDEXES, &[]).get(0);
    let first = holder(&db);
    let mut reindexing = db.connect();
    let reindex = reindexing.pid();
    let mut keeper = db.connect();
    let mut writer = db.connect();
    writer.run("SET lock_timeout = '10s'");
    let waited_for = tag_before(&[key(Namespace::Tag, b"t"), key(Namespace::Stream, b"s")]);
    let to_stream = |session: &mut Session, event: &Value| -> (i64, i64) {
        let sql = "SELECT position, stream_version FROM en57_append($1, stream => 's')";
        let row = session.row(sql, &[event]);
        (row.get(0), row.get(1))
    };
    let late = json!({"type": "late", "tags": [waited_for]});
    let [mut one, mut other] = [db.connect(), db.connect()];
    let pids = [one.pid(), other.pid()];
    std::thread::scope(|scope| {
        let rebuilt =
            scope.spawn(move || reindexing.run("REINDEX TABLE CONCURRENTLY en57.events_default"));
        let mut last = lead_to_the_exchange(&db, &mut watch, &old, reindex, first);

        // Two appends wait: they have chosen the indexes that they look into.
        keeper.run("BEGIN");
        let depends = json!({"tags": [waited_for], "after": 1}).to_string();
        let kept = keeper.append(&json!({"type": "keeps"}), Some(&depends));
        assert!(kept.is_appended());
        let of_stream = scope.spawn(|| to_stream(&mut one, &late));
        let of_tag = scope.spawn(|| other.append(&late, Some(r#"{"tags": ["t"], "after": 1}"#)));
        for pid in pids {
            let sql = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted";
            let is_waiting = || watch.row(sql, &[&pid]).get::<_, i64>(0) == 1;
            await_that("an append waits", is_waiting);
        }

        // From now on the old indexes are not written by who comes.
        last.run("COMMIT");
        await_that("REINDEX gives the old indexes up", || {
            count(&mut watch, &old, "indisready") == 0
        });
        // It does not bear the tag that the others wait for, and so comes before them.
        let (position, version) =
            to_stream(&mut writer, &json!({"type": "written", "tags": ["t"]}));
        assert_eq!(version, 1);
        keeper.run("COMMIT");

        let (_, version) = of_stream.join().expect("it is appended");
        assert_eq!(version, 2, "no version is given twice");
        let refused = of_tag.join().expect("it is answered");
        assert_eq!(
            (refused.outcome.as_str(), refused.position),
            ("conflict", position)
        );
        rebuilt.join().expect("REINDEX ends");
    });
    assert_eq!(watch.number("SELECT count(*) FROM en57_check()"), 0);
}
