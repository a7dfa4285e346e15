//! The frontier is local: an idle transaction that has appended holds back those who could see its events,
//! at its first position, and nobody else.
//!
//! With the plain frontier for every query (no `writers_of` in `read.rs`) the clients on other tags do not see
//! their own newest events and conflict for ever. Without the slots nothing holds back at all.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::{Cluster, await_that};
use crate::support::crew::crew;
use crate::support::random::scaled;
use crate::support::session::{Session, state};

/// Read, decide, append on `tag`, again and again: never a conflict, always the newest state.
fn count_up(session: &mut Session, tag: &str, times: i64) {
    let query = json!({"tags": [tag], "types": ["counted"]}).to_string();
    for n in 0..times {
        let sql = "SELECT position, cardinality(events) FROM en57_context($1::text::en57_query)";
        let row = session.row(sql, &[&query]);
        let (position, count): (i64, i32) = (row.get(0), row.get(1));
        assert_eq!(i64::from(count), n, "{tag}: its own newest events");
        let condition = json!({"tags": [tag], "types": ["counted"], "after": position}).to_string();
        let answer = session.append(
            &json!({"type": "counted", "tags": [tag, format!("n:{n}")]}),
            Some(&condition),
        );
        assert!(answer.is_appended(), "{tag}: {answer:?}");
    }
}

