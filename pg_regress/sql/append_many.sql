-- en57_append_many: each request is decided for itself, in order, after those before it; what is not stored leaves nothing and disturbs nobody.
-- Fails when a request does not see the ones before it, when a failure undoes another request, when a request is stored twice because another one has failed,
-- or when all_or_nothing leaves anything.
CREATE FUNCTION seen() RETURNS TABLE (type text, tags text[], stream text, stream_version bigint) LANGUAGE sql AS $$
    SELECT type, tags, stream, stream_version FROM en57_read() $$;
-- who is first has the seat; the second one is told whom it has met
SELECT n, (result).outcome, (result).position, (result).conflicts->0->>'type' AS conflict, error FROM en57_append_many('[
    {"events": {"type": "sold", "tags": ["seat:1"]}, "fail_if": {"tags": ["seat:1"]}},
    {"events": {"type": "sold again", "tags": ["seat:1"]}, "fail_if": {"tags": ["seat:1"]}},
    {"events": [{"type": "sold", "tags": ["seat:2"]}, {"type": "paid", "tags": ["seat:2"]}], "fail_if": [{"tags": ["seat:2"]}]},
    {"events": {"type": "noted"}}]');
SELECT * FROM seen();
-- streams: each has its own expected version, and the versions go on
SELECT n, (result).outcome, (result).stream_version, error FROM en57_append_many('[
    {"events": {"type": "opened"}, "stream": "account", "expected_version": 0},
    {"events": {"type": "opened"}, "stream": "account", "expected_version": 0},
    {"events": [{"type": "paid"}, {"type": "paid"}], "stream": "account", "expected_version": 1},
    {"events": [{"type": "paid", "stream": "account"}, {"type": "paid", "stream": "other", "expected_version": 0}]}]');
-- what is no request, or no event, is an error of its own; so is an id that is known with other content
SELECT n, (result).outcome, (result).first_position IS NOT NULL AS stored, error->>'sqlstate' AS state, error->>'message' AS message, error->>'hint' AS hint FROM en57_append_many('[
    {"events": {"type": "kept", "id": "00000000-0000-4000-8000-000000000001"}},
    {"event": {"type": "lost"}},
    {},
    {"events": {"type": "kept", "id": "00000000-0000-4000-8000-000000000001"}},
    {"events": {"type": "other", "id": "00000000-0000-4000-8000-000000000001"}},
    {"events": {"type": "lost", "tgas": []}},
    {"events": []},
    {"events": "lost"},
    {"events": {"type": "lost", "occurred_at": "never"}},
    {"events": {"type": "lost"}, "fail_if": {"tag": ["a"]}},
    {"events": {"type": "lost"}, "fail_if": 7},
    {"events": {"type": "lost"}, "expected_version": 1},
    {"events": {"type": "lost"}, "stream": 1},
    {"events": {"type": "lost"}, "stream": "s", "expected_version": "1"},
    {"events": {"type": "lost"}, "stream": "s", "expected_version": -2},
    {"events": {"type": "kept"}, "fail_if": null, "stream": null, "expected_version": null}]');
