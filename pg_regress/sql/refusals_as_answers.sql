-- Refusals by schemas and invariants as answers, and events that are only looked at.
-- Fails when a refusal is an error though it was to be an answer, when less than all is told, when something of a refused append stays
-- (an event, or a state that holds events which are not stored), or when looking stores something.
\pset null NULL
CREATE FUNCTION told(VARIADIC statements text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE statement text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        BEGIN
            EXECUTE statement;
            RETURN NEXT 'done: ' || statement;
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT concat_ws(' | ', SQLSTATE, SQLERRM);
        END;
    END LOOP;
END $$;
CREATE FUNCTION counts(state jsonb, event en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(COALESCE(state::int, 0) + 1) $$;
CREATE FUNCTION few(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'more than 20' WHERE state::int > 20 $$;
CREATE FUNCTION even(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '' WHERE state::int % 2 = 1 $$;
SELECT en57_register_type('sale', 1, '{"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}}', '{"required": ["user"]}');
SELECT en57_create_invariant('few', '{"types": ["in"]}', 'tag:k:', 'counts', 'few');

-- schemas: all faults of all events, and nothing is stored
SELECT outcome, position, first_position, stream_version, conflicts, ids, jsonb_pretty(faults) AS faults
    FROM en57_append('[{"type": "sale", "data": {"n": 1}, "meta": {"user": "u"}}, {"type": "sale", "data": {"n": 0.5}}, {"type": "other"}, {"type": "sale", "schema_version": 7}]', on_refusal => 'return');
SELECT told('SELECT en57_append(''{"type": "sale"}'')', 'SELECT en57_append(''{"type": "sale"}'', on_refusal => ''raise'')', 'SELECT en57_append(''{"type": "sale"}'', on_refusal => ''skip'')',
    'SELECT en57_append(''{"tpye": "sale"}'', on_refusal => ''return'')');
SET en57.strict_types = on;
SELECT outcome, faults FROM en57_append('{"type": "other"}', on_refusal => 'return');
RESET en57.strict_types;
-- invariants: all keys of all invariants
SELECT en57_create_invariant('even', '{"types": ["in", "out"]}', 'stream', 'counts', 'even', key_required => true);
SELECT outcome, faults FROM en57_append('[{"type": "in", "stream": "s"}, {"type": "out"}]', on_refusal => 'return');
SELECT outcome, faults FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'in', 'stream', 's', 'tags', jsonb_build_array('k:a', 'k:b'))) FROM generate_series(1, 21)), on_refusal => 'return');
SELECT count(*) FROM en57_read();
-- a refused append leaves nothing of the states that it has come to: those are not refused that come after it
SELECT en57_drop_invariant('even');
SELECT outcome, faults FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'in', 'tags', jsonb_build_array(CASE WHEN n <= 18 THEN 'k:a' ELSE 'k:b' END))) FROM generate_series(1, 39) n), on_refusal => 'return');
SELECT count(*) FROM en57.invariant_states;
SELECT outcome, faults FROM en57_append((SELECT jsonb_agg('{"type": "in", "tags": ["k:a"]}'::jsonb) FROM generate_series(1, 20)), on_refusal => 'return');
SELECT count(*) FROM en57.invariant_states;
SELECT outcome, faults FROM en57_append('{"type": "in", "tags": ["k:a"]}', on_refusal => 'return');
-- the transaction goes on
BEGIN;
SELECT outcome FROM en57_append('{"type": "in", "tags": ["k:a"]}', on_refusal => 'return');
SELECT outcome FROM en57_append('{"type": "in", "tags": ["k:c"]}', '{"tags": ["k:c"]}', on_refusal => 'return');
COMMIT;
SELECT count(*), max(position) > 20 AS with_gaps FROM en57_read();
-- conflicts come before invariants, and after schemas; what was stored before is answered as ever
SELECT outcome FROM en57_append('{"type": "in", "tags": ["k:a"]}', '{"tags": ["k:a"]}', on_refusal => 'return');
SELECT outcome FROM en57_append('{"type": "sale", "tags": ["k:a"]}', '{"tags": ["k:a"]}', on_refusal => 'return');
SELECT outcome FROM en57_append('{"type": "sale", "id": "00000000-0000-4000-8000-000000000001", "data": {"n": 1}, "meta": {"user": "u"}}', on_refusal => 'return');
SELECT en57_register_type('sale', 1, '{"required": ["new"]}');
SELECT outcome FROM en57_append('{"type": "sale", "id": "00000000-0000-4000-8000-000000000001", "data": {"n": 1}, "meta": {"user": "u"}}', on_refusal => 'return');
SELECT outcome, faults FROM en57_append('{"type": "sale", "id": "00000000-0000-4000-8000-000000000002", "data": {"n": 1}, "meta": {"user": "u"}}', on_refusal => 'return');
-- other errors are errors: of the invariant's own functions, too, and then nothing of the answer is
CREATE FUNCTION fails(state jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'cannot tell'; END $$;
SELECT en57_create_invariant('failing', '{"types": ["fail"]}', 'tag:k:', 'counts', 'fails', validate => false);
SELECT told('SELECT en57_append(''[{"type": "fail", "tags": ["k:1"]}, {"type": "in", "tags": ["k:a"]}]'', on_refusal => ''return'')');

-- deciders: what they decide, and commands
CREATE FUNCTION about(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT en57_query(tags => ARRAY[command->>'tag']) $$;
CREATE FUNCTION decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT jsonb_build_object('type', command->'type', 'tags', jsonb_build_array(command->'tag')) $$;
SELECT en57_create_decider('do', 'about', 'counts', 'decide', command_schema => '{"required": ["type", "tag"]}');
SELECT outcome, faults FROM en57_decide('do', '{"type": "in", "tag": "k:a"}', on_refusal => 'return');
SELECT outcome, faults FROM en57_decide('do', '{"type": "sale", "tag": "k:a"}', on_refusal => 'return');
SELECT outcome, faults FROM en57_decide('do', '{"tag": 1}', on_refusal => 'return');
SELECT outcome, faults FROM en57_decide('do', '{"type": "in", "tag": "k:d"}', on_refusal => 'return');
SELECT told('SELECT en57_decide(''do'', ''{"type": "in", "tag": "k:a"}'')', 'SELECT en57_decide(''do'', ''{"tag": 1}'')', 'SELECT en57_decide(''do'', ''{}'', on_refusal => '''')');

-- only looked at: rows, and nothing is stored
SELECT count(*) AS before FROM en57_read() \gset
SELECT * FROM en57_validate('[{"type": "sale", "data": {"n": 1}}, {"type": "in", "tags": ["k:a"]}, {"type": "sale"}]');
SELECT * FROM en57_validate('[{"type": "in"}, {"type": "in", "tags": ["k:a", "k:x"]}, {"type": "other"}]');
SELECT * FROM en57_validate((SELECT jsonb_agg('{"type": "in", "tags": ["k:y"]}'::jsonb) FROM generate_series(1, 21)));
SELECT * FROM en57_validate('{"type": "other", "stream": "s", "expected_version": 99}', stream => 't');
SELECT * FROM en57_validate('[{"type": "other"}, {"tpye": "other"}]');
SELECT * FROM en57_validate('[{"type": "other"}, {"type": "other", "occurred_at": "soon"}]');
SELECT * FROM en57_validate('[]');
SET en57.max_event_size = '1kB';
SELECT * FROM en57_validate(jsonb_build_array(jsonb_build_object('type', 'other', 'data', repeat('x', 2000)), '{"type": "sale"}'::jsonb));
RESET en57.max_event_size;
SELECT told('SELECT en57_validate(NULL)', 'SELECT en57_validate(''{"type": "x"}'', partition => ''none'')', 'SELECT en57_validate(''{"type": "fail", "tags": ["k:1"]}'')');
BEGIN READ ONLY;
SELECT * FROM en57_validate('{"type": "in", "tags": ["k:a"]}');
ROLLBACK;
SELECT count(*) = :before AS unchanged, (SELECT count(*) FROM en57.invariant_states) AS states FROM en57_read();
CREATE ROLE en57_reads;
SET ROLE en57_reads;
SELECT told('SELECT en57_validate(''{"type": "x"}'')');
RESET ROLE;
DROP ROLE en57_reads;
SELECT * FROM en57_check();
