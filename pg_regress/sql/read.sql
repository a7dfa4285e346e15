-- Reads: every option, forwards and backwards, and every way to call them.
-- Fails when a bound is off by one, when a limit does not stop the scan, or when a cursor loses its place.
\pset null NULL
SET timezone = 'UTC';

-- an empty store
SELECT * FROM en57_read();
SELECT en57_head(), en57_head('{"tags": ["x"]}'), en57_count(), en57_exists();
SELECT en57_last() IS NULL AS last, en57_get('00000000-0000-0000-0000-000000000000') IS NULL AS get;
SELECT * FROM en57_context();

SELECT position FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END,
    'tags', jsonb_build_array('all', 'third:' || i % 3, 'i:' || i), 'data', i, 'id', format('00000000-0000-0000-0000-%s', lpad(i::text, 12, '0')),
    'occurred_at', format('2020-01-%s 00:00:00+00', lpad((13 - i)::text, 2, '0')))
    ORDER BY i) FROM generate_series(1, 12) i));

-- queries
SELECT query, (SELECT array_agg(position) FROM en57_read(query)) AS forwards, (SELECT array_agg(position) FROM en57_read(query, backwards => true)) AS backwards
FROM (VALUES (1, NULL::en57_query), (2, '{}'), (3, '{"types": ["even"]}'), (4, '{"types": ["even", "odd"]}'), (5, '{"types": ["none"]}'),
    (6, '{"tags": ["third:0"]}'), (7, '{"tags": ["all", "third:1"]}'), (8, '{"tags": ["third:0", "third:1"]}'), (9, '{"types": ["even"], "tags": ["third:0"]}'),
    (10, '{"types": ["even", "odd"], "tags": ["all", "third:2"]}'), (11, '[{"tags": ["third:0"]}, {"types": ["even"]}]'),
    (12, '[{"tags": ["i:7"]}, {"tags": ["i:3"]}, {"tags": ["i:12"]}, {"tags": ["i:99"]}]'), (13, '{"after": 9}'), (14, '{"tags": ["third:0"], "after": 6}'),
    (15, '[{"tags": ["third:0"], "after": 6}, {"tags": ["third:1"], "after": 9}]'), (16, '[{"types": ["even"], "after": 8}, {"types": ["even"], "after": 4}]'),
    (17, '{"items": [{"types": ["even"]}], "after": 4}'), (18, '[{}, {"types": ["even"]}]')) t (n, query) ORDER BY n;

-- bounds: after is exclusive, upto inclusive, in both directions
SELECT after, upto, max_count, array(SELECT position FROM en57_read(NULL, after, upto, max_count)) AS forwards,
    array(SELECT position FROM en57_read(NULL, after, upto, max_count, true)) AS backwards,
    array(SELECT position FROM en57_read('{"types": ["even"]}', after, upto, max_count)) AS even,
    array(SELECT position FROM en57_read('[{"tags": ["third:0"]}, {"tags": ["third:1"]}]', after, upto, max_count, true)) AS several_backwards
FROM (VALUES (1, 0, NULL, NULL), (2, 5, NULL, NULL), (3, NULL, 5, NULL), (4, 5, 8, NULL), (5, 5, 5, NULL), (6, 8, 5, NULL), (7, 4, 5, NULL), (8, 12, NULL, NULL),
    (9, 11, NULL, NULL), (10, 99, NULL, NULL), (11, NULL, 0, NULL), (12, NULL, 1, NULL), (13, NULL, 99, NULL), (14, NULL, NULL, 0), (15, NULL, NULL, 1),
    (16, NULL, NULL, 3), (17, NULL, NULL, 99), (18, 5, 10, 2), (19, 5, 10, 5), (20, 9223372036854775807, NULL, NULL), (21, 0, 9223372036854775807, 9223372036854775807))
    t (n, after, upto, max_count) ORDER BY n;
SELECT array(SELECT position FROM en57_read(backwards => NULL, upcast => NULL, max_count => 3)) AS nulls_are_defaults;
-- the criterion's after and the argument: the greater one
SELECT array(SELECT position FROM en57_read('{"tags": ["all"], "after": 8}', after => 3)) AS a, array(SELECT position FROM en57_read('{"tags": ["all"], "after": 3}', after => 8)) AS b;

-- time: recorded at the latest then, happened at the latest then
SELECT count(*) FROM en57_read(as_of => now() + interval '1 day');
SELECT count(*) FROM en57_read(as_of => '2020-01-01');
SELECT count(*) FROM en57_read(as_of => 'infinity');
SELECT count(*) FROM en57_read(as_of => '-infinity');
SELECT count(*) = 12 AS exactly_at FROM en57_read(as_of => (en57_last()).recorded_at);
SELECT array(SELECT position FROM en57_read(occurred_until => '2020-01-04 00:00:00+00')) AS until, array(SELECT position FROM en57_read(occurred_until => '2020-01-04', backwards => true, max_count => 2)) AS back,
    array(SELECT position FROM en57_read(occurred_until => 'infinity', max_count => 1)) AS infinity, array(SELECT position FROM en57_read(occurred_until => '-infinity')) AS minus_infinity,
    array(SELECT position FROM en57_read('{"types": ["even"]}', occurred_until => '2020-01-06', as_of => 'infinity')) AS both;

