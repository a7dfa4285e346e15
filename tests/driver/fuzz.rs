//! Whatever a client sends, it gets an answer with a SQLSTATE of the contract; nothing inside breaks.
//!
//! A panic in a parser shows as XX000 and, the server being started with RUST_BACKTRACE=1, as a backtrace in
//! DETAIL; both fail here.

use std::collections::BTreeMap;
use std::error::Error;

use en57_tests::QUERY_KEYS;
use postgres::types::private::BytesMut;
use postgres::types::{IsNull, ToSql, Type};
use serde_json::{Value, json};

use crate::dcb::parse;
use crate::support::cluster::Cluster;
use crate::support::random::{Random, scaled};
use crate::support::session::{Session, told};

const TRY: &str = "
    CREATE FUNCTION answer(statement text, document text, OUT state text, OUT message text, OUT detail text, OUT result text) AS $$
    BEGIN
        EXECUTE statement INTO result USING document;
        state := 'ok';
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    END $$ LANGUAGE plpgsql";

/// Tries each document; those with another SQLSTATE than the allowed ones are failures. Returns the states and
/// the results.
fn answers(
    session: &mut Session,
    statement: &str,
    documents: &[String],
    allowed: &[&str],
) -> Vec<(String, Option<String>)> {
    let sql = "SELECT a.* FROM unnest($2::text[]) WITH ORDINALITY AS d (document, n), LATERAL answer($1, d.document) a ORDER BY d.n";
    let rows = session.rows(sql, &[&statement, &documents]);
    assert_eq!(rows.len(), documents.len());
    rows.iter()
        .zip(documents)
        .map(|(row, document)| {
            let state: String = row.get(0);
            let [message, detail]: [Option<String>; 2] = [row.get(1), row.get(2)];
            let shown: String = document.chars().take(2000).collect();
            assert!(
                allowed.contains(&state.as_str()),
                "{state} {message:?} {detail:?} from {statement} with {shown}"
            );
            let text = format!("{message:?} {detail:?}");
            for trace in ["panicked", "backtrace", ".rs:", "unwrap", "stack backtrace"] {
                assert!(
                    !text.contains(trace),
                    "{text} from {statement} with {shown}"
                );
            }
            (state, row.get(3))
        })
        .collect()
}

const TEXTS: [&str; 16] = [
    "",
    "a",
    "types",
    "tags",
    "é😀",
    "\u{0}",
    "\u{1}",
    "\\",
    "\"",
    "n0",
    "items",
    "0193e3a0-0000-7000-8000-000000000001",
    "2001-02-03",
    "infinity",
    "null",
    "\u{feff}",
];

/// A random JSON value; `keys` are those that mean something.
fn value(random: &mut Random, keys: &[&str], depth: usize) -> Value {
    match random.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(random.chance(50)),
        2 => json!(*random.pick(&[0, 1, -1, 7, i64::MAX, i64::MIN, 2_147_483_648])),
        3 => json!(*random.pick(&[0.5, -0.0, 1e300, 9.3e18])),
        4 => json!(random.pick(&TEXTS)),
        5 => json!("x".repeat(*random.pick(&[1, 255, 256, 1024, 1025, 5000]))),
        6 => (0..random.below(4))
            .map(|_| value(random, keys, depth - 1))
            .collect(),
        _ => object(random, keys, depth),
    }
}

fn object(random: &mut Random, keys: &[&str], depth: usize) -> Value {
    let mut object = json!({});
    for _ in 0..random.below(4) {
        let key = if random.chance(80) {
            (*random.pick(keys)).to_owned()
        } else {
            (*random.pick(&TEXTS)).to_owned()
        };
        object[key] = value(random, keys, depth.saturating_sub(1));
    }
    object
}

