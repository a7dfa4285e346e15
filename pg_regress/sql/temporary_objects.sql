-- A definition outlives the session that makes it: functions and tables of pg_temp are refused.
-- Fails when they are taken: every other session's append is 42883 then.
CREATE FUNCTION evolve(state jsonb, e en57_event) RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(state::int, 0) + 1) $$;
CREATE FUNCTION fine(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
CREATE FUNCTION asked(command jsonb) RETURNS en57_query LANGUAGE sql AS $$ SELECT '{}'::en57_query $$;
CREATE FUNCTION decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '[]'::jsonb $$;
CREATE FUNCTION pg_temp.handle(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION pg_temp.evolve(state jsonb, e en57_event) RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(state::int, 0) + 1) $$;
CREATE FUNCTION pg_temp.key(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT 'k' $$;
CREATE FUNCTION pg_temp.fine(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
CREATE FUNCTION pg_temp.asked(command jsonb) RETURNS en57_query LANGUAGE sql AS $$ SELECT '{}'::en57_query $$;
CREATE FUNCTION pg_temp.decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '[]'::jsonb $$;
CREATE FUNCTION pg_temp.same(e en57_event) RETURNS en57_event STABLE LANGUAGE sql AS $$ SELECT e $$;
SELECT en57_create_document_projection('live', '{}', 'stream', 'evolve(jsonb,en57_event)');

-- The schema's name has the number of the session in it.
CREATE FUNCTION tried(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    d text;
    h text;
BEGIN
    EXECUTE command;
    RETURN 'it was done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(' ', SQLSTATE, SQLERRM, d, h), 'pg_temp_\d+', 'pg_temp_N');
END
$$;
SELECT command, tried(command) FROM unnest(ARRAY[
    $$ SELECT en57_create_projection('p', '{}', 'pg_temp.handle(en57_event)') $$,
    $$ SELECT en57_create_document_projection('p', '{}', 'stream', 'pg_temp.evolve(jsonb,en57_event)') $$,
    $$ SELECT en57_create_document_projection('p', '{}', 'pg_temp.key(en57_event)'::regprocedure, 'public.evolve(jsonb,en57_event)') $$,
    $$ CALL en57_rebuild('live', evolve => 'pg_temp.evolve(jsonb,en57_event)') $$,
    $$ CALL en57_rebuild('live', key_function => 'pg_temp.key(en57_event)') $$,
    $$ SELECT en57_create_invariant('i', '{}', 'stream', 'pg_temp.evolve(jsonb,en57_event)', 'public.fine(jsonb)') $$,
    $$ SELECT en57_create_invariant('i', '{}', 'stream', 'public.evolve(jsonb,en57_event)', 'pg_temp.fine(jsonb)') $$,
    $$ SELECT en57_create_fold('f', 'pg_temp.evolve(jsonb,en57_event)') $$,
    $$ SELECT en57_create_decider('d', 'pg_temp.asked(jsonb)', 'public.evolve(jsonb,en57_event)', 'public.decide(jsonb,jsonb)') $$,
    $$ SELECT en57_create_decider('d', 'public.asked(jsonb)', 'public.evolve(jsonb,en57_event)', 'pg_temp.decide(jsonb,jsonb)') $$,
    $$ SELECT en57_create_decider('d', 'public.asked(jsonb)', 'pg_temp.evolve(jsonb,en57_event)', 'public.decide(jsonb,jsonb)') $$,
    $$ SELECT en57_register_upcaster('t', 1, 'pg_temp.same(en57_event)') $$]) command;
-- What is not kept may be temporary.
SELECT outcome FROM en57_append('{"type": "t"}', stream => 's');
SELECT * FROM en57_fold('{}', 'pg_temp.evolve(jsonb,en57_event)');
-- A table of documents goes where the caller's tables go: not into pg_temp.
SET search_path = pg_temp, public;
SELECT en57_create_document_projection('p', '{}', 'stream', 'public.evolve(jsonb,en57_event)');
RESET search_path;
SELECT name FROM en57_projections;
