-- The contract of the Ruby gem En57: the calls that it makes, with the values that it sends and expects.
-- Fails when a known id is answered as repeated, when the first criterion that matches is not the one that tells, or when tags come back unsorted.
\pset null NULL
\set one 00000000-0000-0000-0000-000000000001
\set two 00000000-0000-0000-0000-000000000002
\set three 00000000-0000-0000-0000-000000000003
-- the types and the results' columns
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'en57.event'::regclass ORDER BY attnum;
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'en57.append_result'::regclass ORDER BY attnum;
SELECT pg_get_function_arguments(oid), pg_get_function_result(oid) FROM pg_proc WHERE oid IN ('en57.append_events'::regproc, 'en57.read_events'::regproc) ORDER BY proname;

-- an empty store, no events
SELECT * FROM en57.read_events('{}');
SELECT * FROM en57.append_events('{}');
SELECT * FROM en57.append_events('{}', '{"fail_if_events_match": [{}]}');

-- as the gem sends them: a text literal of the array of composites
SELECT * FROM en57.append_events('{"(00000000-0000-0000-0000-000000000001,opened,\"{\"\"n\"\": 1}\",\"{\"\"serializer\"\": {\"\"n\"\": {\"\"k\"\": \"\"s\"\"}}}\",\"{course:1,account:a}\")","(00000000-0000-0000-0000-000000000002,booked,,,{})"}'::en57.event[], '{}'::jsonb);
-- tags come back sorted, none are an empty array; NULL data and meta stay NULL
SELECT * FROM en57.read_events('{}');
-- without an id one is made; NULL tags are none; a tag given twice counts once
SELECT position FROM en57.append_events(ARRAY[(NULL, 'booked', '[]', NULL, NULL), (NULL, 'booked', 'null', NULL, '{b,a,b}')]::en57.event[]);
SELECT position, id IS NOT NULL AS id, type, data, meta, tags FROM en57.read_events('{}', NULL, 2);

