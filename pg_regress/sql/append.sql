-- What an append stores, and that it stores all of its events or none.
-- Fails when positions are not allotted in one step for the whole batch, or when rows go in before everything is checked.
\pset null NULL
SET timezone = 'UTC';

-- one event is an object, several are an array of them; positions are contiguous and in the array's order
SELECT outcome, position, first_position, stream_version, conflicts FROM en57_append('{"type": "opened"}');
SELECT outcome, position, first_position, stream_version, conflicts FROM en57_append('[{"type": "c"}, {"type": "a"}, {"type": "b"}]');
SELECT position, type FROM en57_read();

-- a batch with one bad event stores nothing and names the event
SELECT en57_append('[{"type": "fine"}, {"type": "bad", "tags": ["x", 1]}, {"type": "fine"}]');
\echo :SQLSTATE
SELECT en57_append('[{"type": "fine"}, {"type": "fine"}, {"typ": "bad"}]');
\echo :SQLSTATE
SELECT en57_count();
-- and uses no positions
SELECT position, first_position FROM en57_append('{"type": "next"}');

-- a batch that fails after positions were allotted leaves a gap, which holds back nobody
BEGIN;
SELECT position FROM en57_append('[{"type": "undone"}, {"type": "undone"}]');
ROLLBACK;
SELECT position FROM en57_append('{"type": "after the gap"}');
SELECT position, type FROM en57_read(after => 4);
SELECT en57_head();

-- every column
SELECT outcome FROM en57_append('{
    "type": "everything", "id": "019a5c3e-0000-7000-8000-000000000001", "data": {"a": [1, 2.50, null], "b": {"c": "ü"}},
    "tags": ["z", "a", "m", "a"], "meta": {"user": "ann"}, "schema_version": 3, "occurred_at": "2020-02-29T12:00:00.123456+02",
    "correlation_id": "corr", "causation_id": "cause", "trace_id": "trace"}');
\x
SELECT position - 8 AS offset, id, type, data, meta, tags, stream, stream_version, schema_version, occurred_at, partition
FROM en57_last();
\x
-- without them: a version-7 id, no tags, no data, occurred when recorded
SELECT outcome FROM en57_append('{"type": "nothing"}');
SELECT data, meta, tags, stream, stream_version, schema_version, occurred_at = recorded_at AS same_time,
    recorded_at BETWEEN now() - interval '1 hour' AND clock_timestamp() AS recent, partition,
    substr(id::text, 15, 1) AS uuid_version, substr(id::text, 20, 1) IN ('8', '9', 'a', 'b') AS rfc_variant
FROM en57_last();
-- made ids are distinct
SELECT count(DISTINCT id), count(*) FROM en57_append((SELECT jsonb_agg('{"type": "many"}'::jsonb) FROM generate_series(1, 100))) a,
    en57_read('{"types": ["many"]}', after => a.first_position - 1);

-- data may be any JSON; JSON null and no data differ
SELECT position - first_position + 1 AS appended FROM en57_append('[
    {"type": "d", "data": 1}, {"type": "d", "data": 1.50}, {"type": "d", "data": "text"}, {"type": "d", "data": ""},
    {"type": "d", "data": true}, {"type": "d", "data": null}, {"type": "d"}, {"type": "d", "data": []},
    {"type": "d", "data": {}}, {"type": "d", "data": [[], {}, [1, "2"]]}, {"type": "d", "data": "\u00e9\ud83d\ude00\\\""},
    {"type": "d", "data": 123456789012345678901234567890.123456789}]');
SELECT data, jsonb_typeof(data) FROM en57_read('{"types": ["d"]}');
-- large data is stored out of line, and comes back whole
SELECT outcome FROM en57_append(jsonb_build_object('type', 'large', 'data',
    (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 20000) i), 'tags', '["large"]'::jsonb));
SELECT jsonb_array_length(data), data->>0 = md5('1') AS first, data->>19999 = md5('20000') AS last
FROM en57_read('{"tags": ["large"]}');

-- a null key is an absent key
SELECT outcome FROM en57_append('{"type": "nulls", "tags": null, "meta": null, "id": null, "schema_version": null,
    "occurred_at": null, "correlation_id": null, "causation_id": null, "trace_id": null}');
SELECT type, tags, meta, schema_version FROM en57_last();
-- tags: sorted bytewise, without duplicates; an empty array is none; any text
SELECT outcome FROM en57_append('{"type": "tags", "tags": ["b", "a", "B", "ä", "a b", "a,b", "a\"b", "a\\b", "{}", "NULL", "b", "a"]}');
SELECT tags, array_length(tags, 1) FROM en57_last();
SELECT outcome FROM en57_append('{"type": "tags", "tags": []}');
SELECT tags FROM en57_last();
-- occurred_at in any form of timestamptz
SELECT outcome FROM en57_append('[{"type": "at", "occurred_at": "2024-01-01"}, {"type": "at", "occurred_at": "2024-01-01 10:00:00 Europe/Berlin"},
    {"type": "at", "occurred_at": "infinity"}, {"type": "at", "occurred_at": "-infinity"}, {"type": "at", "occurred_at": "4000-01-01 BC"}]');
SELECT occurred_at FROM en57_read('{"types": ["at"]}');

