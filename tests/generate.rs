//! The generator without a server: the texts that it makes of tests/generate/types.json, and Rust's at work.
//!
//! `EN57_BLESS=1` writes tests/generate/expected; tests/generate/run.sh gives these files to their languages' tools.

#![allow(missing_docs)]

use en57_tests::dcb;
#[allow(dead_code)]
#[path = "../src/generate/mod.rs"]
mod generate;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dcb::error::SqlState;
use generate::{Registered, registered};
use proptest::prelude::*;
use serde_json::{Value, json};

const FILES: [(&str, &str); 5] = [
    ("go", "events.go"),
    ("python", "events.py"),
    ("ruby", "events.rb"),
    ("rust", "events.rs"),
    ("typescript", "events.ts"),
];

fn generate(
    language: &str,
    types: Vec<Registered>,
    module: Option<&str>,
) -> dcb::error::Result<String> {
    generate::generate(language, types, module, &|| ())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("generate")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect(name)
}

fn types() -> Vec<Registered> {
    registered(&read("types.json")).expect("types.json")
}

#[test]
fn every_language_writes_what_is_expected() {
    for (language, file) in FILES {
        let text = generate(language, types(), None).expect(language);
        let path = folder().join("expected").join(file);
        if std::env::var_os("EN57_BLESS").is_some() {
            std::fs::write(&path, &text).expect(file);
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text == expected,
            "{file} differs: bless it and read the difference"
        );
    }
}

// What the generator makes of Rust is a module here, with the lints of this crate.
#[allow(dead_code)]
#[path = "generate/expected/events.rs"]
mod events;

use events::{Event, EventData};

/// The events of events.json as en57 returns them, and whether their type is not known.
fn rows() -> Vec<(bool, Value)> {
    let events: Vec<Value> = serde_json::from_str(&read("events.json")).expect("events.json");
    let row = |(n, mut event): (usize, Value)| {
        let object = event.as_object_mut().expect("an object");
        let is_unknown = object.remove("unknown").is_some();
        object.remove("except"); // a language
        object.extend(
            json!({
                "position": n,
                "id": "00000000-0000-7000-8000-000000000001",
                "tags": ["a:1"],
                "stream": null,
                "stream_version": null,
                "occurred_at": "2026-01-02T03:04:05.123456+00:00",
                "recorded_at": "2026-01-02T03:04:05+00:00",
                "partition": "default",
            })
            .as_object()
            .expect("an object")
            .clone(),
        );
        (is_unknown, event)
    };
    events.into_iter().enumerate().map(row).collect()
}

