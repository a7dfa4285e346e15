//! What the run works on: few types, tags, streams and partitions, so that clients meet; and what of the extension
//! stands on their events.

use serde_json::{Value, json};

use crate::random::Random;
use crate::record::{Criterion, Query};

/// The partitions that stay. Those of the nemesis come and go.
pub const PARTITIONS: [&str; 2] = ["default", "second"];
pub const TYPES: [&str; 4] = ["t0", "t1", "t2", "t3"];
pub const TAGS: [&str; 6] = ["a:0", "a:1", "a:2", "a:3", "b:0", "b:1"];
pub const STREAMS: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];
/// Accounts have an invariant: their balance is never below zero after an append.
pub const ACCOUNTS: usize = 6;
/// Of each stock the decider reserves no more than this.
pub const STOCK: i64 = 25;
pub const STOCKS: usize = 4;
/// Two deciders of the same stocks; one has snapshots.
pub const DECIDERS: [&str; 2] = ["reserve", "reserve_by_snapshots"];

/// The queries that are followed and asked for their heads.
pub fn queries() -> Vec<Query> {
    let criterion = |types: &[&str], tags: &[&str]| Criterion {
        types: types.iter().map(|s| (*s).into()).collect(),
        tags: tags.iter().map(|s| (*s).into()).collect(),
        ..Criterion::default()
    };
    vec![
        vec![],
        vec![criterion(&["t0"], &[])],
        vec![criterion(&[], &["a:0"])],
        vec![criterion(&["t1", "t2"], &["a:1"])],
        vec![
            criterion(&["t3"], &["b:0"]),
            criterion(&[], &["a:2", "b:1"]),
        ],
        vec![criterion(&[], &["rare:1"])],
        vec![Criterion {
            any_tags: vec!["a:3".into(), "b:1".into(), "rare:1".into()],
            ..criterion(&["t0", "t2"], &[])
        }],
    ]
}

/// A projection of documents that is made and dropped while others append; one that is there stays.
pub const MADE_BESIDE: &str = r#"SELECT en57_create_document_projection('accounts_beside', '{"types": ["moved"]}', 'tag:account:', 'add_up', if_not_exists => true)"#;

/// The subscriptions: name, number of the query, partition, shards, whether it is polled with a lease.
pub const SUBSCRIPTIONS: [(&str, usize, &str, i32, bool); 8] = [
    ("once", 2, "default", 1, false),
    ("sharded", 0, "default", 3, false),
    ("leased", 2, "default", 1, true),
    ("leased_second", 0, "second", 2, true),
    ("everywhere", 2, "*", 1, false),
    ("everywhere_leased", 0, "*", 2, true),
    ("altered", 0, "default", 2, false),
    ("altered_leased", 0, "second", 3, true),
];

/// Whether the nemesis changes a subscription's query and its number of shards; what is said above holds at the beginning.
pub fn is_altered(subscription: &str) -> bool {
    subscription.starts_with("altered")
}

/// The queries that such a subscription may have, and its numbers of shards.
pub const ALTERED_QUERIES: [usize; 4] = [0, 1, 2, 6];
pub const ALTERED_SHARDS: [i32; 3] = [1, 2, 4];

