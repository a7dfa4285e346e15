//! The engine against the domain's own matching (`dcb`, compiled into this program): random logs, random
//! queries, every option, and conditions; in one of several partitions, or in all.
//!
//! Without the recheck of rows (type and tags after a hit of the key index) the server with keys of 6 bits,
//! where nearly all keys collide, answers wrongly; so do merge and leapfrog scans with any slip in them.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Database};
use crate::dcb::parse;
use crate::dcb::query::{Matchable, Query};
use crate::random::{Random, scaled};
use crate::session::Session;

#[derive(Clone, Debug)]
struct Event {
    position: i64,
    event_type: String,
    tags: Vec<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    partition: &'static str,
}

/// Where events are; the first one is meant where none is named.
const PARTITIONS: [&str; 3] = ["default", "acme", "A b's \"c\""];

impl Matchable for Event {
    fn position(&self) -> i64 {
        self.position
    }
    fn event_type(&self) -> &str {
        &self.event_type
    }
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }
    fn stream(&self) -> Option<&str> {
        None
    }
    fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }
    fn causation_id(&self) -> Option<&str> {
        self.causation_id.as_deref()
    }
}

impl Event {
    fn random(random: &mut Random) -> Self {
        let named =
            |random: &mut Random| random.chance(40).then(|| format!("n{}", random.below(4)));
        let tags = (0..random.below(5)).map(|_| tag(random)).collect();
        Self {
            position: 0,
            event_type: event_type(random),
            tags,
            correlation_id: named(random),
            causation_id: named(random),
            partition: PARTITIONS[0],
        }
    }

    fn document(&self, random: &mut Random) -> Value {
        let mut document = json!({"type": self.event_type, "tags": self.tags});
        for (key, value) in [
            ("correlation_id", &self.correlation_id),
            ("causation_id", &self.causation_id),
        ] {
            match value {
                Some(value) if random.chance(50) => document["meta"][key] = json!(value),
                Some(value) => document[key] = json!(value),
                None => {}
            }
        }
        document
    }
}

// Some names are both a type's, a tag's and an id's: their keys must not be confused.
fn event_type(random: &mut Random) -> String {
    format!("n{}", random.below(5))
}

fn tag(random: &mut Random) -> String {
    // A few tags are on many events, many on few.
    match random.below(3) {
        0 => format!("n{}", random.below(3)),
        1 => format!("tag {}", random.below(12)),
        _ => format!("tag é{}", random.below(60)),
    }
}

fn criterion(random: &mut Random, head: i64) -> Value {
    let mut criterion = json!({});
    if random.chance(45) {
        criterion["types"] = (0..random.between(1, 3))
            .map(|_| json!(event_type(random)))
            .collect();
    }
    if random.chance(65) {
        criterion["tags"] = (0..random.between(1, 3))
            .map(|_| json!(tag(random)))
            .collect();
    }
    for key in ["correlation_id", "causation_id"] {
        if random.chance(12) {
            criterion[key] = json!(format!("n{}", random.below(5)));
        }
    }
    if random.chance(1) {
        criterion["stream"] = json!("n0");
    }
    if random.chance(25) {
        criterion["after"] = json!(random.below(head as usize + 3));
    }
    criterion
}

fn query(random: &mut Random, head: i64) -> Value {
    let n = random.between(1, 4);
    let mut criteria: Vec<Value> = (0..n).map(|_| criterion(random, head)).collect();
    match random.below(3) {
        0 => json!({"items": criteria, "after": random.below(head as usize + 3)}),
        1 if n == 1 => criteria.remove(0),
        _ => json!(criteria),
    }
}

/// A read with its options, as the server gets it.
fn request(random: &mut Random, head: i64) -> Value {
    let mut request =
        json!({"query": query(random, head).to_string(), "backwards": random.chance(50)});
    for (key, chance) in [("after", 30), ("upto", 30)] {
        if random.chance(chance) {
            request[key] = json!(random.below(head as usize + 3));
        }
    }
    if random.chance(40) {
        request["max_count"] = json!(random.below(12));
    }
    request["partition"] = match random.below(6) {
        0 | 1 => json!("*"),
        2 => Value::Null,
        _ => json!(PARTITIONS[random.below(3)]),
    };
    request
}

/// Whether an event is where the request looks.
fn is_there(event: &Event, request: &Value) -> bool {
    match request["partition"].as_str() {
        None => event.partition == PARTITIONS[0],
        Some("*") => true,
        Some(partition) => event.partition == partition,
    }
}

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
    let mut read: Vec<i64> = all
        .iter()
        .copied()
        .filter(|p| *p > after && *p <= upto)
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
                    max_count => r.max_count, backwards => r.backwards, partition => r.partition)),
           en57_count(q.query, r.partition), en57_exists(q.query, r.partition),
           (SELECT position FROM en57_last(q.query, r.partition)),
           (SELECT count(*) FROM en57_read(partition => r.partition) e WHERE q.query @> e)
    FROM ROWS FROM (jsonb_to_recordset($1)
            AS (query text, after bigint, upto bigint, max_count bigint, backwards boolean, partition text))
            WITH ORDINALITY AS r (query, after, upto, max_count, backwards, partition, n)
        CROSS JOIN LATERAL (SELECT r.query::en57_query AS query OFFSET 0) q
    ORDER BY r.n";

fn compare(session: &mut Session, random: &mut Random, log: &[Event]) {
    let head = log.last().map_or(0, |e| e.position);
    let requests: Vec<Value> = (0..40).map(|_| request(random, head)).collect();
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

/// Appends a batch on a random condition and compares what becomes of it.
fn append(session: &mut Session, random: &mut Random, log: &mut Vec<Event>) {
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
    let place = PARTITIONS[random.below(PARTITIONS.len())];
    events.iter_mut().for_each(|e| e.partition = place);
    session.row("SELECT set_config('en57.partition', $1, false)", &[&place]);
    session.run(&format!("SET en57.max_conflicts = {at_most}"));
    let answer = session.append(&json!(documents), condition.as_deref());
    session.run("RESET en57.partition");
    let matching: Vec<i64> = condition.as_deref().map_or_else(Vec::new, |text| {
        let query = parsed(text);
        log.iter()
            .filter(|e| e.partition == place && query.matches(*e))
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
