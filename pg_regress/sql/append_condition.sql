-- The append condition in all its forms. A conflict stores nothing, tells the matching events and leaves the transaction usable.
-- Fails when the probe is skipped, or when a criterion's parts are not rechecked on the row.
\pset null NULL
SELECT position FROM en57_append('[
    {"type": "opened",  "tags": ["course:1"],              "data": {"n": 1}},
    {"type": "booked",  "tags": ["course:1", "student:a"], "data": {"n": 2}},
    {"type": "opened",  "tags": ["course:2"],              "data": {"n": 3}, "correlation_id": "c1", "causation_id": "k1"},
    {"type": "booked",  "tags": ["course:2", "student:a"], "data": {"n": 4}},
    {"type": "booked",  "tags": ["course:1", "student:b"], "data": {"n": 5}, "correlation_id": "c1"}]');

-- Each condition is tried and undone: the position of the newest match, and the positions of all of them.
CREATE FUNCTION try(condition en57_query) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer en57_append_result;
BEGIN
    BEGIN
        answer := en57_append('{"type": "new", "tags": ["new"]}', fail_if => condition);
        IF answer.conflicts IS NOT NULL AND answer.first_position IS NULL THEN
            RETURN format('%s at %s with %s', answer.outcome, answer.position,
                (SELECT array_agg(c->'position') FROM jsonb_array_elements(answer.conflicts) c));
        END IF;
        RAISE EXCEPTION USING errcode = 'UUUUU', message = answer.outcome::text;
    EXCEPTION WHEN SQLSTATE 'UUUUU' THEN
        RETURN sqlerrm;
    END;
END $$;
SELECT q AS condition, try(q) FROM (VALUES (1, NULL::text),
    -- a type
    (2, '{"types": ["booked"]}'), (3, '{"types": ["closed"]}'), (4, '{"types": ["closed", "opened"]}'), (5, '{"types": ["BOOKED"]}'),
    -- a tag, several tags: all of them
    (6, '{"tags": ["student:a"]}'), (7, '{"tags": ["student:c"]}'), (8, '{"tags": ["course:1", "student:a"]}'),
    (9, '{"tags": ["course:2", "student:b"]}'), (10, '{"tags": ["course:1", "student:a", "course:1"]}'),
    -- both
    (11, '{"types": ["booked"], "tags": ["course:1"]}'), (12, '{"types": ["opened"], "tags": ["student:a"]}'),
    (13, '{"types": ["opened", "booked"], "tags": ["course:2"]}'),
    -- several criteria: any of them
    (14, '[{"types": ["opened"], "tags": ["course:1"]}, {"tags": ["student:b"]}]'),
    (15, '[{"types": ["closed"]}, {"tags": ["student:c"]}]'), (16, '[{"tags": ["course:1"]}, {"tags": ["student:a"]}]'),
    -- after, of one criterion alone
    (17, '{"types": ["booked"], "after": 3}'), (18, '{"types": ["booked"], "after": 4}'), (19, '{"types": ["booked"], "after": 5}'),
    (20, '{"types": ["booked"], "after": 9223372036854775807}'), (21, '{"tags": ["course:1"], "after": 0}'),
    (22, '[{"tags": ["course:1"], "after": 2}, {"tags": ["course:2"], "after": 4}]'),
    (23, '[{"tags": ["course:1"], "after": 5}, {"tags": ["course:2"], "after": 3}]'),
    (24, '[{"tags": ["course:1"], "after": 5}, {"tags": ["course:1"], "after": 1}]'),
    -- everything
    (25, '{}'), (26, '{"after": 3}'), (27, '{"after": 5}'), (28, '[{}, {"types": ["closed"]}]'),
    -- the form of dcb.events: after is for all of its items
    (29, '{"items": [{"types": ["booked"]}, {"tags": ["course:2"]}], "after": 3}'),
    (30, '{"items": [{"types": ["booked"], "after": 4}, {"tags": ["course:2"]}], "after": 3}'),
    (31, '{"items": [{}], "after": 5}'),
    -- correlation and causation
    (32, '{"correlation_id": "c1"}'), (33, '{"correlation_id": "c1", "tags": ["course:1"]}'), (34, '{"causation_id": "k1"}'),
    (35, '{"correlation_id": "c2"}'), (36, '{"correlation_id": "k1"}'),
    -- a tag, a type and an id of the same text do not meet
    (37, '{"tags": ["booked"]}'), (38, '{"types": ["course:1"]}'),
    -- streams: there are none yet
    (39, '{"stream": "course:1"}')) AS t (n, condition),
    LATERAL (SELECT condition::en57_query) c (q) ORDER BY n;
SELECT en57_count();

-- no condition and a condition on everything are not the same
SELECT outcome, position FROM en57_append('{"type": "unconditional"}', fail_if => NULL);
SELECT outcome, position FROM en57_append('{"type": "never"}', fail_if => '{}');
SELECT outcome, position FROM en57_append('{"type": "newest known"}', fail_if => en57_query(after => 6));

