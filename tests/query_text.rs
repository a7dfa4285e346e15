//! How queries are written: their canonical text, what is refused with which words, and the limits.

#![allow(missing_docs)]

use en57_tests::dcb;

use dcb::limits;
use dcb::parse;
use serde_json::json;

fn refusal(text: &str) -> (String, Option<String>) {
    let error = parse::query(text).expect_err(text);
    assert_eq!(error.state.code(), "22P02");
    (error.message, error.hint)
}

#[test]
fn canonical_text() {
    let canonical = |text: &str| {
        parse::query(text)
            .unwrap_or_else(|e| panic!("{text}: {e}"))
            .to_string()
    };
    for (text, expected) in [
        ("{}", "{}"),
        ("[{}]", "{}"),
        (r#"{"after": 0}"#, "{}"),
        (r#"{"types": null, "after": null}"#, "{}"),
        (r#"{"items": [{}], "after": 7}"#, r#"{"after": 7}"#),
        (
            r#"{"items": [{"after": 9}, {"after": 3}], "after": 7}"#,
            r#"[{"after": 7}, {"after": 9}]"#,
        ),
        (
            r#"{"after":1,"tags":["b","a","b"],"types":["y","x"]}"#,
            r#"{"types": ["x", "y"], "tags": ["a", "b"], "after": 1}"#,
        ),
        (
            r#"[{"tags":["b"]},{"tags":["a"]},{"tags":["b"]}]"#,
            r#"[{"tags": ["a"]}, {"tags": ["b"]}]"#,
        ),
        // What is implied is left out, and one alternative is none.
        (
            r#"{"any_tags": ["b", "a", "b"], "stream_prefix": "s"}"#,
            r#"{"any_tags": ["a", "b"], "stream_prefix": "s"}"#,
        ),
        (
            r#"{"any_tags": ["b"], "tags": ["c", "a"]}"#,
            r#"{"tags": ["a", "b", "c"]}"#,
        ),
        (
            r#"{"any_tags": ["b", "c"], "tags": ["c", "a"]}"#,
            r#"{"tags": ["a", "c"]}"#,
        ),
        (
            r#"{"stream": "st", "stream_prefix": "s"}"#,
            r#"{"stream": "st"}"#,
        ),
        (
            r#"{"stream_prefix": "st", "stream": "s"}"#,
            r#"{"stream": "s", "stream_prefix": "st"}"#,
        ),
        // As client libraries of DCB send what they restrict by nothing.
        (r#"{"items": []}"#, "{}"),
        (r#"{"items": [], "after": 7}"#, r#"{"after": 7}"#),
        (r#"{"items": [{"types": [], "tags": []}]}"#, "{}"),
        (
            r#"{"items": [{"types": [], "tags": ["a"], "any_tags": []}]}"#,
            r#"{"tags": ["a"]}"#,
        ),
        (
            "{\"tags\": [\"\\u0001 \\\" \\\\ \\n \\u00e9\"]}",
            "{\"tags\": [\"\\u0001 \\\" \\\\ \\n é\"]}",
        ),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn refused_texts_name_the_place() {
    for (text, message) in [
        ("", "invalid input syntax"),
        ("7", "not a number"),
        ("null", "not null"),
        ("[]", "at least one criterion"),
        (r#"{"items": {}}"#, "\"items\""),
        (r#"{"items": [{}], "tags": ["a"]}"#, "unknown key \"tags\""),
        ("[{}, 7]", "criterion 2"),
        ("[{}, []]", "criterion 2"),
        (r#"[{}, {"tags": "a"}]"#, "criterion 2: \"tags\""),
        (r#"{"tags": []}"#, "\"tags\" must not be empty"),
        (r#"{"types": []}"#, "\"types\" must not be empty"),
        (r#"{"any_tags": []}"#, "\"any_tags\" must not be empty"),
        (r#"{"any_tags": ["a", ""]}"#, "\"any_tags\", element 2"),
        (r#"{"stream_prefix": ""}"#, "\"stream_prefix\""),
        (r#"{"tags": ["a", 7]}"#, "\"tags\", element 2"),
        (r#"{"tags": ["a", ""]}"#, "\"tags\", element 2"),
        (r#"{"tags": ["a\u0000"]}"#, "U+0000"),
        (r#"{"stream": ""}"#, "\"stream\""),
        (r#"{"correlation_id": 7}"#, "\"correlation_id\""),
        (r#"{"after": -1}"#, "\"after\""),
        (r#"{"after": 1.5}"#, "\"after\""),
        (r#"{"after": 9223372036854775808}"#, "\"after\""),
        (r#"{"after": "1"}"#, "\"after\""),
    ] {
        let (said, _) = refusal(text);
        assert!(said.contains(message), "{text}: {said}");
    }
    assert_eq!(
        refusal("[]").1.as_deref(),
        Some("Write {} to match every event.")
    );
    assert_eq!(
        refusal(r#"{"tag": ["a"]}"#).1.as_deref(),
        Some("Did you mean \"tags\"?")
    );
}

#[test]
fn limits_hold_at_their_edge() {
    let tag = |bytes: usize| json!({"tags": ["x".repeat(bytes)]}).to_string();
    assert!(parse::query(&tag(limits::TEXT_BYTES)).is_ok());
    assert!(refusal(&tag(limits::TEXT_BYTES + 1)).0.contains("longer"));
    let event_type = |bytes: usize| {
        json!({"types": ["é".repeat(bytes / 2) + if bytes % 2 == 1 { "x" } else { "" }]})
            .to_string()
    };
    assert!(parse::query(&event_type(limits::TYPE_BYTES)).is_ok());
    refusal(&event_type(limits::TYPE_BYTES + 1));
    let tags =
        |n: usize| json!({"tags": (0..n).map(|i| i.to_string()).collect::<Vec<_>>()}).to_string();
    assert!(parse::query(&tags(limits::NAMES_PER_CRITERION)).is_ok());
    refusal(&tags(limits::NAMES_PER_CRITERION + 1));
    let many = |n: usize| {
        format!(
            "[{}]",
            (1..=n)
                .map(|i| format!("{{\"after\": {i}}}"))
                .collect::<Vec<_>>()
                .join(",")
        )
    };
    assert!(parse::query(&many(limits::CRITERIA_PER_QUERY)).is_ok());
    refusal(&many(limits::CRITERIA_PER_QUERY + 1));
    // Deeper than any stack.
    refusal(&"[".repeat(1_000_000));
    refusal(&"{\"tags\":".repeat(1_000_000));
}