/// Numbers by their value: 5.0 is 5.
fn meant(value: &Value) -> Value {
    match value {
        Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|f| f.fract() == 0.0) => {
            json!(n.as_f64().map(|f| f as i64))
        }
        Value::Array(items) => items.iter().map(meant).collect(),
        Value::Object(items) => {
            Value::Object(items.iter().map(|(k, v)| (k.clone(), meant(v))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn rust_reads_and_writes_events() {
    for (is_unknown, row) in rows() {
        let event: Event = serde_json::from_value(row.clone()).expect("an event");
        assert_eq!(matches!(event, Event::Unknown(_)), is_unknown, "{row}");
        let written = serde_json::to_value(&event).expect("JSON");
        assert_eq!(meant(&written), meant(&row));
    }
}

#[test]
fn rust_makes_what_en57_append_takes() {
    let order = events::OrderPlacedV1 {
        note: None,
        order_id: 7,
        total: 1.5,
    };
    let plain = order.to_append(&events::AppendOptions::default());
    let wanted = json!({
        "type": "order placed",
        "schema_version": 1,
        "data": {"orderId": 7, "total": 1.5},
        "tags": [],
    });
    assert_eq!(plain.expect("JSON"), wanted);

    let options = events::AppendOptions {
        tags: vec!["a:1".into()],
        meta: Some(serde_json::from_value(json!({"user": null})).expect("meta")),
        id: Some("00000000-0000-4000-8000-000000000001".into()),
        occurred_at: Some("2026-01-02T03:04:05Z".into()),
        correlation_id: Some("c".into()),
        causation_id: Some("d".into()),
        trace_id: Some("e".into()),
    };
    assert_eq!(
        order.to_append(&options).expect("JSON"),
        json!({
            "type": "order placed",
            "schema_version": 1,
            "data": {"orderId": 7, "total": 1.5},
            "tags": ["a:1"],
            "meta": {"user": null},
            "id": "00000000-0000-4000-8000-000000000001",
            "occurred_at": "2026-01-02T03:04:05Z",
            "correlation_id": "c",
            "causation_id": "d",
            "trace_id": "e",
        })
    );
}

#[test]
fn rust_refuses_what_does_not_fit() {
    let mut row = rows().remove(0).1;
    for (event_type, data, wanted) in [
        (
            "shipped",
            json!({"id": "a", "cancelled_by": "b"}),
            "Option2",
        ),
        ("shipped", json!({"id": "a", "shipped_at": null}), "Option1"),
        ("shipped", json!({"id": "a"}), "not a value of ShippedV1"),
        ("amounts", json!({"amount": 1, "id": "a"}), "Option1"),
        (
            "amounts",
            json!({"amount": "x", "id": "a"}),
            "invalid type: string",
        ),
        ("required", json!({}), "missing field `flag`"),
        (
            "required",
            json!({"flag": true, "list": [], "map": {}, "name": "a"}),
            "missing field `nothing`",
        ),
    ] {
        row["type"] = json!(event_type);
        row["data"] = data;
        let read = serde_json::from_value::<Event>(row.clone());
        let read = read.map_or_else(|e| e.to_string(), |event| format!("{event:?}"));
        assert!(read.contains(wanted), "{row}: {read}");
    }
}
#[path = "generate/model.rs"]
mod model;

fn one(schema: Value) -> Vec<Registered> {
    vec![Registered {
        event_type: "t".into(),
        version: 1,
        data: Some(schema),
        meta: None,
    }]
}

fn typescript(schema: Value) -> String {
    generate("typescript", one(schema), None).expect("typescript")
}

#[test]
fn schemas_that_tell_little_become_any_json() {
    for schema in [
        json!(true),
        json!({}),
        json!({"$ref": "#"}),
        json!({"$ref": "https://example.org/schema"}),
        json!({"$ref": "#/$defs/missing"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"anyOf": [{"type": "string"}, {}]}),
        json!({"enum": []}),
        json!({"type": 7}),
    ] {
        let text = typescript(schema.clone());
        assert!(
            text.contains("export type TV1 = unknown;"),
            "{schema}\n{text}"
        );
    }
}

#[test]
fn all_of_narrows_and_any_of_joins() {
    let cases = [
        (
            json!({"allOf": [{"type": ["number", "string"]}, {"type": "integer"}]}),
            "number",
        ),
        (
            json!({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}),
            "\"b\"",
        ),
        (
            json!({"anyOf": [{"const": "a"}, {"enum": ["b", null]}]}),
            "\"a\" | \"b\" | null",
        ),
        (json!({"anyOf": [{"const": 2}, {"const": 1}]}), "1 | 2"),
        (
            json!({"type": "object", "additionalProperties": {"$ref": "#"}}),
            "{ [key: string]: TV1 }",
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}], "maxItems": 1}),
            "string[]",
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "null"}}),
            "(string | null)[]",
        ),
    ];
    for (schema, wanted) in cases {
        let text = typescript(schema.clone());
        let nullable = wanted.replace("\"a\" | \"b\" | null", "TV12 | null");
        assert!(
            text.contains(&format!("export type TV1 = {nullable};")),
            "{schema}\n{text}"
        );
    }
}

#[test]
fn schemas_that_double_themselves_are_refused() {
    let mut defs = serde_json::Map::new();
    for i in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        defs.insert(format!("d{i}"), json!({"allOf": [next, next]}));
    }
    defs.insert("d40".into(), json!({"type": "object"}));
    let schema = json!({"$ref": "#/$defs/d0", "$defs": defs});
    let error = generate("go", one(schema), None).expect_err("too large");
    assert_eq!(error.state, SqlState::LimitExceeded);
}

#[test]
fn references_that_grow_without_end_come_to_one() {
    // Each level merges anew: the properties of a level are those of the one above, and more.
    let schema = json!({
        "$ref": "#/$defs/a",
        "$defs": {
            "a": {"type": "object", "properties": {"x": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}}},
            "b": {"type": "object", "properties": {"x": {"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/a"}]}}},
        }
    });
    for (language, _) in FILES {
        let text = generate(language, one(schema.clone()), None);
        assert!(text.is_ok_and(|t| t.len() < 100_000), "{language}");
    }
}

