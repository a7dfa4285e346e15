-- any_tags and stream_prefix: tags of which one suffices, and what the stream's name begins with, wherever a query stands.
-- Fails when one of the places that look at queries does not know them, or when a scan by the list of streams and one by position differ.
\pset null NULL
\set ON_ERROR_STOP off
SELECT count(*) FROM (SELECT en57_append(jsonb_build_array(jsonb_build_object('type', 't' || i % 3, 'tags', ARRAY['even:' || i % 2, 'c:' || i % 7, 'k:' || i % 5])),
    stream => CASE WHEN i % 4 > 0 THEN (ARRAY['cart 1', 'cart 2', 'order 1', 'cart %_x', 'ca'])[1 + i % 5] END) FROM generate_series(1, 400) i OFFSET 0) s;
-- text, canonical form, constructor, jsonb, union, equality, hash, order
SELECT q FROM (VALUES (1, '{"any_tags": ["b", "a", "b"]}'::en57_query), (2, '{"any_tags": ["b"], "tags": ["a"]}'), (3, '{"any_tags": ["a", "b"], "tags": ["b"]}'), (4, '{"stream_prefix": "s", "stream": "st"}'),
    (5, '{"stream_prefix": "st", "stream": "s"}'), (6, en57_query(any_tags => '{x,y}', stream_prefix => 'p', types => '{t}')), (7, en57_query(any_tags => NULL, stream_prefix => NULL)),
    (8, '{"any_tags": ["a", "b"]}'::en57_query | '{"stream_prefix": "s"}' | '{"any_tags": ["b", "a"]}'), (9, '{"any_tags": null, "stream_prefix": null}'), (10, '{"items": [{"any_tags": ["a", "b"]}], "after": 4}')) v (n, q) ORDER BY n;
SELECT en57_query(any_tags => '{a,b}') = '{"any_tags": ["b", "a"]}' AS equal, en57_query(any_tags => '{a}') = en57_query(tags => '{a}') AS one_is_all, en57_query(any_tags => '{a,b}') = en57_query(tags => '{a,b}') AS any_is_all,
    en57_query(any_tags => '{a,b}')::jsonb AS json;
CREATE TABLE queries (q en57_query PRIMARY KEY);
INSERT INTO queries VALUES ('{"any_tags": ["a", "b"]}'), ('{"tags": ["a", "b"]}'), ('{"stream_prefix": "a"}'), ('{"stream": "a"}');
INSERT INTO queries VALUES ('{"any_tags": ["b", "a", "a"]}');
\copy queries TO PROGRAM 'cat > "$PG_ABS_BUILDDIR/query_any.copy"' (FORMAT binary)
CREATE TABLE copied (LIKE queries);
\copy copied FROM PROGRAM 'cat "$PG_ABS_BUILDDIR/query_any.copy"' (FORMAT binary)
SELECT count(*) FROM copied JOIN queries USING (q);
-- refused
SELECT '{"any_tags": []}'::en57_query;
SELECT '[{}, {"any_tags": ["a", ""]}]'::en57_query;
SELECT '{"stream_prefix": ""}'::en57_query;
SELECT '{"stream_prefix": 7}'::en57_query;
SELECT '{"any_tag": ["a"]}'::en57_query;
SELECT en57_query(any_tags => '{}');
SELECT en57_query(any_tags => '{a,NULL}');
SELECT en57_query(stream_prefix => '');
-- empty lists: nothing is restricted in the form of dcb.events, as there; refused in en57's own
SELECT '{"items": []}'::en57_query AS nothing, '{"items": [], "after": 7}'::en57_query AS after, '{"items": [{"types": [], "tags": ["a"]}]}'::en57_query AS tags, '{"items": [{"types": [], "tags": []}]}'::en57_query AS everything;
SELECT '{"items": [{"types": [], "tgas": []}]}'::en57_query;
SELECT en57_count('{"items": []}') AS everything, (en57_append('{"type": "x"}', fail_if => '{"items": []}')).outcome;

