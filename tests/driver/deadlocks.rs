//! Appends that cross.
//!
//! Single appends take their locks in one order, and what is both checked and written is locked so at once:
//! without the ascending order, or with an upgrade from Share, PostgreSQL finds deadlocks here. Transactions
//! of several appends may deadlock: PostgreSQL ends one of them, and nothing of it stays. Where documents are locked before
//! keys, or among them, appends deadlock with those who have locked a key by `en57_lock`, or to decide.

use postgres::Error;
use serde_json::json;

use crate::support::cluster::{Cluster, await_that};
use crate::support::crew::crew;
use crate::support::documents::{self, BY_FUNCTION, BY_TAG, EVOLVE};
use crate::support::random::{Random, scaled};
use crate::support::session::{Session, state, told};

/// Each append checks and writes several of six keys, in any order.
#[test]
fn single_appends_queue() {
    let db = Cluster::shared().database();
    let each = scaled(150);
    crew(16, |client| {
        let mut session = db.connect();
        session.run("SET deadlock_timeout = '20ms'");
        let mut random = Random::new(200 + client as u64);
        for _ in 0..each {
            let mut keys: Vec<String> = (0..6).map(|k| format!("key:{k}")).collect();
            random.shuffle(&mut keys);
            keys.truncate(random.between(2, 4));
            let events: Vec<_> = keys
                .iter()
                .map(|k| json!({"type": "crossed", "tags": [k]}))
                .collect();
            // Checks some that it writes, and one that it may not write.
            let mut checked = keys[1..].to_vec();
            checked.push(format!("key:{}", random.below(6)));
            let never: Vec<_> = checked
                .iter()
                .map(|k| json!({"tags": [k], "after": 1_000_000_000}))
                .collect();
            let answer = session.append(&json!(events), Some(&json!(never).to_string()));
            assert!(answer.is_appended(), "{answer:?}");
        }
    });
}

const DECIDER: &str = r#"
    CREATE FUNCTION about(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
        SELECT en57_query(tags => ARRAY[command->>'tag']) $$;
    CREATE FUNCTION touch(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT jsonb_build_object('type', 'changed', 'tags', jsonb_build_array(command->>'tag', command->>'by')) $$;
    SELECT en57_create_decider('touch', 'about(jsonb)', 'chain(jsonb,en57_event)', 'touch(jsonb,jsonb)');
"#;

/// Who locks, and then appends, beside those who only append, all to the same few documents.
#[test]
fn locks_before_appends_to_documents() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(EVOLVE);
    session.run(DECIDER);
    documents::create(&mut session, "by_tag", BY_TAG, "inline");
    documents::create(&mut session, "by_function", BY_FUNCTION, "inline");
    let each = scaled(100);
    crew(16, |client| {
        let mut session = db.connect();
        session.run("SET deadlock_timeout = '20ms'");
        let mut random = Random::new(300 + client as u64);
        let by = format!("by:{client}");
        for n in 0..each {
            let tag = format!("d:{}", random.below(3));
            let event = json!({"type": "changed", "tags": [tag, by]});
            let query = json!({"tags": [tag], "after": 1_000_000_000}).to_string();
            let answer = match random.below(6) {
                0 => session.try_append(&event, None),
                1 => session.try_append(&event, Some(&query)),
                2 => {
                    let (other, id) = (
                        format!("d:{}", random.below(3)),
                        uuid::Uuid::from_u64_pair(client as u64, n as u64).to_string(),
                    );
                    let other = json!({"id": id, "type": "changed", "tags": [other, by]});
                    session.try_append(&json!([other, event]), None)
                }
                3 => {
                    let command = json!({"tag": tag, "by": by});
                    session.row("SELECT en57_decide('touch', $1)", &[&command]);
                    continue;
                }
                _ => {
                    session.run("BEGIN");
                    session.row("SELECT en57_lock(($1)::jsonb)", &[&json!({"tags": [tag]})]);
                    let answer = session.try_append(&event, None);
                    session.run("COMMIT");
                    answer
                }
            };
            let answer = answer.unwrap_or_else(|e| panic!("{}", told(&e)));
            assert!(answer.is_appended(), "{answer:?}");
        }
    });
    for table in ["by_tag", "by_function"] {
        assert_eq!(documents::wrong(&mut session, table), 0, "{table}");
    }
}

#[test]
fn a_deadlock_of_transactions_leaves_nothing_half_stored() {
    let db = Cluster::shared().database();
    let mut watch = db.connect();
    for round in 0..scaled(10) {
        let (x, y) = (format!("x:{round}"), format!("y:{round}"));
        let step = |session: &mut crate::support::session::Session, tag: &str, by: &str| {
            let event = json!({"type": "step", "tags": [tag, by]});
            session.try_append(
                &event,
                Some(&json!({"tags": [tag], "after": 1_000_000_000}).to_string()),
            )
        };
        let [mut a, mut b] = [db.connect(), db.connect()];
        let (by_a, by_b) = (format!("a:{round}"), format!("b:{round}"));
        for session in [&mut a, &mut b] {
            session.run("SET deadlock_timeout = '20ms'; BEGIN");
        }
        step(&mut a, &x, &by_a).expect("x is free");
        step(&mut b, &y, &by_b).expect("y is free");
        let a_pid = a.pid();
        let (a_ended, b_ended) = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (step(&mut a, &y, &by_a), a.try_run("COMMIT")).0.err());
            await_that("a waits for y", || {
                let sql = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted";
                waiting.is_finished() || watch.row(sql, &[&a_pid]).get::<_, i64>(0) > 0
            });
            let b_ended = (step(&mut b, &x, &by_b), b.try_run("COMMIT")).0.err();
            (waiting.join().expect("a's thread ends"), b_ended)
        });
        let ended: Vec<&str> = [&a_ended, &b_ended]
            .iter()
            .filter_map(|e| e.as_ref().map(state))
            .collect();
        assert_eq!(ended, ["40P01"], "exactly one is ended");
        let stored = |watch: &mut crate::support::session::Session, tag: &str| {
            watch.positions(&json!({"tags": [tag]}).to_string()).len()
        };
        let (of_a, of_b) = (stored(&mut watch, &by_a), stored(&mut watch, &by_b));
        let expected = if a_ended.is_some() { (0, 2) } else { (2, 0) };
        assert_eq!((of_a, of_b), expected);
    }
}

