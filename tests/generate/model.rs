//! What schemas become, whatever the language, and what becomes of those that are too large.

use serde_json::{Value, json};

use super::dcb::error::SqlState;
use super::generate::Registered;
use super::{FILES, generate, one, typescript};

/// The members of the interface of that name in TypeScript, as `a?: string` and the like.
fn members(schema: &Value, name: &str) -> Vec<String> {
    let text = typescript(schema.clone());
    let begin = format!("export interface {name} {{\n");
    let (_, rest) = text.split_once(&begin).unwrap_or_default();
    let (body, _) = rest.split_once("\n}").unwrap_or_default();
    let lines = body.lines().map(|l| l.trim().trim_end_matches(';'));
    lines.map(str::to_owned).collect()
}

#[test]
fn long_chains_of_references_have_a_limited_stack() {
    let chain = |n: usize, link: fn(Value) -> Value| {
        let links = (0..n).map(|i| {
            (
                i.to_string(),
                link(json!({"$ref": format!("#/$defs/{}", i + 1)})),
            )
        });
        let last =
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "null"}}});
        let defs: serde_json::Map<String, Value> = links.chain([(n.to_string(), last)]).collect();
        json!({"$ref": "#/$defs/0", "$defs": defs})
    };
    let links: [fn(Value) -> Value; 6] = [
        |next| next,
        |next| json!({"allOf": [next]}),
        |next| json!({"anyOf": [next, {"type": "null"}]}),
        |next| json!({"type": "array", "items": next}),
        |next| json!({"type": "object", "properties": {"x": next}}),
        |next| json!({"then": next}),
    ];
    for (language, _) in FILES {
        for (n, link) in links.into_iter().enumerate() {
            match generate(language, one(chain(25_000, link)), None) {
                Ok(text) => assert!(n > 1 && text.len() < 1_000_000, "{language} {n}"),
                Err(error) => assert_eq!(error.state, SqlState::LimitExceeded, "{n}"),
            }
        }
        assert!(generate(language, one(chain(45, links[1])), None).is_ok());
    }
    // A chain of references alone is what it leads to.
    assert_eq!(members(&chain(10_000, links[0]), "TV1X10000"), ["a: null"]);
}

#[test]
fn large_schemas_take_little_time() {
    let refs: serde_json::Map<String, Value> = (0..9_000)
        .map(|i| (format!("p{i}"), json!({"$ref": "#"})))
        .collect();
    let values: Vec<String> = (0..80_000).map(|i| format!("v{i}")).collect();
    let begin = std::time::Instant::now();
    let schema = json!({"type": "object", "properties": refs, "$defs": {"a": {"enum": values}}});
    assert_eq!(members(&schema, "TV1").len(), 9_000);
    let text = typescript(
        json!({"allOf": [{"enum": values}, {"anyOf": [{"enum": values}, {"const": "w"}]}]}),
    );
    assert!(text.contains("\"v79999\""));
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
}

#[test]
fn work_can_be_ended() {
    let asked = std::cell::Cell::new(0);
    let watch = || asked.set(asked.get() + 1);
    let schema = json!({"type": "object", "properties": {"a": {"oneOf": [{"type": "null"}, {"type": "string"}]}}});
    generate::generate("go", one(schema), None, &watch).expect("go");
    // For each schema and each union.
    assert!(asked.get() > 5, "{}", asked.get());
}

#[test]
fn large_schemas_are_refused_by_name() {
    let properties: serde_json::Map<String, Value> = (0..11_000)
        .map(|i| {
            (
                format!("p{i}"),
                json!({"type": "object", "properties": {"a": true}}),
            )
        })
        .collect();
    let error = generate(
        "go",
        one(json!({"type": "object", "properties": properties})),
        None,
    )
    .expect_err("too large");
    assert_eq!(error.state, SqlState::LimitExceeded);
    let detail = error.detail.unwrap_or_default();
    assert!(
        detail.starts_with("It has more than 20000 parts"),
        "{detail}"
    );
}

