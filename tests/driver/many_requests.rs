//! Many requests in one call, from many sessions: each is decided for itself, on what all before it have left, and calls
//! with the same requests in any order wait for each other instead of ending in deadlocks.
//!
//! Where the locks of a call are taken with each request instead of together, PostgreSQL finds deadlocks here. Where what
//! has failed is not undone, or what was before it is not done again, events are missing, or are there twice.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Database};
use crate::support::crew::crew;
use crate::support::random::{Random, scaled};
use crate::support::session::Session;

const CLIENTS: usize = 12;
const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// The outcomes and positions, by the requests' order; an error is an outcome with its SQLSTATE.
fn many(session: &mut Session, sql: &str, requests: &[Value]) -> Vec<(String, Option<i64>)> {
    let sql = format!(
        "SELECT coalesce((result).outcome::text, error->>'sqlstate'), (result).position FROM {sql} ORDER BY n"
    );
    let rows = session.rows(&sql, &[&json!(requests)]);
    rows.iter().map(|r| (r.get(0), r.get(1))).collect()
}

/// Everybody wants the same keys, each in an order of his own, among requests that fail.
fn one_winner_for_each_key(keys: usize, rounds: usize) {
    let db = Cluster::shared().database();
    let taken: Vec<i64> = crew(CLIENTS, |client| {
        let mut session = db.connect();
        session.run("SET deadlock_timeout = '20ms'");
        let mut random = Random::new(700 + client as u64);
        let mut taken = Vec::new();
        for round in 0..rounds {
            let mut requests: Vec<Value> = (0..keys)
                .map(|key| {
                    let tag = format!("key:{round}:{key}");
                    let event = json!({"type": "taken", "tags": [tag], "data": client});
                    json!({"events": event, "fail_if": {"tags": [tag]}})
                })
                .collect();
            for _ in 0..random.below(4) {
                // The same id with other content each time, but for one of all.
                let id = "00000000-0000-4000-8000-000000000001";
                requests
                    .push(json!({"events": {"type": "odd", "id": id, "data": [client, round]}}));
                requests.push(json!({"events": {"type": "lost"}, "fail_if": 7}));
            }
            random.shuffle(&mut requests);
            let level = LEVELS[(client + round) % LEVELS.len()];
            session.run(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT en57_count()"
            ));
            let answers = many(&mut session, "en57_append_many($1)", &requests);
            session.run("COMMIT");
            assert_eq!(answers.len(), requests.len());
            for (request, (outcome, position)) in requests.iter().zip(answers) {
                let what = request["events"]["type"].as_str().expect("a type");
                match (what, outcome.as_str()) {
                    ("taken", "appended") => taken.push(position.expect("where it is")),
                    ("taken", "conflict")
                    | ("odd", "appended" | "repeated" | "23505")
                    | ("lost", "22P02") => {}
                    other => panic!("{other:?} for {request}"),
                }
            }
        }
        taken
    })
    .concat();
    let mut session = db.connect();
    let stored = session.positions(r#"{"types": ["taken"]}"#);
    assert_eq!(stored.len(), keys * rounds, "one for each key");
    let mut taken = taken;
    taken.sort_unstable();
    assert_eq!(stored, taken, "what is stored is what was told");
    assert_eq!(
        session.number("SELECT count(DISTINCT tags) FROM en57_read('{\"types\": [\"taken\"]}')"),
        stored.len() as i64
    );
    assert_eq!(
        session.number("SELECT en57_count('{\"types\": [\"odd\"]}')"),
        1
    );
    assert_eq!(
        session.number("SELECT en57_count('{\"types\": [\"lost\"]}')"),
        0
    );
    assert_eq!(session.number("SELECT count(*) FROM en57_check()"), 0);
}

#[test]
fn few_keys_in_any_order() {
    one_winner_for_each_key(6, scaled(30));
}

/// More keys than a transaction locks one by one.
#[test]
fn many_keys_in_any_order() {
    one_winner_for_each_key(150, scaled(6));
}

const DECIDER: &str = "
    CREATE FUNCTION seats_of(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
        SELECT en57_query(tags => ARRAY['course:' || (command->>'course')]) $$;
    CREATE FUNCTION one_less(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT to_jsonb((state#>>'{}')::int - 1) $$;
    CREATE FUNCTION sell(command jsonb, state jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        IF (state#>>'{}')::int < 1 THEN
            RAISE EXCEPTION 'sold out' USING ERRCODE = 'XC409';
        END IF;
        RETURN jsonb_build_object('type', 'sold', 'data', state, 'tags', ARRAY['course:' || (command->>'course')]);
    END $$;
    SELECT en57_create_decider('sell', 'seats_of', 'one_less', 'sell', initial => '25', snapshot_every => 4);
    CREATE TABLE sales (position bigint PRIMARY KEY);
    CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS 'INSERT INTO sales VALUES (e.position)';
    SELECT en57_create_projection('sales', '{}', 'note', mode => 'inline');
";

/// Commands to a few courses, in any order; refusals by functions among them. Nothing is sold twice, and nothing is left.
#[test]
fn commands_in_any_order() {
    let db: Database = Cluster::shared().database();
    db.connect().run(DECIDER);
    let courses = 4;
    let sold: usize = crew(CLIENTS, |client| {
        let mut session = db.connect();
        session.run("SET deadlock_timeout = '20ms'");
        let mut random = Random::new(800 + client as u64);
        let mut sold = 0;
        for round in 0..scaled(12) {
            let command = |n: usize| json!({"command": {"course": n % courses}});
            let mut commands: Vec<Value> = (0..8).map(command).collect();
            random.shuffle(&mut commands);
            let level = LEVELS[(client + round) % LEVELS.len()];
            session.run(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT en57_count()"
            ));
            let answers = many(&mut session, "en57_decide_many('sell', $1)", &commands);
            session.run("COMMIT");
            assert!(
                answers.iter().all(|(a, _)| a == "appended" || a == "XC409"),
                "{answers:?}"
            );
            sold += answers.iter().filter(|(a, _)| a == "appended").count();
        }
        sold
    })
    .into_iter()
    .sum();
    let mut session = db.connect();
    assert_eq!(sold, 25 * courses);
    assert_eq!(session.number("SELECT en57_count()"), sold as i64);
    let distinct = "SELECT count(DISTINCT (tags, data)) FROM en57_read()";
    assert_eq!(
        session.number(distinct),
        sold as i64,
        "no seat was sold twice"
    );
    let handled = "SELECT count(*) FROM sales JOIN en57_read() USING (position)";
    assert_eq!(session.number(handled), sold as i64);
    assert_eq!(session.number("SELECT count(*) FROM sales"), sold as i64);
    assert_eq!(session.number("SELECT count(*) FROM en57_check()"), 0);
}
