-- The key index is PostgreSQL's own in maintenance and en57's alone in reading; what a DBA adds to the table is kept in force.
-- Fails when ambuild or vacuum is broken, when the planner can choose the index, or when appends pass over added indexes and constraints.
\pset null NULL
CREATE FUNCTION found() RETURNS text LANGUAGE sql AS $$
    SELECT format('type %s, tag %s, both %s, several %s, correlation %s, conflict %s',
        en57_count('{"types": ["even"]}'), en57_count('{"tags": ["third:0"]}'), en57_count('{"types": ["even"], "tags": ["third:0"]}'), en57_count('{"tags": ["third:0", "all"]}'), en57_count('{"correlation_id": "c:1"}'),
        (en57_append('{"type": "never"}', fail_if => '{"tags": ["third:2", "all"]}')).position)
$$;
SELECT position FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, 'tags', jsonb_build_array('all', 'third:' || i % 3, 'i:' || i), 'correlation_id', 'c:' || i % 10) ORDER BY i) FROM generate_series(1, 3000) i));
SELECT found();

-- REINDEX of every kind
REINDEX INDEX en57.events_default_keys;
SELECT found();
REINDEX TABLE en57.events_default;
SELECT found();
REINDEX TABLE en57.events;
SELECT found();
REINDEX INDEX CONCURRENTLY en57.events_default_keys;
SELECT found();
REINDEX TABLE CONCURRENTLY en57.events_default;
SELECT found();
-- in a transaction that has appended itself, with rows that it rolls back
BEGIN;
SELECT outcome FROM en57_append('{"type": "even", "tags": ["third:0"]}');
REINDEX TABLE en57.events_default;
SELECT found();
ROLLBACK;
SELECT found();
-- a store built by a restore: rows first, index afterwards
DROP INDEX en57.events_default_keys;
SELECT en57_count('{"types": ["even"]}');
\echo :SQLSTATE
SELECT en57_append('{"type": "never"}', fail_if => '{"types": ["even"]}');
\echo :SQLSTATE
CREATE INDEX events_default_keys ON en57.events_default USING en57_keys (en57.keys(type, tags, stream, meta), "position");
SELECT found();
-- the index on positions
DROP INDEX en57.events_default_position;
SELECT en57_count();
\echo :SQLSTATE
SELECT en57_append('{"type": "never"}', fail_if => '{}');
\echo :SQLSTATE
CREATE UNIQUE INDEX events_default_position ON en57.events_default ("position");
SELECT found();

-- VACUUM after rolled-back appends; other kinds of maintenance
BEGIN;
SELECT position - first_position FROM en57_append((SELECT jsonb_agg('{"type": "even", "tags": ["third:0"], "correlation_id": "c:1"}'::jsonb) FROM generate_series(1, 2000)));
ROLLBACK;
SELECT found();
VACUUM en57.events_default;
SELECT found();
VACUUM (FREEZE, ANALYZE) en57.events;
SELECT found();
VACUUM FULL en57.events_default;
SELECT found();
CLUSTER en57.events_default USING events_default_position;
SELECT found();
ANALYZE en57.events;
-- the place of the rolled-back rows is used again
SELECT position - first_position FROM en57_append((SELECT jsonb_agg('{"type": "odd", "tags": ["again"]}'::jsonb) FROM generate_series(1, 2000)));
SELECT en57_count('{"tags": ["again"]}'), en57_count('{"tags": ["again"], "types": ["odd"]}');
SELECT found();
-- a subtransaction's rollback, too
BEGIN;
SAVEPOINT s;
SELECT outcome FROM en57_append('{"type": "even", "tags": ["third:0"]}');
ROLLBACK TO s;
SELECT outcome FROM en57_append('{"type": "odd", "tags": ["kept"]}');
COMMIT;
VACUUM en57.events_default;
SELECT found();

