-- Large events: a limit that names itself, conflicts that are bounded by their bytes, an error's DETAIL that stays small.
-- Fails when a refused append tells more than it has room for, or aborts for it.
SHOW en57.max_event_size;
SET en57.max_event_size = '2kB';
SELECT outcome FROM en57_append('{"type": "t", "data": "small"}');
SELECT outcome FROM en57_append(jsonb_build_array(jsonb_build_object('type', 't'), jsonb_build_object('type', 't', 'data', repeat('x', 2048))));
SELECT outcome FROM en57_append(jsonb_build_object('type', 't', 'meta', jsonb_build_object('m', repeat('x', 2048))));
SELECT outcome FROM en57_append(jsonb_build_object('type', 't', 'tags', (SELECT jsonb_agg(n || repeat('x', 900)) FROM generate_series(1, 3) n)));
SELECT en57_import(jsonb_build_array(jsonb_build_object('type', 't', 'data', jsonb_build_array(repeat('x', 2048)))));
SET en57.max_event_size = 0;
RESET en57.max_event_size;

-- what was stored under another limit is repeated all the same
SELECT outcome FROM en57_append(jsonb_build_object('type', 'r', 'id', '0193e3a0-0000-7000-8000-000000000001', 'data', repeat('x', 4096)));
SET en57.max_event_size = '2kB';
SELECT outcome FROM en57_append(jsonb_build_object('type', 'r', 'id', '0193e3a0-0000-7000-8000-000000000001', 'data', repeat('x', 4096)));
RESET en57.max_event_size;

-- ten events of 1 MB: three are told whole, the older ones without data and meta
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