/// Changes a valid document at one or a few places.
fn mutate(random: &mut Random, document: &mut Value, keys: &[&str]) {
    let deeper = random.chance(75);
    match document {
        Value::Array(list) if deeper && !list.is_empty() => {
            let n = random.below(list.len());
            mutate(random, &mut list[n], keys);
        }
        Value::Object(map) if deeper && !map.is_empty() => {
            let n = random.below(map.len());
            if let Some((_, inner)) = map.iter_mut().nth(n) {
                mutate(random, inner, keys);
            }
        }
        Value::Object(map) if random.chance(60) => {
            map.insert((*random.pick(keys)).to_owned(), value(random, keys, 2));
        }
        Value::Array(list) if random.chance(60) => list.push(value(random, keys, 2)),
        other => *other = value(random, keys, 2),
    }
}

/// Changes the characters of a text.
fn scramble(random: &mut Random, text: &str) -> String {
    const PIECES: [&str; 20] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\\",
        "\\u0000",
        "\\ud800",
        "0",
        "-",
        "1e999",
        "1e-999",
        "null",
        " ",
        "é",
        "\u{1}",
        "//",
        "99999999999999999999",
    ];
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..random.between(1, 3) {
        let at = random.below(characters.len() + 1);
        match random.below(3) {
            0 => characters.truncate(at.max(1)),
            1 if at < characters.len() => {
                characters.remove(at);
            }
            _ => {
                let piece: Vec<char> = random.pick(&PIECES).chars().collect();
                characters.splice(at..at, piece);
            }
        }
    }
    characters.into_iter().filter(|c| *c != '\0').collect()
}

fn query_text(random: &mut Random) -> String {
    let mut query = match random.below(5) {
        0 => json!({"types": ["a", "b"], "tags": ["n0", "é"], "after": 3}),
        3 => {
            json!([{"any_tags": ["a", "é"], "stream_prefix": "s"}, {"tags": ["n0"], "any_tags": ["b"]}])
        }
        1 => json!([{"tags": ["a"], "stream": "s"}, {"types": ["b"], "correlation_id": "c"}, {}]),
        2 => json!({"items": [{"types": ["a"]}, {"causation_id": "d", "after": 9}], "after": 5}),
        _ => value(random, &QUERY_KEYS, 4),
    };
    (0..random.below(4)).for_each(|_| mutate(random, &mut query, &QUERY_KEYS));
    let text = query.to_string();
    if random.chance(35) {
        scramble(random, &text)
    } else {
        text.replace('\0', "")
    }
}

fn extremes() -> Vec<String> {
    let tags: Vec<String> = (0..9_999).map(|n| format!("tag {n}")).collect();
    vec![
        "[".repeat(100_000),
        format!("{}{{}}{}", "[".repeat(2000), "]".repeat(2000)),
        format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000)),
        format!("{{\"tags\": [\"{}\"]}}", "x".repeat(10 << 20)),
        json!({"tags": tags}).to_string(),
        json!([{"tags": tags}, {"types": tags}, {"any_tags": tags}]).to_string(),
        json!(vec![json!({}); 10_001]).to_string(),
        format!("[{}]", vec!["{\"after\":1}"; 10_000].join(",")),
        format!("{{\"after\": {}}}", "9".repeat(100_000)),
        "{\"after\": 1e5}".into(),
        "{\"after\": 1.0}".into(),
        String::new(),
        " ".into(),
        "\u{feff}{}".into(),
        "{} {}".into(),
        "{\"tags\": [\"a\"], \"tags\": [\"b\"]}".into(),
    ]
}

