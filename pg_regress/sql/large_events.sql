-- Large events: a limit that names itself, conflicts that are bounded by their bytes, an error's DETAIL that stays small.
-- Fails when a refused append tells more than it has room for, or aborts for it.
SELECT outcome FROM en57_append('{"type": "t", "data": "small"}');
SHOW en57.max_event_size;
SET en57.max_event_size = '2kB';
SELECT outcome FROM en57_append(jsonb_build_array(jsonb_build_object('type', 't'), jsonb_build_object('type', 't', 'data', repeat('x', 2048))));
SELECT outcome FROM en57_append(jsonb_build_object('type', 't', 'meta', jsonb_build_object('m', repeat('x', 2048))));
SELECT outcome FROM en57_append(jsonb_build_object('type', 't', 'tags', (SELECT jsonb_agg(n || repeat('x', 900)) FROM generate_series(1, 3) n)));
SELECT en57_import(jsonb_build_array(jsonb_build_object('type', 't', 'data', jsonb_build_array(repeat('x', 2048)))));
-- (releases of PostgreSQL differ in whether they name the units)
\set VERBOSITY sqlstate
SET en57.max_event_size = 0;
\set VERBOSITY default
RESET en57.max_event_size;

-- what was stored under another limit is repeated all the same
SELECT outcome FROM en57_append(jsonb_build_object('type', 'r', 'id', '0193e3a0-0000-7000-8000-000000000001', 'data', repeat('x', 4096)));
SET en57.max_event_size = '2kB';
SELECT outcome FROM en57_append(jsonb_build_object('type', 'r', 'id', '0193e3a0-0000-7000-8000-000000000001', 'data', repeat('x', 4096)));
RESET en57.max_event_size;

-- ten events of 1 MB: those that fit into 4 MB are told whole, the older ones without data and meta
SELECT count(en57_append(jsonb_build_object('type', 'large', 'tags', '["l"]'::jsonb, 'meta', '{"m": 1}'::jsonb, 'data', repeat(n::text, 1000000)), stream => 's')) FROM generate_series(0, 9) n;
CREATE VIEW told AS
SELECT c ->> 'type' AS type, c ->> 'stream_version' AS version, length(c ->> 'data') AS data, c -> 'meta' AS meta, c -> 'tags' AS tags, c -> 'truncated' AS truncated
  FROM en57_append('{"type": "x"}', fail_if => '{"types": ["large"]}') a, jsonb_array_elements(a.conflicts) c;
SELECT * FROM told;
SELECT outcome, jsonb_array_length(conflicts), conflicts -> 0 -> 'truncated' AS oldest, conflicts -> -1 ? 'truncated' AS newest
  FROM en57_append('{"type": "x"}', stream => 's', expected_version => 0);
-- the newest is larger than there is room for
SELECT outcome FROM en57_append(jsonb_build_object('type', 'large', 'data', repeat('y', 5000000)));
SELECT count(*), count(truncated) FROM told;

-- an error tells 8 kB
DO $$
DECLARE detail text;
BEGIN
    PERFORM en57_append('{"type": "x"}', fail_if => '{"types": ["large"]}', on_conflict => 'raise');
EXCEPTION WHEN SQLSTATE 'N5701' THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE NOTICE '% conflicts, small: %, truncated: %', jsonb_array_length(detail::jsonb -> 'conflicts'), length(detail) < 20000, detail::jsonb -> 'conflicts' -> -1 -> 'truncated';
END $$;

-- a long history comes into documents in few steps: each writes a document once, and a version that the transaction has
-- left behind is passed over whenever the document is looked for
SELECT outcome FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'n', 'tags', jsonb_build_array('k:' || i % 10), 'data', i)) FROM generate_series(1, 10000) i));
SELECT outcome FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'n', 'tags', jsonb_build_array('k:' || i % 10), 'data', i)) FROM generate_series(1, 10000) i));
CREATE FUNCTION sum_of(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(coalesce(doc::bigint, 0) + e.data::bigint) $$;
CREATE FUNCTION sum_before(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN IF e.data = '9876' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN sum_of(doc, e); END $$;
BEGIN;
SELECT en57_create_document_projection('at_once', '{"types": ["n"]}', 'tag:k:', 'sum_of(jsonb,en57_event)');
SELECT n_tup_ins + n_tup_upd AS writes FROM pg_stat_xact_user_tables WHERE relname = 'at_once';
COMMIT;
SELECT en57_create_document_projection('by_run', '{"types": ["n"]}', 'tag:k:', 'sum_of(jsonb,en57_event)', mode => 'async');
BEGIN;
SELECT en57_run('by_run');
SELECT n_tup_ins + n_tup_upd AS writes FROM pg_stat_xact_user_tables WHERE relname = 'by_run';
COMMIT;
SELECT count(*), sum(doc::bigint), sum(version) FROM at_once;
SELECT * FROM at_once EXCEPT SELECT * FROM by_run;
-- an event that cannot be handled is found among many, and the rest is kept up to it
SELECT en57_create_document_projection('before_it', '{"types": ["n"]}', 'tag:k:', 'sum_before(jsonb,en57_event)', mode => 'async');
SELECT en57_run('before_it'), (SELECT min(position) - 1 FROM en57_read('{"types": ["n"]}')) AS before \gset
SELECT :en57_run AS handled, status, failed_position - :before AS failed, last_error ->> 'message' AS message FROM en57_projections WHERE name = 'before_it';
SELECT sum(version) FROM before_it;