-- nested quoting: commas, quotes, backslashes, braces, spaces, unicode, the text NULL
SELECT position FROM en57.append_events(ARRAY[ROW('00000000-0000-0000-0000-000000000003', 'a "type", {with} \everything', '{"k\"ey": "v\\al, {ue}"}', NULL, ARRAY['a,b', 'a"b', 'a\b', '{a}', 'a b', ' a', 'NULL', 'ä€😀', E'line\nbreak', '(x)', '''', 'a:b:c'])::en57.event]);
SELECT type, data, tags, cardinality(tags) FROM en57.read_events(ARRAY['{"tags": ["{a}", "a\\b", "a\"b"]}']::jsonb[]);
SELECT count(*) FROM unnest(ARRAY['a,b', 'a"b', 'a\b', '{a}', 'a b', ' a', 'NULL', 'ä€😀', E'line\nbreak', '(x)', '''', 'a:b:c']) t, en57.read_events(ARRAY[jsonb_build_object('tags', jsonb_build_array(t))]);
SELECT count(*) FROM en57.read_events(ARRAY[jsonb_build_object('types', jsonb_build_array('a "type", {with} \everything'))]);
-- the text form of its row is read again as the same row
SELECT (ROW(id, type, data, meta, tags)::en57.event::text::en57.event = ROW(id, type, data, meta, tags)::en57.event) AS same FROM en57.read_events('{}', 1, 4);

-- a known id: 23505, always, also for exactly the same event
SELECT * FROM en57.append_events(ARRAY[(:'two', 'booked', NULL, NULL, '{}')]::en57.event[]);
\echo :SQLSTATE
SELECT * FROM en57.append_events(ARRAY[(:'two', 'other', NULL, NULL, '{}')]::en57.event[]);
\echo :SQLSTATE
SELECT * FROM en57.append_events(ARRAY[(NULL, 'new', NULL, NULL, '{}'), (:'two', 'booked', NULL, NULL, '{}')]::en57.event[]);
\echo :SQLSTATE
SELECT * FROM en57.append_events(ARRAY[('00000000-0000-0000-0000-0000000000aa', 'new', NULL, NULL, '{}'), (:'two', 'booked', NULL, NULL, '{}')]::en57.event[]);
\echo :SQLSTATE
SELECT en57_exists('{"types": ["new"]}');

-- conditions: absent, NULL and empty are none
SELECT a.position, a.conflicting_events FROM unnest(ARRAY['{}', '{"fail_if_events_match": []}', '{"fail_if_events_match": null}', NULL]::jsonb[]) WITH ORDINALITY c (c, n),
    LATERAL en57.append_events(ARRAY[(NULL, 'c', NULL, NULL, ARRAY['n:' || n])]::en57.event[], c) a;
SELECT position FROM en57.append_events(ARRAY[(NULL, 'default', NULL, NULL, NULL)]::en57.event[]);
-- a conflict: the position, and one event as id, type, data, meta, tags; tags sorted
SELECT position, jsonb_pretty(conflicting_events) FROM en57.append_events(ARRAY[(NULL, 'never', NULL, NULL, NULL)]::en57.event[], '{"fail_if_events_match": [{"tags": ["course:1"]}]}');
SELECT position, (conflicting_events->0) - 'id' AS event FROM en57.append_events(ARRAY[(NULL, 'never', NULL, NULL, NULL)]::en57.event[], '{"fail_if_events_match": [{"types": ["booked"], "after": 1, "tags": ["b", "a"]}]}');
-- the newest event that matches the first criterion that matches at all
SELECT c, a.position, a.conflicting_events->0->>'type' AS type, jsonb_array_length(a.conflicting_events) AS n FROM unnest(ARRAY[
    '[{"types": ["opened"]}, {"types": ["booked"]}]', '[{"types": ["booked"]}, {"types": ["opened"]}]', '[{"types": ["none"]}, {"types": ["opened"]}]', '[{"types": ["booked"], "after": 99}, {"types": ["opened"]}]',
    '[{}]', '[{"after": 4}]', '[{"types": ["booked", "opened"]}]', '[{"types": ["opened"], "after": null}]', '[{"types": ["booked"], "after": 2}]']::jsonb[]) c,
    LATERAL en57.append_events(ARRAY[(NULL, 'never', NULL, NULL, NULL)]::en57.event[], jsonb_build_object('fail_if_events_match', c)) a;
SELECT position > 0 AS appended, conflicting_events FROM en57.append_events(ARRAY[(NULL, 'fine', NULL, NULL, NULL)]::en57.event[], '{"fail_if_events_match": [{"types": ["none"]}, {"tags": ["course:1"], "after": 1}]}');
SELECT en57_exists('{"types": ["never"]}');
-- the gem's condition runs in SERIALIZABLE
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT position > 0, conflicting_events FROM en57.append_events(ARRAY[(NULL, 's', NULL, NULL, '{s}')]::en57.event[], '{"fail_if_events_match": [{"tags": ["s"]}]}');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT conflicting_events->0->>'type' FROM en57.append_events(ARRAY[(NULL, 's', NULL, NULL, '{s}')]::en57.event[], '{"fail_if_events_match": [{"tags": ["s"]}]}');
ROLLBACK;

-- reading
DROP EXTENSION en57;
CREATE EXTENSION en57;
SELECT position FROM en57.append_events((SELECT array_agg(ROW(format('00000000-0000-0000-0000-%s', lpad(i::text, 12, '0')), CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, to_jsonb(i), NULL, ARRAY['third:' || i % 3, 'all'])::en57.event ORDER BY i) FROM generate_series(1, 10) i));
SELECT c AS criteria, array(SELECT position FROM en57.read_events(c)) AS all, array(SELECT position FROM en57.read_events(c, 2)) AS first_2, array(SELECT position FROM en57.read_events(c, 2, 4)) AS next_2, array(SELECT position FROM en57.read_events(c, NULL, 8)) AS rest, array(SELECT position FROM en57.read_events(c, 0)) AS none
FROM (VALUES (1, ARRAY[]::jsonb[]), (2, ARRAY['{}']::jsonb[]), (3, NULL), (4, ARRAY['{"types": ["even"]}']::jsonb[]), (5, ARRAY['{"tags": ["all", "third:1"]}']::jsonb[]), (6, ARRAY['{"types": ["odd"], "tags": ["third:0"]}', '{"types": ["even"], "after": 5}']::jsonb[]),
    (7, ARRAY['{"types": ["none"]}']::jsonb[]), (8, ARRAY['{"types": ["even", "odd"], "after": 7}']::jsonb[]), (9, ARRAY['{"tags": ["third:0"]}', '{}']::jsonb[]), (10, ARRAY['{"types": ["even"]}', '{"tags": ["all"], "types": ["even"]}']::jsonb[])) v (n, c) ORDER BY n;
-- in batches, each after the last one's position
CREATE FUNCTION batches(criteria jsonb[], size int) RETURNS SETOF bigint[] LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
    batch bigint[];
BEGIN
    LOOP
        SELECT array_agg(position), max(position) INTO batch, last FROM en57.read_events(criteria, size, last);
        EXIT WHEN batch IS NULL;
        RETURN NEXT batch;
    END LOOP;
END $$;
SELECT * FROM batches(ARRAY['{"tags": ["third:1"]}', '{"types": ["even"]}']::jsonb[], 3);
-- what the gem writes en57_read reads, and the other way
SELECT position, data, tags FROM en57_read('{"types": ["even"]}', max_count => 1);
SELECT outcome FROM en57_append('{"type": "native", "tags": ["z", "a"], "data": {"a": 1}, "meta": {"m": 1}}');
SELECT type, data, meta, tags FROM en57.read_events(ARRAY['{"types": ["native"]}']::jsonb[]);

-- metadata is an object or NULL, and a condition has no other key: a slip must not make an append
-- unconditional
SELECT en57.append_events(ARRAY[ROW(NULL, 'a', NULL, '1', NULL)::en57.event]);
SELECT en57.append_events(ARRAY[ROW(NULL, 'a', NULL, '[]', NULL)::en57.event]);
SELECT en57.append_events(ARRAY[ROW(NULL, 'a', NULL, NULL, NULL)::en57.event], '{"fail_if": [{}]}');
SELECT en57.append_events(ARRAY[ROW(NULL, 'a', NULL, NULL, NULL)::en57.event], '[]');