#[test]
fn an_idle_appender_holds_back_only_its_own_readers() {
    let db = Cluster::shared().database();
    let [mut idle, mut reader, mut writer] = [db.connect(), db.connect(), db.connect()];
    writer.append(&json!({"type": "first", "tags": ["a"]}), None);
    idle.run("BEGIN");
    let held = idle.append(
        &json!([{"type": "ta", "tags": ["a"]}, {"type": "ta", "tags": ["a", "a2"]}]),
        None,
    );
    let first = held.first.expect("a first position");

    // 16 clients go on as if nobody were there.
    let times = scaled(100) as i64;
    let start = Instant::now();
    crew(16, |n| {
        count_up(&mut db.connect(), &format!("b:{n}"), times)
    });
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(10) * scaled(1) as u32,
        "16 clients took {took:?}"
    );
    writer.append(&json!({"type": "ta", "tags": ["c"]}), None);
    let newest = writer
        .append(&json!({"type": "other", "tags": ["a2"]}), None)
        .position;

    // Who could see its events stops before them ...
    let heads = |reader: &mut Session, query: &str| -> i64 {
        reader
            .row("SELECT en57_head($1::text::en57_query)", &[&query])
            .get(0)
    };
    for query in [
        "{}",
        r#"{"tags": ["a"]}"#,
        r#"{"types": ["ta"]}"#,
        r#"{"tags": ["a", "a2"]}"#,
        r#"[{"tags": ["b:1"]}, {"tags": ["a2"]}]"#,
    ] {
        assert_eq!(heads(&mut reader, query), first - 1, "{query}");
        assert!(
            reader.positions(query).iter().all(|p| *p < first),
            "{query}"
        );
    }
    // ... and who could not, does not: also where it holds one of two keys that an event needs.
    for query in [
        r#"{"tags": ["c"]}"#,
        r#"{"types": ["other"]}"#,
        r#"{"types": ["other"], "tags": ["a2"]}"#,
        r#"{"tags": ["b:1", "a"]}"#,
    ] {
        assert!(heads(&mut reader, query) >= newest, "{query}");
    }
    assert_eq!(reader.positions(r#"{"tags": ["c"]}"#), [newest - 1]);
    assert_eq!(
        reader.positions(r#"{"types": ["counted"]}"#).len() as i64,
        16 * times
    );

    // A session that has appended sees it, where the query allows; where not, it waits, and says so.
    assert_eq!(writer.positions(r#"{"types": ["other"]}"#), [newest]);
    writer.run("SET en57.wait_timeout = '50ms'");
    for sql in [
        "SELECT * FROM en57_read()",
        "SELECT en57_head()",
        "SELECT en57_count('{\"tags\": [\"a2\"]}')",
    ] {
        let error = writer
            .try_rows(sql, &[])
            .expect_err("the idle one is below");
        assert_eq!(state(&error), "N5706", "{sql}");
    }
    writer.run("SET en57.wait_timeout = 0");
    let waited = std::thread::scope(|scope| {
        let pid = writer.pid();
        let waiting = scope.spawn(|| writer.positions("{}"));
        await_that("the writer waits", || {
            let sql =
                "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1 AND state = 'active'";
            let rows = reader.rows(sql, &[&pid]);
            rows.first()
                .is_some_and(|r| r.get::<_, Option<String>>(0).as_deref() == Some("Extension"))
        });
        idle.run("COMMIT");
        waiting.join().expect("it reads")
    });
    assert!(waited.contains(&first) && waited.contains(&newest));
    assert_eq!(heads(&mut reader, "{}"), newest);
    assert_eq!(
        reader.positions(r#"{"tags": ["a"]}"#),
        [1, first, first + 1]
    );
}

/// Savepoints do not free what was allotted; a rollback does, at once.
#[test]
fn a_rolled_back_append_holds_back_until_its_transaction_ends() {
    let db = Cluster::shared().database();
    let [mut idle, mut writer] = [db.connect(), db.connect()];
    idle.run("BEGIN; SAVEPOINT s");
    let gone = idle
        .append(&json!({"type": "t", "tags": ["a"]}), None)
        .position;
    idle.run("ROLLBACK TO s");
    assert_eq!(idle.positions("{}"), [0_i64; 0]);
    let position = writer
        .append(&json!({"type": "t", "tags": ["b"]}), None)
        .position;
    assert!(position > gone);
    // It may go on to append under its first position's cover.
    let again = idle
        .append(&json!({"type": "t", "tags": ["a"]}), None)
        .position;
    assert!(again > position);
    idle.run("ROLLBACK");
    assert_eq!(writer.positions("{}"), [position]);
    assert_eq!(writer.head(), again, "the gap is final");
}

#[test]
fn old_transactions_that_have_not_appended_hold_back_nobody() {
    let db = Cluster::shared().database();
    let [mut old, mut repeating, mut conditional, mut writer] =
        [db.connect(), db.connect(), db.connect(), db.connect()];
    old.run("CREATE TABLE other (n int); BEGIN; INSERT INTO other VALUES (1)");
    repeating.run("BEGIN ISOLATION LEVEL SERIALIZABLE");
    assert_eq!(repeating.number("SELECT en57_count()"), 0);
    let first = writer
        .append(&json!({"type": "t", "tags": ["a"]}), None)
        .position;
    conditional.run("BEGIN");
    // It was refused, so it has no position.
    assert!(
        conditional
            .append(&json!({"type": "t"}), Some(r#"{"tags": ["a"]}"#))
            .is_conflict()
    );
    let second = writer
        .append(&json!({"type": "u", "tags": ["b"]}), None)
        .position;
    let mut reader = db.connect();
    assert_eq!(reader.positions("{}"), [first, second]);
    assert_eq!(reader.head(), second);
    assert_eq!(
        repeating.number("SELECT en57_count()"),
        0,
        "reads of one transaction repeat"
    );
    repeating.run("COMMIT");
    assert_eq!(repeating.number("SELECT en57_count()"), 2);
}

/// What conditions wait for: those who have written what they check, and nobody else.
#[test]
fn only_a_condition_on_its_tag_waits_for_an_idle_appender() {
    let db = Cluster::shared().database();
    let [mut idle, mut other, mut watch] = [db.connect(), db.connect(), db.connect()];
    idle.run("BEGIN");
    let held = idle
        .append(&json!({"type": "ta", "tags": ["a"]}), None)
        .position;
    other.run("SET lock_timeout = '5s'");
    assert!(
        other
            .append(
                &json!({"type": "tb", "tags": ["b"]}),
                Some(r#"{"tags": ["b"]}"#)
            )
            .is_appended()
    );
    assert!(
        other
            .append(&json!({"type": "ta", "tags": ["a"]}), None)
            .is_appended()
    );
    assert!(
        other
            .append(&json!({"type": "tb"}), Some(r#"{"tags": ["b", "a"]}"#))
            .is_appended()
    );
    other.run("SET lock_timeout = 0");
    let pid = other.pid();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            other.append(
                &json!({"type": "tb"}),
                Some(r#"{"tags": ["a"], "types": ["ta"]}"#),
            )
        });
        await_that("the condition waits", || {
            let sql = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted";
            watch.row(sql, &[&pid]).get::<_, i64>(0) > 0
        });
        idle.run("COMMIT");
        let answer = waiting.join().expect("it ends");
        assert!(
            answer.is_conflict() && answer.conflicting().contains(&held),
            "{answer:?}"
        );
    });
}

/// What a reader has seen stays: a transaction that was in flight before, and only now appends what the reader's
/// query could match, does not take back what others had committed in between.
#[test]
fn reads_do_not_go_back() {
    let db = Cluster::shared().database();
    let [mut idle, mut writer, mut reader] = [db.connect(), db.connect(), db.connect()];
    let query = r#"{"tags": ["q"]}"#;
    idle.run("BEGIN");
    idle.append(&json!({"type": "ta", "tags": ["a"]}), None);
    let seen = writer
        .append(&json!({"type": "tq", "tags": ["q"]}), None)
        .position;
    let head = "SELECT en57_head('{\"tags\": [\"q\"]}')";
    assert_eq!(reader.positions(query), [seen]);
    let before = reader.number(head);
    let late = idle
        .append(&json!({"type": "tq", "tags": ["q"]}), None)
        .position;
    assert_eq!(
        reader.positions(query),
        [seen],
        "an event that was read is gone"
    );
    assert!(reader.number(head) >= before, "the head goes back");
    assert!(reader.number(head) < late);
    idle.run("COMMIT");
    assert_eq!(reader.positions(query), [seen, late]);
}
