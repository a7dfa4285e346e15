-- Upcasting, whichever way an event reaches a function or a client: one table, and no row of it may differ.
-- Fails when any reader hands out an event as it is stored: each has to see the new type, and the new data.
--
-- renamed: 'old name' becomes 'Renamed'. changed: 'Changed' version 1 gets another form of data. split: 'mixed' version 1 becomes 'SplitA',
-- version 2 becomes 'SplitB'.
SELECT en57_create_partition('p');
CREATE FUNCTION up_same(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS 'SELECT e';
CREATE FUNCTION up_data(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    e.data := jsonb_build_object('new', coalesce(e.data ->> 'old', 'erased'));
    RETURN e;
END $$;
-- what a function has seen of its events
CREATE FUNCTION seen(e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
    $$ SELECT jsonb_build_array(e.type, e.schema_version, e.data) $$;
CREATE FUNCTION ev(s jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
    $$ SELECT coalesce(s, '[]') || jsonb_build_array(seen(e)) $$;
CREATE FUNCTION fine(s jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT CASE WHEN s::text ~ 'old' THEN 'seen as it is stored: ' || s::text END $$;
CREATE FUNCTION key_of(e en57_event) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT CASE WHEN seen(e)::text ~ 'old|mixed' THEN 'stale' ELSE 'k' END $$;
CREATE TABLE handled (name text, partition text, seen jsonb);
CREATE FUNCTION note_inline(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled VALUES ('inline', e.partition, seen(e)) $$;
CREATE FUNCTION note_async(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled VALUES ('async', e.partition, seen(e)) $$;
CREATE FUNCTION q(c jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS
    $$ SELECT '{"types": ["Renamed", "Changed", "SplitA", "SplitB"], "tags": ["k:1"]}'::en57_query $$;
CREATE FUNCTION choose(c jsonb, s jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
    $$ SELECT jsonb_build_object('type', 'decided', 'data', s) $$;

SELECT en57_register_upcaster('old name', 1, 'up_same(en57_event)', to_type => 'Renamed');
SELECT en57_register_upcaster('Changed', 1, 'up_data(en57_event)');
SELECT en57_register_upcaster('mixed', 1, 'up_same(en57_event)', to_type => 'SplitA');
SELECT en57_register_upcaster('mixed', 2, 'up_data(en57_event)', to_type => 'SplitB');

SELECT en57_create_fold('f', 'ev(jsonb,en57_event)', snapshot_every => 1);
SELECT en57_create_decider('d', 'q(jsonb)', 'ev(jsonb,en57_event)', 'choose(jsonb,jsonb)');

CREATE PROCEDURE one_partition(p text) LANGUAGE plpgsql AS $$
DECLARE
    query en57_query := '{"types": ["Renamed", "Changed", "SplitA", "SplitB"]}';
BEGIN
    PERFORM en57_create_projection('inline ' || p, query, 'note_inline(en57_event)', partition => p);
    PERFORM en57_create_projection('async ' || p, query, 'note_async(en57_event)', mode => 'async', partition => p);
    PERFORM en57_create_document_projection('live_' || p, query, 'tag:k:', 'ev(jsonb,en57_event)', partition => p);
    PERFORM en57_create_invariant('new ' || p, query, 'tag:k:', 'ev(jsonb,en57_event)', 'fine(jsonb)', partition => p);
    PERFORM en57_append('[{"type": "old name", "schema_version": 1, "tags": ["k:1"], "data": {"n": 1}, "id": "00000000-0000-0000-0000-000000000001"},
        {"type": "Changed", "schema_version": 1, "tags": ["k:1"], "data": {"old": "x"}, "meta": {"causation_id": "00000000-0000-0000-0000-000000000001"}},
        {"type": "mixed", "schema_version": 1, "tags": ["k:1"], "data": {"n": 3}, "meta": {"causation_id": "00000000-0000-0000-0000-000000000001"}},
        {"type": "mixed", "schema_version": 2, "tags": ["k:1"], "data": {"old": "y"}, "meta": {"causation_id": "00000000-0000-0000-0000-000000000001"}}]',
        stream => 's', partition => p);
    PERFORM en57_create_document_projection('created_' || p, query, 'tag:k:', 'ev(jsonb,en57_event)', partition => p);
    PERFORM en57_create_document_projection('keyed_' || p, query, 'key_of(en57_event)'::regprocedure, 'ev(jsonb,en57_event)', partition => p);
    PERFORM en57_create_invariant('existing ' || p, query, 'tag:k:', 'ev(jsonb,en57_event)', 'fine(jsonb)', partition => p);
    PERFORM en57_create_subscription('sub ' || p, query, partition => p);
    PERFORM en57_create_subscription('dead ' || p, query, max_attempts => 1, partition => p);
END $$;
CALL one_partition('default');
CALL one_partition('p');
SELECT en57_run('async default'), en57_run('async p');

-- What each way gives, as an array of [type, version, data].
CREATE FUNCTION ways(p text, as_of timestamptz DEFAULT NULL) RETURNS TABLE (way text, got jsonb) LANGUAGE plpgsql AS $$
DECLARE
    query en57_query := '{"types": ["Renamed", "Changed", "SplitA", "SplitB"]}';
    kind text;
BEGIN
    RETURN QUERY SELECT 'read', jsonb_agg(seen(e)) FROM en57_read(query, as_of => ways.as_of, partition => p) e;
    RETURN QUERY SELECT 'read backwards', jsonb_agg(seen(e) ORDER BY e.position) FROM en57_read(query, as_of => ways.as_of, backwards => true, partition => p) e;
    RETURN QUERY SELECT 'read_stream', jsonb_agg(seen(e)) FROM en57_read_stream('s', partition => p) e WHERE e.type <> 'decided';
    RETURN QUERY SELECT 'context', jsonb_agg(seen(e)) FROM en57_context(query, partition => p) c, unnest(c.events) e;
    RETURN QUERY SELECT 'last', jsonb_agg(seen(l)) FROM unnest(ARRAY['Renamed', 'Changed', 'SplitA', 'SplitB']) name,
        en57_last(jsonb_build_object('types', jsonb_build_array(name))::text::en57_query, p) l;
    RETURN QUERY SELECT 'get', jsonb_agg(seen(g)) FROM en57_read(query, partition => p) e, en57_get(e.id, p) g;
    RETURN QUERY SELECT 'fold', state FROM en57_fold(query, 'ev(jsonb,en57_event)', partition => p);
    RETURN QUERY SELECT 'fold as_of', state FROM en57_fold(query, 'ev(jsonb,en57_event)', as_of => coalesce(ways.as_of, now()), partition => p);
    RETURN QUERY SELECT 'state', state FROM en57_state('f', query, p);
    RETURN QUERY SELECT 'state by snapshot', state FROM en57_state('f', query, p);
    RETURN QUERY SELECT 'trace', jsonb_agg(seen(tr.event) ORDER BY (tr.event).position)
        FROM en57_trace('00000000-0000-0000-0000-000000000001', p) tr;
    RETURN QUERY SELECT 'conflicts', jsonb_agg(jsonb_build_array(c -> 'type', c -> 'schema_version', c -> 'data'))
        FROM en57_append('{"type": "x"}', fail_if => query, partition => p) a, jsonb_array_elements(a.conflicts) c;
    RETURN QUERY SELECT 'conflicts of a stream', jsonb_agg(jsonb_build_array(c -> 'type', c -> 'schema_version', c -> 'data'))
        FROM en57_append('{"type": "x"}', stream => 's', expected_version => 0, partition => p) a, jsonb_array_elements(a.conflicts) c;
    FOREACH kind IN ARRAY ARRAY['live_', 'created_', 'keyed_'] LOOP
        RETURN QUERY EXECUTE format('SELECT %L, jsonb_agg(e) FROM %I d, jsonb_array_elements(d.doc) e', kind || 'documents', kind || p);
    END LOOP;
END $$;
-- The ways that differ from what is expected: none.
CREATE FUNCTION differing(p text, expected jsonb, as_of timestamptz DEFAULT NULL) RETURNS TABLE (way text, got jsonb) LANGUAGE sql AS
    $$ SELECT w.way, w.got FROM ways(p, as_of) w WHERE w.got IS DISTINCT FROM expected $$;
\set all '[["Renamed", 1, {"n": 1}], ["Changed", 2, {"new": "x"}], ["SplitA", 1, {"n": 3}], ["SplitB", 1, {"new": "y"}]]'
SELECT jsonb_pretty(:'all');
SELECT count(*) FROM ways('default');
SELECT * FROM differing('default', :'all') UNION ALL SELECT * FROM differing('p', :'all') UNION ALL SELECT * FROM differing('default', :'all', now());
SELECT name, partition, jsonb_agg(seen) = :'all' AS is_right FROM handled GROUP BY 1, 2 ORDER BY 1, 2;

-- rebuilt by rows, and by files
CALL en57_rebuild('live_default', swap => 'rows');
CALL en57_rebuild('created_default', swap => 'files');
CALL en57_rebuild('keyed_default', swap => 'rows');
CALL en57_rebuild('live_p', swap => 'files');
CALL en57_rebuild('keyed_p', swap => 'files');
SELECT * FROM differing('default', :'all') UNION ALL SELECT * FROM differing('p', :'all');

-- a subscription, a dead letter's replay, and the gem
SELECT jsonb_agg(seen(e)) = :'all' AS is_right FROM en57_poll('sub default') e;
SELECT jsonb_agg(seen(e)) = :'all' AS is_right FROM en57_poll('sub p') e;
SELECT en57_nack('dead default', e.position) FROM en57_poll('dead default', 1) e;
SELECT en57_replay_dead_letters('dead default');
SELECT seen(e) AS replayed FROM en57_poll('dead default', 1) e;
SELECT jsonb_agg(jsonb_build_array(e.type, e.data)) AS gem FROM en57.read_events(ARRAY['{"types": ["Renamed", "Changed", "SplitA", "SplitB"]}'::jsonb]) e;

-- a decider, tried and decided, and an invariant whose states are made anew
SELECT jsonb_path_query_array(en57_try('d', '[{"type": "old name", "schema_version": 1, "tags": ["k:1"]}, {"type": "mixed", "schema_version": 2, "tags": ["k:1"], "data": {"old": "z"}}]', '{}'), '$[*].data');
BEGIN;
SELECT outcome FROM en57_decide('d', '{}');
SELECT data = :'all' AS is_right FROM en57_last('{"types": ["decided"]}');
ROLLBACK;
SELECT en57_disable_invariant('new default'), en57_enable_invariant('new default');
SELECT outcome FROM en57_append('{"type": "Renamed", "schema_version": 1, "tags": ["k:1"]}');
SELECT jsonb_array_length(doc) FROM live_default;

-- a rebuild that fails at an upcaster, and one that is resumed after upcasters have changed: no document is of two makes
CREATE OR REPLACE FUNCTION up_same(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF e.type = 'mixed' THEN RAISE 'not now'; END IF;
    RETURN e;
END $$;
CALL en57_rebuild('created_default');
SELECT phase, failed_position FROM en57_stat_progress_rebuild;
CREATE OR REPLACE FUNCTION up_same(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS 'SELECT e';
CREATE OR REPLACE FUNCTION up_data(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    e.data := jsonb_build_object('newest', coalesce(e.data ->> 'old', 'erased'));
    RETURN e;
END $$;
CALL en57_rebuild('created_default');
SELECT doc FROM created_default;

-- without what was erased: upcasters, and the documents that are folded anew, get it as a reader does
SELECT en57_erase('{"tags": ["k:1"]}', 'a test', 'p');
\set erased '[["Renamed", 1, null], ["Changed", 2, {"newest": "erased"}], ["SplitA", 1, null], ["SplitB", 1, {"newest": "erased"}]]'
SELECT * FROM differing('p', :'erased');
CALL en57_rebuild('live_p');
SELECT * FROM differing('p', :'erased');
