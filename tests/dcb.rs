//! The domain without a server: parsing, canonical form, stored form, matching.

#![allow(missing_docs)]

use en57_tests::dcb;

use dcb::error::{SqlState, nearest};
use dcb::key::{Namespace, key};
use dcb::query::{Criterion, Matchable, Query};
use dcb::shard::{Key, Shard};
use dcb::{codec, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
struct Event {
    position: i64,
    event_type: String,
    tags: Vec<String>,
    stream: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
}

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
        self.stream.as_deref()
    }
    fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }
    fn causation_id(&self) -> Option<&str> {
        self.causation_id.as_deref()
    }
}

/// What the contract says about matching, in its own words and on the JSON text: beside `Query::matches`, so
/// that neither is checked by itself.
fn matches_as_the_contract_says(criterion: &Value, event: &Event) -> bool {
    let among =
        |list: &Value, text: &str| list.as_array().is_some_and(|l| l.iter().any(|t| t == text));
    let is = |key: &str, value: &Option<String>| {
        criterion[key].is_null() || criterion[key] == json!(value)
    };
    let tags = criterion["tags"].as_array();
    let any_tags = criterion["any_tags"].as_array();
    let prefix = criterion["stream_prefix"].as_str();
    let own = |t: &Value| event.tags.iter().any(|own| t == own);
    (criterion["types"].is_null() || among(&criterion["types"], &event.event_type))
        && tags.is_none_or(|tags| tags.iter().all(own))
        && any_tags.is_none_or(|tags| tags.iter().any(own))
        && prefix.is_none_or(|p| event.stream.as_ref().is_some_and(|s| s.starts_with(p)))
        && is("stream", &event.stream)
        && is("correlation_id", &event.correlation_id)
        && is("causation_id", &event.causation_id)
        && criterion["after"]
            .as_i64()
            .is_none_or(|after| event.position > after)
}

fn name() -> impl Strategy<Value = String> {
    // Few, so that they meet; and some that are hard to write.
    prop_oneof![4 => "[a-d]", 1 => "[a-d][é\"\\\\\n\u{1}😀 ]", 1 => "[^\u{0}]{1,8}"]
}

fn event() -> impl Strategy<Value = Event> {
    let named = || proptest::option::of(name());
    (
        1..20i64,
        name(),
        proptest::collection::vec(name(), 0..4),
        named(),
        named(),
        named(),
    )
        .prop_map(
            |(position, event_type, tags, stream, correlation_id, causation_id)| Event {
                position,
                event_type,
                tags,
                stream,
                correlation_id,
                causation_id,
            },
        )
}

fn criterion() -> impl Strategy<Value = Value> {
    let names = || proptest::option::of(proptest::collection::vec(name(), 1..4));
    let named = || proptest::option::weighted(0.15, name());
    let after = proptest::option::weighted(0.3, prop_oneof![0..20i64, Just(i64::MAX)]);
    let newer = (names(), named());
    (names(), names(), named(), named(), named(), after, newer).prop_map(
        |(types, tags, stream, correlation_id, causation_id, after, (any_tags, prefix))| {
            let all = [
                ("any_tags", json!(any_tags)),
                ("stream_prefix", json!(prefix)),
                ("types", json!(types)),
                ("tags", json!(tags)),
                ("stream", json!(stream)),
                ("correlation_id", json!(correlation_id)),
                ("causation_id", json!(causation_id)),
                ("after", json!(after)),
            ];
            all.into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<Value>()
        },
    )
}

fn criteria() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::vec(criterion(), 1..5)
}

fn query(value: &Value) -> Query {
    parse::query(&value.to_string()).unwrap_or_else(|e| panic!("{value}: {e}"))
}

