-- Functions that en57 asks for an answer (of a decider, a fold, an upcaster, an invariant, a document) must not append, lock or administer.
-- Fails when one of them may: then it decides on a state that is not the newest, en57_try stores, and reading an event appends others.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; m text; c text;
BEGIN
    EXECUTE call INTO answer;
    RETURN coalesce(answer, 'NULL');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, c = PG_EXCEPTION_CONTEXT;
    RETURN concat_ws(' ', sqlstate, m, '/', (regexp_match(c, E'\n([a-z]+ (function )?[a-z_.]+\\([^\n]*)'))[1]);
END $$;
-- What every function below does beside its work.
CREATE FUNCTION act() RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE call text := nullif(current_setting('test.act', true), '');
BEGIN
    IF call IS NOT NULL THEN EXECUTE 'SELECT ' || call; END IF;
END $$;
CREATE FUNCTION idle_query(c jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT '{"types": ["seen"]}'::en57_query $$;
CREATE FUNCTION idle_evolve(s jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(coalesce(s::int, 0) + 1) $$;
CREATE FUNCTION idle_decide(c jsonb, s jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT '[]'::jsonb $$;
CREATE FUNCTION idle_check(s jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT NULL::text $$;
CREATE FUNCTION query(c jsonb) RETURNS en57_query LANGUAGE plpgsql AS $$ BEGIN PERFORM act(); RETURN idle_query(c); END $$;
CREATE FUNCTION evolve(s jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM act(); RETURN idle_evolve(s, e); END $$;
CREATE FUNCTION decide(c jsonb, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM act(); RETURN '[]'; END $$;
CREATE FUNCTION checks(s jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM act(); RETURN NULL; END $$;
CREATE FUNCTION upcast(e en57_event) RETURNS en57_event LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM act(); RETURN e; END $$;
CREATE FUNCTION key(e en57_event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM act(); RETURN e.type; END $$;
CREATE FUNCTION handler(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM act(); END $$;

SELECT outcome FROM en57_append('[{"type": "seen"}, {"type": "old"}]');
SELECT en57_create_decider('query', 'query(jsonb)', 'idle_evolve(jsonb,en57_event)', 'idle_decide(jsonb,jsonb)');
SELECT en57_create_decider('evolve', 'idle_query(jsonb)', 'evolve(jsonb,en57_event)', 'idle_decide(jsonb,jsonb)');
SELECT en57_create_decider('decide', 'idle_query(jsonb)', 'idle_evolve(jsonb,en57_event)', 'decide(jsonb,jsonb)');
SELECT en57_create_fold('fold', 'evolve(jsonb,en57_event)', snapshot_every => 1);
SELECT en57_register_upcaster('old', 1, 'upcast(en57_event)');
SELECT en57_create_invariant('evolve', '{"types": ["evolved"]}', 'tag:k:', 'evolve(jsonb,en57_event)', 'idle_check(jsonb)');
SELECT en57_create_invariant('check', '{"types": ["checked"]}', 'tag:k:', 'idle_evolve(jsonb,en57_event)', 'checks(jsonb)');
SELECT en57_create_document_projection('evolving', '{"types": ["documented"]}', 'tag:k:', 'evolve(jsonb,en57_event)');
SELECT en57_create_document_projection('keyed', '{"types": ["keyed"]}', 'key(en57_event)'::regprocedure, 'idle_evolve(jsonb,en57_event)');
SELECT en57_create_projection('handling', '{"types": ["handled"]}', 'handler(en57_event)');
CREATE TABLE calls (n int GENERATED ALWAYS AS IDENTITY, role text, call text);
INSERT INTO calls (role, call) VALUES
    ('query', $$outcome FROM en57_decide('query', '{}')$$),
    ('evolve', $$outcome FROM en57_decide('evolve', '{}')$$),
    ('decide', $$outcome FROM en57_decide('decide', '{}')$$),
    ('try', $$en57_try('decide', '[]', '{}')$$),
    ('fold', $$state FROM en57_fold('{"types": ["seen"]}', 'evolve(jsonb,en57_event)')$$),
    ('named fold', $$state FROM en57_state('fold', '{"types": ["seen"]}')$$),
    ('upcaster', $$type FROM en57_read('{"types": ["old"]}')$$),
    ('invariant', $$outcome FROM en57_append('{"type": "evolved", "tags": ["k:1"]}')$$),
    ('check', $$outcome FROM en57_append('{"type": "checked", "tags": ["k:1"]}')$$),
    ('document', $$outcome FROM en57_append('{"type": "documented", "tags": ["k:1"]}')$$),
    ('key', $$outcome FROM en57_append('{"type": "keyed"}')$$),
    ('handler', $$outcome FROM en57_append('{"type": "handled"}')$$);

-- every one of them, but a handler, which is called for what it does
SELECT set_config('test.act', $$en57_append('{"type": "more"}')$$, false);
SELECT role || ': ' || told('SELECT ' || call) FROM calls ORDER BY n;
SELECT string_agg(type, ' ' ORDER BY position) FROM en57_read(upcast => false);
SELECT outcome FROM en57_append('{"type": "keyed"}');

-- every one of these: what appends, locks, or changes what is there
SELECT call || ': ' || told(format($$SELECT outcome FROM set_config('test.act', %L, false), en57_decide('decide', '{}')$$, call))
  FROM unnest(ARRAY[
    $$en57_append('{"type": "more"}')$$,
    $$en57_append('{"type": "more"}', stream => 's')$$,
    $$en57.append_events(ARRAY[ROW(NULL, 'more', NULL, NULL, '{}')::en57.event])$$,
    $$en57_import('[{"type": "more"}]')$$,
    $$en57_lock('{"types": ["more"]}')$$,
    $$en57_decide('query', '{}')$$,
    $$en57_erase('{"types": ["more"]}', 'a test')$$,
    $$en57_truncate('default')$$,
    $$en57_create_partition('other')$$,
    $$en57_drop_partition('default')$$,
    $$en57_grant('pg_monitor', 'reader', 'default')$$,
    $$en57_revoke('pg_monitor', 'reader', 'default')$$,
    $$en57_create_fold('fold', 'idle_evolve(jsonb,en57_event)', or_replace => true)$$,
    $$en57_drop_fold('fold')$$,
    $$en57_drop_snapshots('fold')$$,
    $$en57_create_decider('decide', 'idle_query(jsonb)', 'idle_evolve(jsonb,en57_event)', 'idle_decide(jsonb,jsonb)', or_replace => true)$$,
    $$en57_drop_decider('decide')$$,
    $$en57_register_type('seen')$$,
    $$en57_unregister_type('seen')$$,
    $$en57_register_upcaster('seen', 1, 'upcast(en57_event)')$$,
    $$en57_drop_upcaster('old', 1)$$,
    $$en57_create_invariant('more', '{}', 'stream', 'idle_evolve(jsonb,en57_event)', 'idle_check(jsonb)')$$,
    $$en57_drop_invariant('check')$$,
    $$en57_disable_invariant('check')$$,
    $$en57_enable_invariant('check')$$,
    $$en57_create_projection('more', '{}', 'handler(en57_event)')$$,
    $$en57_drop_projection('handling')$$,
    $$en57_pause('handling')$$,
    $$en57_resume('handling')$$,
    $$en57_cancel_rebuild('keyed')$$]) AS call;
-- reading may be, trying, too
SELECT call || ': ' || told(format($$SELECT outcome FROM set_config('test.act', %L, false), en57_decide('decide', '{}')$$, call))
  FROM unnest(ARRAY[
    $$en57_count()$$,
    $$en57_state('fold', '{"types": ["seen"]}') WHERE set_config('test.act', '', false) = ''$$,
    $$en57_try('query', '[]', '{}') WHERE set_config('test.act', '', false) = ''$$]) AS call;
-- an error that is caught does not lift it, and it does not outlive the call
CREATE OR REPLACE FUNCTION decide(c jsonb, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM set_config('test.act', '1 / 0', true), en57_fold('{"types": ["seen"]}', 'evolve(jsonb,en57_event)');
        RETURN '{"type": "no error"}';
    EXCEPTION WHEN division_by_zero THEN
    END;
    PERFORM en57_append('{"type": "more"}');
    RETURN '[]';
END $$;
SELECT told($$SELECT outcome FROM en57_decide('decide', '{}')$$);
SELECT outcome FROM en57_append('{"type": "more"}');
-- one seat, two who want it: the second one cannot be sold in the course of selling the first
CREATE FUNCTION seats(s jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE e.type WHEN 'defined' THEN e.data ELSE to_jsonb(s::int - 1) END $$;
CREATE FUNCTION of_course(c jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT en57_query(tags => '{course:sql}') $$;
CREATE FUNCTION sell(c jsonb, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF s::int < 1 THEN RAISE 'full' USING ERRCODE = 'CS001'; END IF;
    IF c ? 'friend' THEN PERFORM en57_decide('sell', jsonb_build_object('who', c->'friend')); END IF;
    RETURN jsonb_build_object('type', 'sold', 'tags', '["course:sql"]'::jsonb, 'data', c->'who');
END $$;
SELECT en57_create_decider('sell', 'of_course(jsonb)', 'seats(jsonb,en57_event)', 'sell(jsonb,jsonb)');
SELECT outcome FROM en57_append('{"type": "defined", "tags": ["course:sql"], "data": 1}');
\set VERBOSITY default
SELECT outcome FROM en57_decide('sell', '{"who": "ada", "friend": "bob"}');
\echo :LAST_ERROR_SQLSTATE
SELECT outcome FROM en57_decide('sell', '{"who": "ada"}');
SELECT en57_count('{"types": ["sold"]}');
