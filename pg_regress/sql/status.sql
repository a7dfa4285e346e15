-- Counters, state and check of the log: what they say, and who may ask.
-- Fails when something is counted twice or not at all, when a reset loses or keeps counts, when an idle transaction is not told of, or when roles are not looked at.
\pset null NULL
SELECT appends, repeated, conflicts, events, bytes, lock_waits, reads, events_read, stats_reset < now() + '1 minute' AS reset FROM en57_stat;
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["t"], "id": "00000000-0000-0000-0000-000000000001"}, {"type": "b"}, {"type": "b", "data": "some"}]'::jsonb - 1);
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["t"], "id": "00000000-0000-0000-0000-000000000001"}, {"type": "b", "data": "some"}]'::jsonb - 1);
SELECT outcome FROM en57_append('[{"type": "c"}, {"type": "c"}, {"type": "c"}]', fail_if => '{"tags": ["u"]}');
SELECT outcome FROM en57_append('{"type": "c"}', fail_if => '{}');
-- an error is no outcome; what is rolled back was done
SELECT en57_append('{"type": ""}');
BEGIN;
SELECT outcome FROM en57_append('{"type": "d"}');
ROLLBACK;
SELECT appends, repeated, conflicts, events, bytes > 500 AND bytes < 2000 AS bytes, lock_waits, reads, events_read FROM en57_stat;
-- reads, each once, with the events that they returned or counted
SELECT count(*) FROM en57_read();
SELECT count(*) FROM (SELECT en57_read(max_count => 2)) r;
SELECT en57_count('{"types": ["c"]}'), en57_exists('{"types": ["c"]}'), en57_exists('{"types": ["none"]}'), (en57_last()).type, cardinality(events), (en57_get('00000000-0000-0000-0000-000000000001')).type FROM en57_context();
SELECT count(*) FROM en57.read_events('{}');
SELECT reads, events_read FROM en57_stat;
-- these read no events
SELECT en57_head() > 0, en57_wait(0) > 0, en57_wait(0, '0', '{"types": ["a"]}') > 0;
SELECT reads, events_read FROM en57_stat;
-- the gem's appends count, too
SELECT position > 0 FROM en57.append_events(ARRAY[(NULL, 'g', NULL, NULL, NULL)]::en57.event[]);
SELECT appends, events FROM en57_stat;
-- from zero, in this session and in others
SELECT en57_stat_reset();
SELECT appends, repeated, conflicts, events, bytes, lock_waits, reads, events_read, stats_reset > now() - '1 minute'::interval AS reset FROM en57_stat;
\c
SELECT en57_exists();
SELECT appends, events, reads, events_read FROM en57_stat;
\c
SELECT en57_exists();
SELECT en57_stat_reset();
SELECT en57_exists();
SELECT appends, events, reads, events_read FROM en57_stat;
-- a store that is made anew begins anew
SELECT outcome FROM en57_append('{"type": "a"}');
DROP EXTENSION en57;
CREATE EXTENSION en57;
SELECT appends, events, reads, events_read FROM en57_stat;

-- the state
CREATE VIEW state AS SELECT name, regexp_replace(regexp_replace(regexp_replace(value, 'process \d+', 'process N'), '\d{4}-\S+ [0-9:+]+', 'TIME'), 'for \d+', 'for N') AS value,
    regexp_replace(regexp_replace(warning, '\d{4}-\S+ [0-9:+]+', 'TIME'), '(Process|backend\() *\d+', '\1 N', 'g') AS warning FROM en57_status();
SELECT name, value, warning FROM state WHERE name NOT IN ('library_version', 'schema_version', 'durability');
SELECT (SELECT value FROM state WHERE name = 'library_version') = (SELECT extversion FROM pg_extension WHERE extname = 'en57') AS same;
SELECT position FROM en57_append('[{"type": "a"}, {"type": "b"}]');
BEGIN;
SELECT position FROM en57_append('{"type": "c"}');
SELECT name, value, warning FROM state WHERE name IN ('next_position', 'head', 'in_flight', 'oldest_in_flight');
SELECT pid = pg_backend_pid() AS mine, from_position, partition::regclass FROM en57.in_flight();
COMMIT;
SET en57.max_key_locks = 1000;
SET en57.meta = '{"user": "ada"}';
SELECT value, warning FROM state WHERE name = 'settings';
RESET ALL;
-- versions that differ; the catalog is changed to see it
BEGIN;
UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'en57';
SELECT name, value = '0.0.9' AS old, replace(warning, (SELECT value FROM state WHERE name = 'library_version'), 'V') AS warning FROM state WHERE name LIKE '%\_version' OR name = 'update_available';
UPDATE pg_extension SET extversion = '0.10.0' WHERE extname = 'en57';
SELECT name, value = '0.10.0' AS newer, replace(warning, (SELECT value FROM state WHERE name = 'library_version'), 'V') AS warning FROM state WHERE name LIKE '%\_version';
UPDATE pg_extension SET extversion = '999-dev' WHERE extname = 'en57';
SELECT replace(warning, (SELECT value FROM state WHERE name = 'library_version'), 'V') AS warning FROM state WHERE name = 'schema_version';
ROLLBACK;