/// Any JSON, with the keys of a query more often than others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,6}".prop_map(Value::from),
        "[\u{0}-\u{2}]{0,2}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        8 => proptest::sample::select(vec!["types", "tags", "any_tags", "stream", "stream_prefix", "correlation_id", "causation_id", "after", "items"])
            .prop_map(str::to_owned),
        1 => ".{0,8}",
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Fails without any one of the parts of `Criterion::matches`.
    #[test]
    fn matching_is_what_the_contract_says(criteria in criteria(), event in event()) {
        let expected = criteria.iter().any(|c| matches_as_the_contract_says(c, &event));
        prop_assert_eq!(query(&json!(criteria)).matches(&event), expected);
        for c in &criteria {
            prop_assert_eq!(query(c).matches(&event), matches_as_the_contract_says(c, &event));
        }
    }

    /// `after` of the whole holds beside each item's own.
    #[test]
    fn the_form_of_dcb_events(criteria in criteria(), after in 0..20i64, event in event()) {
        let whole = query(&json!({"items": criteria, "after": after}));
        let expected = event.position > after && criteria.iter().any(|c| matches_as_the_contract_says(c, &event));
        prop_assert_eq!(whole.matches(&event), expected);
        prop_assert_eq!(query(&json!({"items": criteria})), query(&json!(criteria)));
    }

    /// Order, duplicates and blanks make no difference: equal queries have equal texts and bytes.
    #[test]
    fn canonical(criteria in criteria(), turn in 0..4usize) {
        let one = query(&json!(criteria));
        let mut other = criteria.clone();
        other.rotate_left(turn % criteria.len());
        other.push(other[0].clone());
        for c in &mut other {
            for key in ["types", "tags", "any_tags"] {
                if let Some(Value::Array(list)) = c.get_mut(key) {
                    list.reverse();
                    list.push(list[0].clone());
                }
            }
            if c["after"].is_null() {
                c["after"] = json!(0);
            }
        }
        let other = parse::query(&serde_json::to_string_pretty(&other).expect("it is JSON")).expect("it is a query");
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.to_string(), other.to_string());
        prop_assert_eq!(codec::encode(&one), codec::encode(&other));
    }

    /// Text and stored form give the query back.
    #[test]
    fn round_trips(criteria in criteria()) {
        let query = query(&json!(criteria));
        let text = query.to_string();
        prop_assert_eq!(&parse::query(&text).expect("its own text"), &query);
        let as_json: Value = serde_json::from_str(&text).expect("its text is JSON");
        prop_assert_eq!(&parse::query(&as_json.to_string()).expect("the same JSON"), &query);
        prop_assert_eq!(&codec::decode(&codec::encode(&query)).expect("its own bytes"), &query);
    }

    #[test]
    fn unions(a in criteria(), b in criteria(), event in event()) {
        let [a, b] = [query(&json!(a)), query(&json!(b))];
        let both = a.clone().union(b.clone());
        prop_assert_eq!(both.matches(&event), a.matches(&event) || b.matches(&event));
        prop_assert_eq!(&both, &b.clone().union(a.clone()));
        prop_assert_eq!(both.is_everything(), a.is_everything() || b.is_everything());
        prop_assert_eq!(&both.clone().union(a), &both);
    }

    #[test]
    fn within(a in criteria(), b in criteria(), event in event()) {
        let [a, b] = [query(&json!(a)), query(&json!(b))];
        let by = Criterion {
            types: b.criteria()[0].types.clone(),
            tags: b.criteria()[0].tags.clone(),
            stream: b.criteria()[0].stream.clone(),
            ..Criterion::default()
        };
        let both = a.within(&by);
        prop_assert_eq!(both.is_some_and(|q| q.matches(&event)), a.matches(&event) && by.matches(&event));
    }

    /// Whatever the text, there is a query or an error of the contract.
    #[test]
    fn any_text(text in ".{0,60}") {
        answers(&text)?;
    }

    #[test]
    fn any_json_text(value in any_json()) {
        answers(&value.to_string())?;
    }

    #[test]
    fn damaged_text(criteria in criteria(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}\",:\\\\0-9a-z\u{0}é]{0,3}", cut in 0..3usize) {
        let mut characters: Vec<char> = json!(criteria).to_string().chars().collect();
        let at = at.index(characters.len());
        let end = (at + cut).min(characters.len());
        characters.splice(at..end, with.chars());
        answers(&characters.into_iter().collect::<String>())?;
    }

    /// Damaged bytes are an error or some query, never a panic and never memory without end.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = codec::decode(&bytes);
    }

    #[test]
    fn damaged_bytes(criteria in criteria(), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = codec::encode(&query(&json!(criteria)));
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(codec::decode(&bytes).is_err());
        } else {
            bytes[at] = with;
            let _ = codec::decode(&bytes);
        }
    }

    #[test]
    fn nearest_is_a_known_word(word in ".{0,80}") {
        let known = ["types", "tags", "after"];
        prop_assert!(nearest(&word, &known).is_none_or(|n| known.contains(&n)));
    }
}

fn answers(text: &str) -> Result<(), TestCaseError> {
    match parse::query(text) {
        Ok(query) => prop_assert_eq!(parse::query(&query.to_string()).ok(), Some(query)),
        Err(error) => {
            prop_assert_eq!(error.state, SqlState::InvalidText);
            prop_assert!(!error.message.is_empty() && error.message.len() < 2000);
        }
    }
    Ok(())
}