#[test]
fn query_texts() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(TRY);
    let pid = session.pid();
    let mut random = Random::new(1000);
    let mut met = BTreeMap::new();
    for round in 0..scaled(20) {
        let mut texts: Vec<String> = (0..500).map(|_| query_text(&mut random)).collect();
        if round == 0 {
            texts.extend(extremes());
        }
        let found = answers(
            &mut session,
            "SELECT $1::en57_query::text",
            &texts,
            &["ok", "22P02"],
        );
        for ((state, result), text) in found.iter().zip(&texts) {
            *met.entry(state.clone()).or_insert(0) += 1;
            // The server reads as the domain does, and what it writes is canonical.
            let here = parse::query(text).ok().map(|q| q.to_string());
            assert_eq!(*result, here, "{text}");
        }
        let canonical: Vec<String> = found.into_iter().filter_map(|(_, result)| result).collect();
        let again = answers(
            &mut session,
            "SELECT $1::en57_query::text",
            &canonical,
            &["ok"],
        );
        assert!(
            again
                .iter()
                .zip(&canonical)
                .all(|((_, result), text)| result.as_ref() == Some(text))
        );
        // By way of jsonb, too; what jsonb itself refuses has its own states.
        let jsonb = ["ok", "22P02", "22P05", "54001", "22003", "54000"];
        answers(
            &mut session,
            "SELECT $1::jsonb::en57_query::jsonb::text",
            &texts,
            &jsonb,
        );
        answers(
            &mut session,
            "SELECT en57_count($1::en57_query | '{\"tags\": [\"a\"]}')::text",
            &texts,
            &["ok", "22P02"],
        );
        answers(
            &mut session,
            "SELECT (en57_append('{\"type\": \"t\"}', fail_if => $1::en57_query))::text",
            &texts,
            &["ok", "22P02"],
        );
        answers(
            &mut session,
            "SELECT en57.append_events('{}', $1::jsonb)::text",
            &texts,
            &["ok", "22P02", "22P05", "22023", "54001", "22003", "54000"],
        );
        answers(
            &mut session,
            "SELECT count(*)::text FROM en57.read_events(ARRAY[$1::jsonb], 10)",
            &texts,
            &["ok", "22P02", "22P05", "22023", "54001", "22003", "54000"],
        );
    }
    assert!(met["ok"] > 500 && met["22P02"] > 500, "{met:?}");
    assert_eq!(session.pid(), pid);
}

/// Bytes as they are, for the binary input.
#[derive(Debug)]
struct Raw(Vec<u8>);

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    postgres::types::to_sql_checked!();
}