-- in FROM: with joins, ordinality, a limit, a rescan for each row of another table
SELECT position, n FROM en57_read('{"types": ["odd"]}') WITH ORDINALITY AS e (position, id, type, data, meta, tags, stream, stream_version, schema_version, occurred_at, recorded_at, partition, n) LIMIT 3;
SELECT position FROM en57_read() LIMIT 2 OFFSET 3;
SELECT position FROM en57_read() ORDER BY position DESC LIMIT 2;
SELECT t, array_agg(e.position) FROM unnest('{third:0,none,third:2}'::text[]) t LEFT JOIN LATERAL en57_read(en57_query(tags => ARRAY[t])) e ON true GROUP BY t ORDER BY t;
SELECT t, (SELECT array_agg(position) FROM en57_read(en57_query(tags => ARRAY[t]), max_count => 2)) FROM unnest('{third:0,none,third:2}'::text[]) t;
-- the inner side of a nested loop is read again
SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
SELECT count(*) FROM en57_read() a JOIN en57_read('{"types": ["even"]}') b ON a.position < b.position;
RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_material;
SELECT e FROM en57_read('{"tags": ["nothing"]}') e;
SELECT (e).type, (e).data FROM (SELECT en57_read('{"types": ["even"]}') AS e) s LIMIT 2;
CREATE VIEW even AS SELECT position, data FROM en57_read('{"types": ["even"]}');
SELECT count(*), sum(data::int) FROM even;
DROP VIEW even;

-- as a value for each row: in a select list, and in a cursor that is read in pieces
SELECT (en57_read('{"types": ["odd"]}', max_count => 2)).position;
BEGIN;
DECLARE c CURSOR FOR SELECT (e).position, (e).type FROM (SELECT en57_read(after => 2) AS e) s;
FETCH 2 FROM c;
-- a cursor does not see what comes after it was opened
SELECT outcome FROM en57_append('{"type": "later"}');
FETCH 3 FROM c;
SELECT position FROM en57_read('{"types": ["even"]}', max_count => 1);
FETCH ALL FROM c;
CLOSE c;
DECLARE c SCROLL CURSOR FOR SELECT position FROM en57_read(upto => 5);
FETCH LAST FROM c;
FETCH PRIOR FROM c;
FETCH FIRST FROM c;
ROLLBACK;
-- a cursor WITH HOLD outlives its transaction; one that is left open ends with it
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT (e).position FROM (SELECT en57_read(upto => 3) AS e) s;
DECLARE left_open CURSOR FOR SELECT en57_read();
FETCH 1 FROM h;
MOVE 1 FROM left_open;
COMMIT;
FETCH ALL FROM h;
CLOSE h;
-- a savepoint's end in between
BEGIN;
SAVEPOINT s;
DECLARE c CURSOR FOR SELECT (e).position FROM (SELECT en57_read() AS e) s;
FETCH 1 FROM c;
RELEASE s;
FETCH 1 FROM c;
SAVEPOINT t;
FETCH 1 FROM c;
ROLLBACK TO t;
FETCH 1 FROM c;
COMMIT;
-- a plpgsql loop that leaves early
DO $$
DECLARE
    e en57_event;
BEGIN
    FOR e IN SELECT * FROM en57_read() LOOP
        EXIT WHEN e.position > 2;
        RAISE NOTICE '% % %', e.position, e.type, e.tags;
    END LOOP;
    FOR e IN SELECT (r).* FROM (SELECT en57_read(after => 10) AS r) s LOOP
        RAISE NOTICE '%', e.position;
    END LOOP;
END $$;
PREPARE tail(bigint) AS SELECT position FROM en57_read('{"types": ["even"]}', after => $1);
EXECUTE tail(8);
EXECUTE tail(0);
EXECUTE tail(12);
DEALLOCATE tail;

-- context: what matches and the position for fail_if
SELECT position, (SELECT array_agg(e.position) FROM unnest(events) e) AS events FROM en57_context('{"types": ["even"], "after": 6}');
SELECT position, events FROM en57_context('{"tags": ["none"]}');
SELECT position, array_length(events, 1) FROM en57_context();
-- last, exists, count, get, head
SELECT (en57_last('{"types": ["odd"]}')).position AS odd, (en57_last()).position AS any, (en57_last('{"tags": ["third:0"], "after": 11}')).position AS after, en57_last('{"tags": ["none"]}') IS NULL AS none,
    (SELECT count(*) FROM en57_last('{"tags": ["none"]}')) AS rows_of_none;
SELECT en57_exists('{"tags": ["i:3"]}'), en57_exists('{"tags": ["i:3"], "after": 3}'), en57_exists('{"tags": ["none"]}'), en57_exists('{}');
SELECT en57_count('{"tags": ["third:1"]}'), en57_count('{"tags": ["none"]}'), en57_count('[{"tags": ["third:1"]}, {"types": ["even"]}]'), en57_count();
SELECT (en57_get('00000000-0000-0000-0000-000000000007')).position, en57_get('00000000-0000-0000-0000-000000000077') IS NULL AS unknown, en57_get(NULL) IS NULL AS of_null;
SELECT en57_head(), en57_head('{"tags": ["i:3"]}'), en57_head('{"tags": ["none"]}'), en57_head(partition => 'default');
SELECT array(SELECT position FROM en57_read('{"tags": ["i:3"]}', partition => 'default')) AS named_partition;
-- waiting: it is there already; it is not and the time is over
SELECT en57_wait(0), en57_wait(11, '1ms'), en57_wait(12, '1ms'), en57_wait(99, '1ms'), en57_wait(0, '1ms', '{"tags": ["i:3"]}'), en57_wait(3, '1ms', '{"tags": ["i:3"]}'), en57_wait(12, '0');

-- a read-only transaction may read
BEGIN READ ONLY;
SELECT count(*) FROM en57_read();
SELECT en57_head();
COMMIT;
-- reading takes part in no transaction id
BEGIN;
SELECT en57_count();
SELECT pg_current_xact_id_if_assigned();
COMMIT;