/// a sleeps until b has ended, b waits for a lock of c, c sleeps until a has ended: PostgreSQL sees one of these waits.
#[test]
fn reads_that_sleep_in_a_circle_with_a_lock_are_a_deadlock() {
    let db = Cluster::shared().database();
    let mut watch = db.connect();
    let event = |tag: &str| json!({"type": format!("of {tag}"), "tags": [tag]});
    let query = |tag: &str| json!({"tags": [tag]}).to_string();
    let [mut a, mut b, mut c] = [db.connect(), db.connect(), db.connect()];
    // a looks first, so it is a that is ended.
    a.run("SET deadlock_timeout = '20ms'; SET en57.wait_timeout = '10s'");
    b.run("SET deadlock_timeout = '20ms'");
    c.run("SET deadlock_timeout = '1min'; SET en57.wait_timeout = 0");
    let (b_pid, c_pid) = (b.pid(), c.pid());

    b.run("BEGIN");
    b.append(&event("behind b"), None);
    let by_a = a.append(&event("behind b"), None).position;
    a.run("BEGIN");
    a.append(&event("behind a"), None);
    let by_c = c.append(&event("behind a"), None).position;
    c.run("BEGIN");
    let condition = json!({"tags": ["of c"]}).to_string();
    assert!(c.append(&event("other"), Some(&condition)).is_appended());

    let read = |session: &mut Session, tag: &str| -> Result<Vec<i64>, Error> {
        let sql = "SELECT position FROM en57_read($1::text::en57_query)";
        let rows = session.try_rows(sql, &[&query(tag)])?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    };
    std::thread::scope(|scope| {
        let of_b = scope.spawn(move || {
            let appended = b.append(&event("of c"), None);
            b.run("COMMIT");
            appended.is_appended()
        });
        await_that("b waits for c", || {
            let sql = "SELECT $1 = ANY (pg_blocking_pids($2))";
            watch.row(sql, &[&c_pid, &b_pid]).get(0)
        });
        let of_c = scope.spawn(move || {
            let found = read(&mut c, "behind a");
            c.run("COMMIT");
            found
        });
        await_that("c sleeps", || {
            let sql = "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $1";
            watch.row(sql, &[&c_pid]).get::<_, Option<bool>>(0) == Some(true)
        });
        let ended = read(&mut a, "behind b").expect_err("it would never end");
        assert_eq!(state(&ended), "40P01", "{}", told(&ended));
        let told = told(&ended);
        assert!(
            told.contains(&format!("of process {b_pid}, which waits")),
            "{told}"
        );
        a.run("ROLLBACK");
        let found = of_c
            .join()
            .expect("c's thread ends")
            .expect("it can read by now");
        assert_eq!(
            found,
            [by_c],
            "what a appended in its transaction is undone"
        );
        assert!(of_b.join().expect("b's thread ends"));
    });
    assert_eq!(watch.positions(&query("behind b")), [by_a - 1, by_a]);
}
