-- en57_generate: a source file for the registered event types. What the files are like is in tests/generate; here is what SQL adds.
\pset format unaligned
\pset tuples_only on

-- No types are registered: only what all events have.
SELECT en57_generate('rust') ~ 'From the registered event types:\n// - none\n';

INSERT INTO en57.event_types (type, schema_version, data_schema, meta_schema) VALUES
    ('order placed', 1, '{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}', NULL),
    ('order placed', 2, '{"type": "object", "required": ["id", "total"], "properties": {"total": {"type": "number"}, "id": {"type": "integer"}}}', NULL),
    ('a note', 1, NULL, NULL),
    ('*', 0, NULL, '{"type": "object", "properties": {"user": {"type": "string"}}}');

-- All of it once, in the language where it is shortest.
SELECT en57_generate('typescript');

-- Some types; the metadata of all is always there.
SELECT unnest(regexp_matches(en57_generate('go', types => '{a note}', module => 'shop'), 'version \d|package \w+|type Meta \w+|type Order', 'g'));
SELECT en57_generate('ruby', '{}') ~ 'event types:\n# - none\n', en57_generate('python', '{order placed}') ~ 'note';

-- The same text in each run, whatever the order of the rows.
CREATE TEMP TABLE before AS SELECT l, en57_generate(l) AS text FROM unnest('{go,python,ruby,rust,typescript}'::text[]) AS l;
CREATE TEMP TABLE types AS SELECT * FROM en57.event_types ORDER BY type DESC, schema_version DESC;
DELETE FROM en57.event_types;
INSERT INTO en57.event_types SELECT * FROM types;
SELECT count(*), bool_and(text = en57_generate(l)) FROM before;

-- What is refused.
\set VERBOSITY verbose
\set SHOW_CONTEXT never
CREATE FUNCTION refused(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text; state text;
BEGIN
    EXECUTE call;
    RETURN call || E'\n    NOT REFUSED';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
    RETURN call || E'\n    ' || state || '  ' || message || coalesce(E'\n           DETAIL: ' || nullif(detail, ''), '') || coalesce(E'\n           HINT: ' || nullif(hint, ''), '');
END $$;
SELECT refused(call) FROM unnest(ARRAY[
    'SELECT en57_generate(NULL)',
    'SELECT en57_generate('''')',
    'SELECT en57_generate(''TypeScript'')',
    'SELECT en57_generate(''cobol'')',
    'SELECT en57_generate(''go'', ''{a note,unheard of}'')',
    'SELECT en57_generate(''go'', ''{*}'')',
    'SELECT en57_generate(''go'', ARRAY[NULL])',
    'SELECT en57_generate(''go'', module => ''func'')',
    'SELECT en57_generate(''ruby'', module => ''shop'')',
    'SELECT en57_generate(''rust'', module => ''shop'')',
    'SELECT en57.generate(''rust'', NULL, NULL)',
    'SELECT en57.generate(''rust'', ''{}'', NULL)',
    'SELECT en57.generate(''rust'', ''[{"type": 1}]'', NULL)']) WITH ORDINALITY AS u (call, n) ORDER BY n;
SELECT left(refused(format('SELECT en57.generate(''rust'', %L, NULL)', repeat('[', 1000) || repeat(']', 1000))), 60) <> '';
SELECT regexp_replace(refused(format('SELECT en57.generate(''rust'', %L, NULL)', repeat('[', 1000) || repeat(']', 1000))), '\[.*\]', '..');

-- With the caller's rights: for whoever may read the view, which is everybody.
CREATE ROLE regress_generate;
SET ROLE regress_generate;
SELECT en57_generate('go') ~ 'OrderPlacedV2', en57_generate('go', '{a note}') ~ 'OrderPlacedV2';
SELECT refused('SELECT count(*) FROM en57.event_types');
RESET ROLE;
BEGIN;
REVOKE SELECT ON en57_event_types FROM PUBLIC;
SET LOCAL ROLE regress_generate;
SELECT refused('SELECT en57_generate(''go'')');
ROLLBACK;
DROP ROLE regress_generate;