-- what a conflict returns: the events as JSON, in position order
SELECT outcome, position, first_position, stream_version, jsonb_array_length(conflicts) AS conflicts
FROM en57_append('{"type": "never"}', fail_if => '{"tags": ["course:1"]}');
SELECT jsonb_pretty(c - 'recorded_at' - 'id' - 'occurred_at') AS event, (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(c) k) AS keys,
    c->>'id' = e.id::text AS id, (c->>'recorded_at')::timestamptz = e.recorded_at AS recorded_at, (c->>'occurred_at')::timestamptz = e.occurred_at AS occurred_at
FROM en57_append('{"type": "never"}', fail_if => '{"causation_id": "k1"}') a, jsonb_array_elements(a.conflicts) c, en57_read(after => 2, max_count => 1) e;
-- the newest of them, no more than asked for
SELECT position FROM en57_append((SELECT jsonb_agg('{"type": "many", "tags": ["many"]}'::jsonb) FROM generate_series(1, 150)));
SELECT a.position, count(*), min((c->'position')::int), max((c->'position')::int)
FROM en57_append('{"type": "never"}', fail_if => '{"tags": ["many"]}') a, jsonb_array_elements(conflicts) c GROUP BY 1;
SET en57.max_conflicts = 2;
SELECT a.position, conflicts->0->'position' AS first, conflicts->1->'position' AS second, jsonb_array_length(conflicts)
FROM en57_append('{"type": "never"}', fail_if => '{"tags": ["many"]}') a;
SET en57.max_conflicts = 0;
RESET en57.max_conflicts;

-- as an error, with the result as JSON in DETAIL
SELECT outcome FROM en57_append('{"type": "fine"}', fail_if => '{"types": ["nothing like it"]}', on_conflict => 'raise');
DO $$
DECLARE
    told text;
BEGIN
    PERFORM en57_append('{"type": "never"}', fail_if => '{"types": ["booked"], "after": 3}', on_conflict => 'raise');
EXCEPTION WHEN SQLSTATE 'N5701' THEN
    GET STACKED DIAGNOSTICS told = PG_EXCEPTION_DETAIL;
    RAISE NOTICE '%: % at %, of type %, and % events', sqlstate, sqlerrm, told::jsonb->'position',
        told::jsonb->'conflicts'->0->'type', jsonb_array_length(told::jsonb->'conflicts');
END $$;
SELECT outcome FROM en57_append('{"type": "never"}', fail_if => '{"types": ["booked"]}', on_conflict => 'return');

-- the transaction goes on after a conflict
BEGIN;
SELECT outcome FROM en57_append('{"type": "before"}');
SELECT outcome FROM en57_append('{"type": "never"}', fail_if => '{"types": ["booked"]}');
SELECT outcome FROM en57_append('{"type": "instead"}');
COMMIT;
SELECT type FROM en57_read('[{"types": ["before", "never", "instead"]}]');
SELECT en57_exists('{"types": ["never"]}');

-- read, decide, append: the position of the context
SELECT position AS seen FROM en57_context('{"tags": ["course:2"]}') \gset
SELECT outcome FROM en57_append('{"type": "booked", "tags": ["course:2", "student:c"]}', fail_if => en57_query(tags => '{course:2}', after => :seen));
SELECT outcome, jsonb_array_length(conflicts) FROM en57_append('{"type": "booked", "tags": ["course:2", "student:d"]}', fail_if => en57_query(tags => '{course:2}', after => :seen));
-- the condition from a variable of type jsonb, json text, or the type itself
SELECT outcome FROM en57_append('{"type": "never"}', fail_if => jsonb_build_object('tags', jsonb_build_array('student:' || 'a')));
SELECT outcome FROM en57_append('{"type": "never"}', '{"tags": ["student:a"]}');
SELECT outcome FROM en57_append('{"type": "never"}', en57_query(tags => '{student:a}') | en57_query(types => '{opened}'));
-- of 10,000 criteria
SELECT outcome FROM en57_append('{"type": "wide", "tags": ["t:1"]}', fail_if => (SELECT jsonb_agg(jsonb_build_object('tags', jsonb_build_array('t:' || i))) FROM generate_series(1, 10000) i));
SELECT outcome, conflicts->0->'type' FROM en57_append('{"type": "wide"}', fail_if => (SELECT jsonb_agg(jsonb_build_object('tags', jsonb_build_array('t:' || i))) FROM generate_series(1, 10000) i));
-- a batch and its own condition: the batch does not conflict with itself
SELECT outcome, position - first_position FROM en57_append('[{"type": "s", "tags": ["self"]}, {"type": "s", "tags": ["self"]}]', fail_if => '{"tags": ["self"]}');

-- an empty store
DROP EXTENSION en57 CASCADE;
CREATE EXTENSION en57;
SELECT outcome, position FROM en57_append('{"type": "first"}', fail_if => '{}');
SELECT outcome, position FROM en57_append('{"type": "first"}', fail_if => '{}');
