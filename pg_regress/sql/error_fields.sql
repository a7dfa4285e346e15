-- What errors tell: no CONTEXT of the extension's own functions, one wording for what does not exist, and the standard fields for
-- programs. Fails when a function is in plain PL/pgSQL or SQL, when an error is passed on with what such functions have added to it,
-- when what a user's function has told is lost, or when a message has words of its own.
\pset null NULL
\pset format unaligned
\pset tuples_only
-- the error of a statement; of its CONTEXT what comes before the statement itself
CREATE FUNCTION told(VARIADIC statements text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE statement text; state text; detail text; hint text; context text; rule text; place text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        BEGIN
            EXECUTE statement;
            RETURN NEXT 'DONE: ' || statement;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT,
                rule = CONSTRAINT_NAME, place = TABLE_NAME;
            RETURN NEXT concat_ws(E'\n    ', statement, state || '  ' || SQLERRM, 'DETAIL: ' || regexp_replace(nullif(detail, ''), '"conflicts": \[\{.*\}\]', '"conflicts": [..]'), 'HINT: ' || nullif(hint, ''),
                'RULE: ' || nullif(rule, '') || ' of ' || place,
                'CONTEXT: ' || nullif(rtrim(split_part(context, 'SQL statement "' || statement || '"', 1), E'\n'), ''));
        END;
    END LOOP;
END $$;

-- what does not exist, by every function that takes a name
SELECT told('SELECT en57_poll(''none'')', 'SELECT en57_ack(''none'', 1)', 'SELECT en57_lease(''none'', ''1s'')', 'SELECT en57_nack(''none'', 1, ''why'')',
    'SELECT en57_reshard(''none'', 2)', 'SELECT en57_reset_subscription(''none'', 0)', 'SELECT en57_drop_subscription(''none'')',
    'SELECT en57_alter_subscription(''none'')', 'SELECT en57_replay_dead_letters(''none'')', 'SELECT en57_drop_dead_letters(''none'')', 'SELECT en57_replay_projection_dead_letters(''none'')', 'SELECT en57_wait_subscription(''none'')');
SELECT told('SELECT en57_reset_source(''none'')', 'SELECT en57_drop_projection(''none'')', 'CALL en57_rebuild(''none'')', 'SELECT en57_cancel_rebuild(''none'')', 'SELECT en57_run(''none'')', 'SELECT en57_pause(''none'')', 'SELECT en57_resume(''none'')', 'SELECT en57_reset_projection(''none'')',
    'SELECT en57_wait_projection(''none'', 1)', 'SELECT en57_drop_invariant(''none'')', 'SELECT en57_enable_invariant(''none'')',
    'SELECT en57_drop_fold(''none'')', 'SELECT en57_state(''none'', ''{}'')', 'SELECT en57_drop_snapshots(''none'')', 'SELECT en57_drop_decider(''none'')',
    'SELECT en57_decide(''none'', ''{}'')', 'SELECT en57_try(''none'', ''[]'', ''{}'')');
SELECT en57_register_type('known', 1, '{}');
SELECT told('SELECT en57_unregister_type(''none'')', 'SELECT en57_check_type(''known'', 2, ''{}'')', 'SELECT en57_unregister_type(''known'', 2)', 'SELECT en57_generate(''ruby'', ''{none}'')',
    'SELECT en57_drop_upcaster(''none'', 1)', 'SELECT en57_read(partition => ''none'')', 'SELECT en57_append(''{"type": "x"}'', partition => ''none'')',
    'SELECT en57_drop_partition(''none'')', 'SELECT en57_truncate(''none'')', 'SELECT en57_create_subscription(''s'', partition => ''none'')',
    format('SELECT en57_drop_fold(%L)', repeat('x', 200)));
SELECT en57_create_partition('other');
SELECT told('SELECT en57_read(partition => ''othre'')');
SELECT en57_drop_partition('other');

-- functions that are not in Rust tell nothing of themselves, whoever raises: they, what they call, or PostgreSQL
SELECT en57_create_subscription('mine');
CREATE TABLE source ("position" bigint, type text, data text);
INSERT INTO source VALUES (1, 'x', '{'), (2, 'x', '{}');
SELECT told('SELECT en57_create_subscription(''mine'')', 'SELECT en57_create_subscription(NULL)', 'SELECT en57_create_subscription(''x'', start => ''soon'')',
    'SELECT en57_poll(''mine'', max_count => 0)', 'SELECT en57_poll(''mine'', shard => 1)', 'SELECT en57_poll(''mine'', token => 7)', 'SELECT en57_ack(''mine'', 99)',
    'SELECT en57_track(''s'', -1)', 'SELECT en57_track(NULL, 1)', 'SELECT en57_tracked(NULL)', 'SELECT en57_import_from(NULL)', 'SELECT en57_import_from(''source'')',
    'SELECT en57_import_from(''pg_namespace'')', 'SELECT en57_generate(''perl'')', 'SELECT en57_generate(''ruby'', ''{NULL}'')', 'SELECT en57_trace_text(gen_random_uuid(), ''none'')',
    'CALL en57_import_in_batches(NULL, ''source'')');
CALL en57_import_in_batches('i', 'source');
SET statement_timeout = '100ms';
SELECT en57_poll('mine', wait => '100s');
RESET statement_timeout;
-- in a function of the user's: where he has called is told, once
CREATE FUNCTION polls() RETURNS SETOF en57_event LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT * FROM en57_poll('none'); END $$;
SELECT polls();
CREATE FUNCTION catches() RETURNS text LANGUAGE plpgsql AS $$ DECLARE context text; BEGIN PERFORM en57_poll('none'); EXCEPTION WHEN undefined_object THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT; RETURN context; END $$;
SELECT catches();
-- an error that they catch themselves leaves nothing, and a set is returned as ever
SELECT count(*) FROM en57_poll('mine');
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["k:1"]}, {"type": "a", "tags": ["k:1"]}]');
SELECT (p).position FROM en57_poll('mine') p;
SELECT (en57_poll('mine')).position, 'in a select list';

