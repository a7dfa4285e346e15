//! The engine against the domain's own matching (`dcb`, compiled into this program): random logs, random
//! queries, every option, conditions, streams and times; in one of several partitions, or in all.
//!
//! Without the recheck of rows (type and tags after a hit of the key index) the server with keys of 6 bits,
//! where nearly all keys collide, answers wrongly; so do merge and leapfrog scans with any slip in them.

use serde_json::{Value, json};

use crate::dcb::parse;
use crate::dcb::query::Query;
use crate::support::cluster::{Cluster, Database};
use crate::support::model::{Event, PARTITIONS, is_there, query, request, stream};
use crate::support::random::{Random, scaled};
use crate::support::session::Session;

fn parsed(text: &str) -> Query {
    parse::query(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// positions of a read, count, exists, last, and how many events `@>` says match.
fn expected(log: &[Event], request: &Value) -> (Vec<i64>, i64, bool, Option<i64>, i64) {
    let query = parsed(request["query"].as_str().expect("a text"));
    let all: Vec<i64> = log
        .iter()
        .filter(|e| is_there(e, request) && query.matches(*e))
        .map(|e| e.position)
        .collect();
    let after = request["after"].as_i64().unwrap_or(0);
    let upto = request["upto"].as_i64().unwrap_or(i64::MAX);
    let as_of = request["as_of"].as_i64().unwrap_or(i64::MAX);
    let from = request["recorded_from"].as_i64().unwrap_or(i64::MIN);
    let until = request["occurred_until"].as_i64().unwrap_or(i64::MAX);
    let mut read: Vec<i64> = log
        .iter()
        .filter(|e| is_there(e, request) && query.matches(*e))
        .filter(|e| e.position > after && e.position <= upto)
        .filter(|e| (from..=as_of).contains(&e.recorded_at) && e.occurred() <= until)
        .map(|e| e.position)
        .collect();
    if request["backwards"] == json!(true) {
        read.reverse();
    }
    if let Some(n) = request["max_count"].as_u64() {
        read.truncate(n as usize);
    }
    (
        read,
        all.len() as i64,
        !all.is_empty(),
        all.last().copied(),
        all.len() as i64,
    )
}

const ASK: &str = "
    SELECT ARRAY(SELECT position FROM en57_read(q.query, after => r.after, upto => r.upto,
                    max_count => r.max_count, backwards => r.backwards, partition => r.partition,
                    as_of => pg_temp.at(r.as_of), occurred_until => pg_temp.at(r.occurred_until),
                    recorded_from => pg_temp.at(r.recorded_from))),
           en57_count(q.query, r.partition), en57_exists(q.query, r.partition),
           (SELECT position FROM en57_last(q.query, r.partition)),
           (SELECT count(*) FROM en57_read(partition => r.partition) e WHERE q.query @> e)
    FROM ROWS FROM (jsonb_to_recordset($1)
            AS (query text, after bigint, upto bigint, max_count bigint, backwards boolean, as_of bigint, occurred_until bigint,
                recorded_from bigint, partition text))
            WITH ORDINALITY AS r (query, after, upto, max_count, backwards, as_of, occurred_until, recorded_from, partition, n)
        CROSS JOIN LATERAL (SELECT r.query::en57_query AS query OFFSET 0) q
    ORDER BY r.n";

/// From microseconds since 1970 to a time, with its ends.
const AT: &str = "CREATE FUNCTION pg_temp.at(us bigint) RETURNS timestamptz IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE us WHEN 9223372036854775807 THEN 'infinity' WHEN -9223372036854775808 THEN '-infinity'
        ELSE timestamptz '1970-01-01 00:00:00+00' + us / 1000000 * interval '1 second' + us % 1000000 * interval '1 microsecond' END $$";

fn compare(session: &mut Session, random: &mut Random, log: &[Event]) {
    let (_, here) = go_somewhere(session, random, log);
    compare_streams(session, random, &here);
    session.run("RESET en57.partition");
    let requests: Vec<Value> = (0..40).map(|_| request(random, log)).collect();
    let rows = session.rows(ASK, &[&json!(requests)]);
    assert_eq!(rows.len(), requests.len());
    for (row, request) in rows.iter().zip(&requests) {
        let answer = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
        assert_eq!(
            answer,
            expected(log, request),
            "{request} on a log of {} events",
            log.len()
        );
    }
}

const ASK_STREAM: &str = "
    SELECT ARRAY(SELECT position FROM en57_read_stream(r.stream, from_version => r.from, to_version => r.to,
                    max_count => r.max_count, backwards => r.backwards)),
           s.version, s.first_position, s.last_position
    FROM ROWS FROM (jsonb_to_recordset($1)
            AS (stream text, \"from\" bigint, \"to\" bigint, max_count bigint, backwards boolean)) WITH ORDINALITY
            AS r (stream, \"from\", \"to\", max_count, backwards, n)
        LEFT JOIN LATERAL en57_stream(r.stream) s ON true
    ORDER BY r.n";

/// Windows of streams, what the streams say of themselves, and their list.
fn compare_streams(session: &mut Session, random: &mut Random, log: &[Event]) {
    let of = |name: &str| -> Vec<&Event> {
        let events = log.iter().filter(|e| e.stream.as_deref() == Some(name));
        events.collect()
    };
    let mut requests = Vec::new();
    for _ in 0..10 {
        let mut request = json!({"stream": stream(random), "backwards": random.chance(50)});
        let versions = of(request["stream"].as_str().expect("a name")).len();
        for (key, chance) in [("from", 60), ("to", 60), ("max_count", 30)] {
            if random.chance(chance) {
                request[key] = json!(random.below(versions + 3));
            }
        }
        requests.push(request);
    }
    let rows = session.rows(ASK_STREAM, &[&json!(requests)]);
    for (row, request) in rows.iter().zip(&requests) {
        let events = of(request["stream"].as_str().expect("a name"));
        let from = request["from"].as_i64().unwrap_or(0);
        let to = request["to"].as_i64().unwrap_or(i64::MAX);
        let window = events.iter().filter(|e| (from..=to).contains(&e.version));
        let mut read: Vec<i64> = window.map(|e| e.position).collect();
        if request["backwards"] == json!(true) {
            read.reverse();
        }
        read.truncate(request["max_count"].as_u64().unwrap_or(u64::MAX) as usize);
        assert_eq!(row.get::<_, Vec<i64>>(0), read, "{request}");
        let info = (row.get(1), row.get(2), row.get(3));
        let ends = events.first().zip(events.last());
        let expected = ends.map(|(first, last)| (last.version, first.position, last.position));
        assert_eq!(
            info,
            (
                expected.map(|e| e.0),
                expected.map(|e| e.1),
                expected.map(|e| e.2)
            ),
            "{request}"
        );
    }
    let listed = session.rows("SELECT stream, version FROM en57_streams", &[]);
    let listed: Vec<(String, i64)> = listed.iter().map(|r| (r.get(0), r.get(1))).collect();
    let names = (0..5).map(|n| format!("n{n}"));
    let expected = names.map(|name| (of(&name).len() as i64, name));
    let expected: Vec<_> = expected
        .filter(|e| e.0 > 0)
        .map(|(n, name)| (name, n))
        .collect();
    assert_eq!(listed, expected);
}

/// What an append to a stream answers.
struct OfStream {
    outcome: String,
    version: Option<i64>,
    position: Option<i64>,
    conflicting: Vec<i64>,
}

fn append_to(
    session: &mut Session,
    documents: &Value,
    condition: Option<&str>,
    stream: &str,
    expected: Option<i64>,
) -> OfStream {
    let sql = "SELECT outcome::text, stream_version, position,
            ARRAY(SELECT (c->>'position')::bigint FROM jsonb_array_elements(COALESCE(conflicts, '[]')) c)
        FROM en57_append($1, $2::text::en57_query, stream => $3, expected_version => $4)";
    let row = session.row(sql, &[documents, &condition, &stream, &expected]);
    OfStream {
        outcome: row.get(0),
        version: row.get(1),
        position: row.get(2),
        conflicting: row.get(3),
    }
}

/// Appends a batch to a stream at a random version, on a random condition, and compares what becomes of it.
fn append_to_stream(
    session: &mut Session,
    random: &mut Random,
    log: &mut Vec<Event>,
    at_most: usize,
) {
    let mut events: Vec<Event> = (0..random.between(1, 12))
        .map(|_| Event::random(random))
        .collect();
    let documents: Vec<Value> = events.iter().map(|e| e.document(random)).collect();
    let head = log.last().map_or(0, |e| e.position);
    let condition = random.chance(20).then(|| query(random, head).to_string());
    let name = stream(random);
    let own = |log: &[Event]| -> Vec<(i64, i64)> {
        let of = log.iter().filter(|e| e.stream.as_ref() == Some(&name));
        of.map(|e| (e.version, e.position)).collect()
    };
    let before = own(log);
    let version = before.len() as i64;
    let expected = match random.below(4) {
        0 => None,
        1 => Some(-1),
        2 => Some((version + random.below(5) as i64 - 3).max(0)),
        _ => Some(version),
    };
    let answer = append_to(
        session,
        &json!(documents),
        condition.as_deref(),
        &name,
        expected,
    );
    let newest = |mut list: Vec<i64>| list.split_off(list.len().saturating_sub(at_most));
    let holds = match expected {
        None => true,
        Some(-1) => version > 0,
        Some(n) => n == version,
    };
    let matching: Vec<i64> = condition.as_deref().map_or_else(Vec::new, |text| {
        let query = parsed(text);
        log.iter()
            .filter(|e| query.matches(*e))
            .map(|e| e.position)
            .collect()
    });
    if !holds || !matching.is_empty() {
        let (position, told) = if holds {
            (matching.last().copied(), newest(matching))
        } else {
            let known = expected.filter(|e| *e >= 0).unwrap_or(i64::MAX);
            let beyond = before.iter().filter(|e| e.0 > known).map(|e| e.1);
            (before.last().map(|e| e.1), newest(beyond.collect()))
        };
        assert_eq!(
            (
                answer.outcome.as_str(),
                answer.version,
                answer.position,
                answer.conflicting
            ),
            ("conflict", Some(version), position, told),
            "{name} at {version}, {expected:?} expected, {condition:?}"
        );
        return;
    }
    assert_eq!(answer.outcome, "appended");
    assert_eq!(answer.version, Some(version + events.len() as i64));
    let first = answer.position.expect("a position") - events.len() as i64 + 1;
    for (i, event) in (0i64..).zip(&mut events) {
        event.position = first + i;
        event.stream = Some(name.clone());
        event.version = version + i + 1;
    }
    recorded(session, &mut events);
    log.append(&mut events);
}

/// Fills in when the events were recorded: the server's clock, within the time of the test.
fn recorded(session: &mut Session, events: &mut [Event]) {
    let sql =
        "SELECT DISTINCT extract(epoch FROM date_trunc('second', recorded_at))::bigint * 1000000
            + extract(microseconds FROM recorded_at)::bigint % 1000000
        FROM en57_read(after => $1::bigint - 1, upto => $2)";
    let (first, last) = (events[0].position, events[events.len() - 1].position);
    let at: i64 = session.row(sql, &[&first, &last]).get(0);
    events.iter_mut().for_each(|e| e.recorded_at = at);
}

/// Makes some partition that of the session; returns it with its events.
fn go_somewhere(
    session: &mut Session,
    random: &mut Random,
    log: &[Event],
) -> (&'static str, Vec<Event>) {
    let place = PARTITIONS[random.below(PARTITIONS.len())];
    session.row("SELECT set_config('en57.partition', $1, false)", &[&place]);
    let here = log.iter().filter(|e| e.partition == place);
    (place, here.cloned().collect())
}

/// Appends a batch somewhere and compares what becomes of it.
fn append(session: &mut Session, random: &mut Random, log: &mut Vec<Event>) {
    let (place, mut here) = go_somewhere(session, random, log);
    let known = here.len();
    append_here(session, random, &mut here);
    session.run("RESET en57.partition");
    log.extend(here.drain(known..).map(|event| Event {
        partition: place,
        ..event
    }));
}

/// Appends a batch on a random condition and compares what becomes of it.
fn append_here(session: &mut Session, random: &mut Random, log: &mut Vec<Event>) {
    let head = log.last().map_or(0, |e| e.position);
    let mut events: Vec<Event> = (0..random.between(1, 12))
        .map(|_| Event::random(random))
        .collect();
    let documents: Vec<Value> = events.iter().map(|e| e.document(random)).collect();
    let condition = random.chance(60).then(|| {
        let mut query = query(random, head);
        if random.chance(50) {
            // As clients do: as of a little while ago.
            query = json!({"items": query.get("items").cloned().unwrap_or(query),
                "after": (head - random.below(6) as i64).max(0)});
            if !query["items"].is_array() {
                query["items"] = json!([query["items"]]);
            }
        }
        query.to_string()
    });
    let at_most = random.between(1, 5);
    session.run(&format!("SET en57.max_conflicts = {at_most}"));
    if random.chance(40) {
        return append_to_stream(session, random, log, at_most);
    }
    let answer = session.append(&json!(documents), condition.as_deref());
    let matching: Vec<i64> = condition.as_deref().map_or_else(Vec::new, |text| {
        let query = parsed(text);
        log.iter()
            .filter(|e| query.matches(*e))
            .map(|e| e.position)
            .collect()
    });
    let Some(newest) = matching.last() else {
        assert!(answer.is_appended(), "{answer:?} for {condition:?}");
        let first = answer.first.expect("a first position");
        assert_eq!(answer.position - first + 1, events.len() as i64);
        assert!(first > head);
        events
            .iter_mut()
            .zip(first..)
            .for_each(|(e, p)| e.position = p);
        recorded(session, &mut events);
        log.append(&mut events);
        return;
    };
    assert!(
        answer.is_conflict(),
        "{answer:?} for {condition:?}, {matching:?} match"
    );
    assert_eq!(answer.position, *newest, "{condition:?}");
    assert_eq!(
        answer.conflicting(),
        matching[matching.len().saturating_sub(at_most)..],
        "{condition:?}"
    );
}

const LEVELS: [&str; 3] = [
    "BEGIN",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
];

fn same_answers(db: &Database, n: u64, logs: usize) {
    let mut session = db.connect();
    let mut random = Random::new(900 + n);
    session.run(AT);
    for number in 0..logs {
        if number > 0 {
            session.run("DROP EXTENSION en57; CREATE EXTENSION en57");
        }
        for name in &PARTITIONS[1..] {
            session.row("SELECT en57_create_partition($1)::text", &[name]);
        }
        // Small logs are where mistakes show, but pages must fill, too.
        let appends = if number % 5 == 4 {
            120
        } else {
            random.between(1, 12)
        };
        let mut log = Vec::new();
        compare(&mut session, &mut random, &log);
        for n in 0..appends {
            append(&mut session, &mut random, &mut log);
            if n % 4 == 0 {
                compare(&mut session, &mut random, &log);
            }
            if random.chance(15) {
                // The transaction's own events count, and are gone with it.
                session.run(LEVELS[random.below(LEVELS.len())]);
                if random.chance(50) {
                    compare(&mut session, &mut random, &log);
                }
                let mut own = log.clone();
                for _ in 0..random.between(1, 3) {
                    append(&mut session, &mut random, &mut own);
                    compare(&mut session, &mut random, &own);
                }
                session.run("SAVEPOINT s");
                let mut more = own.clone();
                append(&mut session, &mut random, &mut more);
                compare(&mut session, &mut random, &more);
                session.run("ROLLBACK TO s");
                compare(&mut session, &mut random, &own);
                if random.chance(40) {
                    session.run("COMMIT");
                    log = own;
                } else {
                    session.run("ROLLBACK");
                }
            }
        }
        compare(&mut session, &mut random, &log);
    }
}

#[test]
fn reads_and_conditions() {
    same_answers(&Cluster::shared().database(), 0, scaled(40));
}

#[test]
fn reads_and_conditions_with_colliding_keys() {
    let cluster = Cluster::own(&[
        "shared_preload_libraries = 'en57'",
        "en57.debug_key_bits = 6",
    ]);
    same_answers(&cluster.database(), 1, scaled(25));
    let cluster_of_one_bit = Cluster::own(&[
        "shared_preload_libraries = 'en57'",
        "en57.debug_key_bits = 1",
    ]);
    same_answers(&cluster_of_one_bit.database(), 2, scaled(5));
}