SELECT count(*) FILTER (WHERE type = 'kept') AS kept, count(*) FILTER (WHERE type IN ('lost', 'other')) AS lost FROM seen();
-- schemas and invariants refuse one request alone
SELECT en57_register_type('weighed', 1, '{"properties": {"kg": {"type": "number", "minimum": 0}}}');
CREATE FUNCTION sum(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT to_jsonb((state#>>'{}')::int + (e.data->>'n')::int) $$;
CREATE FUNCTION at_most_5(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'too much' WHERE (state#>>'{}')::int > 5 $$;
SELECT en57_create_invariant('small', '{"types": ["added"]}', 'tag:box:', 'sum(jsonb,en57_event)', 'at_most_5(jsonb)', initial => '0');
SELECT n, (result).outcome, (result).faults->0->>'source' AS source, (result).faults->0->>'problem' AS problem, error->>'sqlstate' AS state FROM en57_append_many('[
    {"events": {"type": "weighed", "data": {"kg": 7}}},
    {"events": {"type": "weighed", "data": {"kg": -7}}},
    {"events": {"type": "added", "tags": ["box:1"], "data": {"n": 3}}},
    {"events": {"type": "added", "tags": ["box:1"], "data": {"n": 3}}},
    {"events": {"type": "added", "tags": ["box:1"], "data": {"n": 2}}},
    {"events": {"type": "added", "tags": ["box:1"], "data": {"n": "x"}}},
    {"events": {"type": "added", "tags": ["box:2"], "data": {"n": 5}}}]');
-- a handler that raises undoes its request alone; documents and what others have done stay, once
CREATE TABLE handled (position bigint, type text);
CREATE FUNCTION handle(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO handled VALUES (e.position, e.type);
    IF e.type = 'bad' THEN
        RAISE EXCEPTION 'I cannot take %', e.type USING ERRCODE = 'ZZ001', DETAIL = 'It is bad.', HINT = 'Send a good one.';
    END IF;
END $$;
SELECT en57_create_projection('handled', '{"types": ["good", "bad"]}', 'handle(en57_event)', mode => 'inline');
SELECT n, (result).outcome, error->>'sqlstate' AS state, error->>'message' AS message, error->>'detail' AS detail, error->>'hint' AS hint,
       error->>'context' LIKE '%handle%' AS has_context FROM en57_append_many('[
    {"events": {"type": "good", "tags": ["g:1"]}, "fail_if": {"tags": ["g:1"]}},
    {"events": [{"type": "good", "tags": ["g:2"]}, {"type": "bad", "tags": ["g:3"]}]},
    {"events": {"type": "good", "tags": ["g:2"]}, "fail_if": {"tags": ["g:2"]}},
    {"events": {"type": "bad"}},
    {"events": {"type": "good", "tags": ["g:1"]}, "fail_if": {"tags": ["g:1"]}},
    {"events": {"type": "good", "tags": ["g:4"]}}]');
SELECT count(*), count(DISTINCT h.position), count(e.position) FROM handled h LEFT JOIN en57_read() e USING (position, type);
-- all or nothing: the first one that is not stored is the answer
SELECT count(*) AS before FROM seen() \gset
SELECT n, (result).outcome, error->>'message' AS message FROM en57_append_many('[{"events": {"type": "a"}}, {"events": {"type": "b", "tags": ["seat:1"]}, "fail_if": {"tags": ["seat:1"]}}, {"events": {"type": "bad"}}]', all_or_nothing => true);
SELECT n, (result).outcome, error->>'message' AS message FROM en57_append_many('[{"events": {"type": "a"}}, {"events": {"type": "bad"}}, {"events": {"type": "b", "tags": ["seat:1"]}, "fail_if": {"tags": ["seat:1"]}}]', all_or_nothing => true);
SELECT n, (result).outcome, error->>'message' AS message FROM en57_append_many('[{"events": {"type": "bad"}}, {"events": {"type": "a"}}, {"evens": {"type": "a"}}]', all_or_nothing => true);
SELECT count(*) = :before AS unchanged FROM seen();
SELECT n, (result).outcome FROM en57_append_many('[{"events": {"type": "a"}}, {"events": {"type": "kept", "id": "00000000-0000-4000-8000-000000000001"}}]', all_or_nothing => true);
-- a conflict as an error ends the call
DO $$
BEGIN
    PERFORM en57_append_many('[{"events": {"type": "a"}}, {"evens": 1}, {"events": {"type": "b", "tags": ["seat:1"]}, "fail_if": {"tags": ["seat:1"]}}]', on_conflict => 'raise');
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '% %', sqlstate, sqlerrm;
END $$;
DO $$
BEGIN
    PERFORM en57_append_many('[{"events": {"type": "b"}, "stream": "account", "expected_version": 1}]', on_conflict => 'raise');
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '% %', sqlstate, sqlerrm;
END $$;
SELECT count(*) - :before AS stored FROM seen();
-- another partition; in a transaction with savepoints; at every isolation level
SELECT en57_create_partition('acme');
SELECT n, (result).outcome FROM en57_append_many('[{"events": {"type": "a", "tags": ["seat:1"]}, "fail_if": {"tags": ["seat:1"]}}]', 'acme');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SAVEPOINT s;
SELECT n, (result).outcome FROM en57_append_many('[{"events": {"type": "gone", "tags": ["x"]}}]');
ROLLBACK TO s;
SELECT n, (result).outcome FROM en57_append_many('[{"events": {"type": "stays", "tags": ["x"]}, "fail_if": {"tags": ["x"]}}, {"events": {"type": "bad"}}, {"events": {"type": "gone", "tags": ["x"]}, "fail_if": {"tags": ["x"]}}]');
COMMIT;
SELECT type FROM en57_read('{"tags": ["x"]}');
-- renamed types: a condition by the new name finds what is stored under the old one
CREATE FUNCTION renamed(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS $$ SELECT e $$;
SELECT en57_register_upcaster('old', 1, 'renamed(en57_event)', 'new', 1);
SELECT n, (result).outcome FROM en57_append_many('[{"events": {"type": "old", "tags": ["r"], "schema_version": 1}}, {"events": {"type": "z", "tags": ["r"]}, "fail_if": {"types": ["new"], "tags": ["r"]}}]');
-- documents, the session's metadata and subscriptions: each request is there once, also where others have failed
CREATE FUNCTION count_types(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT jsonb_build_object('n', coalesce((doc->>'n')::int, 0) + 1, 'by', e.meta->>'by') $$;
SELECT en57_create_document_projection('counts', '{"types": ["good", "bad"]}', 'tag:c:', 'count_types(jsonb,en57_event)');
SELECT en57_create_subscription('goods', '{"types": ["good"]}', start => 'end');
SET en57.meta = '{"by": "me"}';
SELECT n, (result).outcome, error->>'message' AS message FROM en57_append_many('[
    {"events": {"type": "good", "tags": ["c:1"]}},
    {"events": {"type": "good", "tags": ["c:1"], "meta": {"by": "another"}}},
    {"events": [{"type": "good", "tags": ["c:1"]}, {"type": "bad", "tags": ["c:2"]}]},
    {"events": {"type": "good", "tags": ["c:2"]}, "fail_if": {"tags": ["c:2"]}}]');
RESET en57.meta;
SELECT id, doc FROM counts ORDER BY id;
SELECT tags, meta->>'by' AS by FROM en57_poll('goods');
-- conflicts are bounded for the call as a whole
SELECT count(*) FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'large', 'tags', ARRAY['large'], 'data', repeat('x', 400000))) FROM generate_series(1, 8)));
SELECT n, (result).outcome, jsonb_array_length((result).conflicts) AS told, (result).conflicts->0 ? 'data' AS whole FROM en57_append_many((SELECT jsonb_agg('{"events": {"type": "no"}, "fail_if": {"tags": ["large"]}}'::jsonb) FROM generate_series(1, 4)));
-- nothing, too much, the wrong kind
SELECT * FROM en57_append_many('[]');
SELECT * FROM en57_append_many(NULL);
SELECT * FROM en57_append_many('{}');
SELECT * FROM en57_append_many('[1]');
SELECT * FROM en57_append_many('[{"events": {"type": "a"}}]', 'nowhere');
SELECT * FROM en57_append_many('[{"events": {"type": "a"}}]', on_conflict => 'ignore');
SELECT * FROM en57_append_many((SELECT jsonb_agg('{"events": {"type": "a"}}'::jsonb) FROM generate_series(1, 10001)));
SELECT count(*), count(DISTINCT (result).position), max((result).position) - min((result).position) AS span FROM en57_append_many((SELECT jsonb_agg(jsonb_build_object('events', jsonb_build_object('type', 'many', 'tags', ARRAY['m:' || n]), 'fail_if', jsonb_build_object('tags', ARRAY['m:' || n]))) FROM generate_series(1, 10000) n));
BEGIN READ ONLY;
SELECT * FROM en57_append_many('[{"events": {"type": "a"}}]');
ROLLBACK;
-- who may not read is refused as a whole where there is a condition
CREATE ROLE en57_many_writer;
GRANT INSERT ON en57.events_default TO en57_many_writer;
SET ROLE en57_many_writer;
SELECT n, (result).outcome FROM en57_append_many('[{"events": {"type": "by writer"}}]');
SELECT n, (result).outcome FROM en57_append_many('[{"events": {"type": "by writer"}}, {"events": {"type": "by writer"}, "fail_if": {"tags": ["x"]}}]');
SELECT n, (result).outcome FROM en57_append_many('[{"events": {"type": "by writer"}}]', 'acme');
RESET ROLE;
SELECT count(*) FROM en57_read('{"types": ["by writer"]}');
DROP OWNED BY en57_many_writer;
DROP ROLE en57_many_writer;
SELECT * FROM en57_check();
