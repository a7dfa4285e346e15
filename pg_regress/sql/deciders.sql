-- Deciders: lock, read, fold, decide, append in one call.
-- Fails when a decision is made on another state than that of the events it reads, when a refusal stores something or
-- reaches the client changed, when a command that is sent again is decided again, or when en57_try stores anything.
CREATE FUNCTION sale_query(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
    SELECT en57_query(tags => ARRAY['course:' || (command->>'course')])
$$;
CREATE FUNCTION sale_evolve(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE e.type
        WHEN 'course defined' THEN jsonb_build_object('seats', (e.data->>'seats')::int)
        WHEN 'seat sold' THEN state || jsonb_build_object('seats', (state->>'seats')::int - 1)
        ELSE state
    END
$$;
CREATE FUNCTION sale_decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF state IS NULL THEN
        RAISE EXCEPTION 'no such course' USING ERRCODE = 'XC404', DETAIL = 'There is no ' || (command->>'course') || '.', HINT = 'Define it.';
    ELSIF command ? 'nothing' THEN
        RETURN NULLIF(command->'nothing', 'null');
    ELSIF (state->>'seats')::int < (command->>'n')::int THEN
        RAISE EXCEPTION 'sold out' USING ERRCODE = 'XC409';
    END IF;
    RETURN (SELECT jsonb_agg(jsonb_build_object('type', 'seat sold', 'tags', ARRAY['course:' || (command->>'course'), 'student:' || (command->>'student')]))
              FROM generate_series(1, (command->>'n')::int));
END $$;
SELECT en57_create_decider('sell', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'sale_decide(jsonb,jsonb)');
SELECT name, query_function, evolve, decide, initial, command_schema, snapshot_every FROM en57_deciders \gx
-- a refusal of its own: SQLSTATE, DETAIL and HINT are the function's
SELECT * FROM en57_decide('sell', '{"course": "sql", "student": "ada", "n": 1}');
\echo :LAST_ERROR_SQLSTATE
SELECT outcome FROM en57_append('[{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 3}}, {"type": "course defined", "tags": ["course:art"], "data": {"seats": 1}}]');
SELECT outcome, position, first_position, stream_version, conflicts FROM en57_decide('sell', '{"course": "sql", "student": "ada", "n": 2}');
SELECT outcome, position, first_position FROM en57_decide('sell', '{"course": "art", "student": "ada", "n": 1}');
SELECT * FROM en57_decide('sell', '{"course": "sql", "student": "bob", "n": 2}');
SELECT position, type, tags FROM en57_read('{"types": ["seat sold"]}');
-- nothing to append: NULL and [] from decide; the position is that of the decision
SELECT * FROM en57_decide('sell', '{"course": "sql", "nothing": null}');
SELECT * FROM en57_decide('sell', '{"course": "sql", "nothing": []}');
SELECT en57_count(), en57_head();
-- one event, not in an array
SELECT outcome, position FROM en57_decide('sell', '{"course": "sql", "nothing": {"type": "noted"}}');
-- what is no event
SELECT * FROM en57_decide('sell', '{"course": "sql", "nothing": 1}');
SELECT * FROM en57_decide('sell', '{"course": "sql", "nothing": [{"tags": ["a"]}]}');
SELECT * FROM en57_decide('sell', '{"course": "sql", "nothing": {"type": "noted", "tgas": ["a"]}}');
SELECT en57_count();

-- with the transaction; several in one; own events are seen
BEGIN;
SELECT outcome FROM en57_decide('sell', '{"course": "sql", "student": "eve", "n": 1}');
SAVEPOINT s;
SELECT outcome FROM en57_decide('sell', '{"course": "sql", "student": "eve", "n": 1}');
ROLLBACK TO s;
SELECT en57_count('{"types": ["seat sold"]}');
ROLLBACK;
SELECT en57_count('{"types": ["seat sold"]}');
BEGIN READ ONLY;
SELECT outcome FROM en57_decide('sell', '{"course": "sql", "student": "eve", "n": 1}');
ROLLBACK;

-- a command with an id: sent again, it is answered as the first time, whatever the state is now
SELECT outcome, position, first_position FROM en57_decide('sell', '{"course": "sql", "student": "eve", "n": 1}', command_id => '00000000-0000-0000-0000-000000000001');
SELECT outcome, position, first_position FROM en57_decide('sell', '{"course": "sql", "student": "eve", "n": 1}', command_id => '00000000-0000-0000-0000-000000000001');
SELECT outcome FROM en57_decide('sell', '{"course": "sql", "student": "eve", "n": 1}', command_id => '00000000-0000-0000-0000-000000000002');
SELECT outcome FROM en57_append('[{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 3}}]');
SELECT outcome, position, first_position FROM en57_decide('sell', '{"course": "sql", "student": "dan", "n": 2}', command_id => '00000000-0000-0000-0000-000000000002');
SELECT outcome, position, first_position FROM en57_decide('sell', '{"course": "sql", "student": "dan", "n": 2}', command_id => '00000000-0000-0000-0000-000000000002');
SELECT position, id FROM en57_read('{"tags": ["student:dan"]}');
SELECT * FROM en57_decide('sell', '{"course": "sql", "nothing": {"type": "noted", "id": "00000000-0000-0000-0000-00000000000a"}}', command_id => '00000000-0000-0000-0000-000000000003');
-- an id of its own is the function's matter without one
SELECT outcome FROM en57_decide('sell', '{"course": "sql", "nothing": {"type": "noted", "id": "00000000-0000-0000-0000-00000000000a"}}');
SELECT outcome FROM en57_decide('sell', '{"course": "sql", "nothing": {"type": "noted", "id": "00000000-0000-0000-0000-00000000000a"}}');

-- trying: on given events of which those that match are folded
SELECT en57_try('sell', '[{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}, {"type": "seat sold", "tags": ["course:art"]}]', '{"course": "sql", "student": "ada", "n": 2}');
SELECT en57_try('sell', '[{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}, {"type": "seat sold", "tags": ["course:sql"]}]', '{"course": "sql", "student": "ada", "n": 2}');
SELECT en57_try('sell', '[]', '{"course": "sql", "student": "ada", "n": 2}');
SELECT en57_try('sell', '{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}', '{"course": "sql", "nothing": null}');
SELECT en57_try('sell', '{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}', '{"course": "sql", "nothing": {"type": "noted"}}');
SELECT en57_try('sell', '{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}', '{"course": "sql", "nothing": {"typ": "noted"}}');
SELECT en57_try('sell', NULL, '{}');
SELECT en57_try('sell', '1', '{"course": "sql"}');
SELECT en57_try('sell', '[{"type": ""}]', '{"course": "sql"}');
SELECT en57_try('sell', '[]', NULL);
SELECT en57_try('nobody', '[]', '{}');
BEGIN READ ONLY;
SELECT en57_try('sell', '{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}', '{"course": "sql", "student": "ada", "n": 1}');
COMMIT;
-- what given events look like: positions from 1, times, after in a query
CREATE FUNCTION after_one(command jsonb) RETURNS en57_query LANGUAGE sql AS $$ SELECT en57_query(after => 1) $$;
CREATE FUNCTION as_rows(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$
    SELECT state || (to_jsonb(e) - 'recorded_at' - 'occurred_at' || jsonb_build_object('now', e.recorded_at = e.occurred_at, 'year', extract(year FROM e.occurred_at at time zone 'UTC'))) $$;
CREATE FUNCTION show_state(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql STRICT AS $$ SELECT jsonb_build_object('type', 'shown', 'data', state) $$;
SELECT en57_create_decider('show', 'after_one(jsonb)', 'as_rows(jsonb,en57_event)', 'show_state(jsonb,jsonb)', initial => '[]');
SELECT jsonb_pretty(en57_try('show', '[{"type": "a"}, {"type": "b", "tags": ["y", "x"], "meta": {"by": "me"}, "id": "00000000-0000-0000-0000-000000000001", "occurred_at": "1999-01-01Z"}, {"type": "c", "schema_version": 2, "correlation_id": "c"}]', '{}') #- '{0,data,1,now}');
-- what a read has shown can be given: with positions, times, streams
SELECT outcome FROM en57_append('[{"type": "a", "occurred_at": "1999-01-01Z", "data": null}, {"type": "b", "tags": ["x"], "meta": {"by": "me"}, "correlation_id": "c"}]', stream => 'given');
SELECT outcome FROM en57_append('{"type": "c"}', stream => 'other');
SELECT outcome FROM en57_append('{"type": "d", "schema_version": 3}', stream => 'given');
CREATE FUNCTION of_given(command jsonb) RETURNS en57_query LANGUAGE sql AS $$ SELECT '{"stream": "given"}'::en57_query $$;
CREATE FUNCTION all_rows(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT state || to_jsonb(e) $$;
SELECT en57_create_decider('given', 'of_given(jsonb)', 'all_rows(jsonb,en57_event)', 'show_state(jsonb,jsonb)', initial => '[]');
SET timezone = 'UTC'; -- as functions have it
SELECT en57_try('given', (SELECT jsonb_agg(e) FROM en57_read() e), '{}') #> '{0,data}' = (SELECT jsonb_agg(e) FROM en57_read('{"stream": "given"}') e) AS is_same,
       en57_count('{"stream": "given"}');
RESET timezone;
-- numbers that are left out follow those before; without one, occurred_at is recorded_at
SELECT s->'type' AS type, s->'position' AS position, s->'stream' AS stream, s->'stream_version' AS version, s->'occurred_at' = s->'recorded_at' AS same_time
  FROM jsonb_array_elements(en57_try('given', '[{"type": "a", "stream": "given"}, {"type": "b", "stream": "other"}, {"type": "c", "stream": "given", "position": 7, "stream_version": 3, "recorded_at": "2020-01-01Z"},
    {"type": "d"}, {"type": "e", "stream": "given", "partition": "elsewhere", "occurred_at": "2020-01-01Z"}]', '{}') #> '{0,data}') s;
SELECT en57_try('given', '[{"type": "a", "position": 2}, {"type": "b", "position": 2}]', '{}');
SELECT en57_try('given', '{"type": "a", "position": 0}', '{}');
SELECT en57_try('given', '[{"type": "a", "position": 9223372036854775807}, {"type": "b"}]', '{}');
SELECT en57_try('given', '[{"type": "a", "stream": "s", "stream_version": 2}, {"type": "b", "stream": "s", "stream_version": 1}]', '{}');
SELECT en57_try('given', '{"type": "a", "stream_version": 1}', '{}');
SELECT en57_try('given', '{"type": "a", "stream": 1}', '{}');
SELECT en57_try('given', '{"type": "a", "steam": "s"}', '{}');
SELECT en57_try('given', '[{"type": "a", "id": "00000000-0000-0000-0000-000000000001"}, {"type": "b", "id": "00000000-0000-0000-0000-000000000001"}]', '{}');
-- a decision may name a stream
SELECT en57_try('sell', '{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}', '{"course": "sql", "nothing": {"type": "noted", "stream": "s"}}');
-- the events that follow must fit their types, as where they are appended; those that are given need not
SELECT en57_register_type('noted', 1, '{"type": "object", "required": ["by"]}');
SELECT en57_try('sell', '{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}', '{"course": "sql", "nothing": {"type": "noted"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT en57_decide('sell', '{"course": "sql", "nothing": {"type": "noted"}}');
SELECT en57_try('sell', '[{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}, {"type": "noted"}]', '{"course": "sql", "nothing": {"type": "noted", "data": {"by": "me"}}}');
SET en57.strict_types = on;
SELECT en57_try('sell', '{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}}', '{"course": "sql", "student": "ada", "n": 1}');
RESET en57.strict_types;
SELECT en57_unregister_type('noted');

-- the schema of commands
SELECT en57_create_decider('sell', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'sale_decide(jsonb,jsonb)', or_replace => true,
    command_schema => '{"type": "object", "required": ["course", "student", "n"], "properties": {"course": {"type": "string"}, "n": {"type": "integer", "minimum": 1}}}');
SELECT * FROM en57_decide('sell', '{"course": "sql", "student": "bob", "n": "two"}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM en57_decide('sell', '{"course": 7, "n": 0}');
SELECT * FROM en57_decide('sell', '"sell"');
SELECT en57_try('sell', '[]', '{"course": 7}');
SELECT outcome FROM en57_decide('sell', '{"course": "sql", "student": "bob", "n": 1}');
-- what was decided is answered, whatever a command must be by now, and whatever it would depend on
SELECT outcome, position, first_position FROM en57_decide('sell', '{"course": 7, "n": 0}', command_id => '00000000-0000-0000-0000-000000000002');
SELECT outcome, position, first_position FROM en57_decide('sell', '{"course": "art", "student": "bob", "n": 1}', command_id => '00000000-0000-0000-0000-000000000002');
SELECT outcome FROM en57_decide('sell', '{"course": 7, "n": 0}', command_id => '00000000-0000-0000-0000-00000000000f');
SELECT outcome FROM en57_decide('sell', NULL, command_id => '00000000-0000-0000-0000-000000000002');
SELECT en57_create_decider('none', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'sale_decide(jsonb,jsonb)', command_schema => '{"type": "objekt"}');

-- with snapshots; the state can be looked at
SELECT en57_create_decider('kept', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'sale_decide(jsonb,jsonb)', snapshot_every => 3);
SELECT outcome FROM en57_append('[{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 3}}]');
SELECT outcome FROM en57_decide('kept', '{"course": "sql", "student": "zoe", "n": 1}');
SELECT name, query, position = en57_head() - 1 AS before FROM en57_snapshots;
SELECT state FROM en57_state('kept', '{"tags": ["course:sql"]}');
-- it does decide on the snapshot: here one that was forged
UPDATE en57.snapshots SET state = '{"seats": 0}';
SELECT outcome FROM en57_decide('kept', '{"course": "sql", "student": "zoe", "n": 1}');
SELECT en57_drop_snapshots('kept');

-- rights: functions run as their owner; who may execute the decide function, and append to the partition, may call
CREATE ROLE en57_clerk;
SET ROLE en57_clerk;
SELECT outcome FROM en57_decide('kept', '{"course": "art", "student": "zoe", "n": 0, "nothing": []}');
RESET ROLE;
GRANT SELECT, INSERT ON en57.events_default TO en57_clerk;
CREATE TABLE prices AS SELECT 5 AS price;
CREATE FUNCTION priced(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('type', 'priced', 'data', price, 'tags', ARRAY['by:' || current_user]) FROM prices $$;
SELECT en57_create_decider('price', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'priced(jsonb,jsonb)');
SET ROLE en57_clerk;
SELECT outcome FROM en57_decide('price', '{"course": "art"}');
SELECT data, (SELECT rolsuper FROM pg_roles WHERE 'by:' || rolname = tags[1]) AS as_owner FROM en57_read('{"types": ["priced"]}');
SELECT en57_create_decider('mine', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'priced(jsonb,jsonb)');
SELECT en57_drop_decider('price');
SELECT count(*) FROM en57_deciders;
RESET ROLE;
SELECT en57_grant('en57_clerk', 'admin', 'default');
SET ROLE en57_clerk;
SELECT en57_create_decider('mine', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'priced(jsonb,jsonb)');
SELECT en57_drop_decider('price');
SELECT en57_create_decider('price', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'priced(jsonb,jsonb)', or_replace => true);
SELECT en57_drop_snapshots('kept');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION priced FROM PUBLIC;
SET ROLE en57_clerk;
SELECT outcome FROM en57_decide('price', '{"course": "art"}');
SELECT en57_try('price', '[]', '{"course": "art"}');
SELECT outcome FROM en57_decide('price', '{"course": "art"}', command_id => '00000000-0000-0000-0000-000000000002');
RESET ROLE;

-- in a partition
SELECT en57_create_partition('acme');
SELECT (en57_append('{"type": "course defined", "tags": ["course:sql"], "data": {"seats": 1}}', partition => 'acme')).outcome;
SELECT outcome FROM en57_decide('sell', '{"course": "sql", "student": "ada", "n": 1}', 'acme');
SELECT outcome FROM en57_decide('sell', '{"course": "sql", "student": "ada", "n": 1}', partition => 'acme');
SELECT type, partition FROM en57_read(partition => 'acme');
SELECT * FROM en57_decide('sell', '{"course": "sql", "student": "ada", "n": 1}', partition => '*');
SELECT * FROM en57_decide('sell', '{"course": "sql", "student": "ada", "n": 1}', partition => 'none');
SET en57.partition = 'acme';
SELECT en57_try('show', '[{"type": "a"}, {"type": "b"}]', '{}') #> '{0,data,0,partition}';
RESET en57.partition;

-- bad input
SELECT * FROM en57_decide(NULL, '{}');
SELECT * FROM en57_decide('nobody', '{}');
SELECT * FROM en57_decide('sell', NULL);
CREATE FUNCTION no_query(command jsonb) RETURNS en57_query LANGUAGE sql AS $$ SELECT NULL::en57_query $$;
SELECT en57_create_decider('no query', 'no_query(jsonb)', 'as_rows(jsonb,en57_event)', 'show_state(jsonb,jsonb)', initial => '[]');
SELECT * FROM en57_decide('no query', '{}');
SELECT en57_create_decider('none', NULL, 'sale_evolve(jsonb,en57_event)', 'sale_decide(jsonb,jsonb)');
SELECT en57_create_decider('none', 'sale_decide(jsonb,jsonb)', 'sale_evolve(jsonb,en57_event)', 'sale_decide(jsonb,jsonb)');
SELECT en57_create_decider('none', 'sale_query(jsonb)', 'sale_query(jsonb)', 'sale_decide(jsonb,jsonb)');
SELECT en57_create_decider('none', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', NULL);
SELECT en57_create_decider('none', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'sale_query(jsonb)');
SELECT en57_create_decider('none', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'show_state(jsonb,jsonb)');
SELECT en57_create_decider('', 'sale_query(jsonb)', 'sale_evolve(jsonb,en57_event)', 'sale_decide(jsonb,jsonb)');
SELECT en57_create_fold('sell', 'sale_evolve(jsonb,en57_event)', or_replace => true);
SELECT en57_drop_fold('sell');
SELECT en57_create_fold('fold', 'sale_evolve(jsonb,en57_event)');
SELECT * FROM en57_decide('fold', '{}');
SELECT en57_drop_decider('fold');
DROP FUNCTION sale_decide;
SELECT * FROM en57_decide('sell', '{"course": "sql", "student": "ada", "n": 1}');
SELECT en57_drop_decider('sell');
SELECT en57_drop_decider('sell');
DROP OWNED BY en57_clerk;
DROP ROLE en57_clerk;
