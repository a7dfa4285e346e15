-- Import: what was recorded elsewhere keeps its id, times, stream and version, and its position where that is beyond the log's end.
-- Fails when any of these is lost, when versions or positions may go back, or when a failed import leaves rows.
\pset null NULL
SET timezone = 'UTC';

-- JSON, as to_jsonb(en57_event) writes it
SELECT en57_import('[
  {"id": "0193e3a0-0000-7000-8000-000000000001", "type": "opened", "data": {"n": 1}, "tags": ["b", "a"], "stream": "s", "stream_version": 1,
   "schema_version": 2, "occurred_at": "2020-01-01T00:00:00Z", "recorded_at": "2020-01-02T00:00:00Z", "partition": "elsewhere", "position": 70},
  {"type": "paid", "stream": "s", "meta": {"correlation_id": "c"}, "recorded_at": "2020-01-03T00:00:00Z"},
  {"type": "free", "causation_id": "0193e3a0-0000-7000-8000-000000000001", "recorded_at": "2020-01-03T00:00:00+01"}]');
SELECT position, type, data, meta, tags, stream, stream_version, schema_version, occurred_at, recorded_at, partition FROM en57_read();
-- it is found under all its keys, and the stream goes on
SELECT en57_count('{"tags": ["a"]}'), en57_count('{"stream": "s"}'), en57_count('{"correlation_id": "c"}'), en57_count('{"causation_id": "0193e3a0-0000-7000-8000-000000000001"}'), en57_count('{"types": ["free"]}');
SELECT (en57_get('0193e3a0-0000-7000-8000-000000000001')).position, (en57_stream('s')).version;
SELECT outcome, position, stream_version FROM en57_append('{"type": "closed"}', stream => 's', expected_version => 2);
SELECT outcome, position FROM en57_append('{"type": "x"}', fail_if => '{"tags": ["a"]}');
SELECT en57_import('[]');

-- positions are kept beyond the end of the log, with gaps
SELECT en57_import('[{"type": "kept", "position": 10}, {"type": "kept", "position": 12}]', keep_positions => true);
SELECT array_agg(position) FROM en57_read('{"types": ["kept"]}');
SELECT position FROM en57_append('{"type": "next"}');

-- a round trip through JSON
CREATE TABLE before AS SELECT * FROM en57_read();
SELECT en57_import((SELECT jsonb_agg(to_jsonb(b) || jsonb_build_object('id', gen_random_uuid(), 'stream', 'copy of ' || stream, 'position', position + 100) ORDER BY position) FROM before b), keep_positions => true);
SELECT count(*) FROM en57_read(after => 100) r JOIN before b ON b.position + 100 = r.position
 WHERE (r.type, r.tags, r.schema_version, r.occurred_at, r.recorded_at) = (b.type, b.tags, b.schema_version, b.occurred_at, b.recorded_at)
   AND r.data IS NOT DISTINCT FROM b.data AND r.meta IS NOT DISTINCT FROM b.meta AND r.stream_version IS NOT DISTINCT FROM b.stream_version;

-- what is refused, with nothing stored
CREATE FUNCTION refused(events jsonb, keep boolean DEFAULT false) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; hint text;
BEGIN
    PERFORM en57_import(events, keep_positions => keep);
    RETURN 'stored';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN format('%s %s [%s]', state, message, hint);
END $$;
SELECT n, refused(events::jsonb, keep) FROM (VALUES
    (1, 'null', false), (2, NULL, false), (3, '{"type": "x"}', false), (4, '[1]', false), (5, '[{}]', false),
    (6, '[{"type": "x"}, {"type": "x", "strem": "s"}]', false),
    (7, '[{"type": "x", "stream": ""}]', false), (8, '[{"type": "x", "stream": 1}]', false), (9, jsonb_build_array(jsonb_build_object('type', 'x', 'stream', repeat('x', 100000)))::text, false),
    (10, '[{"type": "x", "stream_version": 1}]', false), (11, '[{"type": "x", "stream": "n", "stream_version": 2}]', false),
    (12, '[{"type": "x", "stream": "n", "stream_version": 1}, {"type": "x", "stream": "n", "stream_version": 1}]', false),
    (13, '[{"type": "x", "stream": "s", "stream_version": 1}]', false), (14, '[{"type": "x", "stream": "n", "stream_version": 1.5}]', false),
    (15, '[{"type": "x", "position": "1"}]', false), (16, '[{"type": "x", "position": 1.5}]', true), (17, '[{"type": "x"}]', true),
    (18, '[{"type": "x", "position": 1}]', true), (19, '[{"type": "x", "position": 0}]', true), (20, '[{"type": "x", "position": 900}, {"type": "x", "position": 900}]', true),
    (21, '[{"type": "x", "position": 9223372036854775807}]', true), (22, '[{"type": "x", "position": 9223372036854775808}]', true),
    (23, '[{"type": "x", "recorded_at": "never"}]', false), (24, '[{"type": "x", "recorded_at": 1}]', false),
    (25, '[{"type": "x", "id": "0193e3a0-0000-7000-8000-000000000001"}]', false),
    (26, '[{"type": "x", "id": "0193e3a0-0000-7000-8000-000000000002"}, {"type": "x", "id": "0193e3a0-0000-7000-8000-000000000002"}]', false)
  ) AS t (n, events, keep) ORDER BY n;