-- the check finds nothing, in every form that it can be called in
SELECT * FROM en57_check();
SELECT * FROM en57_check('default');
SELECT en57_check(partition => NULL);
SELECT count(*) FROM en57_check() c, generate_series(1, 3);
SELECT en57_create_partition('acme');
SELECT outcome FROM en57_append('{"type": "a"}', stream => 's', partition => 'acme');
SELECT * FROM en57_check('acme');
SELECT * FROM en57_check('*');
SET en57.partition = 'acme';
SELECT * FROM en57_check();
RESET en57.partition;
SELECT * FROM en57_check('none');
\echo :SQLSTATE
-- and says what it finds
DROP INDEX en57.events_default_id;
SELECT * FROM en57_check();
CREATE UNIQUE INDEX events_default_id ON en57.events_default (id);
ALTER TABLE en57.events_default DISABLE TRIGGER en57_guard;
SELECT * FROM en57_check();
ALTER TABLE en57.events_default ENABLE TRIGGER en57_guard;
SELECT severity FROM en57_check();
SELECT severity FROM en57_check('acme');
ALTER TABLE en57.events_default ENABLE ALWAYS TRIGGER en57_guard;
SELECT * FROM en57_check();
ALTER TABLE en57.events_default SET UNLOGGED;
SELECT * FROM en57_check();
ALTER TABLE en57.events_default SET LOGGED;
SELECT * FROM en57_check();

-- who may: monitors all but the reset, though they read no event; others nothing
CREATE ROLE regress_en57_monitor IN ROLE pg_monitor;
CREATE ROLE regress_en57_stranger;
GRANT SELECT ON state TO PUBLIC;
CREATE FUNCTION try(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE call;
    RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
CREATE VIEW tried AS SELECT call, try(call) FROM unnest(ARRAY['SELECT * FROM en57_stat', 'SELECT en57.stat()', 'SELECT en57_status()', 'SELECT en57.shared_state()', 'SELECT en57.in_flight()', 'SELECT en57_check()', 'SELECT en57_stat_reset()', 'SELECT en57_count()']) call;
GRANT SELECT ON tried TO PUBLIC;
SET ROLE regress_en57_monitor;
SELECT * FROM tried;
SET ROLE regress_en57_stranger;
SELECT * FROM tried;
RESET ROLE;
-- policies on rows do not keep the check from looking at all
ALTER TABLE en57.events_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE en57.events_default FORCE ROW LEVEL SECURITY;
SET ROLE regress_en57_monitor;
SELECT * FROM en57_check();
RESET ROLE;
ALTER TABLE en57.events_default DISABLE ROW LEVEL SECURITY;

-- a relation of another shape, or none: said, not tried
ALTER TABLE en57.events ADD COLUMN more int;
SELECT name, value, warning FROM state WHERE name IN ('shared_memory', 'next_position', 'in_flight');
SELECT en57_check();
ALTER TABLE en57.events DROP COLUMN more;
DROP VIEW state, tried;
DROP ROLE regress_en57_monitor;
DROP ROLE regress_en57_stranger;

-- what the catalogs say of the tables: as soon as it is so, not at the next en57_check()
BEGIN;
SET LOCAL client_min_messages = error; -- of wal_level
SELECT en57_create_partition('tables');
ALTER TABLE en57.events_tables ENABLE TRIGGER en57_guard;
DROP TRIGGER en57_guard_truncate ON en57.events_tables;
ALTER TABLE en57.events_tables REPLICA IDENTITY NOTHING;
SELECT en57_create_partition('unlogged_tables');
ALTER TABLE en57.events_unlogged_tables SET UNLOGGED;
CREATE PUBLICATION rows_only FOR TABLE en57.events_tables WITH (publish = 'insert');
CREATE PUBLICATION with_root FOR TABLE en57.events_tables WITH (publish_via_partition_root = true);
CREATE PUBLICATION whole FOR TABLE en57.events_tables;
CREATE PUBLICATION filtered FOR TABLE en57.events_tables WHERE (position > 5 AND type = 'a');
CREATE PUBLICATION listed FOR TABLE en57.events_tables (type, data);
CREATE PUBLICATION later_ones FOR TABLE en57.events_tables ("position", type) WHERE (position > 5);
ALTER TABLE en57.events ADD COLUMN tables_more text;
ALTER EXTENSION en57 ADD TABLE en57.events_tables;
CREATE INDEX of_all ON en57.events (recorded_at);
ALTER TABLE en57.events ADD CONSTRAINT of_all CHECK (length(type) < 100);
SELECT name, value, warning FROM en57_status() WHERE name IN ('durable', 'guards', 'columns', 'replica_identity', 'dumps', 'publications', 'replicas');
SELECT fact, severity, object, problem, hint FROM en57.table_faults() WHERE object LIKE '%tables' OR fact = 'dumps';
ALTER TABLE en57.events DROP COLUMN tables_more;
SELECT * FROM en57_check('tables');
ROLLBACK;