-- metadata: the session's below the event's own; the named ids above both
SET en57.meta = '{"user": "ann", "correlation_id": "session", "n": 1}';
SELECT outcome FROM en57_append('[{"type": "m"}, {"type": "m", "meta": {"user": "bob", "x": [1]}}, {"type": "m", "meta": {}},
    {"type": "m", "correlation_id": "own", "trace_id": "t"}, {"type": "m", "meta": {"correlation_id": "own"}, "correlation_id": "own"}]');
SELECT meta FROM en57_read('{"types": ["m"]}');
SELECT count(*) FROM en57_read('{"correlation_id": "session"}');
SELECT count(*) FROM en57_read('{"correlation_id": "own"}');
-- an id in meta is found like a named one
SELECT outcome FROM en57_append('{"type": "m2", "meta": {"causation_id": "in meta"}}');
SELECT type, meta FROM en57_read('{"causation_id": "in meta"}');
BEGIN;
SET LOCAL en57.meta = '{"local": true}';
SELECT outcome FROM en57_append('{"type": "local"}');
COMMIT;
SELECT meta FROM en57_last();
SELECT outcome FROM en57_append('{"type": "session again"}');
SELECT meta FROM en57_last();
SET en57.meta = '';
SELECT outcome FROM en57_append('{"type": "empty setting"}');
SELECT meta FROM en57_last();
RESET en57.meta;

-- prepared statements, and more runs than PostgreSQL plans for each on its own
PREPARE append(text, text) AS
    SELECT outcome, position - first_position AS n FROM en57_append(jsonb_build_object('type', $1, 'tags', jsonb_build_array($2)));
EXECUTE append('p', '1');
EXECUTE append('p', '2');
EXECUTE append('p', '3');
EXECUTE append('p', '4');
EXECUTE append('p', '5');
EXECUTE append('p', '6');
EXECUTE append('p', '7');
DEALLOCATE append;
SELECT count(*), min(tags), max(tags) FROM en57_read('{"types": ["p"]}');

-- an append is part of the caller's transaction
CREATE TABLE orders (id int PRIMARY KEY, event bigint);
BEGIN;
INSERT INTO orders SELECT 1, position FROM en57_append('{"type": "with a table"}');
ROLLBACK;
SELECT count(*) FROM orders;
SELECT en57_exists('{"types": ["with a table"]}');
BEGIN;
INSERT INTO orders SELECT 1, position FROM en57_append('{"type": "with a table", "data": {"order": 1}}');
COMMIT;
SELECT o.id, e.type, e.data FROM orders o JOIN en57_read('{"types": ["with a table"]}') e ON e.position = o.event;
-- an error beside it undoes it
INSERT INTO orders SELECT 1, position FROM en57_append('{"type": "undone"}');
SELECT en57_exists('{"types": ["undone"]}');
-- from rows of a table, in their order
SELECT position - first_position + 1 AS appended FROM en57_append((
    SELECT jsonb_agg(jsonb_build_object('type', 'imported', 'data', i) ORDER BY i DESC) FROM generate_series(1, 5) i));
SELECT array_agg(data) FROM en57_read('{"types": ["imported"]}');
-- a data-modifying CTE, and a function in a trigger
WITH ins AS (INSERT INTO orders VALUES (2) RETURNING id)
SELECT outcome FROM ins, en57_append(jsonb_build_object('type', 'ordered', 'data', ins.id));
CREATE FUNCTION log_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM en57_append(jsonb_build_object('type', 'order ' || lower(TG_OP), 'data', to_jsonb(NEW)));
    RETURN NEW;
END $$;
CREATE TRIGGER log_order AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION log_order();
INSERT INTO orders VALUES (3), (4);
UPDATE orders SET event = 0 WHERE id = 3;
SELECT type, data FROM en57_read('[{"types": ["order insert"]}, {"types": ["order update"]}]');
-- a batch of many pages
SELECT outcome, position - first_position + 1 AS appended FROM en57_append((
    SELECT jsonb_agg(jsonb_build_object('type', 'bulk', 'tags', jsonb_build_array('n:' || i, 'bulk'), 'data', i) ORDER BY i) FROM generate_series(1, 5000) i));
SELECT count(*), bool_and(data::int = n) AS in_order, max(position) - min(position) AS distance
FROM en57_read('{"tags": ["bulk"]}') WITH ORDINALITY AS e(position, id, type, data, meta, tags, s, sv, v, o, r, p, n);
SELECT data FROM en57_read('{"tags": ["n:4321"]}');

-- the answer has all ids in order: those that were given, and those that en57 has made up
CREATE TEMPORARY TABLE answer AS
    SELECT * FROM en57_append('[{"type": "id"}, {"type": "id", "id": "00000000-0000-0000-0000-000000000007"}, {"type": "id"}]');
SELECT a.ids = array_agg(e.id ORDER BY e.position) AS same, a.ids[2] FROM answer a, en57_read('{"types": ["id"]}') e GROUP BY a.ids;
SELECT outcome, ids FROM en57_append('{"type": "id"}', fail_if => '{"types": ["id"]}');
-- (f()).* calls f once a column: documented as a trap
SELECT count(*) FROM (SELECT (en57_append('{"type": "star"}')).*) AS s;
SELECT en57_count('{"types": ["star"]}') AS stored;
