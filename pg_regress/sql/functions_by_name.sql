-- Functions as arguments: by name alone, since what takes one knows which form it must have.
SET client_min_messages = warning;
CREATE EXTENSION en57;
RESET client_min_messages;
CREATE SCHEMA app;
CREATE SCHEMA other;
-- What a call says, in one row.
CREATE FUNCTION told(call text) RETURNS TABLE (state text, message text, detail text, hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE call;
    RETURN QUERY VALUES ('00000', 'done', NULL::text, NULL::text);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT;
END $$;

CREATE FUNCTION evolve(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(state, '0')::bigint::text::jsonb $$;
CREATE FUNCTION count_up(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(state, '0')::bigint + 1) $$;
CREATE FUNCTION keys(e en57_event) RETURNS text[] LANGUAGE sql AS $$ SELECT e.tags $$;
CREATE FUNCTION handle(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION empty_it() RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION up(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS $$ SELECT e $$;
CREATE FUNCTION is_right(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
CREATE FUNCTION query_of(command jsonb) RETURNS en57_query LANGUAGE sql AS $$ SELECT '{"types": ["a"]}'::en57_query $$;
CREATE FUNCTION decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"type": "a"}'::jsonb $$;

-- all that take functions, by name alone
SELECT count(*) FROM generate_series(1, 3), LATERAL en57_append('{"type": "a", "tags": ["t"]}');
SELECT * FROM en57_fold('{}', 'count_up');
SELECT en57_create_fold('f', 'count_up');
SELECT en57_create_decider('d', 'query_of', 'count_up', 'decide');
SELECT en57_create_projection('p', '{}', 'handle');
SELECT en57_create_projection('q', '{}', 'handle', mode => 'async', truncate => 'empty_it');
SELECT en57_create_document_projection('docs', '{}', 'stream', 'count_up');
SELECT en57_create_document_projection('by_tag', '{}', 'keys', 'count_up');
SELECT en57_create_invariant('i', '{}', 'stream', 'count_up', 'is_right', key_required => false);
SELECT en57_register_upcaster('b', 1, 'up');
CALL en57_rebuild('docs', evolve => 'evolve', key_function => 'keys');
CALL en57_rebuild('by_tag', key => 'keys');
SELECT name, kind, handler, key, truncate_function FROM en57_projections ORDER BY name;
SELECT evolve, check_function FROM en57_invariants;
SELECT upcaster FROM en57_upcasters;
SELECT id, doc FROM by_tag;
-- with schema, quoted, with types, as an oid's name, and as values of other types
CREATE FUNCTION app."Evolve"(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"app"'::jsonb $$;
SELECT state FROM en57_fold('{}', 'app."Evolve"');
SELECT state FROM en57_fold('{}', 'app."Evolve"(jsonb, en57_event)');
SELECT state FROM en57_fold('{}', 'app."Evolve"(jsonb, en57_event)'::regprocedure);
SELECT state FROM en57_fold('{}', 'app."Evolve"'::regproc);
SELECT state FROM en57_fold('{}', 'app."Evolve"'::text);
SELECT state FROM en57_fold('{}', (SELECT oid::text FROM pg_proc WHERE proname = 'Evolve'));
SET search_path = app, public;
SELECT state FROM en57_fold('{}', '"Evolve"');
PREPARE of_name(en57_function) AS SELECT state FROM en57_fold('{}', $1);
EXECUTE of_name('"Evolve"');
RESET search_path;
EXECUTE of_name('count_up');
-- '(' within a name
CREATE FUNCTION "odd(" (state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"odd"'::jsonb $$;
SELECT state FROM en57_fold('{}', '"odd("');
SELECT state FROM en57_fold('{}', '"odd("(jsonb,en57_event)');

-- overloads: the one that has the form, wherever the search path leads; with two that have it, neither
CREATE FUNCTION other.count_up(state text, e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT state $$;
CREATE FUNCTION other.count_up(state jsonb, e en57_event, more integer DEFAULT 0) RETURNS jsonb LANGUAGE sql AS $$ SELECT state $$;
SET search_path = other, public;
SELECT * FROM en57_fold('{}', 'count_up');
CREATE FUNCTION other.count_up(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"hidden by other"'::jsonb $$;
SELECT state FROM en57_fold('{}', 'count_up');
SELECT state FROM en57_fold('{}', 'public.count_up');
RESET search_path;
CREATE FUNCTION handle(e en57_event[]) RETURNS void LANGUAGE sql AS $$ SELECT $$;
\x
SELECT * FROM told($$SELECT en57_create_projection('r', '{}', 'handle')$$);
SELECT * FROM told($$SELECT en57_create_projection('r', '{}', 'handle(en57_event[])')$$);

-- what is not found
SELECT * FROM told($$SELECT en57_fold('{}', 'no_such')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'app.Evolve')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'app.no_such')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'no_schema.evolve')$$);
SELECT * FROM told($$SELECT en57_fold('{}', ' ')$$);
SELECT * FROM told($$SELECT en57_fold('{}', '4711')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'count_up(integer)')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'other.count_up(text, en57_event)')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'is_right')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'handle')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'lower')$$);
CREATE FUNCTION several(state jsonb, e en57_event) RETURNS SETOF jsonb LANGUAGE sql AS $$ SELECT state $$;
SELECT * FROM told($$SELECT en57_fold('{}', 'several')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'a b')$$);
SELECT * FROM told($$SELECT en57_fold('{}', NULL)$$);
SELECT * FROM told($$SELECT en57_create_document_projection('r', '{}', 'strem', 'evolve')$$);
SELECT * FROM told($$SELECT en57_create_document_projection('r', '{}', 'tags:t', 'evolve')$$);
SELECT * FROM told($$SELECT en57_create_decider('r', 'decide', 'evolve', 'decide')$$);
SELECT * FROM told($$SELECT en57_create_decider('r', 'query_of', 'evolve', 'query_of')$$);
SELECT * FROM told($$SELECT en57_create_invariant('r', '{}', 'stream', 'evolve', 'evolve')$$);
SELECT * FROM told($$SELECT en57_register_upcaster('r', 1, 'handle')$$);
SELECT * FROM told($$SELECT en57_create_projection('r', '{}', 'handle(en57_event)', truncate => 'handle')$$);

-- nobody is led past a schema that he may not use, nor to a function that he may not call
CREATE ROLE en57_by_name;
GRANT SELECT ON en57.events TO en57_by_name;
GRANT SELECT ON ALL TABLES IN SCHEMA en57 TO en57_by_name;
REVOKE EXECUTE ON FUNCTION evolve FROM PUBLIC;
SET ROLE en57_by_name;
SET search_path = app, public;
SELECT * FROM told($$SELECT en57_fold('{}', '"Evolve"')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'app."Evolve"')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'evolve')$$);
SELECT * FROM told($$SELECT en57_fold('{}', 'count_up')$$);
SELECT * FROM told($$SELECT public.en57_create_projection('r', '{}', 'handle(en57_event)')$$);
RESET ROLE;
RESET search_path;
DROP OWNED BY en57_by_name;
DROP ROLE en57_by_name;
