-- The type en57_query: its text is canonical, so equal queries are equal; it compares, sorts, hashes, casts and travels.
\pset null NULL
-- in and out
SELECT q FROM (VALUES (1, '{}'::en57_query), (2, '[{}]'), (3, ' { "tags" : [ "b" , "a" , "b" ] } '), (4, '{"after": 5, "types": ["z", "a"], "tags": ["t"]}'),
    (5, '{"types": null, "tags": null, "after": null, "stream": null, "correlation_id": null, "causation_id": null}'), (6, '{"after": 0}'),
    (7, '[{"tags": ["b"]}, {"tags": ["a"]}, {"tags": ["b"]}]'), (8, '{"items": [{"types": ["b"]}, {"types": ["a"]}], "after": 7}'), (9, '{"items": [{"types": ["b"], "after": 9}], "after": 7}'),
    (10, '{"stream": "s", "correlation_id": "c", "causation_id": "k"}'), (11, '{"tags": ["a\"b", "a\\b", "a\nb\u0001", "\u00e9", "\ud83d\ude00", "a/b"]}'),
    (12, '{"after": 9223372036854775807}'), (13, '{"tags": ["a"], "tags": ["b"]}'), (14, '[{"types": ["a"]}, {}]'), (15, '{"items": [{}]}'), (16, '{"items": [{}], "after": null}')) v (n, q) ORDER BY n;
SELECT q::text::en57_query = q AS again FROM (VALUES ('{"tags": ["a\"b", "a\\b", "a\nb\u0001\t", "\u00e9", "\ud83d\ude00"]}'::en57_query)) v (q);
-- bad inputs: always 22P02, naming the place
SELECT ''::en57_query;
\echo :SQLSTATE
SELECT '{"types": ["a"]'::en57_query;
SELECT '{"tags": ["a"]} x'::en57_query;
SELECT '[]'::en57_query;
SELECT '{"items": []}'::en57_query;
SELECT 'null'::en57_query;
SELECT '"a"'::en57_query;
SELECT '[{"tags": ["a"]}, 7]'::en57_query;
SELECT '[{"tags": ["a"]}, {"tag": ["a"]}]'::en57_query;
SELECT '{"wholly_unknown": 1}'::en57_query;
SELECT '{"items": [{}], "afetr": 1}'::en57_query;
SELECT '{"items": {}}'::en57_query;
SELECT '{"items": null}'::en57_query;
SELECT '{"tags": []}'::en57_query;
SELECT '{"types": "a"}'::en57_query;
SELECT '{"types": [1]}'::en57_query;
SELECT '{"types": ["a", ""]}'::en57_query;
SELECT '{"types": ["\u0000"]}'::en57_query;
SELECT '{"types": ["\ud800"]}'::en57_query;
SELECT '{"after": -1}'::en57_query;
SELECT '{"after": 1.5}'::en57_query;
SELECT '{"after": 9223372036854775808}'::en57_query;
SELECT '{"after": "1"}'::en57_query;
SELECT '{"stream": ""}'::en57_query;
SELECT '{"correlation_id": 1}'::en57_query;
SELECT ('{"tags": ["' || repeat('x', 1025) || '"]}')::en57_query;
SELECT ('{"types": ["' || repeat('x', 256) || '"]}')::en57_query;
SELECT (repeat('[', 100000))::en57_query;
-- the longest that are allowed
SELECT length(('{"tags": ["' || repeat('x', 1024) || '"], "types": ["' || repeat('y', 255) || '"]}')::en57_query::text);

-- the constructor
SELECT q FROM (VALUES (1, en57_query()), (2, en57_query(types => '{b,a,b}')), (3, en57_query(tags => '{x}', after => 3)), (4, en57_query('{a}', '{x}', 1, 's')),
    (5, en57_query(tags => NULL, after => NULL)), (6, en57_query(after => 0)), (7, en57_query('{"types": ["from jsonb"]}'::jsonb))) v (n, q) ORDER BY n;
SELECT en57_query(types => '{}');
\echo :SQLSTATE
SELECT en57_query(tags => '{a,NULL}');
\echo :SQLSTATE
SELECT en57_query(tags => '{{a,b},{c,d}}');
SELECT en57_query(tags => '{a,""}');
SELECT en57_query(after => -1);
SELECT en57_query(stream => '');

-- union
SELECT '{"tags": ["b"]}'::en57_query | '{"tags": ["a"]}' AS two, '{"tags": ["b"]}'::en57_query | '{"tags": ["b"]}' AS same, '{}'::en57_query | '{"tags": ["b"]}' AS everything,
    '[{"types": ["c"]}, {"types": ["a"]}]'::en57_query | en57_query(types => '{b}') AS three, '{}'::en57_query | NULL AS null;

-- comparison, by the canonical form
SELECT '{"tags": ["a", "b"]}'::en57_query = '[{"tags": ["b", "a", "b"]}]' AS equal, '{"tags": ["a"]}'::en57_query <> '{"types": ["a"]}' AS differ, '{"tags": ["a"]}'::en57_query = '{"tags": ["a"], "after": 1}' AS after_counts;
CREATE TABLE queries (n int, q en57_query);
INSERT INTO queries SELECT i, CASE i % 4 WHEN 0 THEN en57_query(tags => ARRAY['t:' || i / 8]) WHEN 1 THEN en57_query(types => ARRAY['y:' || i / 8]) WHEN 2 THEN en57_query(after => i / 8) ELSE '{}' END FROM generate_series(0, 799) i;
SELECT count(*), count(DISTINCT q) FROM queries;
SELECT bool_and((a.q < b.q)::int + (a.q = b.q)::int + (a.q > b.q)::int = 1) AS trichotomy, bool_and((a.q <= b.q) = NOT (a.q > b.q)) AS le, bool_and((a.q >= b.q) = NOT (a.q < b.q)) AS ge,
    bool_and((a.q = b.q) = (a.q::text = b.q::text)) AS same_as_text