#[test]
fn alternatives_that_may_hold_together_are_one_type() {
    let one_with =
        |name: &str| json!({"properties": {name: {"type": "string"}}, "required": [name]});
    let alternatives = json!([one_with("email"), one_with("phone")]);
    let any = json!({"type": "object", "anyOf": alternatives});
    assert_eq!(members(&any, "TV1"), ["email?: string", "phone?: string"]);
    // In one that excludes, too; and what excludes by itself stays apart.
    let inner = json!({"oneOf": [any, {"type": "object", "required": ["fax"], "properties": {"fax": {"type": "string"}}}]});
    assert_eq!(members(&inner, "TV1").len(), 3, "{}", typescript(inner));
    let apart = json!({"type": "object", "oneOf": alternatives});
    assert!(typescript(apart).contains("export type TV1 = TV1Option1 | TV1Option2;"));
}

#[test]
fn conditions_tell_all_that_a_property_can_be() {
    let case = |k: &str, of: &str| json!({"if": {"properties": {"k": {"const": k}}}, "then": {"properties": {"ref": {"type": of}}}});
    let chain = {
        let mut chain = case("card", "string");
        chain["else"] = case("cash", "integer");
        chain
    };
    let both = json!({"allOf": [case("card", "string"), case("cash", "integer")]});
    let dependent = json!({"dependentSchemas": {"a": {"properties": {"ref": {"type": "string"}}}, "b": {"properties": {"ref": {"type": "integer"}}}}});
    for mut schema in [chain, both, dependent] {
        let text = typescript(schema.clone());
        assert!(
            text.contains("export type TV1Ref = number | string;"),
            "{text}"
        );
        // What is said without a condition stays.
        schema["properties"] = json!({"ref": {"type": ["string", "integer", "null"]}});
        let text = typescript(schema);
        assert!(text.contains("  ref?: TV1Ref | null;"), "{text}");
    }
}

#[test]
fn no_set_of_alternatives_is_lost() {
    let set = |tag: &str, a: &str, b: &str| {
        let option = |value: &str| json!({"required": [tag], "properties": {tag: {"const": value}, value: {"type": "string"}}});
        json!({"oneOf": [option(a), option(b)]})
    };
    let schema = json!({"type": "object", "allOf": [set("k", "a", "b"), set("l", "c", "d"), set("m", "e", "f"), set("n", "g", "h")]});
    let text = typescript(schema);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert!(
            text.contains(&format!("  {name}?: string;")),
            "{name}\n{text}"
        );
    }
}

#[test]
fn parts_with_an_id_have_references_of_their_own() {
    let sub = json!({"$id": "https://example.org/sub", "type": "object", "properties": {"v": {"$ref": "#/$defs/w"}, "n": {"type": "null"}}, "$defs": {"w": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/sub"}}, "$defs": {"sub": sub, "w": {"type": "string"}}});
    assert_eq!(members(&schema, "TV1Sub"), ["n?: null", "v?: unknown"]);
    // The id of the whole changes nothing, for metadata neither.
    let own = json!({"$id": "https://example.org/t", "type": "object", "properties": {"v": {"$ref": "#/$defs/w"}}, "$defs": {"w": {"type": "string"}}});
    assert_eq!(members(&own, "TV1"), ["v?: string"]);
    let mut types = one(json!(true));
    types[0].meta = Some(own);
    types.push(Registered {
        event_type: "*".into(),
        version: 0,
        data: None,
        meta: Some(json!({"type": "object"})),
    });
    let text = generate("typescript", types, None).expect("typescript");
    assert!(text.contains("  v?: string;"), "{text}");
}

#[test]
fn limits_of_values_make_no_types() {
    for (schema, wanted) in [
        (json!({"minLength": 1}), "unknown"),
        (json!({"minimum": 0}), "unknown"),
        (json!({"format": "date-time"}), "unknown"),
        (json!({"minItems": 1}), "unknown"),
        (json!({"items": {"type": "string"}}), "string[]"),
        (
            json!({"additionalProperties": {"type": "string"}}),
            "{ [key: string]: string }",
        ),
    ] {
        let text = typescript(schema.clone());
        assert!(
            text.contains(&format!("export type TV1 = {wanted};")),
            "{schema}\n{text}"
        );
    }
}
