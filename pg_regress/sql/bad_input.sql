-- Wrong calls: each is refused with a SQLSTATE of its kind, a message that names the place, and a hint where there is a remedy.
-- None stores anything, none is an internal error (XX000), none ends the session.
\pset format unaligned
\pset tuples_only on

CREATE FUNCTION refused(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text; state text;
    shown text := CASE WHEN length(call) > 150 THEN left(call, 100) || ' .. ' || right(call, 40) ELSE call END;
BEGIN
    EXECUTE call;
    RETURN shown || E'\n    NOT REFUSED';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
    RETURN shown || E'\n    ' || state || '  ' || message || coalesce(E'\n           DETAIL: ' || nullif(detail, ''), '') || coalesce(E'\n           HINT: ' || nullif(hint, ''), '');
END $$;
-- An append of these events.
CREATE FUNCTION append(VARIADIC events text[]) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT refused(format('SELECT en57_append(%L)', e)) FROM unnest(events) WITH ORDINALITY AS u (e, n) ORDER BY n
$$;
CREATE FUNCTION calls(VARIADIC calls text[]) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT refused(c) FROM unnest(calls) WITH ORDINALITY AS u (c, n) ORDER BY n
$$;

-- events: neither an object nor an array of objects
SELECT calls('SELECT en57_append(NULL)');
SELECT append('1', '"a"', 'true', 'null', '[]', '[[]]', '[1]', '["a"]', '[null]', '[{"type": "a"}, []]', '[{"type": "a"}, [{"type": "b"}]]', '{}', '[{}]', 'not json', '');
-- type
SELECT append('{"data": 1}', '{"type": null}', '{"type": ""}', '{"type": 1}', '{"type": ["a"]}', '{"type": {"a": 1}}', '{"type": true}', format('{"type": "%s"}', repeat('x', 256)), '{"type": "a\u0000b"}');
-- tags
SELECT append('{"type": "a", "tags": "a"}', '{"type": "a", "tags": 1}', '{"type": "a", "tags": {"a": 1}}', '{"type": "a", "tags": [1]}', '{"type": "a", "tags": ["x", null]}', '{"type": "a", "tags": ["x", ["y"]]}',
    '{"type": "a", "tags": ["x", {}]}', '{"type": "a", "tags": ["x", ""]}', '{"type": "a", "tags": [true]}', format('{"type": "a", "tags": ["%s"]}', repeat('x', 1025)), format('{"type": "a", "tags": ["%s"]}', repeat('x', 10 * 1024 * 1024)),
    format('{"type": "a", "tags": %s}', (SELECT jsonb_agg(i::text) FROM generate_series(1, 1001) i)));
-- meta
SELECT append('{"type": "a", "meta": 1}', '{"type": "a", "meta": "x"}', '{"type": "a", "meta": []}', '{"type": "a", "meta": true}', format('{"type": "a", "meta": {"correlation_id": "%s"}}', repeat('x', 1025)));
-- id
SELECT append('{"type": "a", "id": "x"}', '{"type": "a", "id": ""}', '{"type": "a", "id": 1}', '{"type": "a", "id": {}}', '{"type": "a", "id": "00000000-0000-0000-0000-00000000000"}', '{"type": "a", "id": "g0000000-0000-0000-0000-000000000000"}',
    format('{"type": "a", "id": "%s"}', repeat('0', 10000)), '[{"type": "a", "id": "00000000-0000-0000-0000-000000000001"}, {"type": "b", "id": "00000000-0000-0000-0000-000000000001"}]');
-- schema_version
SELECT append('{"type": "a", "schema_version": 0}', '{"type": "a", "schema_version": -1}', '{"type": "a", "schema_version": 1.5}', '{"type": "a", "schema_version": 2147483648}', '{"type": "a", "schema_version": 1e400}', '{"type": "a", "schema_version": "1"}', '{"type": "a", "schema_version": []}');
-- occurred_at
SELECT append('{"type": "a", "occurred_at": "yesterday at noon o''clock"}', '{"type": "a", "occurred_at": ""}', '{"type": "a", "occurred_at": 1700000000}', '{"type": "a", "occurred_at": "2024-13-01"}', '{"type": "a", "occurred_at": "2024-02-30"}', '{"type": "a", "occurred_at": "300000-01-01"}', '{"type": "a", "occurred_at": "2024-01-01 Mars/Base"}', '{"type": "a", "occurred_at": {}}');
-- correlation_id, causation_id, trace_id
SELECT append('{"type": "a", "correlation_id": 1}', '{"type": "a", "correlation_id": ""}', '{"type": "a", "causation_id": []}', format('{"type": "a", "causation_id": "%s"}', repeat('x', 1025)), '{"type": "a", "trace_id": {}}', '{"type": "a", "correlation_id": "a", "meta": {"correlation_id": "b"}}');
-- unknown keys, with the nearest known one
SELECT append('{"type": "a", "tag": ["x"]}', '{"type": "a", "Type": "b"}', '{"type": "a", "payload": {}}', '{"type": "a", "occured_at": "2024-01-01"}', '{"type": "a", "": 1}', '[{"type": "a"}, {"type": "b", "metadata": {}}]', '{"type": "a", "streams": "s"}', format('{"type": "a", "%s": 1}', repeat('x', 100000)));
-- the place in a batch
SELECT append((SELECT jsonb_agg(CASE i WHEN 777 THEN '{"type": 1}'::jsonb ELSE '{"type": "a"}' END ORDER BY i)::text FROM generate_series(1, 1000) i));

-- conditions: the query type's own errors
SELECT calls('SELECT en57_append(''{"type": "a"}'', fail_if => ''[]'')', 'SELECT en57_append(''{"type": "a"}'', fail_if => '''')', 'SELECT en57_append(''{"type": "a"}'', fail_if => ''{"tags": []}'')', 'SELECT en57_append(''{"type": "a"}'', fail_if => ''{"tag": ["x"]}'')',
    'SELECT en57_append(''{"type": "a"}'', fail_if => ''{"after": -1}'')', 'SELECT en57_append(''{"type": "a"}'', fail_if => ''{"types": ["a"], "after": "x"}'')', 'SELECT en57_append(''{"type": "a"}'', fail_if => ''null''::jsonb)', 'SELECT en57_append(''{"type": "a"}'', fail_if => ''{"fail_if_events_match": []}'')');
-- other arguments
SELECT calls('SELECT en57_append(''{"type": "a"}'', on_conflict => ''ignore'')', 'SELECT en57_append(''{"type": "a"}'', on_conflict => '''')', 'SELECT en57_append(''{"type": "a"}'', partition => ''acme'')', 'SELECT en57_append(''{"type": "a"}'', partition => '''')',
    'SELECT en57_append(''{"type": "a"}'', partition => ''*'')', format('SELECT en57_append(''{"type": "a"}'', partition => %L)', repeat('x', 100000)));
-- the setting en57.meta
SELECT calls('SET LOCAL en57.meta = ''x''; SELECT en57_append(''{"type": "a"}'')', 'SET LOCAL en57.meta = ''[]''; SELECT en57_append(''{"type": "a"}'')', 'SET LOCAL en57.meta = ''1''; SELECT en57_append(''{"type": "a"}'')', 'SET LOCAL en57.meta = ''null''; SELECT en57_append(''{"type": "a"}'')',
    'SET LOCAL en57.meta = ''{"correlation_id": 1''; SELECT en57_append(''{"type": "a"}'')', format('SET LOCAL en57.meta = ''{"correlation_id": "%s"}''; SELECT en57_append(''{"type": "a"}'')', repeat('x', 1025)),
    'SET LOCAL en57.meta = ''{"a": 1} x''', 'ALTER DATABASE en57_regress SET en57.meta = ''x''', 'SET LOCAL en57.meta = ''{"a": "\u0000"}''; SELECT en57_append(''{"type": "a"}'')', format('SET LOCAL en57.meta = %L', '{"a": [1e999, "\ud83d\ude00 \u00e9", ' || repeat('[', 1000) || repeat(']', 1000) || ']}'),
    'SET LOCAL en57.mata = ''{}''', 'SET LOCAL en57.max_conflicts = 0', 'SET LOCAL en57.max_key_locks = ''many''');
-- before the library is loaded it can be anything: then the append is refused, rather than stored without
\c -
SET en57.meta = 'x';
SELECT append('{"type": "a"}');
SHOW en57.meta;
\c -
ALTER ROLE CURRENT_USER SET en57.meta = '[]';
\c -
SELECT append('{"type": "a"}');
ALTER ROLE CURRENT_USER RESET en57.meta;
\c -
-- reads
SELECT calls('SELECT en57_read(after => -1)', 'SELECT en57_read(upto => -1)', 'SELECT en57_read(max_count => -1)', 'SELECT * FROM en57_read(after => -9223372036854775808)', 'SELECT * FROM en57_read(max_count => -9223372036854775807)', 'SELECT * FROM en57_read(partition => ''acme'')', 'SELECT * FROM en57_read(''[]'')',
    'SELECT * FROM en57_read(''{"types": ["a", 1]}'')', 'SELECT * FROM en57_read(as_of => ''soon'')', 'SELECT en57_head(partition => ''acme'')', 'SELECT en57_head(''x'')', 'SELECT en57_context(partition => ''acme'')', 'SELECT en57_context(''[1]'')',
    'SELECT en57_last(partition => ''acme'')', 'SELECT en57_exists(partition => ''acme'')', 'SELECT en57_count(partition => ''acme'')', 'SELECT en57_get(''x'')', 'SELECT en57_get(''00000000-0000-0000-0000-000000000001'', ''acme'')');
-- locks and waits
SELECT calls('SELECT en57_lock(NULL)', 'SELECT en57_lock(''[]'')', 'SELECT en57_lock(''{}'', ''acme'')', 'SELECT en57_wait(NULL)', 'SELECT en57_wait(-1, ''1ms'')', 'SELECT en57_wait(0, NULL)', 'SELECT en57_wait(0, ''-1s'')', 'SELECT en57_wait(0, ''soon'')', 'SELECT en57_wait(0, ''1 month -30 days -1 second'')', 'SELECT en57_wait(0, ''1ms'', ''[]'')', 'SELECT en57_wait(0, ''1ms'', ''{}'', ''acme'')');
-- the query's constructor and its limits
SELECT calls('SELECT en57_query(types => ''{}'')', 'SELECT en57_query(tags => ''{}'')', 'SELECT en57_query(types => ''{NULL}'')', 'SELECT en57_query(tags => ''{{a},{b}}'')', 'SELECT en57_query(tags => ''{""}'')', 'SELECT en57_query(after => -1)', 'SELECT en57_query(stream => '''')',
    format('SELECT en57_query(types => ARRAY[repeat(%L, 256)])', 'x'), format('SELECT en57_query(tags => ARRAY[repeat(%L, 1025)])', 'x'),
    'SELECT en57_query(jsonb_build_object(''tags'', jsonb_agg(i::text))) FROM generate_series(1, 10001) i', 'SELECT en57_query(jsonb_agg(jsonb_build_object(''after'', i))) FROM generate_series(1, 10001) i');
-- the tables' own functions, called by hand
SELECT calls('SELECT en57.guard()', 'SELECT en57.keys(''a'', ''{NULL}'', NULL, NULL)', 'CREATE TABLE t (k bigint[], n bigint); CREATE UNIQUE INDEX ON t USING en57_keys (k, n)');
-- the gem's functions
SELECT calls('SELECT en57.append_events(NULL)', 'SELECT en57.append_events(ARRAY[NULL]::en57.event[])', 'SELECT en57.append_events(ARRAY[(NULL, NULL, NULL, NULL, NULL)]::en57.event[])', 'SELECT en57.append_events(ARRAY[(NULL, '''', NULL, NULL, NULL)]::en57.event[])', 'SELECT en57.append_events(ARRAY[(NULL, ''a'', NULL, NULL, ''{NULL}'')]::en57.event[])',
    'SELECT en57.append_events(ARRAY[(NULL, ''a'', NULL, NULL, ''{""}'')]::en57.event[])', 'SELECT en57.append_events(ARRAY[(NULL, ''a'', NULL, NULL, NULL)]::en57.event[], ''[]'')', 'SELECT en57.append_events(ARRAY[(NULL, ''a'', NULL, NULL, NULL)]::en57.event[], ''{"fail_if_events_match": {}}'')',
    'SELECT en57.append_events(ARRAY[(NULL, ''a'', NULL, NULL, NULL)]::en57.event[], ''{"fail_if_events_match": [1]}'')', 'SELECT en57.append_events(ARRAY[(NULL, ''a'', NULL, NULL, NULL)]::en57.event[], ''{"fail_if_events_match": [{"tag": ["x"]}]}'')',
    'SELECT * FROM en57.read_events(ARRAY[NULL]::jsonb[])', 'SELECT * FROM en57.read_events(''{1}''::jsonb[])', 'SELECT * FROM en57.read_events(ARRAY[''{"tag": 1}'']::jsonb[])', 'SELECT * FROM en57.read_events(''{}'', -1)');

-- what jsonb cannot hold is refused before en57 sees it
SELECT refused(call) FROM unnest(ARRAY[$$SELECT en57_append('{"type": "a", "data": "\u0000"}')$$, $$SELECT en57_append('{"type": "a", "data": {"\ud800": 1}}')$$, $$SELECT en57_append('{"type": "a", "data": "\udc00"}')$$]) call;

-- the store is still empty, and no position was used
SELECT en57_count(), en57_head();
SELECT outcome, position FROM en57_append('{"type": "first"}');
-- what is large and allowed
SELECT outcome FROM en57_append(format('{"type": "%s", "tags": ["%s"]}', repeat('y', 255), repeat('x', 1024))::jsonb);
SELECT outcome FROM en57_append(jsonb_build_object('type', 'a', 'tags', (SELECT jsonb_agg(repeat('t', 900) || i) FROM generate_series(1, 1000) i)));
SELECT outcome FROM en57_append(jsonb_build_object('type', 'a', 'data', repeat('x', 10 * 1024 * 1024)));
SELECT position, length(type), cardinality(tags), length(data->>0) FROM en57_read(after => 1);