FROM (SELECT DISTINCT q FROM queries LIMIT 80) a, (SELECT DISTINCT q FROM queries LIMIT 80) b;
CREATE INDEX ON queries (q);
SET enable_seqscan = off; SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT n FROM queries WHERE q = '{"tags": ["t:5"]}';
SELECT array_agg(n) FROM queries WHERE q = '{"tags": ["t:5"]}';
SELECT count(*) = (SELECT count(*) FROM queries WHERE q >= '{"tags": ["t:5"]}') + (SELECT count(*) FROM queries WHERE q < '{"tags": ["t:5"]}') AS complete FROM queries;
RESET enable_seqscan; RESET enable_bitmapscan;
CREATE INDEX ON queries USING hash (q);
SET enable_mergejoin = off; SET enable_nestloop = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM queries a JOIN queries b USING (q);
SELECT count(*) FROM queries a JOIN queries b USING (q);
RESET enable_mergejoin; RESET enable_nestloop;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT q, count(*) FROM queries GROUP BY q;
SELECT count(*), sum(c) FROM (SELECT q, count(*) AS c FROM queries GROUP BY q) s;
RESET enable_sort;
CREATE TABLE unique_queries (q en57_query PRIMARY KEY);
INSERT INTO unique_queries VALUES ('{"tags": ["a", "b"]}');
INSERT INTO unique_queries VALUES ('{"tags": ["b", "a"]}');
-- by hash partitions, too
CREATE TABLE parts (q en57_query) PARTITION BY HASH (q);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parts SELECT q FROM queries;
SELECT count(*) FROM parts WHERE q = '{}';

-- casts from and to jsonb
SELECT '{"tags": ["b", "a"], "after": 3}'::jsonb::en57_query AS from, ('[{"tags": ["b", "a"]}, {"stream": "s"}]'::en57_query)::jsonb AS to;
SELECT '[]'::jsonb::en57_query;
SELECT '7'::jsonb::en57_query;
SELECT pg_typeof(q), q FROM (SELECT en57_query(types => '{a}')::jsonb AS q) s;
CREATE TABLE documents (d jsonb);
INSERT INTO documents VALUES (en57_query(types => '{a}'));
SELECT d->'types' FROM documents;

-- binary COPY round trip
CREATE TABLE copied (LIKE queries);
\copy (SELECT n, q FROM queries) TO PROGRAM 'cat > "$PG_ABS_BUILDDIR/query_type.copy"' (FORMAT binary)
\copy copied FROM PROGRAM 'cat "$PG_ABS_BUILDDIR/query_type.copy"' (FORMAT binary)
SELECT count(*), bool_and(c.q = q.q AND c.q::text = q.q::text) FROM copied c JOIN queries q USING (n);
-- stored out of line
INSERT INTO copied SELECT -1, (SELECT jsonb_agg(jsonb_build_object('tags', jsonb_build_array(md5(i::text)))) FROM generate_series(1, 5000) i);
SELECT jsonb_array_length(q::jsonb), q::text::en57_query = q FROM copied WHERE n = -1;

-- matching, on events that need not be stored
SELECT q, q @> e AS operator, en57_matches(q, e) AS function FROM (SELECT ROW(5, NULL, 'booked', '{}', '{"correlation_id": "c", "causation_id": "k"}', '{a,b}', 's', 1, 1, now(), now(), 'default')::en57_event) v (e),
    unnest(ARRAY['{}', '{"types": ["booked"]}', '{"types": ["opened"]}', '{"types": ["opened", "booked"]}', '{"tags": ["a"]}', '{"tags": ["a", "b"]}', '{"tags": ["a", "c"]}', '{"tags": ["A"]}',
        '{"types": ["opened"], "tags": ["a"]}', '[{"types": ["opened"]}, {"tags": ["b"]}]', '{"after": 4}', '{"after": 5}', '{"stream": "s"}', '{"stream": "t"}',
        '{"correlation_id": "c"}', '{"causation_id": "k"}', '{"correlation_id": "k"}', '{"stream": "s", "correlation_id": "c", "causation_id": "k", "tags": ["b"], "types": ["booked"], "after": 1}']::en57_query[]) q;
SELECT en57_matches('{}', NULL) AS of_null, en57_matches(NULL, ROW(1, NULL, 'a', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::en57_event) AS by_null;
-- an event with NULLs: no position, no tags
SELECT en57_matches('{}', e) AS everything, en57_matches('{"types": ["a"]}', e) AS type, en57_matches('{"tags": ["a"]}', e) AS tag, en57_matches('{"after": 1}', e) AS after, en57_matches('{"correlation_id": "c"}', e) AS correlation
FROM (SELECT ROW(NULL, NULL, 'a', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::en57_event) v (e);
SELECT en57_matches('{"types": ["a"]}', ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::en57_event) AS no_type;
-- of stored events: the same as reading
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["x"]}, {"type": "b", "tags": ["x", "y"]}, {"type": "c"}]');
SELECT array_agg(e.position) FROM en57_read() e WHERE '[{"types": ["c"]}, {"tags": ["y"]}]' @> e;
