-- Folds: a state made of the events of a query, by functions of any language; named ones with snapshots.
-- Fails when a state is not that of its events in position order, when state and position are not of one moment,
-- when a snapshot outlives its definition, its function, its partition's events, or shows what is not settled.
CREATE FUNCTION seats(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE e.type
        WHEN 'defined' THEN jsonb_build_object('seats', e.data->'seats', 'taken', 0)
        WHEN 'subscribed' THEN state || jsonb_build_object('taken', (state->>'taken')::int + 1)
        WHEN 'cancelled' THEN NULL
        ELSE state
    END
$$;
CREATE FUNCTION counted(state jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql STRICT AS $$
BEGIN RETURN to_jsonb((state#>>'{}')::int + 1); END $$;
CREATE FUNCTION listed(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(state, '[]') || to_jsonb(e.position) $$;

-- nothing yet
SELECT * FROM en57_fold('{}', 'seats(jsonb,en57_event)');
SELECT * FROM en57_fold('{}', 'counted(jsonb,en57_event)', '0');
SELECT outcome FROM en57_append('[
    {"type": "defined", "tags": ["course:sql"], "data": {"seats": 10}},
    {"type": "defined", "tags": ["course:art"], "data": {"seats": 20}},
    {"type": "subscribed", "tags": ["course:sql", "student:ada"]},
    {"type": "subscribed", "tags": ["course:sql", "student:bob"]},
    {"type": "other"}]');
SELECT * FROM en57_fold('{"tags": ["course:sql"]}', 'seats(jsonb,en57_event)');
SELECT * FROM en57_fold(query => '{"types": ["subscribed"]}', evolve => 'counted(jsonb,en57_event)', initial => '0');
SELECT * FROM en57_fold(NULL, 'listed(jsonb,en57_event)');
-- up to a position, which is then the one to use; beyond the head it is the head
SELECT * FROM en57_fold('{"tags": ["course:sql"]}', 'seats(jsonb,en57_event)', upto => 3);
SELECT * FROM en57_fold('{"tags": ["course:sql"]}', 'seats(jsonb,en57_event)', upto => 99);
-- the criterion's own after
SELECT * FROM en57_fold('{"after": 3}', 'listed(jsonb,en57_event)');
-- as of a time: the position is before the first event that is left out
SELECT recorded_at AS then FROM en57_read(max_count => 1, backwards => true) \gset
SELECT outcome FROM en57_append('{"type": "subscribed", "tags": ["course:sql", "student:eve"]}');
SELECT * FROM en57_fold('{"tags": ["course:sql"]}', 'seats(jsonb,en57_event)', as_of => :'then');
SELECT * FROM en57_fold('{"tags": ["course:art"]}', 'seats(jsonb,en57_event)', as_of => :'then');
SELECT * FROM en57_fold('{"tags": ["course:sql"]}', 'seats(jsonb,en57_event)', as_of => '-infinity');
-- state and position fit for a condition
SELECT (en57_append('{"type": "subscribed", "tags": ["course:sql"]}', fail_if => jsonb_build_object('tags', '["course:sql"]'::jsonb, 'after', position))).outcome
  FROM en57_fold('{"tags": ["course:sql"]}', 'seats(jsonb,en57_event)');
SELECT (en57_append('{"type": "subscribed", "tags": ["course:sql"]}', fail_if => jsonb_build_object('tags', '["course:sql"]'::jsonb, 'after', position))).outcome
  FROM en57_fold('{"tags": ["course:sql"]}', 'seats(jsonb,en57_event)', as_of => :'then');
-- NULL begins anew with the initial state
SELECT outcome FROM en57_append('{"type": "cancelled", "tags": ["course:art"]}');
SELECT state FROM en57_fold('{"tags": ["course:art"]}', 'seats(jsonb,en57_event)');
SELECT state FROM en57_fold('{"tags": ["course:art"]}', 'seats(jsonb,en57_event)', '{"none": true}');
SELECT outcome FROM en57_append('{"type": "subscribed", "tags": ["course:art"]}');
SELECT state FROM en57_fold('{"tags": ["course:art"]}', 'seats(jsonb,en57_event)', '{"taken": 0}');
-- jsonb null is a state, not SQL's NULL
CREATE FUNCTION json_null(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT 'null'::jsonb $$;
SELECT state FROM en57_fold('{}', 'json_null(jsonb,en57_event)', '1');
-- own events, seen at once
BEGIN;
SELECT outcome FROM en57_append('{"type": "subscribed", "tags": ["course:sql"]}');
SELECT state FROM en57_fold('{"tags": ["course:sql"]}', 'seats(jsonb,en57_event)');
ROLLBACK;
SELECT state FROM en57_fold('{"tags": ["course:sql"]}', 'seats(jsonb,en57_event)');
-- large states that a function hands back, reads from a table, or makes
CREATE TABLE large AS SELECT to_jsonb(string_agg(md5(n::text), '')) AS doc FROM generate_series(1, 10000) n;
CREATE FUNCTION from_table(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT doc FROM large $$;
CREATE FUNCTION handed_back(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT state $$;
SELECT length(state#>>'{}') FROM en57_fold('{}', 'from_table(jsonb,en57_event)');
SELECT length(state#>>'{}') FROM large, en57_fold('{}', 'handed_back(jsonb,en57_event)', doc);

-- errors
SELECT * FROM en57_fold('{}', NULL);
SELECT * FROM en57_fold('{}', 'listed');
SELECT * FROM en57_fold('{}', 'lower(text)');
SELECT * FROM en57_fold('{}', 'counted(jsonb,en57_event)');
SELECT * FROM en57_fold('{}', 4711::regprocedure);
SELECT * FROM en57_fold('{}', 'listed(jsonb,en57_event)', upto => -1);
SELECT * FROM en57_fold('{}', 'listed(jsonb,en57_event)', partition => 'none');
CREATE FUNCTION fails(state jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = 'other' THEN RAISE EXCEPTION 'no others' USING ERRCODE = 'XY123', DETAIL = 'It is one.', HINT = 'Do not.'; END IF;
    RETURN '0';
END $$;
SELECT * FROM en57_fold('{}', 'fails(jsonb,en57_event)');
\echo :LAST_ERROR_SQLSTATE
-- with the caller's rights
CREATE ROLE en57_fold_reader;
GRANT SELECT ON en57.events_default TO en57_fold_reader;
CREATE TABLE secret AS SELECT '"secret"'::jsonb AS doc;
CREATE FUNCTION peek(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT doc FROM secret $$;
SET ROLE en57_fold_reader;
SELECT state FROM en57_fold('{"types": ["other"]}', 'listed(jsonb,en57_event)');
SELECT state FROM en57_fold('{"types": ["other"]}', 'peek(jsonb,en57_event)');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION listed FROM PUBLIC;
SET ROLE en57_fold_reader;
SELECT state FROM en57_fold('{"types": ["other"]}', 'listed(jsonb,en57_event)');
SELECT en57_create_fold('mine', 'seats(jsonb,en57_event)');
RESET ROLE;
GRANT EXECUTE ON FUNCTION listed TO PUBLIC;

-- named folds
SELECT en57_create_fold('listed', 'listed(jsonb,en57_event)', snapshot_every => 3);
SELECT name, evolve, initial, snapshot_every FROM en57_folds \gx
SELECT * FROM en57_state('listed', '{"tags": ["course:sql"]}');
SELECT name, partition, query, position, bytes > 0 AS has_bytes FROM en57_snapshots;
SELECT outcome FROM en57_append('{"type": "subscribed", "tags": ["course:sql"]}');
SELECT * FROM en57_state('listed', '{"tags": ["course:sql"]}');
-- it does read the snapshot: here one that was forged
UPDATE en57.snapshots SET state = '["forged"]';
SELECT state FROM en57_state('listed', '{"tags": ["course:sql"]}');
SELECT en57_drop_snapshots('listed');
SELECT state FROM en57_state('listed', '{"tags": ["course:sql"]}');
-- the same query in another form
SELECT count(*) FROM en57_snapshots;
SELECT position FROM en57_state('listed', '{"tags": ["course:sql", "course:sql"]}');
SELECT count(*) FROM en57_snapshots;
-- too few events for one: none
SELECT state FROM en57_state('listed', '{"types": ["other"]}');
SELECT count(*) FROM en57_snapshots;
-- at most two of a query are kept
SELECT 'SELECT outcome FROM en57_append(''[{"type": "many"}, {"type": "many"}, {"type": "many"}]'')', 'SELECT position FROM en57_state(''listed'', ''{"types": ["many"]}'')' FROM generate_series(1, 4) \gexec
SELECT jsonb_array_length(state) FROM en57_state('listed', '{"types": ["many"]}');
SELECT query, count(*) FROM en57_snapshots GROUP BY 1 ORDER BY 1;

-- none of what is not committed, none in a read-only transaction
SELECT en57_drop_snapshots('listed') > 0;
BEGIN;
SELECT outcome FROM en57_append('{"type": "subscribed", "tags": ["course:sql"]}');
SELECT jsonb_array_length(state) FROM en57_state('listed', '{"tags": ["course:sql"]}');
SELECT count(*) FROM en57_snapshots;
ROLLBACK;
BEGIN READ ONLY;
SELECT jsonb_array_length(state) FROM en57_state('listed', '{"tags": ["course:sql"]}');
SELECT count(*) FROM en57_snapshots;
COMMIT;
-- as of an earlier moment
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT jsonb_array_length(state) FROM en57_state('listed', '{"tags": ["course:sql"]}');
SELECT count(*) FROM en57_snapshots;
COMMIT;
-- a failure to keep one is no failure to read
CREATE UNIQUE INDEX refuses ON en57.snapshots (fold);
SELECT jsonb_array_length(state) FROM en57_state('listed', '{"types": ["many"]}');
SELECT query FROM en57_snapshots;
DROP INDEX en57.refuses;
SELECT jsonb_array_length(state) FROM en57_state('listed', '{"types": ["many"]}');
SELECT query FROM en57_snapshots ORDER BY query::text;

-- a replaced function, a redefined fold
CREATE OR REPLACE FUNCTION listed(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(state, '[]') || to_jsonb(-e.position) $$;
SELECT state FROM en57_state('listed', '{"tags": ["course:sql"]}');
BEGIN;
CREATE OR REPLACE FUNCTION listed(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(state, '[]') || '"undone"' $$;
SELECT state FROM en57_state('listed', '{"tags": ["course:sql"]}');
ROLLBACK;
SELECT state FROM en57_state('listed', '{"tags": ["course:sql"]}');
SELECT en57_create_fold('listed', 'listed(jsonb,en57_event)', '["first"]');
SELECT en57_create_fold('listed', 'listed(jsonb,en57_event)', '["first"]', snapshot_every => 2, or_replace => true);
SELECT count(*) FROM en57_snapshots;
SELECT state FROM en57_state('listed', '{"tags": ["course:sql"]}');
-- a helper cannot be seen
CREATE FUNCTION helper(bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION by_helper(state jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(state, '[]') || to_jsonb(helper(e.position)); END $$;
SELECT en57_create_fold('by helper', 'by_helper(jsonb,en57_event)', snapshot_every => 1);
SELECT state FROM en57_state('by helper', '{"tags": ["course:art"]}');
CREATE OR REPLACE FUNCTION helper(bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT -$1 $$;
SELECT state FROM en57_state('by helper', '{"tags": ["course:art"]}');
SELECT en57_drop_snapshots('by helper');
SELECT state FROM en57_state('by helper', '{"tags": ["course:art"]}');

-- partitions: each has its own snapshots, all together none
SELECT en57_create_partition('acme');
SELECT (en57_append('[{"type": "a", "tags": ["course:sql"]}, {"type": "b", "tags": ["course:sql"]}]', partition => 'acme')).outcome;
SELECT state FROM en57_state('listed', '{"tags": ["course:sql"]}', 'acme');
SELECT jsonb_array_length(state) FROM en57_state('listed', '{"tags": ["course:sql"]}', '*');
SELECT jsonb_array_length(state) FROM en57_fold('{"tags": ["course:sql"]}', 'listed(jsonb,en57_event)', partition => '*');
SELECT name, partition, query FROM en57_snapshots ORDER BY name COLLATE "C", partition;
-- shown to who may read the partition alone; run with the owner's rights
SELECT en57_create_fold('peek', 'peek(jsonb,en57_event)');
SET ROLE en57_fold_reader;
SELECT state FROM en57_state('peek', '{"types": ["other"]}');
SELECT jsonb_array_length(state) FROM en57_state('listed', '{"tags": ["course:sql"]}');
SELECT state FROM en57_state('listed', '{"tags": ["course:sql"]}', 'acme');
SELECT DISTINCT partition FROM en57_snapshots;
SELECT * FROM en57.snapshots;
SELECT en57_drop_fold('listed');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION peek FROM PUBLIC;
SET ROLE en57_fold_reader;
SELECT state FROM en57_state('peek', '{"types": ["other"]}');
RESET ROLE;
-- a truncated partition, a dropped one
SELECT en57_truncate('acme');
SELECT * FROM en57_state('listed', '{"tags": ["course:sql"]}', 'acme');
SELECT (en57_append('[{"type": "a", "tags": ["course:sql"]}, {"type": "b", "tags": ["course:sql"]}]', partition => 'acme')).outcome;
SELECT jsonb_array_length(state) FROM en57_state('listed', '{"tags": ["course:sql"]}', 'acme');
SELECT en57_drop_partition('acme');
SELECT count(*) FROM en57_snapshots WHERE partition IS DISTINCT FROM 'default';
SELECT en57_truncate('default', restart => true);
SELECT count(*) FROM en57.snapshots;
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["course:sql"]}, {"type": "b", "tags": ["course:sql"]}]');
SELECT * FROM en57_state('listed', '{"tags": ["course:sql"]}');

-- a function that is gone, or of another form
DROP FUNCTION by_helper;
SELECT * FROM en57_state('by helper', '{}');
SELECT en57_drop_fold('by helper');
SELECT en57_drop_fold('by helper');
SELECT en57_drop_fold(NULL);
SELECT en57_drop_snapshots('nobody');
SELECT * FROM en57_state(NULL, '{}');
SELECT * FROM en57_state('nobody', '{}');
SELECT en57_create_fold(NULL, 'seats(jsonb,en57_event)');
SELECT en57_create_fold('', 'seats(jsonb,en57_event)');
SELECT en57_create_fold(repeat('x', 64), 'seats(jsonb,en57_event)');
SELECT en57_create_fold('none', NULL);
SELECT en57_create_fold('none', 'lower(text)');
SELECT en57_create_fold('none', 'counted(jsonb,en57_event)');
SELECT en57_create_fold('none', 'seats(jsonb,en57_event)', snapshot_every => 0);
SELECT en57_create_fold('never', 'seats(jsonb,en57_event)', snapshot_every => NULL);
SELECT name, snapshot_every FROM en57_folds ORDER BY name COLLATE "C";
-- with the search path of who has created it
CREATE SCHEMA other;
CREATE FUNCTION other.helper(bigint) RETURNS text LANGUAGE sql AS $$ SELECT 'other' $$;
CREATE FUNCTION by_path(state jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN to_jsonb(helper(e.position)); END $$;
SELECT en57_create_fold('by path', 'by_path(jsonb,en57_event)');
SET search_path = other, public;
SELECT state FROM en57_state('by path', '{}');
SELECT state FROM en57_fold('{}', 'by_path(jsonb,en57_event)');
RESET search_path;
DROP OWNED BY en57_fold_reader;
DROP ROLE en57_fold_reader;
-- none of a state that is read amid an append: its events have positions, and are not stored yet
SELECT en57_create_fold('each', 'listed(jsonb,en57_event)', snapshot_every => 1);
CREATE FUNCTION kept_by_check(state jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT NULL FROM en57_state('each', '{"tags": ["amid:1"]}') $$;
SELECT en57_create_invariant('amid', '{"types": ["amid"]}', 'tag:amid:', 'listed(jsonb,en57_event)', 'kept_by_check(jsonb)');
SELECT outcome FROM en57_append('[{"type": "amid", "tags": ["amid:1"]}, {"type": "amid", "tags": ["amid:1"]}, {"type": "amid", "tags": ["amid:1"]}]');
SELECT outcome FROM en57_append('{"type": "amid", "tags": ["amid:1"]}');
SELECT jsonb_array_length(state) FROM en57_state('each', '{"tags": ["amid:1"]}');
