-- quote_all_identifiers changes how PostgreSQL writes expressions and names. Nothing that en57 recognises or keeps depends on it.
-- Fails when the list of streams is recognised by the text of its predicate, or when names are kept as the session writes them.
CREATE SCHEMA "Odd";
CREATE FUNCTION "Odd".evolve(state jsonb, e en57_event) RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(state::int, 0) + 1) $$;
CREATE FUNCTION fine(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
CREATE FUNCTION key(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT e.stream $$;
CREATE FUNCTION asked(command jsonb) RETURNS en57_query LANGUAGE sql AS $$ SELECT '{}'::en57_query $$;
CREATE FUNCTION decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '[]'::jsonb $$;
CREATE FUNCTION same(e en57_event) RETURNS en57_event STABLE LANGUAGE sql AS $$ SELECT e $$;
CREATE TABLE seen (stream text);
CREATE FUNCTION handle(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.seen VALUES ((e).stream) $$;
SET search_path = public, "Odd", pg_catalog;

SET quote_all_identifiers = on;
SELECT outcome, stream_version FROM en57_append('{"type": "t"}', stream => 's');
SELECT outcome, stream_version FROM en57_append('{"type": "t"}', stream => 's', expected_version => 1);
SELECT stream, version FROM en57_streams();
SELECT en57_create_partition('second');
SELECT outcome, stream_version FROM en57_append('{"type": "t"}', stream => 's', partition => 'second');
SELECT en57_create_projection('handled', '{}', 'handle(en57_event)');
SELECT en57_create_document_projection('docs', '{}', 'key(en57_event)'::regprocedure, '"Odd".evolve(jsonb,en57_event)');
SELECT en57_create_invariant('inv', '{}', 'stream', '"Odd".evolve(jsonb,en57_event)', 'fine(jsonb)');
SELECT en57_create_fold('f', '"Odd".evolve(jsonb,en57_event)');
SELECT en57_create_decider('d', 'asked(jsonb)', '"Odd".evolve(jsonb,en57_event)', 'decide(jsonb,jsonb)');
SELECT en57_register_upcaster('old', 1, 'same(en57_event)');
SELECT outcome, stream_version FROM en57_append('{"type": "t"}', stream => 's', expected_version => 2);
CALL en57_rebuild('docs', evolve => '"Odd".evolve(jsonb,en57_event)');
SELECT id, doc FROM docs;
SELECT count(*) FROM seen;
SELECT * FROM en57_check();
SHOW quote_all_identifiers;
RESET quote_all_identifiers;

SELECT name, handler, key_function, search_path FROM en57.projections ORDER BY number;
SELECT evolve, check_function, search_path FROM en57.invariants;
SELECT name, evolve, query_function, decide, search_path FROM en57.folds ORDER BY name;
SELECT function, search_path FROM en57.upcasters;
SELECT outcome, stream_version FROM en57_append('{"type": "t"}', stream => 's', expected_version => 3);
SELECT * FROM en57_check();
-- What the list of streams is not: of other rows, or of other columns.
DROP INDEX en57.events_default_stream;
CREATE UNIQUE INDEX others ON en57.events_default (stream) WHERE stream_version = 2;
CREATE UNIQUE INDEX more ON en57.events_default (stream) WHERE stream_version = 1 AND type = 't';
CREATE UNIQUE INDEX version ON en57.events_default (stream) WHERE schema_version = 1;
CREATE UNIQUE INDEX below ON en57.events_default (stream) WHERE stream_version <= 1;
CREATE UNIQUE INDEX of_null ON en57.events_default (stream) WHERE stream_version = NULL;
SELECT problem FROM en57_check();
CREATE UNIQUE INDEX again ON en57.events_default (stream) WHERE stream_version = 1::bigint;
SELECT problem FROM en57_check();