SELECT en57_count('{"types": ["x"]}');
SELECT en57_import('[{"type": "x"}]', partition => 'none');

-- rows of a table or view: columns by name, in any order, those that are missing are filled in
CREATE TABLE elsewhere (type varchar(20), "position" bigint, tags text[], data json, recorded_at timestamp);
INSERT INTO elsewhere SELECT 'moved', n, ARRAY['row:' || n], json_build_object('n', n), timestamp '2021-01-01' + n * interval '1 second' FROM generate_series(1, 25) n;
SELECT en57_import_from('elsewhere');
SELECT count(*), min(tags[1]), max(data ->> 'n'), max(recorded_at) FROM en57_read('{"types": ["moved"]}');
CREATE VIEW odd AS SELECT *, 1 AS colour FROM elsewhere;
SELECT en57_import_from('odd');
CREATE VIEW unordered AS SELECT type FROM elsewhere;
SELECT en57_import_from('unordered');
SELECT en57_import_from('nowhere');
SELECT en57_import_from(NULL);
INSERT INTO elsewhere VALUES (NULL, 99);
SELECT en57_import_from('elsewhere');
SELECT en57_count('{"types": ["moved"]}');
DELETE FROM elsewhere WHERE type IS NULL;

-- in batches: each is committed; what failed goes on where it stopped, and what was finished finds what is new
CALL en57_import_in_batches('first', 'elsewhere', batch_size => 10);
SELECT name, source, partition, position, events, finished FROM en57_imports;
INSERT INTO elsewhere (type, position) VALUES ('late', 30), ('late', 31), (NULL, 32);
\set VERBOSITY terse
CALL en57_import_in_batches('first', 'elsewhere', batch_size => 2);
\set VERBOSITY default
SELECT position, events, finished FROM en57_imports;
UPDATE elsewhere SET type = 'late' WHERE type IS NULL;
CALL en57_import_in_batches('first', 'elsewhere');
SELECT position, events, finished FROM en57_imports;
SELECT en57_count('{"types": ["late"]}');
CALL en57_import_in_batches('first', 'odd');
CALL en57_import_in_batches(NULL, 'elsewhere');
CALL en57_import_in_batches('second', 'elsewhere', batch_size => 0);
BEGIN;
CALL en57_import_in_batches('third', 'elsewhere');
ROLLBACK;

-- an id that is given twice, where both entries would stand at the index's end together
SELECT en57_import('[{"type": "twice", "id": "ffffffff-ffff-4fff-bfff-ffffffffffff"}, {"type": "twice", "id": "ffffffff-ffff-4fff-bfff-ffffffffffff"}]');
SELECT en57_count('{"types": ["twice"]}');

-- only who was allowed to
CREATE ROLE import_stranger;
GRANT INSERT, SELECT ON en57.events_default TO import_stranger;
SET ROLE import_stranger;
SELECT en57_import('[{"type": "x"}]');
SELECT en57_import_from('elsewhere');
SELECT en57.import_rows(NULL, NULL, false, true);
CALL en57_import_in_batches('first', 'elsewhere');
SELECT count(*) FROM en57_imports;
RESET ROLE;
DROP OWNED BY import_stranger;
DROP ROLE import_stranger;

