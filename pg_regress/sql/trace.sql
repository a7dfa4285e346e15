-- Correlation and causation: conditions, reads, and the tree of causes and effects.
-- Fails when a criterion by either id is not checked, or when the walk loses or repeats an event, or never ends.
\pset null NULL
SET timezone = 'UTC';
CREATE FUNCTION n(id uuid) RETURNS text LANGUAGE sql AS $$ SELECT ltrim(right(id::text, 4), '0') $$;
CREATE FUNCTION event(n int, type text, cause int DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('type', type, 'id', format('00000000-0000-0000-0000-%s', lpad(n::text, 12, '0')), 'correlation_id', 'c:' || n / 100,
        'causation_id', format('00000000-0000-0000-0000-%s', lpad(cause::text, 12, '0')))) $$;
CREATE FUNCTION tree(n int) RETURNS TABLE (tree text, parent text, "position" bigint) LANGUAGE sql AS $$
    SELECT repeat('. ', depth) || (event).type || ' ' || n((event).id), n(parent), (event).position FROM en57_trace(format('00000000-0000-0000-0000-%s', lpad(n::text, 12, '0'))::uuid) $$;

-- 1 causes 2 and 3; 2 causes 4 and 6; 3 causes 5: appended in another order than the tree's
SELECT position FROM en57_append(jsonb_build_array(event(1, 'ordered'), event(2, 'paid', 1), event(3, 'packed', 1), event(4, 'booked', 2), event(5, 'sent', 3), event(6, 'thanked', 2), event(7, 'unrelated')));
SELECT * FROM tree(1);
-- from whichever event of it
SELECT n, array(SELECT tree FROM tree(n)) = array(SELECT tree FROM tree(1)) AS same FROM generate_series(1, 6) n;
SELECT * FROM tree(7);
SELECT * FROM tree(8);
SELECT * FROM en57_trace(NULL);
SELECT en57_trace_text(NULL) IS NULL AS of_null, en57_trace_text('00000000-0000-0000-0000-000000000008') IS NULL AS unknown;
SELECT regexp_replace(en57_trace_text('00000000-0000-0000-0000-000000000005'), '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+00', '<time>', 'g') AS text;
SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Kolkata';
SELECT en57_trace_text('00000000-0000-0000-0000-000000000007') ~ '^unrelated  7  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+05:30$' AS same_form_everywhere;
RESET datestyle; SET timezone = 'UTC';
SELECT count(*) FROM en57_trace('00000000-0000-0000-0000-000000000005', partition => 'default');
-- in a select list
SELECT ((t).event).position, (t).depth FROM (SELECT en57_trace('00000000-0000-0000-0000-000000000003') AS t) s;

-- a cause that is no event, or no uuid, or not in PostgreSQL's form: the event is a root
SELECT position > 0 FROM en57_append('[{"type": "dangling", "id": "00000000-0000-0000-0000-000000000201", "causation_id": "00000000-0000-0000-0000-00000000dead"},
    {"type": "command", "id": "00000000-0000-0000-0000-000000000202", "causation_id": "command 7"},
    {"type": "braces", "id": "00000000-0000-0000-0000-00000000020a", "causation_id": "{00000000-0000-0000-0000-000000000201}"},
    {"type": "capitals", "id": "00000000-0000-0000-0000-00000000020b", "causation_id": "00000000-0000-0000-0000-00000000020A"},
    {"type": "number", "id": "00000000-0000-0000-0000-000000000205", "meta": {"causation_id": 5}},
    {"type": "empty", "id": "00000000-0000-0000-0000-000000000206", "meta": {"causation_id": ""}}]');
