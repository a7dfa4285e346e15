//! Deciders under contention: every decision is made on what all decisions before it have left, without retries, at
//! every isolation level.
//!
//! Without the lock in `decider.rs` (`append::lock_query`) seats are sold twice. Without the look for the ids of a
//! command that was sent before, it is decided again. At REPEATABLE READ and SERIALIZABLE two things each suffice:
//! that the lock begins a new moment, and that what is locked is read without one (`View::ALL`). Where of several
//! tags only the rarest is locked, or who holds the root waits for it in a stronger mode, decisions deadlock.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database};
use crate::support::crew::{Gate, crew};
use crate::support::random::scaled;
use crate::support::session::{Session, state, told};

const CLIENTS: usize = 16;

/// Each sale notes how many seats were left; nothing is sold where none is.
const DECIDER: &str = "
    CREATE FUNCTION sale_query(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
        SELECT en57_query(tags => ARRAY['course:' || (command->>'course')]) $$;
    CREATE FUNCTION sale_evolve(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT to_jsonb((state#>>'{}')::int - 1) $$;
    CREATE FUNCTION sale_decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE WHEN (state#>>'{}')::int > 0 THEN jsonb_build_object('type', 'seat sold', 'data', state,
            'tags', ARRAY['course:' || (command->>'course')] || coalesce('by:' || (command->>'by'), 'by:nobody')) END $$";

fn database(seats: usize, snapshot_every: &str) -> Database {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(DECIDER);
    session.run(&format!(
        "SELECT en57_create_decider('sell', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)',
             'sale_decide(jsonb,jsonb)', initial => '{seats}', snapshot_every => {snapshot_every})"
    ));
    db
}

const DECIDE: &str =
    "SELECT outcome::text, position, first_position FROM en57_decide('sell', $1, command_id => $2)";

fn decide(session: &mut Session, command: &Value, id: Option<uuid::Uuid>) -> (String, i64) {
    let row = session.row(DECIDE, &[command, &id]);
    (row.get(0), row.get(1))
}

/// Sells all seats of a course; none twice, none left.
fn sells_out(snapshot_every: &str) {
    let seats = CLIENTS * scaled(20);
    let db = database(seats, snapshot_every);
    let gate = Gate::new(CLIENTS);
    let levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
    let sold: usize = crew(CLIENTS, |client| {
        let mut session = db.connect();
        let mut sold = 0;
        gate.pass();
        for n in 0.. {
            let level = levels[(client + n) % levels.len()];
            session.run(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT en57_count()"
            ));
            let (outcome, _) = decide(&mut session, &json!({"course": "sql"}), None);
            session.run("COMMIT");
            match outcome.as_str() {
                "appended" => sold += 1,
                _ => break,
            }
        }
        sold
    })
    .into_iter()
    .sum();
    assert_eq!(sold, seats);
    let mut session = db.connect();
    let left =
        "SELECT coalesce(string_agg(data#>>'{}', ' ' ORDER BY position), '') FROM en57_read()";
    let expected: Vec<String> = (1..=seats).rev().map(|n| n.to_string()).collect();
    assert_eq!(
        session.text(left),
        expected.join(" "),
        "each on what the one before has left"
    );
}

#[test]
fn each_decision_sees_the_one_before() {
    sells_out("NULL");
}

#[test]
fn each_decision_sees_the_one_before_from_a_snapshot() {
    sells_out("7");
}

/// The same command from all at once: it is decided once, and all get the same answer.
#[test]
fn sent_by_all_at_once() {
    let db = database(1000, "NULL");
    let gate = Gate::new(CLIENTS);
    for n in 0..scaled(20) {
        let id = uuid::Uuid::from_u128(n as u128 + 1);
        let answers = crew(CLIENTS, |_| {
            let mut session = db.connect();
            gate.pass();
            decide(&mut session, &json!({"course": "sql"}), Some(id))
        });
        let appended = answers.iter().filter(|a| a.0 == "appended").count();
        let repeated = answers.iter().filter(|a| a.0 == "repeated").count();
        assert_eq!((appended, repeated), (1, CLIENTS - 1));
        assert!(
            answers.iter().all(|a| a.1 == answers[0].1),
            "the same position"
        );
    }
    assert_eq!(
        db.connect().number("SELECT en57_count()") as usize,
        scaled(20)
    );
}

/// Deciders of two courses that write each other's tags: some are ended as deadlocks, and nothing else happens.
#[test]
fn that_write_each_others_tags() {
    let db = database(1_000_000, "NULL");
    db.connect().run(
        "CREATE OR REPLACE FUNCTION sale_decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
            SELECT jsonb_build_object('type', 'seat sold', 'data', state, 'tags', '[\"course:a\", \"course:b\"]'::jsonb) $$",
    );
    let appended: usize = crew(8, |client| {
        let mut session = db.connect();
        session.run("SET deadlock_timeout = '10ms'");
        let command = json!({"course": if client % 2 == 0 { "a" } else { "b" }});
        let mut appended = 0;
        for _ in 0..scaled(20) {
            match session.try_rows(DECIDE, &[&command, &None::<uuid::Uuid>]) {
                Ok(_) => appended += 1,
                Err(e) => assert_eq!(state(&e), "40P01", "{}", told(&e)),
            }
        }
        appended
    })
    .into_iter()
    .sum();
    let mut session = db.connect();
    assert!(appended > 0, "some get through");
    assert_eq!(session.number("SELECT en57_count()") as usize, appended);
    // Each event is in both courses, so each decision has seen all before it.
    let wrong = "SELECT count(*) FROM (SELECT data#>>'{}' AS left, 1000001 - row_number() OVER (ORDER BY position) AS n FROM en57_read()) e
        WHERE e.left::bigint <> e.n";
    assert_eq!(session.number(wrong), 0);
}

/// Decisions on two tags, of which now the one and then the other is the rarer: they queue at the lock, and none is
/// ended as a deadlock.
#[test]
fn on_two_tags_that_take_turns_at_being_the_rarest() {
    let db = database(1_000_000, "NULL");
    db.connect().run(
        "CREATE OR REPLACE FUNCTION sale_query(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
            SELECT en57_query(types => ARRAY['seat sold'], tags => ARRAY['x', 'y']) $$;
         CREATE OR REPLACE FUNCTION sale_decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
            SELECT jsonb_build_object('type', 'seat sold', 'data', state, 'tags', '[\"x\", \"y\"]'::jsonb) $$",
    );
    let deciders = 8;
    let each = scaled(60);
    let done = AtomicUsize::new(0);
    crew(deciders + 2, |client| {
        let mut session = db.connect();
        session.run("SET deadlock_timeout = '20ms'");
        if client < deciders {
            for _ in 0..each {
                let (outcome, _) = decide(&mut session, &json!({}), None);
                assert_eq!(outcome, "appended");
            }
            done.fetch_add(1, SeqCst);
            return;
        }
        for n in client.. {
            if done.load(SeqCst) == deciders {
                break;
            }
            let tag = ["x", "y"][n % 2];
            let event = json!({"type": "w", "tags": [tag]});
            assert!(
                session
                    .append(&json!(vec![event; 3 * (n % 5) + 1]), None)
                    .is_appended()
            );
        }
    });
    let mut session = db.connect();
    let sold = "SELECT count(DISTINCT data) FROM en57_read('{\"types\": [\"seat sold\"]}')";
    assert_eq!(
        session.number(sold) as usize,
        deciders * each,
        "each on what the one before has left"
    );
}

/// Decisions of many keys on things of their own, beside batches, and appends on condition.
#[test]
fn to_write_more_keys_than_are_locked() {
    let db = database(1_000_000, "NULL");
    db.connect().run(
        "CREATE OR REPLACE FUNCTION sale_decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
            SELECT jsonb_agg(jsonb_build_object('type', 'seat sold', 'data', state, 'tags',
                jsonb_build_array('course:' || (command->>'course'), 'seat:' || (command->>'course') || ':' || n)))
              FROM generate_series(1, 300) n $$",
    );
    let each = scaled(10);
    crew(6, |client| {
        let mut session = db.connect();
        session.run("SET deadlock_timeout = '20ms'");
        let course = json!({"course": client.to_string()});
        for n in 0..each {
            match client {
                0 => {
                    let event =
                        |k: usize| json!({"type": "many", "tags": [format!("many:{n}:{k}")]});
                    let batch = Value::Array((0..300).map(event).collect());
                    assert!(session.append(&batch, None).is_appended());
                }
                1 => {
                    let query = json!({"tags": [format!("seat:2:{n}")], "after": 1_000_000_000});
                    let event = json!({"type": "checked", "tags": ["checked"]});
                    assert!(
                        session
                            .append(&event, Some(&query.to_string()))
                            .is_appended()
                    );
                }
                _ => assert_eq!(decide(&mut session, &course, None).0, "appended"),
            }
        }
    });
    let mut session = db.connect();
    let sold = "SELECT count(*) FROM en57_read('{\"types\": [\"seat sold\"]}')";
    assert_eq!(session.number(sold) as usize, 4 * each * 300);
}
