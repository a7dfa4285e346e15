-- Events with streams of their own: one append writes several, each with its versions, and the first event of each may expect one.
-- Fails when a stream's version counts the events of another one, when a version is not looked at, when not all streams are locked
-- alone, when an event's stream is lost on its way (projections, invariants, deciders, repeated appends), or when ids are not those
-- that are stored.
\pset null NULL
CREATE FUNCTION refused(VARIADIC statements text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE statement text; state text; hint text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        BEGIN
            EXECUTE statement;
            RETURN NEXT 'done: ' || statement;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
            RETURN NEXT concat_ws(' | ', state, SQLERRM, NULLIF(hint, ''));
        END;
    END LOOP;
END $$;

-- two streams and none in one call; the answer's version is that of the last event
SELECT outcome, first_position, position, stream_version FROM en57_append('[
    {"type": "opened", "stream": "a"}, {"type": "opened", "stream": "b"}, {"type": "free"},
    {"type": "paid", "stream": "a", "tags": ["t"]}, {"type": "paid", "stream": "a"}]');
SELECT position, type, stream, stream_version FROM en57_read();
SELECT outcome, stream_version FROM en57_append('[{"type": "paid", "stream": "b"}, {"type": "free"}]');
SELECT outcome, stream_version FROM en57_append('{"type": "paid", "stream": null}');
-- the argument is for events that name none
SELECT outcome, stream_version FROM en57_append('[{"type": "x"}, {"type": "x", "stream": "b"}, {"type": "x"}]', stream => 'a', expected_version => 3);
SELECT stream, version FROM en57_streams();

-- each stream's first event expects its version: all hold, or nothing is stored, and the first stream that is wrong is told
SELECT outcome, position, stream_version FROM en57_append('[{"type": "y", "stream": "a", "expected_version": 5}, {"type": "y", "stream": "b", "expected_version": 3}, {"type": "y", "stream": "c", "expected_version": 0}, {"type": "y", "stream": "c"}]');
SELECT outcome, position, stream_version, (SELECT array_agg((c->>'stream') || (c->>'stream_version')) FROM jsonb_array_elements(conflicts) c) AS beyond
    FROM en57_append('[{"type": "z", "stream": "a", "expected_version": 6}, {"type": "z", "stream": "b", "expected_version": 2}, {"type": "z", "stream": "c", "expected_version": 1}]');
SELECT outcome, position, stream_version, conflicts FROM en57_append('[{"type": "z", "stream": "a"}, {"type": "z", "stream": "none", "expected_version": -1}]');
SELECT refused('SELECT en57_append(''[{"type": "z", "stream": "a"}, {"type": "z", "stream": "none", "expected_version": -1}]'', on_conflict => ''raise'')',
    'SELECT en57_append(''[{"type": "z", "stream": "a"}, {"type": "z", "stream": "b", "expected_version": 9}]'', on_conflict => ''raise'')');
SELECT count(*) FROM en57_read('{"types": ["z"]}');
-- of a condition that fails: the version of the last event's stream
SELECT outcome, position, stream_version FROM en57_append('[{"type": "z", "stream": "a"}, {"type": "z", "stream": "b"}]', '{"tags": ["t"]}');

-- what is refused
SELECT refused('SELECT en57_append(''[{"type": "z", "stream": "a"}, {"type": "z", "stream": "a", "expected_version": 7}]'')',
    'SELECT en57_append(''{"type": "z", "expected_version": 7}'')',
    'SELECT en57_append(''[{"type": "z"}, {"type": "z", "stream": ""}]'')',
    'SELECT en57_append(''{"type": "z", "stream": 7}'')',
    'SELECT en57_append(''{"type": "z", "stream": "a", "expected_version": -2}'')',
    'SELECT en57_append(''{"type": "z", "stream": "a", "expected_version": 1.5}'')',
    'SELECT en57_append(''{"type": "z", "stream": "a", "expected_version": "1"}'')',
    'SELECT en57_append(''{"type": "z", "stream": "a"}'', stream => ''b'', expected_version => 1)',
    'SELECT en57_append(''{"type": "z", "stream": "a", "expected_version": 6}'', stream => ''a'', expected_version => 6)',
    format('SELECT en57_append(''{"type": "z", "stream": "%s"}'')', repeat('x', 3000)),
    'SELECT en57_import(''[{"type": "z", "stream": "a", "expected_version": 6}]'')');
SELECT count(*) FROM en57_read('{"types": ["z"]}');

-- the ids of what is stored, in the order of the events; those that are given, and those that are not
SELECT cardinality(a.ids), a.ids[2], (SELECT array_agg(id ORDER BY position) FROM en57_read(after => a.first_position - 1)) = a.ids AS are_stored
    FROM en57_append('[{"type": "i"}, {"type": "i", "id": "00000000-0000-4000-8000-000000000001"}, {"type": "i"}]') a;
SELECT ids = ARRAY[(en57_last('{"types": ["one"]}')).id] AS is_stored FROM en57_append('{"type": "one"}');
-- also where they were stored before; and a conflict has none
SELECT outcome, stream_version, ids FROM en57_append('[{"type": "r", "stream": "r", "id": "00000000-0000-4000-8000-000000000002"}, {"type": "r", "stream": "s", "id": "00000000-0000-4000-8000-000000000003"}]');
SELECT outcome, stream_version, ids FROM en57_append('[{"type": "r", "stream": "r", "id": "00000000-0000-4000-8000-000000000002"}, {"type": "r", "stream": "s", "id": "00000000-0000-4000-8000-000000000003"}]');
SELECT refused('SELECT en57_append(''[{"type": "r", "stream": "r", "id": "00000000-0000-4000-8000-000000000002"}, {"type": "r", "stream": "r", "id": "00000000-0000-4000-8000-000000000003"}]'')');
SELECT outcome, ids FROM en57_append('{"type": "r"}', '{"types": ["r"]}');

-- invariants and projections see each event in its own stream
CREATE FUNCTION number(state jsonb, event en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(COALESCE(state::int, 0) + 1) $$;
CREATE FUNCTION few(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'too many' WHERE state::int > 2 $$;
SELECT en57_create_invariant('few', '{"types": ["seat"]}', 'stream', 'number(jsonb,en57_event)', 'few(jsonb)');
SELECT en57_create_document_projection('seats', '{"types": ["seat"]}', 'stream', 'number(jsonb,en57_event)');
SELECT outcome FROM en57_append('[{"type": "seat", "stream": "p"}, {"type": "seat", "stream": "q"}, {"type": "seat", "stream": "p"}]');
SELECT refused('SELECT en57_append(''[{"type": "seat", "stream": "q"}, {"type": "seat", "stream": "p"}]'')');
SELECT id, doc FROM seats ORDER BY id;

-- a decider whose events go to the stream that it reads: by the call, or by what it decides
CREATE FUNCTION of_stream(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT en57_query(stream => command->>'stream') $$;
CREATE FUNCTION open_once(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN state IS NULL THEN '{"type": "opened"}'::jsonb || CASE WHEN command ? 'own' THEN jsonb_build_object('stream', command->'stream') ELSE '{}' END END $$;
SELECT en57_create_decider('open', 'of_stream(jsonb)', 'number(jsonb,en57_event)', 'open_once(jsonb,jsonb)');
SELECT outcome, stream_version, cardinality(ids) FROM en57_decide('open', '{"stream": "d1", "own": true}');
SELECT outcome, stream_version, cardinality(ids) FROM en57_decide('open', '{"stream": "d1", "own": true}');
SELECT outcome, stream_version, cardinality(ids) FROM en57_decide('open', '{"stream": "d2"}', stream => 'd2');
SELECT outcome, stream_version, cardinality(ids) FROM en57_decide('open', '{"stream": "d2"}', stream => 'd2');
SELECT outcome, stream_version, conflicts->0->>'stream' AS conflict FROM en57_decide('open', '{"stream": "d3"}', stream => 'd2', expected_version => 0);
SELECT outcome, stream_version, ids FROM en57_decide('open', '{"stream": "d4"}', command_id => '00000000-0000-4000-8000-000000000004', stream => 'd4', expected_version => 0);
SELECT outcome, stream_version, ids FROM en57_decide('open', '{"stream": "d4"}', command_id => '00000000-0000-4000-8000-000000000004', stream => 'd4', expected_version => 0);
SELECT en57_try('open', '[]', '{"stream": "d5", "own": true}'), en57_try('open', '{"type": "x", "stream": "d5"}', '{"stream": "d5", "own": true}');

-- trying refuses what an append would refuse of streams
CREATE FUNCTION twice(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT jsonb_build_array(command, command) $$;
SELECT en57_create_decider('twice', 'of_stream(jsonb)', 'number(jsonb,en57_event)', 'twice(jsonb,jsonb)');
SELECT refused('SELECT en57_try(''twice'', ''[]'', ''{"type": "x", "stream": "s", "expected_version": 0}'')', 'SELECT en57_decide(''twice'', ''{"type": "x", "stream": "s", "expected_version": 0}'')');

-- a state tells the version of the stream that its query names
SELECT en57_create_fold('number', 'number(jsonb,en57_event)');
SELECT q, state, stream_version FROM (VALUES (1, '{"stream": "a"}'::en57_query), (2, '{"stream": "a", "types": ["paid"]}'), (3, '{"stream": "none"}'),
    (4, '{"types": ["paid"]}'), (5, '[{"stream": "a", "types": ["y"]}, {"stream": "a", "types": ["paid"]}]'), (6, '[{"stream": "a"}, {"stream": "b"}]'), (7, '[{"stream": "a"}, {"types": ["y"]}]')) t (q, query), en57_state('number', query) ORDER BY q;
SELECT (en57_check()).*;
