-- en57_decide_many: commands are decided in order, each on the state that those before it have left.
-- Fails when a decision does not see the ones before it, when a refusal of one undoes another, when a command that is sent again is decided again,
-- or when the events of a command are stored twice because another one has failed.
CREATE FUNCTION seats_of(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
    SELECT en57_query(tags => ARRAY['course:' || (command->>'course')]) $$;
CREATE FUNCTION count_seats(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT to_jsonb((state#>>'{}')::int + CASE e.type WHEN 'defined' THEN (e.data->>'seats')::int ELSE -1 END) $$;
CREATE FUNCTION sell(command jsonb, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF command->>'do' = 'define' THEN
        RETURN jsonb_build_object('type', 'defined', 'tags', ARRAY['course:' || (command->>'course')], 'data', jsonb_build_object('seats', command->'seats'));
    ELSIF command->>'do' = 'nothing' THEN
        RETURN NULL;
    ELSIF (state#>>'{}')::int < 1 THEN
        RAISE EXCEPTION 'sold out' USING ERRCODE = 'XC409', DETAIL = format('Nothing is left of %s.', command->>'course'), HINT = 'Try another course.';
    END IF;
    RETURN jsonb_build_object('type', 'sold', 'tags', ARRAY['course:' || (command->>'course')], 'data', jsonb_build_object('to', command->'to'));
END $$;
SELECT en57_create_decider('sell', 'seats_of(jsonb)', 'count_seats(jsonb,en57_event)', 'sell(jsonb,jsonb)', initial => '0', snapshot_every => 2);
-- the first command makes room for the next ones; a refusal has the SQLSTATE, DETAIL and HINT of the function
SELECT n, (result).outcome, (result).position, error - 'context' AS error FROM en57_decide_many('sell', '[
    {"command": {"course": "sql", "to": "too early"}},
    {"command": {"do": "define", "course": "sql", "seats": 2}},
    {"command": {"course": "sql", "to": "ada"}},
    {"command": {"course": "art", "to": "ada"}},
    {"command": {"do": "nothing", "course": "sql"}},
    {"command": {"course": "sql", "to": "bob"}},
    {"command": {"course": "sql", "to": "eve"}},
    {"command": {"do": "define", "course": "art", "seats": 1}},
    {"command": {"course": "art", "to": "eve"}}]');
SELECT position, type, tags, data FROM en57_read();
-- ids: what was sent before, in another call or in this one, is answered as the first time
SELECT n, (result).outcome, (result).position, error->>'message' AS error FROM en57_decide_many('sell', '[
    {"command": {"do": "define", "course": "law", "seats": 1}, "command_id": "00000000-0000-4000-8000-000000000001"},
    {"command": {"course": "law", "to": "ada"}, "command_id": "00000000-0000-4000-8000-000000000002"},
    {"command": {"course": "law", "to": "ada"}, "command_id": "00000000-0000-4000-8000-000000000002"},
    {"command": {"course": "law", "to": "bob"}, "command_id": "00000000-0000-4000-8000-000000000003"}]');
SELECT n, (result).outcome, (result).position, error->>'message' AS error FROM en57_decide_many('sell', '[
    {"command": {"course": "law", "to": "bob"}, "command_id": "00000000-0000-4000-8000-000000000003"},
    {"command": {"course": "law", "to": "ada"}, "command_id": "00000000-0000-4000-8000-000000000002"}]');
-- streams
SELECT n, (result).outcome, (result).stream_version, error FROM en57_decide_many('sell', '[
    {"command": {"do": "define", "course": "go", "seats": 20}, "stream": "go", "expected_version": 0},
    {"command": {"course": "go", "to": "ada"}, "stream": "go", "expected_version": 0},
    {"command": {"course": "go", "to": "ada"}, "stream": "go", "expected_version": 1},
    {"command": {"course": "go", "to": "bob"}, "stream": "go"}]');
-- what is no command is told for itself
SELECT n, (result).outcome, error->>'sqlstate' AS state, error->>'message' AS message, error->>'hint' AS hint FROM en57_decide_many('sell', '[
    {},
    {"comand": {"course": "go"}},
    {"command": {"course": "go", "to": "a"}, "command_id": "1"},
    {"command": {"course": "go", "to": "b"}, "command_id": 1},
    {"command": {"course": "go", "to": "c"}, "stream": 1},
    {"command": {"course": "go", "to": "d"}, "expected_version": 1},
    {"command": null},
    {"command": {"course": "go", "to": "e"}, "command_id": null, "stream": null, "expected_version": null}]');
-- the schema of commands, and invariants, refuse one alone
SELECT en57_create_decider('sell', 'seats_of(jsonb)', 'count_seats(jsonb,en57_event)', 'sell(jsonb,jsonb)', initial => '0', or_replace => true,
    command_schema => '{"required": ["course"], "properties": {"seats": {"type": "integer", "maximum": 100}}}');
CREATE FUNCTION not_eve(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT e.data->'to' $$;
CREATE FUNCTION no_eve(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'eve is banned' WHERE state = '"eve"' $$;
SELECT en57_create_invariant('no eve', '{"types": ["sold"]}', 'tag:course:', 'not_eve(jsonb,en57_event)', 'no_eve(jsonb)', validate => false);
SELECT n, (result).outcome, (result).faults->0->>'source' AS source, (result).faults->0->>'problem' AS problem, error FROM en57_decide_many('sell', '[
    {"command": {"course": "go", "to": "fay"}},
    {"command": {"do": "define", "course": "go", "seats": 101}},
    {"command": {"to": "nobody"}},
    {"command": {"course": "go", "to": "eve"}},
    {"command": {"course": "go", "to": "gil"}}]');
SELECT en57_state('sell', en57_query(tags => ARRAY['course:go']));
-- all or nothing
SELECT n, (result).outcome, error->>'message' AS error FROM en57_decide_many('sell', '[{"command": {"course": "go", "to": "hal"}}, {"command": {"course": "go", "to": "eve"}}, {"command": {"course": "go", "to": "ida"}}]', all_or_nothing => true);
SELECT n, (result).outcome, error->>'message' AS error FROM en57_decide_many('sell', '[{"command": {"course": "go", "to": "hal"}}, {"command": {"course": "nowhere", "to": "ida"}}]', all_or_nothing => true);
SELECT n, (result).outcome, error->>'message' AS error FROM en57_decide_many('sell', '[{"command": {"course": "go", "to": "hal"}}, {"command": {"do": "nothing", "course": "go"}}]', all_or_nothing => true);
SELECT data->>'to' AS sold_to FROM en57_read('{"types": ["sold"], "tags": ["course:go"]}');
-- the whole call: no decider, no array, no partition, no right
SELECT * FROM en57_decide_many('nobody', '[{"command": {}}]');
SELECT * FROM en57_decide_many('sell', '[]');
SELECT * FROM en57_decide_many('nobody', '[]');
SELECT * FROM en57_decide_many(NULL, '[]');
SELECT * FROM en57_decide_many('sell', NULL);
SELECT * FROM en57_decide_many('sell', '7');
SELECT * FROM en57_decide_many('sell', '[7]');
SELECT * FROM en57_decide_many('sell', '[{"command": {"course": "a"}}]', 'nowhere');
BEGIN READ ONLY;
SELECT * FROM en57_decide_many('sell', '[{"command": {"course": "a"}}]');
ROLLBACK;
-- another partition has other states; and a savepoint takes all of a call back
SELECT en57_create_partition('acme');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SAVEPOINT s;
SELECT n, (result).outcome, error->>'message' AS error FROM en57_decide_many('sell', '[{"command": {"do": "define", "course": "go", "seats": 1}}, {"command": {"course": "go", "to": "ada"}}]', 'acme');
ROLLBACK TO s;
SELECT n, (result).outcome, error->>'message' AS error FROM en57_decide_many('sell', '[{"command": {"course": "go", "to": "ada"}}, {"command": {"do": "define", "course": "go", "seats": 1}}]', 'acme');
COMMIT;
SELECT type FROM en57_read(partition => 'acme');
-- what a decider calls must not decide: nor may it call this
CREATE FUNCTION decides(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT to_jsonb(d) FROM en57_decide_many('sell', '[{"command": {"course": "go", "to": "zoe"}}]') d $$;
SELECT en57_create_decider('inner', 'seats_of(jsonb)', 'count_seats(jsonb,en57_event)', 'decides(jsonb,jsonb)', initial => '0');
SELECT n, (result).outcome, error->>'sqlstate' AS state, error->>'message' AS message FROM en57_decide_many('inner', '[{"command": {"course": "go"}}]');
CREATE OR REPLACE FUNCTION decides(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT to_jsonb(d) FROM en57_append_many('[{"events": {"type": "a"}}]') d $$;
SELECT n, (result).outcome, error->>'sqlstate' AS state, error->>'message' AS message FROM en57_decide_many('inner', '[{"command": {"course": "go"}}]');
SELECT * FROM en57_check();