-- a value that cannot be cast, and an event that is refused, are named by the source's position
CREATE TABLE bad_values AS SELECT n * 10::bigint AS "position", 'b'::text AS type, '{}'::text AS data, now()::text AS recorded_at FROM generate_series(1, 7000) AS n;
UPDATE bad_values SET data = '{"a": "\u0000"}' WHERE position = 60010;
SELECT en57_import_from('bad_values');
CREATE VIEW bad_view AS SELECT position, type, data::jsonb AS data FROM bad_values;
SELECT en57_import_from('bad_view');
UPDATE bad_values SET data = '{}', recorded_at = 'never' WHERE position = 60010;
SELECT en57_import_from('bad_values');
\set VERBOSITY terse
CALL en57_import_in_batches('bad', 'bad_values', batch_size => 6000);
\set VERBOSITY default
SELECT position, events FROM en57_imports WHERE name = 'bad';
UPDATE bad_values SET recorded_at = NULL, data = format('["%s"]', repeat('x', 2000)) WHERE position = 60010;
SET en57.max_event_size = '1kB';
SELECT en57_import_from('bad_values');
RESET en57.max_event_size;
SELECT en57_import_from('bad_values');
DROP VIEW bad_view;

-- rows of one position stay together, also where a batch ends between them; a row without a position ends an import in batches
CREATE TABLE ties AS SELECT (n + 1) / 2 AS "position", 'tied' AS type, to_jsonb(n) AS data FROM generate_series(1::bigint, 10) AS n;
CALL en57_import_in_batches('ties', 'ties', batch_size => 3);
SELECT count(*), count(DISTINCT data) FROM en57_read('{"types": ["tied"]}');
INSERT INTO ties VALUES (NULL, 'tied', 'null');
CALL en57_import_in_batches('ties', 'ties', batch_size => 3);

-- rows that are refused are left out, and told: those that cannot be read, and those that are no events, or are there already
CREATE TABLE mixed ("position" bigint PRIMARY KEY, type text, data text, stream text, stream_version bigint, id text);
INSERT INTO mixed (position, type, data) SELECT n, 'mixed', '{}' FROM generate_series(1, 40) AS n;
UPDATE mixed SET data = '{"a": "\u0000"}' WHERE position IN (1, 7, 40);
UPDATE mixed SET type = '' WHERE position IN (8, 20);
UPDATE mixed SET id = '00000000-0000-0000-0000-0000000000aa' WHERE position IN (11, 12);
UPDATE mixed SET stream = 'mixing', stream_version = CASE position WHEN 30 THEN 1 WHEN 31 THEN 3 WHEN 32 THEN 2 END WHERE position IN (30, 31, 32);
CREATE VIEW mixed_view AS SELECT position, type, data::jsonb AS data, stream, stream_version, id FROM mixed;
SELECT en57_register_type('mixed', 1, '{"properties": {"n": {"type": "integer"}}}');
UPDATE mixed SET data = '{"n": "none"}' WHERE position = 15;
CALL en57_import_in_batches('mixed', 'mixed_view', batch_size => 10, on_error => 'skip');
SELECT position, events, skipped, finished FROM en57_imports WHERE name = 'mixed';
SELECT position, sqlstate, message, detail FROM en57_import_errors WHERE import = 'mixed' ORDER BY position;
SELECT count(*), array_agg(stream_version) FILTER (WHERE stream = 'mixing') AS versions FROM en57_read('{"types": ["mixed"]}');
-- the same from the table, whose columns are cast here; all of them are there twice now but for those with an id
CALL en57_import_in_batches('mixed again', 'mixed', batch_size => 7, on_error => 'skip', check_types => false);
SELECT position, events, skipped, finished FROM en57_imports WHERE name = 'mixed again';
SELECT position, sqlstate, message FROM en57_import_errors WHERE import = 'mixed again' ORDER BY position;
-- not where a row cannot be told from others of its position, nor where something else is wrong than the row
ALTER TABLE mixed DROP CONSTRAINT mixed_pkey;
UPDATE mixed SET position = 41 WHERE position = 40;
INSERT INTO mixed (position, type, data) VALUES (41, 'mixed', '{}');
CALL en57_import_in_batches('mixed again', 'mixed', on_error => 'skip');
CALL en57_import_in_batches('mixed nowhere', 'mixed', on_error => 'skip', partition => 'nowhere');
CALL en57_import_in_batches('mixed', 'mixed_view', on_error => 'ignore');
SELECT count(*) FROM en57_import_errors WHERE import NOT IN ('mixed', 'mixed again');
CREATE ROLE import_reader;
SET ROLE import_reader;
SELECT * FROM en57_import_errors;
RESET ROLE;
DROP ROLE import_reader;