SELECT (event).type, depth, parent FROM unnest('{201,202,20a,20b,205,206}'::text[]) n, en57_trace(('00000000-0000-0000-0000-000000000' || n)::uuid);
-- an effect that was recorded before its cause
SELECT position > 0 FROM en57_append(event(302, 'effect', 301));
SELECT * FROM tree(302);
SELECT position > 0 FROM en57_append(event(301, 'cause'));
SELECT tree, parent FROM tree(302);
-- circles: of itself, of two, and a tail that leads out of one
SELECT position > 0 FROM en57_append(jsonb_build_array(event(401, 'self', 401), event(412, 'second', 411), event(411, 'first', 412), event(413, 'tail', 411), event(414, 'end', 413)));
SELECT n, tree, parent FROM unnest('{401,411,412,413,414}'::int[]) n, tree(n);
-- a chain of 3,000, and 1,000 effects of one cause
SELECT position > 0 FROM en57_append((SELECT jsonb_agg(event(i, 'link', nullif(i - 1, 5000)) ORDER BY i) FROM generate_series(5001, 8000) i));
SELECT count(*), max(depth), bool_and(n((event).id)::int = 5001 + depth) FROM en57_trace('00000000-0000-0000-0000-000000008000');
SELECT position > 0 FROM en57_append((SELECT jsonb_agg(event(i, 'effect', nullif(9000, i)) ORDER BY i) FROM generate_series(9000, 9999) i));
SELECT count(*), max(depth), bool_and((event).position > COALESCE(lag, 0)) AS in_order FROM (SELECT depth, event, lag((event).position) OVER (ORDER BY n) FROM en57_trace('00000000-0000-0000-0000-000000009500') WITH ORDINALITY AS t (depth, parent, event, n)) t;

-- correlation and causation as criteria: reads
SELECT array(SELECT position FROM en57_read('{"correlation_id": "c:0"}')) AS correlation, array(SELECT position FROM en57_read('{"causation_id": "00000000-0000-0000-0000-000000000001"}')) AS causation,
    array(SELECT position FROM en57_read('{"correlation_id": "c:0", "causation_id": "00000000-0000-0000-0000-000000000002", "types": ["thanked", "paid"]}')) AS all_of_them, en57_count('{"correlation_id": "none"}') AS none,
    en57_count('{"causation_id": "c:0"}') AS other_namespace;
-- and conditions: once for each cause, as a process that may be run twice does
SELECT outcome, position FROM en57_append(event(21, 'mailed', 5), fail_if => '{"types": ["mailed"], "causation_id": "00000000-0000-0000-0000-000000000005"}');
SELECT outcome, conflicts->0->>'type' AS because_of FROM en57_append(event(22, 'mailed', 5), fail_if => '{"types": ["mailed"], "causation_id": "00000000-0000-0000-0000-000000000005"}');
SELECT outcome, conflicts->0->>'type' AS because_of FROM en57_append(event(23, 'mailed'), fail_if => '{"correlation_id": "c:4"}');
SELECT outcome FROM en57_append(event(24, 'mailed'), fail_if => '{"correlation_id": "c:4", "tags": ["none"]}');
SELECT outcome FROM en57_append(event(25, 'mailed'), fail_if => '{"causation_id": "c:4"}');
-- the session's metadata is traced, too
BEGIN;
SET LOCAL en57.meta = '{"causation_id": "00000000-0000-0000-0000-000000000007", "correlation_id": "by session", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "user": "ada"}';
SELECT outcome FROM en57_append('{"type": "followed"}', stream => 'orders');
SELECT outcome FROM en57_append('{"type": "own cause", "causation_id": "00000000-0000-0000-0000-000000000006"}');
COMMIT;
SELECT tree, parent FROM tree(7) WHERE tree NOT LIKE '%followed%';
SELECT (event).type, (event).meta, (event).stream_version FROM en57_trace('00000000-0000-0000-0000-000000000007') WHERE depth = 1;
SELECT type, meta->>'causation_id' AS cause FROM en57_read('{"correlation_id": "by session"}');
-- a reader without rights
CREATE ROLE regress_en57_stranger;
SET ROLE regress_en57_stranger;
SELECT en57_trace('00000000-0000-0000-0000-000000000007');
SELECT en57_trace_text('00000000-0000-0000-0000-000000000007');
RESET ROLE;
DROP ROLE regress_en57_stranger;