/// Writes down how a subscription is from now on: the number of its query ($2, or the last one), and where its shards are.
pub const NOTE_ALTERED: &str = "INSERT INTO altered (subscription, query, positions)
    SELECT name, coalesce($2, (SELECT query FROM altered WHERE subscription = $1 ORDER BY n DESC LIMIT 1)),
           array_agg(\"position\" ORDER BY shard)
      FROM en57_subscriptions WHERE name = $1 GROUP BY name";

/// A query as the store takes it.
pub fn written(query: &Query) -> String {
    let criterion = |c: &Criterion| {
        let mut object = serde_json::Map::new();
        for (name, words) in [
            ("types", &c.types),
            ("tags", &c.tags),
            ("any_tags", &c.any_tags),
        ] {
            if !words.is_empty() {
                object.insert(name.into(), json!(words));
            }
        }
        if c.after > 0 {
            object.insert("after".into(), json!(c.after));
        }
        Value::Object(object)
    };
    if query.is_empty() {
        return "{}".into();
    }
    Value::Array(query.iter().map(criterion).collect()).to_string()
}

/// A query for a condition.
pub fn condition(random: &mut Random) -> Query {
    let one = |random: &mut Random| {
        let types = match random.below(3) {
            0 => vec![(*random.pick(&TYPES)).to_owned()],
            _ => vec![],
        };
        let mut tags: Vec<String> = vec![(*random.pick(&TAGS)).to_owned()];
        if random.chance(20) {
            tags.push((*random.pick(&TAGS)).to_owned());
        }
        if random.chance(10) && !types.is_empty() {
            tags.clear();
        }
        tags.sort();
        tags.dedup();
        let mut any_tags = vec![];
        if random.chance(25) {
            any_tags = (0..2).map(|_| (*random.pick(&TAGS)).to_owned()).collect();
            if random.chance(60) {
                tags.clear();
            }
        }
        Criterion {
            types,
            tags,
            any_tags,
            after: 0,
        }
    };
    let n = *random.pick(&[1, 1, 1, 2, 3]);
    (0..n).map(|_| one(random)).collect()
}

/// Whether an event matches a query.
pub fn matches(query: &Query, event_type: &str, tags: &[String]) -> bool {
    query.is_empty() || query.iter().any(|c| matches_one(c, event_type, tags))
}

/// Whether an event matches a criterion.
pub fn matches_one(c: &Criterion, event_type: &str, tags: &[String]) -> bool {
    (c.types.is_empty() || c.types.iter().any(|t| t == event_type))
        && c.tags.iter().all(|t| tags.contains(t))
        && (c.any_tags.is_empty() || c.any_tags.iter().any(|t| tags.contains(t)))
}

/// What is there before the first client begins.
pub const SCHEMA: &str = r#"
CREATE EXTENSION en57;
SELECT en57_create_partition('second');

CREATE FUNCTION amount(e en57_event) RETURNS bigint LANGUAGE sql IMMUTABLE
    RETURN (((e).data) ->> 'amount')::bigint;

-- an invariant: no balance below zero
CREATE FUNCTION move(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN to_jsonb(coalesce((state #>> '{}')::bigint, 0) + amount(e));
CREATE FUNCTION overdrawn(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN (state #>> '{}')::bigint < 0 THEN 'overdrawn' END;
SELECT en57_create_invariant('balance', '{"types": ["moved"]}', 'tag:account:', 'move(jsonb, en57_event)', 'overdrawn(jsonb)');

-- documents, inline and async
CREATE FUNCTION add_up(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN jsonb_build_object('n', coalesce((doc ->> 'n')::bigint, 0) + 1, 'sum', coalesce((doc ->> 'sum')::bigint, 0) + amount(e));
SELECT en57_create_document_projection('accounts', '{"types": ["moved"]}', 'tag:account:', 'add_up(jsonb, en57_event)');
SELECT en57_create_document_projection('accounts_later', '{"types": ["moved"]}', 'tag:account:', 'add_up(jsonb, en57_event)', mode => 'async');
SELECT en57_create_document_projection('streams_later', '{}', 'stream', 'add_up(jsonb, en57_event)', mode => 'async', partition => 'second');

-- handlers, inline and async
CREATE TABLE handled (n bigserial, projection text NOT NULL, "position" bigint NOT NULL);
CREATE FUNCTION handle_inline(e en57_event) RETURNS void LANGUAGE sql
    AS $$ INSERT INTO handled (projection, "position") VALUES ('inline', (e)."position") $$;
CREATE FUNCTION handle_async(e en57_event) RETURNS void LANGUAGE sql
    AS $$ INSERT INTO handled (projection, "position") VALUES ('async', (e)."position") $$;
SELECT en57_create_projection('inline', '{"tags": ["b:0"]}', 'handle_inline(en57_event)');
SELECT en57_create_projection('async', '{"tags": ["b:0"]}', 'handle_async(en57_event)', mode => 'async');

-- a decider: of each stock no more than 25 are reserved
CREATE FUNCTION stock_of(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE
    RETURN jsonb_build_object('tags', jsonb_build_array('stock:' || (command ->> 'stock')))::en57_query;
CREATE FUNCTION reserve(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN coalesce((state #>> '{}')::bigint, 0) + (command ->> 'amount')::bigint BETWEEN 0 AND 25
        THEN jsonb_build_array(jsonb_build_object('type', 'reserved', 'tags', jsonb_build_array('stock:' || (command ->> 'stock')),
            'data', jsonb_build_object('mark', command -> 'mark', 'amount', command -> 'amount'))) END;
SELECT en57_create_decider('reserve', 'stock_of(jsonb)', 'move(jsonb, en57_event)', 'reserve(jsonb, jsonb)');
SELECT en57_create_decider('reserve_by_snapshots', 'stock_of(jsonb)', 'move(jsonb, en57_event)', 'reserve(jsonb, jsonb)', snapshot_every => 20);

-- an append that is undone by an exception which the function catches
CREATE FUNCTION append_in_vain(events jsonb, partition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outcome FROM en57_append(events, partition => partition);
    RAISE 'in vain' USING ERRCODE = 'P0099';
EXCEPTION WHEN SQLSTATE 'P0099' THEN
    NULL;
END $$;

-- what consumers of subscriptions have done
CREATE TABLE consumed (n bigserial, subscription text NOT NULL, shard integer NOT NULL, "position" bigint NOT NULL, mark text NOT NULL,
    shards integer NOT NULL, version bigint NOT NULL);
-- how those subscriptions were that are altered, with numbers in one order with the above
CREATE TABLE altered (n bigint DEFAULT nextval('consumed_n_seq'), subscription text NOT NULL, query integer NOT NULL, positions bigint[] NOT NULL);
"#;