-- the planner never chooses it, whatever else is forbidden
CREATE FUNCTION indexes_in_plan(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN jsonb_path_query_array(plan, 'strict $.**."Index Name"');
END $$;
CREATE TABLE queries (n serial, query text);
INSERT INTO queries (query) SELECT format(q, t) FROM unnest('{en57.events_default,en57.events}'::text[]) t, unnest(ARRAY[
    'SELECT * FROM %s WHERE en57.keys(type, tags, stream, meta) = ''{1}''', 'SELECT * FROM %s WHERE en57.keys(type, tags, stream, meta) @> ''{1}''',
    'SELECT * FROM %s WHERE en57.keys(type, tags, stream, meta) && ''{1}'' ORDER BY en57.keys(type, tags, stream, meta)', 'SELECT * FROM %s WHERE en57.keys(type, tags, stream, meta) > ''{1}'' LIMIT 1',
    'SELECT * FROM %s WHERE en57.keys(type, tags, stream, meta) IS NULL', 'SELECT count(*) FROM %s', 'SELECT position FROM %s WHERE position = 10', 'SELECT position FROM %s WHERE position > 10 ORDER BY position',
    'SELECT min(position), max(position) FROM %s', 'SELECT DISTINCT en57.keys(type, tags, stream, meta) FROM %s', 'SELECT count(*) FROM %s WHERE position IN (1, 2, 3)', 'SELECT a.position FROM %1$s a JOIN %1$s b USING (position)']) q;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT query, indexes_in_plan(query) LIKE '%keys%' AS uses_key_index FROM queries ORDER BY n;
-- also where there is no other index
BEGIN;
DROP INDEX en57.events_default_position, en57.events_default_id;
SELECT indexes_in_plan(query), count(*) FROM queries GROUP BY 1;
SET LOCAL enable_bitmapscan = off;
SELECT indexes_in_plan(query), count(*) FROM queries GROUP BY 1;
SET LOCAL enable_bitmapscan = on;
SET LOCAL enable_indexscan = off;
SELECT indexes_in_plan(query), count(*) FROM queries GROUP BY 1;
ROLLBACK;
RESET enable_seqscan;
RESET enable_sort;

-- a DBA's own indexes are maintained: plain, expression, partial, covering, GIN, on the parent
CREATE INDEX mine_type ON en57.events_default (type);
CREATE INDEX mine_expression ON en57.events_default ((data->>'n'));
CREATE INDEX mine_partial ON en57.events_default (position) INCLUDE (type) WHERE type = 'mine';
CREATE INDEX mine_gin ON en57.events USING gin (data);
SELECT position - first_position FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', CASE WHEN i % 2 = 0 THEN 'mine' ELSE 'other' END, 'data', jsonb_build_object('n', i)) ORDER BY i) FROM generate_series(1, 200) i));
SET enable_seqscan = off;
SELECT count(*) FROM en57.events_default WHERE type = 'mine';
SELECT type FROM en57.events_default WHERE data->>'n' = '117';
SELECT count(*), bool_and((data->>'n')::int % 2 = 0) FROM en57.events_default WHERE type = 'mine' AND position > 0;
SELECT type FROM en57.events WHERE data @> '{"n": 118}';
SELECT indexes_in_plan($$ SELECT type FROM en57.events_default WHERE data->>'n' = '117' $$);
RESET enable_seqscan;
-- a unique one is enforced, within a batch and against the store, and names what clashed
CREATE UNIQUE INDEX mine_unique ON en57.events_default ((data->>'invoice')) WHERE type = 'invoiced';
SELECT outcome FROM en57_append('[{"type": "invoiced", "data": {"invoice": 1}}, {"type": "paid", "data": {"invoice": 1}}]');
SELECT en57_append('{"type": "invoiced", "data": {"invoice": 1}}');
\echo :SQLSTATE
SELECT en57_append('[{"type": "invoiced", "data": {"invoice": 2}}, {"type": "invoiced", "data": {"invoice": 2}}]');
SELECT en57_count('{"types": ["invoiced"]}');
-- what cannot be kept in force is refused
ALTER TABLE en57.events_default ADD CONSTRAINT mine_exclusion EXCLUDE USING hash (id WITH =);
SELECT en57_append('{"type": "never"}');
\echo :SQLSTATE
ALTER TABLE en57.events_default DROP CONSTRAINT mine_exclusion;
ALTER TABLE en57.events_default ADD CONSTRAINT mine_deferrable UNIQUE (position, type) DEFERRABLE;
\set VERBOSITY sqlstate
SELECT en57_append('{"type": "never"}');
\set VERBOSITY default
ALTER TABLE en57.events_default DROP CONSTRAINT mine_deferrable;
CREATE FUNCTION trigger_function() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER mine_before BEFORE INSERT ON en57.events_default FOR EACH ROW EXECUTE FUNCTION trigger_function();
SELECT en57_append('{"type": "never"}');
\echo :SQLSTATE
SELECT en57_count('{"types": ["mine"]}');
ALTER TABLE en57.events_default DISABLE TRIGGER mine_before;
SELECT outcome FROM en57_append('{"type": "trigger is off"}');
DROP TRIGGER mine_before ON en57.events_default;
CREATE TRIGGER mine_statement AFTER INSERT ON en57.events_default REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION trigger_function();
SELECT en57_append('{"type": "never"}');
DROP TRIGGER mine_statement ON en57.events_default;
CREATE TRIGGER mine_on_parent AFTER INSERT ON en57.events FOR EACH ROW EXECUTE FUNCTION trigger_function();
SELECT en57_append('{"type": "never"}');
DROP TRIGGER mine_on_parent ON en57.events;
SELECT outcome FROM en57_append('{"type": "at last"}');
DROP INDEX en57.mine_type, en57.mine_expression, en57.mine_partial, en57.mine_gin, en57.mine_unique;
SELECT outcome FROM en57_append('{"type": "plain again"}');
SELECT en57_exists('{"types": ["never"]}');
