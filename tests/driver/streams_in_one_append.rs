//! Appends that each write several streams, in any order: they queue and are never ended as a deadlock, versions
//! have no gaps, and a conflict names a stream that is not as expected.
//!
//! Where only some of an append's streams are locked alone, versions come twice. Where a decider locks the stream
//! of its call later than its query, decisions and appends that cross are ended by PostgreSQL.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::crew::crew;
use crate::support::random::{Random, scaled};
use crate::support::session::told;
use crate::support::streams::no_gaps;

const CLIENTS: usize = 16;
const STREAMS: usize = 6;

/// The streams of one append, in any order, and the versions that it expects.
struct Asked {
    events: Vec<Value>,
    /// Of each stream: how many events.
    counts: BTreeMap<String, i64>,
    expected: BTreeMap<String, i64>,
}

fn asked(random: &mut Random, known: &BTreeMap<String, i64>) -> Asked {
    let mut names: Vec<String> = (0..STREAMS).map(|s| format!("stream-{s}")).collect();
    random.shuffle(&mut names);
    names.truncate(random.between(2, 4));
    let mut asked = Asked {
        events: Vec::new(),
        counts: BTreeMap::new(),
        expected: BTreeMap::new(),
    };
    for _ in 0..random.between(2, 8) {
        let name = random.pick(&names).clone();
        let mut event = json!({"type": "happened", "stream": name});
        if !asked.counts.contains_key(&name) && random.chance(70) {
            let version = known.get(&name).copied().unwrap_or(0);
            event["expected_version"] = json!(version);
            asked.expected.insert(name.clone(), version);
        }
        *asked.counts.entry(name).or_insert(0) += 1;
        asked.events.push(event);
    }
    asked
}

#[test]
fn exact_versions_of_several_streams() {
    const SQL: &str =
        "SELECT outcome::text, first_position, stream_version, conflicts FROM en57_append($1)";
    const OWN: &str = "SELECT stream, min(stream_version), max(stream_version) FROM en57_read(after => $1, upto => $2)
        GROUP BY stream";
    let db = Cluster::shared().database();
    let each = scaled(80);
    let conflicts: usize = crew(CLIENTS, |client| {
        let mut session = db.connect();
        let mut random = Random::new(800 + client as u64);
        session.run("SET deadlock_timeout = '20ms'");
        match client % 4 {
            0 => session.run("SET default_transaction_isolation = 'serializable'"),
            // The partition's lock stands for those that are written.
            1 => session.run("SET en57.max_key_locks = 1"),
            _ => {}
        }
        let (mut known, mut conflicts) = (BTreeMap::new(), 0);
        let mut appended = 0;
        while appended < each {
            let asked = asked(&mut random, &known);
            let answer = session
                .try_rows(SQL, &[&json!(asked.events)])
                .unwrap_or_else(|e| panic!("{}", told(&e)));
            let outcome: String = answer[0].get(0);
            if outcome == "conflict" {
                let (version, list): (i64, Value) = (answer[0].get(2), answer[0].get(3));
                let name = list[0]["stream"].as_str().expect("a stream").to_owned();
                assert!(version > asked.expected[&name], "{name} is as expected");
                known.insert(name, version);
                conflicts += 1;
                continue;
            }
            appended += 1;
            let first: i64 = answer[0].get(1);
            let last = first + asked.events.len() as i64 - 1;
            for row in session.rows(OWN, &[&(first - 1), &last]) {
                let (name, lowest, highest): (String, i64, i64) =
                    (row.get(0), row.get(1), row.get(2));
                assert_eq!(highest - lowest + 1, asked.counts[&name], "{name}");
                if let Some(expected) = asked.expected.get(&name) {
                    assert_eq!(lowest, expected + 1, "{name}");
                }
                known.insert(name, highest);
            }
        }
        conflicts
    })
    .into_iter()
    .sum();
    assert!(conflicts > 0, "nobody was overtaken");
    no_gaps(&db, STREAMS);
}

const DECIDER: &str = r#"
    CREATE FUNCTION add_one(state jsonb, event en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT to_jsonb(COALESCE(state::int, 0) + 1) $$;
    CREATE FUNCTION about(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
        SELECT en57_query(tags => ARRAY[command->>'tag']) $$;
    CREATE FUNCTION number_it(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT jsonb_build_object('type', 'numbered', 'tags', jsonb_build_array(command->>'tag'), 'data', COALESCE(state::int, 0) + 1) $$;
    SELECT en57_create_decider('number', 'about(jsonb)', 'add_one(jsonb,en57_event)', 'number_it(jsonb,jsonb)');
"#;

/// Decisions on a tag, whose events go to a stream, beside appends to the same streams with the same tags.
#[test]
fn decisions_to_streams_cross_appends() {
    let db = Cluster::shared().database();
    db.connect().run(DECIDER);
    let each = scaled(150);
    crew(CLIENTS, |client| {
        let mut session = db.connect();
        session.run("SET deadlock_timeout = '20ms'");
        let mut random = Random::new(900 + client as u64);
        for _ in 0..each {
            let tag = format!("tag:{}", random.below(4));
            let stream = format!("stream-{}", random.below(STREAMS));
            let answer = if random.chance(50) {
                let sql = "SELECT outcome::text FROM en57_decide('number', $1, stream => $2)";
                session.try_rows(sql, &[&json!({"tag": tag}), &stream])
            } else {
                let other = format!("stream-{}", random.below(STREAMS));
                let events = json!([
                    {"type": "other", "tags": [tag], "stream": other},
                    {"type": "other", "tags": [tag], "stream": stream}]);
                session.try_rows("SELECT outcome::text FROM en57_append($1)", &[&events])
            };
            let answer = answer.unwrap_or_else(|e| panic!("{}", told(&e)));
            assert_eq!(answer[0].get::<_, String>(0), "appended");
        }
    });
    no_gaps(&db, STREAMS);
    // Each decision has seen all before it.
    let wrong = "SELECT count(*) FROM (SELECT type, data, row_number() OVER (PARTITION BY tags ORDER BY position) AS n
        FROM en57_read()) e WHERE type = 'numbered' AND data::int <> n";
    assert_eq!(db.connect().number(wrong), 0);
}