/// Schemas, sound and unsound, that refer to themselves and to each other.
fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({"$ref": "#"})),
        Just(json!({"$ref": "#/$defs/a"})),
        Just(json!({"$ref": "#/$defs/b"})),
        Just(json!({"type": ["string", "null"]})),
        Just(json!({"type": "integer"})),
        Just(json!({"const": "x"})),
        Just(json!({"enum": ["x", "y", 1, true, null, {}]})),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            (several.clone(), prop_oneof![Just("oneOf"), Just("anyOf"), Just("allOf")])
                .prop_map(|(parts, key)| json!({ key: parts })),
            (several.clone(), inner.clone(), any::<bool>()).prop_map(|(parts, rest, is_required)| {
                let names = ["x", "X", "class"];
                let properties: serde_json::Map<String, Value> =
                    names.iter().map(|n| n.to_string()).zip(parts).collect();
                let required = if is_required { vec!["x"] } else { vec![] };
                json!({"properties": properties, "required": required, "additionalProperties": rest})
            }),
            (several, inner.clone()).prop_map(|(parts, rest)| json!({"prefixItems": parts, "items": rest})),
            (inner.clone(), inner).prop_map(|(a, b)| {
                json!({"$ref": "#/$defs/a", "$defs": {"a": a, "b": b}, "anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]})
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    // A schema can be as much work as the limits allow, so there are few in one run.
    #[test]
    fn every_schema_has_code_that_is_always_the_same(a in any_schema(), b in any_schema(), root in any_schema()) {
        let schema = json!({"allOf": [root], "$defs": {"a": a, "b": b}});
        for (language, _) in FILES {
            let text = generate(language, one(schema.clone()), None);
            let again = generate(language, one(schema.clone()), None);
            prop_assert!(text == again);
            prop_assert!(text.is_ok() || text.is_err_and(|e| e.state == SqlState::LimitExceeded));
        }
    }
}

#[test]
fn languages_and_modules_are_checked() {
    let error = generate("Rusty", types(), None).expect_err("no language");
    assert_eq!(error.state, SqlState::InvalidParameter);
    let hint = error.hint.unwrap_or_default();
    assert!(hint.contains("\"rust\"?") && hint.contains("go, python, ruby, rust, typescript"));
    for (language, module) in [
        ("rust", "m"),
        ("python", "m"),
        ("typescript", "m"),
        ("go", "A"),
        ("go", "func"),
        ("go", "a\nb"),
        ("go", ""),
        ("ruby", "a"),
        ("ruby", "A::"),
        ("ruby", "A\nB"),
    ] {
        let error = generate(language, types(), Some(module)).expect_err(module);
        assert_eq!(error.state, SqlState::InvalidParameter);
    }
    let text = generate("ruby", vec![], Some("Shop::Events")).expect("ruby");
    assert!(text.contains("module Shop; end\nmodule Shop::Events\n"));
    let text = generate("go", vec![], Some("shop")).expect("go");
    assert!(text.contains("\npackage shop\n"));
}

/// A text without its comments and strings.
fn code(text: &str) -> String {
    let pairs = [
        ("'\"'", ""),
        ("\"\"\"", "\"\"\""),
        ("/**", "*/"),
        ("//", "\n"),
        ("# ", "\n"),
        ("#:", "\n"),
        ("`", "`"),
    ];
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((start, end)) = pairs.iter().find(|(start, _)| rest.starts_with(start)) {
            rest = &rest[start.len()..];
            rest = &rest[rest
                .find(end)
                .map_or(rest.len(), |at| at + end.trim().len())..];
        } else if c == '"' {
            let mut escaped = false;
            let ends = |c: char| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            };
            rest = &rest[1..];
            rest = &rest[rest.find(ends).map_or(rest.len(), |at| at + 1)..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The names in a text that could be those of types: no members, which stand after a dot or begin an indented line.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for line in code(text).lines() {
        let mut before = "";
        for word in line.split_inclusive(|c| !is_part(c)) {
            let name = word.trim_end_matches(|c| !is_part(c));
            let is_member = before.ends_with(['.', ':', '@', '_', '\'', ')'])
                || before.ends_with(") ")
                || before.trim().is_empty() && line.starts_with([' ', '\t']);
            if name.starts_with(char::is_uppercase) && !is_member {
                names.insert(name.to_owned());
            }
            before = &line[..before.len() + word.len()];
        }
    }
    names
}

#[test]
fn no_type_takes_a_name_that_a_file_needs() {
    let text = generate("typescript", types(), None).expect("typescript");
    let newest = |line: &str| {
        line.strip_prefix("export type ")?
            .split_once(" = ")?
            .0
            .to_owned()
            .into()
    };
    let own: Vec<String> = text.lines().filter_map(newest).collect();
    // Itself, or what belongs to one of its versions.
    let is_own = |name: &str| {
        let name = name.trim_start_matches("ToAppend");
        own.iter().any(|own| match name.strip_prefix(own) {
            Some("") => true,
            rest => rest
                .and_then(|r| r.strip_prefix('V'))
                .is_some_and(|r| r.starts_with(char::is_numeric)),
        })
    };
    for (language, _) in FILES {
        let text = generate(language, types(), None).expect(language);
        let names: Vec<String> = names(&text)
            .into_iter()
            .filter(|n| n.len() > 1 && n.is_ascii() && !is_own(n))
            .collect();
        assert!(
            names.iter().any(|n| n == "Event") && names.len() > 6,
            "{language}: {names:?}"
        );
        for name in names {
            let mut types = one(json!({"type": "string"}));
            types[0].event_type.clone_from(&name);
            let text = generate("typescript", types, None).expect("typescript");
            assert!(
                !text.contains(&format!("export type {name} = {name}V1;")),
                "{language}: {name}"
            );
        }
    }
}

#[test]
fn comments_cannot_be_left() {
    for (language, _) in FILES {
        let schema = json!({"type": "object", "description": "a\u{2028}b\r\u{0}c */ \"\"\" \\", "properties": {"p": {"title": "x\ny\u{b}z"}}});
        let text = generate(language, one(schema), None).expect(language);
        assert!(
            !text.contains(['\u{2028}', '\r', '\0', '\u{b}']),
            "{language}"
        );
        assert!(language != "typescript" || !text.contains("c */"), "{text}");
    }
}