-- what a user's function tells stays
CREATE FUNCTION fails(state jsonb, event en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no % here', event.type; END $$;
SELECT told('SELECT en57_fold(''{}'', ''fails'')');
-- also where it comes through functions that are not in Rust
CREATE FUNCTION breaks(event en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF event.data IS NOT NULL THEN RAISE 'broken'; END IF; RETURN event; END $$;
SELECT en57_register_upcaster('old', 1, 'breaks');
SELECT outcome FROM en57_append('{"type": "old", "schema_version": 1, "data": 1}');
SELECT told('SELECT en57_poll(''mine'')', 'SELECT en57_poll(''none'')');
SELECT en57_poll('mine');
SELECT en57_drop_upcaster('old', 1);
CREATE FUNCTION counts(state jsonb, event en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(COALESCE(state::int, 0) + 1) $$;
CREATE FUNCTION objects(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'too many' WHERE state::int > 2 $$;
SELECT en57_create_invariant('few', '{"tags": ["k:1"]}', 'tag:k:', 'counts', 'objects');

-- the standard fields
SELECT told('SELECT en57_append(''[{"type": "x", "tags": ["k:1"]}]'')', 'SELECT en57_append(''{"type": "x", "tags": ["k:1", "k:\"2"]}'')');
SELECT told('SELECT en57_append(''{"type": "x"}'', ''{"types": ["a"]}'', on_conflict => ''raise'')', 'SELECT en57_append(''{"type": "x"}'', stream => ''s'', expected_version => -1, on_conflict => ''raise'')',
    'SELECT en57_append(''{"type": "x"}'', stream => ''s'', expected_version => 7, on_conflict => ''raise'')');
SELECT en57_create_invariant('keyed', '{"types": ["keyed"]}', 'tag:k:', 'counts', 'objects');
SELECT told('SELECT en57_append(''[{"type": "b"}, {"type": "keyed"}]'')');
-- of events that are stored
SELECT en57_disable_invariant('few');
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["k:1"]}, {"type": "a", "tags": ["k:1"]}]');
SELECT told('SELECT en57_enable_invariant(''few'')');
SELECT en57_enable_invariant('few', validate => false);
-- the state is told to who may read the events, and a large one is not told
CREATE FUNCTION grows(state jsonb, event en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('x', 10000)) $$;
CREATE FUNCTION never(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT '' $$;
SELECT en57_create_invariant('large', '{"types": ["large"]}', 'tag:l:', 'grows', 'never');
SELECT told('SELECT en57_append(''{"type": "large", "tags": ["l:1"]}'')');
CREATE ROLE writes_only;
GRANT INSERT ON en57.events_default TO writes_only;
SET ROLE writes_only;
SELECT told('SELECT en57_append(''{"type": "x", "tags": ["k:1"]}'')');
RESET ROLE;
REVOKE ALL ON en57.events_default FROM writes_only;
DROP ROLE writes_only;

-- the language is for the extension's own functions
SELECT lanname, lanpltrusted FROM pg_language WHERE lanname = 'en57_plpgsql';
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_language l ON l.oid = p.prolang
    WHERE l.lanname NOT IN ('c', 'en57_plpgsql') ORDER BY p.proname;