-- each read against what the row says, in each direction, over windows
CREATE TABLE asked (n int, q en57_query, c text);
INSERT INTO asked VALUES
    (1, '{"any_tags": ["c:1", "c:2"]}', $$tags && '{c:1,c:2}'$$), (2, '{"any_tags": ["c:1", "k:1"], "types": ["t1"]}', $$tags && '{c:1,k:1}' AND type = 't1'$$),
    (3, '{"any_tags": ["c:1", "c:2", "none"], "tags": ["k:3"], "types": ["t0", "t2"]}', $$tags && '{c:1,c:2}' AND 'k:3' = ANY (tags) AND type IN ('t0', 't2')$$),
    (4, '{"any_tags": ["none", "nothing"]}', 'false'), (5, '{"any_tags": ["none", "nothing"], "tags": ["k:1"]}', 'false'),
    (6, '{"stream_prefix": "cart "}', $$starts_with(stream, 'cart ')$$), (7, '{"stream_prefix": "c"}', $$starts_with(stream, 'c')$$), (8, '{"stream_prefix": "cart %"}', $$starts_with(stream, 'cart %')$$), (9, '{"stream_prefix": "z"}', 'false'),
    (10, '{"stream_prefix": "cart ", "any_tags": ["c:1", "k:4"], "types": ["t0", "t1"]}', $$starts_with(stream, 'cart ') AND tags && '{c:1,k:4}' AND type IN ('t0', 't1')$$),
    (11, '{"stream_prefix": "cart", "stream": "order 1"}', 'false'), (12, '{"stream_prefix": "ord", "stream": "order 1"}', $$stream = 'order 1'$$),
    (13, '[{"stream_prefix": "order", "after": 100}, {"any_tags": ["c:3", "c:4"], "tags": ["even:1"], "after": 200}]', $$(starts_with(stream, 'order') AND position > 100) OR (tags && '{c:3,c:4}' AND 'even:1' = ANY (tags) AND position > 200)$$);