#[test]
fn the_empty_query_matches_everything() {
    let event = Event {
        position: 1,
        event_type: "t".into(),
        tags: vec![],
        stream: None,
        correlation_id: None,
        causation_id: None,
    };
    for everything in [
        Query::everything(),
        Query::new(vec![Criterion::default()]),
        query(&json!({})),
    ] {
        assert!(everything.is_everything() && everything.matches(&event));
    }
    assert!(query(&json!({"after": 1})).is_everything());
    assert!(!query(&json!({"after": 1})).matches(&event));
    assert!(!query(&json!({"types": ["t"]})).is_everything());
    let of_streams = query(&json!({"stream_prefix": "s"}));
    assert!(!of_streams.is_everything() && of_streams.lists_streams());
    assert!(!query(&json!({"stream_prefix": "s", "tags": ["a"]})).lists_streams());
}

/// The keys are on disk: they never change.
#[test]
fn keys_are_stable() {
    let xxh3 =
        |seed: u64, text: &str| xxhash_rust::xxh3::xxh3_64_with_seed(text.as_bytes(), seed) as i64;
    let namespaces = [
        Namespace::Type,
        Namespace::Tag,
        Namespace::Stream,
        Namespace::Correlation,
        Namespace::Causation,
        Namespace::Id,
    ];
    for (namespace, seed) in namespaces.into_iter().zip(1..) {
        assert_eq!(key(namespace, b"course:1"), xxh3(seed, "course:1"));
    }
    let mut all: Vec<i64> = namespaces.iter().map(|n| key(*n, b"a")).collect();
    all.push(KEY_OF_TAG);
    assert_eq!(key(Namespace::Tag, b"course:1"), KEY_OF_TAG);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 7, "namespaces keep equal texts apart");
}

const KEY_OF_TAG: i64 = -5_769_890_713_224_243_842;

/// Values of tables, arguments and dumps hold these bytes.
#[test]
fn the_stored_form_is_stable() {
    let query = query(&json!({"types": ["y"], "tags": ["a"], "after": 5}));
    let bytes = b"\x01\x01\0\0\0\x05\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0y\x01\0\0\0\x01\0\0\0a\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(codec::encode(&query), bytes);
    // The second format is for what the first one cannot say, and for nothing else.
    let query =
        self::query(&json!([{"types": ["y"]}, {"any_tags": ["a", "b"], "stream_prefix": "s"}]));
    let bytes: Vec<&[u8]> = vec![
        b"\x02\x02\0\0\0",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x02\0\0\0\x01\0\0\0a\x01\0\0\0b\x01\0\0\0s",
        b"\0\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0y\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0",
    ];
    assert_eq!(codec::encode(&query), bytes.concat());
    assert_eq!(codec::decode(&bytes.concat()).ok(), Some(query));
    let newer = codec::decode(&[3, 0, 0]).expect_err("a newer format");
    assert_eq!(newer.state.code(), "0A000");
    assert_eq!(
        codec::decode(&[]).expect_err("nothing").state.code(),
        "XX001"
    );
}

#[test]
fn every_key_is_in_one_shard_and_shards_are_about_equal() {
    for of in [1, 2, 4, 7, 1024] {
        let shards: Vec<Shard> = (0..of)
            .map(|n| Shard::new(n, of).expect("a shard"))
            .collect();
        let mut counts = vec![0; of as usize];
        for n in 0..10_000 {
            let tag = format!("course:{n}");
            let key = Key::of(None, Some(tag.as_bytes()), b"type");
            let number = key.shard_of(shards[0]);
            let holding = shards.iter().filter(|s| s.has(key)).count();
            assert_eq!((holding, shards[number as usize].has(key)), (1, true));
            assert_eq!(Key::parse(&format!("tag:{tag}")), Ok(key));
            counts[number as usize] += 1;
        }
        let fair = 10_000 / of;
        assert!(
            of > 7
                || counts
                    .iter()
                    .all(|c| (fair * 8 / 10..=fair * 12 / 10).contains(c)),
            "{counts:?}"
        );
    }
    let stream = Key::of(Some(b"s"), Some(b"t"), b"y");
    assert_eq!(Key::parse("stream:s"), Ok(stream));
    assert_eq!(Key::parse("type:y"), Ok(Key::of(None, None, b"y")));
    for wrong in ["", "stream", "other:x"] {
        assert!(Key::parse(wrong).is_err(), "{wrong}");
    }
    for (number, of) in [(0, 0), (-1, 1), (1, 1), (0, 1025), (4, 4)] {
        assert!(Shard::new(number, of).is_err(), "{number} of {of}");
    }
}
