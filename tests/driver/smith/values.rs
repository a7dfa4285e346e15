//! Random values as SQL expressions, by type and by the name of the argument.

use en57_tests::QUERY_KEYS;
use serde_json::{Value, json};

use crate::support::random::Random;

/// Names that exist, or almost.
const NAMES: [&str; 24] = [
    "mine",
    "theirs",
    "default",
    "*",
    "nowhere",
    "their documents",
    "their handler",
    "their failing",
    "their rule",
    "their fold",
    "their decider",
    "their subscription",
    "their source",
    "my documents",
    "my handler",
    "my inline",
    "my rule",
    "my fold",
    "my decider",
    "a",
    "b",
    "source",
    "new",
    "typed",
];
/// Words that arguments know.
const WORDS: [&str; 34] = [
    "inline",
    "async",
    "stop",
    "skip",
    "beginning",
    "end",
    "stream",
    "tag:n:",
    "tag:t:",
    "tag:",
    "raise",
    "result",
    "report",
    "reader",
    "writer",
    "admin",
    "typescript",
    "python",
    "ruby",
    "go",
    "rust",
    "data",
    "meta",
    "s",
    "n0",
    "n:1",
    "1",
    "0",
    "-1",
    "9223372036854775807",
    "now",
    "subscription",
    "sound",
    "evolve",
];
const TEXTS: [&str; 20] = [
    "",
    " ",
    "é😀",
    "\u{1}",
    "\\",
    "\"",
    "'",
    "%s%n",
    "{}",
    "null",
    "\u{feff}",
    "\u{202e}a",
    "a\u{300}",
    "$1",
    "en57.events",
    "'; DROP TABLE en57.events; --",
    "ß\u{fffd}",
    "\u{10ffff}",
    "A\nB",
    "pg_temp",
];
const FUNCTIONS: [&str; 26] = [
    "evolve",
    "sound",
    "keys",
    "handle",
    "handle_all(en57_event[])",
    "handle(en57_event)",
    "fails",
    "forget",
    "asks",
    "decide",
    "evolve(jsonb,en57_event)",
    "smith_victim.evolve",
    "smith_victim.handle(en57_event)",
    "smith_admin.evolve",
    "upcast",
    "pg_sleep",
    "now()",
    "en57_truncate",
    "en57.guard()",
    "en57.redeem(bigint)",
    "pg_terminate_backend(integer)",
    "lo_import(text)",
    "\"evolve",
    "evolve(",
    "a.b.c.d(int)",
    "evolve(jsonb, nothing)",
];
const INTEGERS: [i64; 22] = [
    0,
    1,
    2,
    3,
    4,
    5,
    20,
    23,
    100,
    1023,
    1024,
    -1,
    -2,
    32_767,
    65_536,
    1_000_001,
    2_147_483_647,
    -2_147_483_648,
    2_147_483_648,
    i64::MAX,
    i64::MAX - 1,
    i64::MIN,
];

/// The text as an SQL literal.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}

/// A text for an argument of this name.
pub fn text(random: &mut Random, name: &str) -> String {
    match random.below(20) {
        0..3 => (*random.pick(&TEXTS)).into(),
        3 => random
            .pick(&["x", "é", "\\", "{\"a\":"])
            .repeat(*random.pick(&[63, 64, 255, 256, 1024, 1025, 100_000])),
        4..8 => (*random.pick(&WORDS)).into(),
        8 => (*random.pick(&FUNCTIONS)).into(),
        _ if name == "partition" && random.chance(60) => {
            (*random.pick(&["mine", "mine", "theirs", "*"])).into()
        }
        _ if [
            "what", "mode", "on_error", "start", "key", "language", "stream",
        ]
        .contains(&name) =>
        {
            (*random.pick(&WORDS)).into()
        }
        _ => (*random.pick(&NAMES)).into(),
    }
}

fn time(random: &mut Random) -> &'static str {
    const TIMES: [&str; 10] = [
        "infinity",
        "-infinity",
        "now",
        "epoch",
        "2001-02-03T04:05:06Z",
        "294276-12-31",
        "4713-01-01 BC",
        "tomorrow",
        "2030-01-01",
        "yesterday",
    ];
    TIMES[random.below(TIMES.len())]
}