#[test]
fn query_bytes() {
    let db = Cluster::shared().database();
    let mut session = db.connect();
    let mut random = Random::new(1100);
    for _ in 0..scaled(1500) {
        let mut bytes = query_text(&mut random).into_bytes();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len() + 1);
            bytes.insert(at, random.next() as u8);
        }
        if random.chance(10) {
            bytes = (0..random.below(40)).map(|_| random.next() as u8).collect();
        }
        if let Err(error) = session.try_rows("SELECT $1::en57_query::text", &[&Raw(bytes.clone())])
        {
            let state = error
                .code()
                .map(|c| c.code().to_owned())
                .unwrap_or_default();
            assert!(
                ["22P02", "22021"].contains(&state.as_str()),
                "{} from {bytes:?}",
                told(&error)
            );
        }
    }
    // What is sent in binary form comes back in it.
    let text: String = session
        .row(
            "SELECT $1::en57_query::text",
            &[&Raw(br#"{"tags":["b","a"]}"#.to_vec())],
        )
        .get(0);
    assert_eq!(text, r#"{"tags": ["a", "b"]}"#);
}

const EVENT_KEYS: [&str; 10] = [
    "type",
    "data",
    "tags",
    "meta",
    "id",
    "schema_version",
    "occurred_at",
    "correlation_id",
    "causation_id",
    "trace_id",
];

fn event_text(random: &mut Random) -> String {
    let event = |random: &mut Random| {
        let mut event = json!({"type": "t"});
        let parts = [
            ("data", json!({"a": [1, {"b": null}]})),
            ("tags", json!(["n0", "é", "n0"])),
            ("meta", json!({"user": "u", "correlation_id": "c"})),
            (
                "id",
                json!(uuid::Uuid::from_u64_pair(random.next(), random.next()).to_string()),
            ),
            ("schema_version", json!(2)),
            ("occurred_at", json!("2001-02-03T04:05:06Z")),
            ("correlation_id", json!("c")),
            ("trace_id", json!("d")),
        ];
        for (key, value) in parts {
            if random.chance(30) {
                event[key] = value;
            }
        }
        event
    };
    let mut document = match random.below(6) {
        0 => event(random),
        1 => value(random, &EVENT_KEYS, 4),
        _ => (0..random.between(1, 4)).map(|_| event(random)).collect(),
    };
    (0..random.below(4)).for_each(|_| mutate(random, &mut document, &EVENT_KEYS));
    let text = document.to_string();
    if random.chance(10) {
        scramble(random, &text)
    } else {
        text
    }
}

#[test]
fn event_documents() {
    const ALLOWED: [&str; 11] = [
        "ok", "22P02", "22P05", "22023", "22007", "22008", "22004", "23505", "54000", "54001",
        "22003",
    ];
    let db = Cluster::shared().database();
    let mut session = db.connect();
    session.run(TRY);
    let pid = session.pid();
    let mut random = Random::new(1200);
    let mut met = BTreeMap::new();
    for round in 0..scaled(20) {
        let mut texts: Vec<String> = (0..500).map(|_| event_text(&mut random)).collect();
        if round == 0 {
            texts.extend(extremes());
            let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
            texts.push(format!("{{\"type\": \"deep\", \"data\": {deep}}}"));
            texts.push(format!(
                "{{\"type\": \"deep\", \"meta\": {{\"a\": {deep}}}, \"correlation_id\": \"c\"}}"
            ));
            texts.push(format!(
                "{{\"type\": \"deep\", \"data\": {}}}",
                "9".repeat(100_000)
            ));
            texts.push(format!(
                "{{\"type\": \"large\", \"data\": \"{}\"}}",
                "x".repeat(20 << 20)
            ));
            let tags: Vec<String> = (0..1000).map(|n| format!("{n:0>1024}")).collect();
            texts.push(json!({"type": "x".repeat(255), "tags": tags}).to_string());
        }
        let found = answers(
            &mut session,
            "SELECT outcome::text || position FROM en57_append($1::jsonb)",
            &texts,
            &ALLOWED,
        );
        found
            .into_iter()
            .for_each(|(state, _)| *met.entry(state).or_insert(0) += 1);
        let meta = "SELECT outcome::text FROM (SELECT set_config('en57.meta', $1, true) OFFSET 0) s,
            LATERAL en57_append(('{\"type\": \"t\", \"meta\": {\"a\": ' || length(s.set_config) || '}}')::jsonb)";
        let few: Vec<String> = texts.iter().take(100).cloned().collect();
        answers(&mut session, meta, &few, &ALLOWED);
        let gem = "SELECT en57.append_events(ARRAY[ROW(gen_random_uuid(), $1, $1::jsonb, $1::jsonb, ARRAY[$1, NULL])::en57.event])::text";
        answers(&mut session, gem, &few, &ALLOWED);
    }
    assert!(met["ok"] > 500 && met["22023"] > 500, "{met:?}");
    assert_eq!(session.pid(), pid);
    // What was refused has left nothing, what was stored is whole.
    let stored = session.number("SELECT count(*) FROM en57.events");
    assert_eq!(session.number("SELECT en57_count()"), stored);
    assert!(stored > 500);
    assert_eq!(session.number("SELECT count(*) FROM en57_read() e WHERE NOT ('{}'::en57_query @> e) OR length(e::text) = 0"), 0);
    let by_tag =
        "SELECT count(*) FROM (SELECT t, count(*) n FROM en57.events, unnest(tags) t GROUP BY t) x
        WHERE n <> en57_count(jsonb_build_object('tags', jsonb_build_array(t)))";
    assert_eq!(session.number(by_tag), 0);
}