CREATE FUNCTION same(q en57_query, c text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    is_same boolean; n bigint;
BEGIN
    EXECUTE format('SELECT count(*), bool_and(
            ARRAY(SELECT position FROM en57_read($1, after => a, upto => u, backwards => b, max_count => m)) = ARRAY(
            SELECT position FROM en57.events WHERE (%s) AND position > a AND position <= u ORDER BY CASE WHEN b THEN -position ELSE position END LIMIT m))
        FROM unnest(ARRAY[0, 100, 150]) a, unnest(ARRAY[110, 200, 1000]) u, unnest(ARRAY[true, false]) b, unnest(ARRAY[3, 1000]) m', c) INTO n, is_same USING q;
    IF NOT is_same THEN RETURN 'differs'; END IF;
    EXECUTE format('SELECT count(*), bool_and($1 @> e = coalesce((%s), false)) FROM en57_read() e', c) INTO n, is_same USING q;
    RETURN CASE WHEN is_same THEN format('%s events', en57_count(q)) ELSE 'matching differs' END;
END $$;
SELECT q, same(q, c) FROM asked ORDER BY n;
SELECT (en57_last('{"stream_prefix": "cart ", "any_tags": ["c:1", "c:2"]}')).position, (en57_last('{"stream_prefix": "order"}')).position AS lone, en57_exists('{"stream_prefix": "z"}'), en57_exists('{"any_tags": ["z", "c:1"]}');
-- more streams than are looked for by name
SELECT count(*) FROM (SELECT en57_append('{"type": "s", "tags": ["many"]}', stream => 'many ' || i) FROM generate_series(1, 100) i OFFSET 0) s;
SELECT same('{"stream_prefix": "many "}', $$starts_with(stream, 'many ')$$), same('{"stream_prefix": "many 9"}', $$starts_with(stream, 'many 9')$$);
-- own events, and streams that begin in the transaction, or do not after all
BEGIN;
SELECT outcome FROM en57_append('{"type": "own", "tags": ["own:1"]}', stream => 'own 1');
SAVEPOINT s;
SELECT outcome FROM en57_append('{"type": "own", "tags": ["own:2"]}', stream => 'own 2');
SELECT en57_count('{"stream_prefix": "own "}') AS streams, en57_count('{"any_tags": ["own:1", "own:2"]}') AS tags;
ROLLBACK TO s;
SELECT en57_count('{"stream_prefix": "own "}') AS streams, en57_count('{"any_tags": ["own:1", "own:2"]}') AS tags;
SELECT outcome, jsonb_array_length(conflicts) AS conflicts FROM en57_append('{"type": "own"}', fail_if => '{"stream_prefix": "own "}');
SELECT outcome FROM en57_append('{"type": "own"}', fail_if => '{"stream_prefix": "own ", "types": ["other"]}');
ROLLBACK;
-- conditions, as of positions
SELECT q, (SELECT outcome FROM en57_append('{"type": "decided"}', fail_if => q)) FROM (VALUES (1, '{"any_tags": ["c:1", "z"]}'::en57_query), (2, '{"any_tags": ["y", "z"]}'), (3, '{"any_tags": ["c:1", "c:2"], "after": 401}'), (4, '{"stream_prefix": "cart "}'), (5, '{"stream_prefix": "cart ", "after": 401}'),
    (6, '{"stream_prefix": "trolley"}'), (7, '{"stream_prefix": "order", "any_tags": ["c:1", "c:2"]}'), (8, '{"stream_prefix": "order", "any_tags": ["y", "z"]}')) v (n, q) ORDER BY n;

-- partitions
SELECT en57_create_partition('other');
SELECT outcome FROM en57_append('[{"type": "t0", "tags": ["c:1"]}, {"type": "t0", "tags": ["z:1"]}]', stream => 'cart 9', partition => 'other');
SELECT partition, count(*) FROM en57_read('{"stream_prefix": "cart ", "any_tags": ["c:1", "z:1"]}', partition => '*') GROUP BY partition ORDER BY 1;
SELECT partition, count(*) FROM en57_read('{"stream_prefix": "cart "}', partition => '*') GROUP BY partition ORDER BY 1;

-- upcasters that give a type another name
CREATE FUNCTION same(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS 'SELECT e';
SELECT en57_register_upcaster('t0', 1, 'same(en57_event)', to_type => 'T');
SELECT en57_count('{"types": ["T"], "any_tags": ["c:1", "c:2"]}') AS renamed, en57_count('{"types": ["t0"], "any_tags": ["c:1", "c:2"]}') AS old, en57_count('{"types": ["T"], "stream_prefix": "cart "}') AS in_streams;

-- what stands on events: subscriptions, documents, handlers, invariants, folds, deciders
CREATE FUNCTION note(d jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(coalesce(d::int, 0) + 1) $$;
CREATE FUNCTION few(d jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'too many' WHERE d::int > 3 $$;
SELECT en57_create_subscription('s', '{"any_tags": ["c:1", "c:2"], "stream_prefix": "cart "}', shards => 2);
SELECT count(*) FROM (SELECT en57_poll('s', 1000, shard => 0, shards => 2) UNION ALL SELECT en57_poll('s', 1000, shard => 1, shards => 2)) p;
SELECT count(*) AS expected, en57_count('{"any_tags": ["c:1", "c:2"], "stream_prefix": "cart "}') FROM en57.events WHERE tags && '{c:1,c:2}' AND starts_with(stream, 'cart ') AND tableoid = 'en57.events_default'::regclass;
SELECT en57_create_document_projection('by_stream', '{"any_tags": ["c:1", "c:2"], "stream_prefix": "cart "}', 'stream', 'note(jsonb,en57_event)');
SELECT en57_create_document_projection('by_tag', '{"any_tags": ["k:1", "c:2"]}', 'tag:k:', 'note(jsonb,en57_event)');
SELECT id, doc FROM by_stream ORDER BY id;
SELECT id, doc FROM by_tag ORDER BY id;
SELECT outcome FROM en57_append('[{"type": "new", "tags": ["c:2", "k:1"]}, {"type": "new", "tags": ["k:2"]}]', stream => 'cart 1');
SELECT outcome FROM en57_append('{"type": "new", "tags": ["c:2", "k:1"]}', stream => 'order 1');
SELECT id, doc FROM by_stream ORDER BY id;
SELECT id, doc FROM by_tag ORDER BY id;
CALL en57_rebuild('by_stream');
CALL en57_rebuild('by_tag');
SELECT id, doc FROM by_stream ORDER BY id;
SELECT id, doc FROM by_tag ORDER BY id;
SELECT en57_create_invariant('i', '{"any_tags": ["i:1", "i:2"], "stream_prefix": "inv "}', 'tag:i:', 'note(jsonb,en57_event)', 'few(jsonb)');
SELECT outcome FROM en57_append('[{"type": "x", "data": 1, "tags": ["i:1"]}, {"type": "x", "tags": ["i:1"]}, {"type": "x", "tags": ["i:1"]}]', stream => 'inv 1');
SELECT outcome FROM en57_append('[{"type": "x", "tags": ["i:1"]}, {"type": "x", "tags": ["i:1"]}]', stream => 'none 1');
SELECT outcome FROM en57_append('[{"type": "x", "tags": ["i:3"]}, {"type": "x", "tags": ["i:3"]}, {"type": "x", "tags": ["i:3"]}, {"type": "x", "tags": ["i:3"]}]', stream => 'inv 3');
SELECT outcome FROM en57_append('{"type": "x", "tags": ["i:1"]}', stream => 'inv 2');
SELECT * FROM en57_fold('{"any_tags": ["c:1", "c:2"], "stream_prefix": "cart "}', 'note(jsonb,en57_event)');
CREATE FUNCTION q(c jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT en57_query(any_tags => ARRAY['d:1', 'd:2']) $$;
CREATE FUNCTION choose(c jsonb, s jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT jsonb_build_object('type', 'd', 'data', 1, 'tags', jsonb_build_array(c->>'tag')) WHERE coalesce(s::int, 0) < 2 $$;
SELECT en57_create_decider('d', 'q(jsonb)', 'note(jsonb,en57_event)', 'choose(jsonb,jsonb)', snapshot_every => 1);
SELECT n, (SELECT outcome FROM en57_decide('d', jsonb_build_object('tag', 'd:' || n % 2 + 1))) FROM generate_series(1, 3) n;
SELECT en57_lock('{"any_tags": ["d:1", "d:2"]}') = en57_head() AS locked, en57_lock('{"stream_prefix": "cart "}') = en57_head() AS locked_prefix;
-- erasing
SELECT en57_erase('{"any_tags": ["d:1", "d:2"], "stream_prefix": "z"}', 'none'), en57_erase('{"any_tags": ["d:1", "d:2"]}', 'test'), en57_erase('{"stream_prefix": "inv "}', 'test');
SELECT problem FROM en57_check();

-- more tags than may be locked one by one
SET en57.max_key_locks = 64;
CREATE FUNCTION many(n bigint, t text[] DEFAULT NULL) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT en57_query(any_tags => array(SELECT 'many:' || i FROM generate_series(1, n) i), tags => t) $$;
SELECT n, (SELECT outcome FROM en57_append('{"type": "many", "tags": ["few"]}', fail_if => many(n))), (SELECT outcome FROM en57_append('{"type": "many", "tags": ["few"]}', fail_if => many(n, '{few}'))) FROM unnest('{64,65,9999,10000}'::bigint[]) n;
SELECT outcome FROM en57_append('{"type": "many", "tags": ["many:9999", "few"]}', fail_if => many(9998));
SELECT n, (SELECT outcome FROM en57_append('{"type": "many"}', fail_if => many(n))), (SELECT outcome FROM en57_append('{"type": "many"}', fail_if => many(n, '{few}'))), en57_count(many(n)) FROM unnest('{9998,9999}'::bigint[]) n;
SELECT many(10001) IS NULL;
-- beside a rarer tag they are not locked, so the partition's root is not taken for them; alone they are many
BEGIN;
SELECT en57_lock(many(9999, '{few}')) > 0 AS locked;
SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objsubid = 58;
COMMIT;
BEGIN;
SELECT en57_lock(many(9999)) > 0 AS locked;
SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objsubid = 58;
COMMIT;
RESET en57.max_key_locks;