/// A JSON value; `keys` are those that mean something.
pub fn json_value(random: &mut Random, keys: &[&str], depth: usize) -> Value {
    match random.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(random.chance(50)),
        2 => json!(*random.pick(&INTEGERS)),
        3 => json!(*random.pick(&[0.5, -0.0, 1e300, 9.3e18])),
        4 | 5 => json!(text(random, "")),
        6 => (0..random.below(5))
            .map(|_| json_value(random, keys, depth - 1))
            .collect(),
        _ => {
            let mut object = json!({});
            for _ in 0..random.below(4) {
                let key = if random.chance(80) {
                    (*random.pick(keys)).to_owned()
                } else {
                    text(random, "")
                };
                object[key] = json_value(random, keys, depth - 1);
            }
            object
        }
    }
}

const EVENT_KEYS: [&str; 16] = [
    "type",
    "data",
    "meta",
    "tags",
    "id",
    "schema_version",
    "occurred_at",
    "correlation_id",
    "causation_id",
    "trace_id",
    "stream",
    "position",
    "stream_version",
    "recorded_at",
    "partition",
    "n",
];
const SCHEMA_KEYS: [&str; 14] = [
    "type",
    "properties",
    "required",
    "$ref",
    "$defs",
    "items",
    "pattern",
    "anyOf",
    "not",
    "enum",
    "minimum",
    "maxLength",
    "format",
    "additionalProperties",
];

/// An event that is valid, or almost.
fn event(random: &mut Random) -> Value {
    let mut event = json!({"type": *random.pick(&["a", "b", "typed", "c"])});
    for key in &EVENT_KEYS[1..10] {
        if random.chance(20) {
            event[*key] = match *key {
                "tags" => {
                    json!(random.pick(&[vec!["n0", "n:1"], vec!["t:1"], vec![], vec!["n:2", "é"]]))
                }
                "id" => json!(uuid(random)),
                "schema_version" => json!(random.between(0, 3)),
                "occurred_at" => json!(time(random)),
                "data" => json!({"n": random.below(9)}),
                "meta" => json!({"by": "smith"}),
                _ => json!("c"),
            };
        }
    }
    if random.chance(15) {
        let key = *random.pick(&EVENT_KEYS);
        event[key] = json_value(random, &EVENT_KEYS, 3);
    }
    event
}

fn document(random: &mut Random) -> Value {
    match random.below(12) {
        0..3 => (0..random.between(0, 4)).map(|_| event(random)).collect(),
        3..6 => event(random),
        6 | 7 => query(random),
        8 => json_value(random, &SCHEMA_KEYS, 4),
        9 => {
            json!({"type": "object", "properties": {"n": json_value(random, &SCHEMA_KEYS, 3)}, "$defs": {"n": {"$ref": "#"}}})
        }
        10 => {
            let depth = *random.pick(&[10, 500, 3000]);
            let mut deep = json!(1);
            for _ in 0..depth {
                deep = if random.chance(50) {
                    json!([deep])
                } else {
                    json!({"n": deep})
                };
            }
            let text = deep.to_string();
            // Dropping it would recurse as deep.
            std::mem::forget(deep);
            Value::String(format!("\u{0}{text}"))
        }
        _ => json_value(random, &EVENT_KEYS, 4),
    }
}

fn query(random: &mut Random) -> Value {
    let criterion = |random: &mut Random| match random.below(7) {
        0 => json!({}),
        1 => json!({"tags": ["n0"]}),
        2 => json!({"types": ["a", "typed"], "after": 1}),
        3 => json!({"any_tags": ["n:1", "t:1"], "stream_prefix": "s"}),
        4 => json!({"stream": "s"}),
        5 => json!({"tags": ["n:1", "n0"], "types": ["b"]}),
        _ => json_value(random, &QUERY_KEYS, 3),
    };
    match random.below(3) {
        0 => (0..random.between(0, 4))
            .map(|_| criterion(random))
            .collect(),
        _ => criterion(random),
    }
}

/// The text of a document; the deep ones were text before.
fn document_text(value: &Value) -> String {
    match value {
        Value::String(s) if s.starts_with('\u{0}') => s[1..].to_owned(),
        other => other.to_string().replace("\\u0000", ""),
    }
}

fn uuid(random: &mut Random) -> String {
    match random.below(3) {
        0 => "00000000-0000-0000-0000-000000000001".into(),
        1 => format!("00000000-0000-0000-0000-00000000000{}", random.below(10)),
        _ => format!(
            "{:08x}-0000-4000-8000-{:012x}",
            random.next() as u32,
            random.next() >> 16
        ),
    }
}

/// An SQL expression of a type.
pub fn expression(random: &mut Random, kind: &str, name: &str) -> String {
    if random.chance(8) {
        return format!("NULL::{kind}");
    }
    if name == "ticket" && random.chance(80) {
        return "en57.ticket()".into();
    }
    if let Some(element) = kind.strip_suffix("[]") {
        return match random.below(12) {
            0 => format!("'{{}}'::{kind}"),
            1 => format!("ARRAY[NULL, NULL]::{kind}"),
            2 => format!(
                "ARRAY[[{0}],[{0}]]::{kind}",
                expression(random, element, name)
            ),
            3 => format!(
                "array_fill({}, ARRAY[3], ARRAY[-7])::{kind}",
                expression(random, element, name)
            ),
            4 => format!(
                "array_fill({}, ARRAY[{}])::{kind}",
                expression(random, element, name),
                random.pick(&[10, 200, 2000])
            ),
            _ => {
                let n = random.between(1, 4);
                let all: Vec<String> = (0..n).map(|_| expression(random, element, name)).collect();
                format!("ARRAY[{}]::{kind}", all.join(", "))
            }
        };
    }
    let literal = match kind {
        "bigint" | "integer" | "smallint" | "numeric" => {
            let n = *random.pick(&INTEGERS);
            let n = if kind == "integer" && random.chance(90) {
                i64::from(n as i32)
            } else {
                n
            };
            return format!("'{n}'::{kind}");
        }
        "boolean" => random.pick(&["true", "false"]).to_string(),
        "uuid" => uuid(random),
        "interval" => random
            .pick(&[
                "0",
                "1ms",
                "20ms",
                "-1 day",
                "1000000 years",
                "178000000 years",
                "1 mon",
                "30s",
                "0.0001s",
            ])
            .to_string(),
        "timestamp with time zone" => time(random).to_string(),
        "jsonb" | "json" => document_text(&document(random)),
        "en57_query" => document_text(&query(random)),
        "en57_function" => random.pick(&FUNCTIONS).to_string(),
        "regprocedure" => random
            .pick(&[
                "now()",
                "smith_victim.evolve(jsonb,en57_event)",
                "en57.redeem(bigint)",
            ])
            .to_string(),
        "regproc" => random
            .pick(&["now", "smith_victim.evolve", "0", "4294967295"])
            .to_string(),
        "regclass" => random
            .pick(&[
                "en57.events",
                "en57.events_theirs",
                "en57.events_mine",
                "pg_authid",
                "en57_streams",
                "smith_victim.seen",
                "seen",
                "0",
                "4294967295",
            ])
            .to_string(),
        "regrole" => random
            .pick(&[
                "smith_nobody",
                "smith_reader",
                "smith_admin",
                "smith_victim",
                "postgres",
                "pg_monitor",
                "0",
            ])
            .to_string(),
        "oid" => random.pick(&["0", "10", "4294967295", "16384"]).to_string(),
        "text" | "cstring" => text(random, name),
        "en57_outcome" => random
            .pick(&["appended", "conflict", "refused"])
            .to_string(),
        "bytea" => random.pick(&["\\x00", "", "\\x7b7d"]).to_string(),
        // A composite type.
        "en57_event" | "en57.event" | "en57.subscriptions" | "en57_append_result"
        | "en57_stream_info" => {
            let fields = if random.chance(80) {
                event(random)
            } else {
                json_value(random, &EVENT_KEYS, 2)
            };
            return format!(
                "jsonb_populate_record(NULL::{kind}, {})",
                quoted(&document_text(&fields))
            );
        }
        _ => text(random, name),
    };
    format!("{}::{kind}", quoted(&literal))
}
