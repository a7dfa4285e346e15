-- Partitions: made, named, found under any name, read together, detached and dropped; what a DBA does to them by hand is told.
SET client_min_messages = warning;

-- names are any texts; the table is called after a plain one
SELECT en57_create_partition('acme'), en57_create_partition('2024_q1');
SELECT en57_create_partition(name)::text ~ '^en57\.events_[a-z0-9_]{1,24}_[0-9a-f]{16}$' AS hashed, name
  FROM unnest(ARRAY['Acme', 'Müller & Söhne', 'a b', E'tab\tnew\nline', '"quoted"', '''; DROP TABLE en57.events; --', '$1 %s %I \ //', 'select', ' ', '😀', repeat('n', 47), repeat('n', 48), repeat('x', 128), 'default ']) name
 WHERE name NOT IN ('select', repeat('n', 47));
SELECT en57_create_partition('select'), en57_create_partition(repeat('n', 47));
SELECT count(*), bool_and(en57_count(partition => name) = 0) AS all_empty FROM en57_partitions;
-- each its own
SELECT count(*) FROM (SELECT (en57_append(jsonb_build_object('type', 't', 'tags', '{}'::text[], 'data', name), partition => name)).outcome FROM en57_partitions) a WHERE outcome = 'appended';
SELECT bool_and(partition = name AND data = to_jsonb(name)) AND count(*) = 17 AS own_events_only FROM en57_partitions, LATERAL en57_read(partition => name);
SELECT bool_and(e.tableoid::regclass = p."table") FROM en57.events e JOIN en57_partitions p ON p.name = e.partition;

-- which cannot be
SELECT en57_create_partition('');
SELECT en57_create_partition('*');
SELECT en57_create_partition('acme@archive');
SELECT en57_create_partition(repeat('x', 129));
SELECT en57_create_partition(NULL);
SELECT en57_create_partition('acme');
SELECT en57_create_partition('default');
\echo :SQLSTATE
BEGIN READ ONLY;
SELECT en57_create_partition('b');
ROLLBACK;
-- undone
BEGIN;
SELECT en57_create_partition('undone');
SELECT outcome FROM en57_append('{"type": "a"}', partition => 'undone');
SELECT type FROM en57_read(partition => 'undone');
ROLLBACK;
SELECT en57_append('{"type": "a"}', partition => 'undone');
\echo :SQLSTATE
BEGIN;
SAVEPOINT s;
SELECT en57_create_partition('undone');
SELECT en57_count(partition => 'undone');
ROLLBACK TO s;
SELECT en57_count(partition => 'undone');
ROLLBACK;

-- what a partition has is what the default one has
CREATE FUNCTION made(t regclass) RETURNS TABLE (what text, how text) LANGUAGE sql AS $$
    SELECT 'column', format('%s %s %s %s', attname, atttypid::regtype, attnotnull, attcollation::regcollation) FROM pg_attribute WHERE attrelid = t AND attnum > 0
    UNION ALL SELECT 'index', replace(pg_get_indexdef(indexrelid), split_part(t::text, '.', 2), 'T') FROM pg_index WHERE indrelid = t
    UNION ALL SELECT 'trigger', concat(tgenabled, ' ', replace(pg_get_triggerdef(oid), t::text, 'T')) FROM pg_trigger WHERE tgrelid = t
    UNION ALL SELECT 'table', format('%s %s %s %s', relowner::regrole, reloptions, relam, relpersistence) FROM pg_class WHERE oid = t
    UNION ALL SELECT 'comment', replace(obj_description(t, 'pg_class'), en57.partition_of(t), 'P')
    UNION ALL SELECT 'grants', coalesce(relacl, acldefault('r', relowner))::text FROM pg_class WHERE oid = t $$;
SELECT what, how FROM made('en57.events_acme') EXCEPT SELECT what, how FROM made('en57.events_default');
SELECT what, how FROM made('en57.events_default') EXCEPT SELECT what, how FROM made('en57.events_acme');
SELECT what, count(*) FROM made('en57.events_acme') GROUP BY what ORDER BY what;
-- it is no member of the extension, so that pg_dump dumps it; it is guarded all the same
SELECT count(*) FROM pg_depend WHERE objid = 'en57.events_acme'::regclass AND deptype = 'e';
DELETE FROM en57.events_acme;
TRUNCATE en57.events_acme;
\echo :SQLSTATE

-- the session's partition is meant where none is named
SET en57.partition = 'acme';
SELECT outcome, (SELECT partition FROM en57_last()) AS before FROM en57_append('{"type": "b", "tags": ["x"]}', fail_if => '{"tags": ["x"]}');
SELECT outcome FROM en57_append('{"type": "b", "tags": ["x"]}', fail_if => '{"tags": ["x"]}', partition => 'default');
SELECT type, partition FROM en57_read();
SELECT en57_count(), en57_exists('{"types": ["b"]}'), (en57_last()).partition, cardinality((en57_context()).events), en57_head() = en57_head(partition => 'acme') AS head, en57_lock('{"tags": ["y"]}') > 0 AS lock, en57_wait(0, '1ms') > 0 AS wait;
SELECT position > 0 AS appended FROM en57.append_events(ARRAY[(NULL, 'gem', NULL, NULL, NULL)]::en57.event[]);
SELECT type FROM en57.read_events('{}');
SET en57.partition = 'nobody';
SELECT en57_count();
SET en57.partition = '*';
SELECT en57_count();
SELECT en57_append('{"type": "a"}');
RESET en57.partition;
SELECT en57_count();

-- where there is none
SELECT en57_count(partition => 'acmee');
SELECT en57_count(partition => 'something else');
\echo :SQLSTATE
SELECT en57_count(partition => '');
SELECT en57_drop_partition('nobody');
SELECT en57_detach_partition('nobody');
SELECT en57_truncate('nobody');
SELECT en57_grant('pg_monitor', 'reader', 'nobody');
SELECT en57_drop_partition(NULL);
SELECT en57_detach_partition(NULL);
SELECT en57_truncate(NULL);
SELECT en57_truncate('acme', NULL);
-- all of them are for reading by a query
SELECT en57_lock('{"tags": ["x"]}', '*');
SELECT en57_get('00000000-0000-0000-0000-000000000001', '*');
SELECT en57_truncate('*');
SELECT en57_drop_partition('*');
\echo :SQLSTATE

-- all together, in position order
SELECT en57_count(partition => '*') = (SELECT count(*) FROM en57.events) AS count, en57_head(partition => '*') = en57_head() AS head, en57_exists('{"types": ["b"]}', '*'), (en57_last('{"tags": ["x"]}', '*')).partition, (en57_context('{"tags": ["x"]}', '*')).position = en57_head() AS context,
    (SELECT array_agg(e.partition) FROM unnest((en57_context('{"tags": ["x"]}', '*')).events) e) AS events, en57_wait(0, '1s', '{"tags": ["x"]}', '*') = en57_head() AS wait;
SELECT array_agg(position) = array_agg(position ORDER BY position) AS ascending, array_agg(position) = (SELECT array_agg(position ORDER BY position) FROM en57.events) AS complete FROM en57_read(partition => '*');
SELECT array_agg(position) = array_agg(position ORDER BY position DESC) AS descending, count(*) FROM en57_read(partition => '*', backwards => true);
SELECT array_agg(position) = (SELECT array_agg(position) FROM (SELECT position FROM en57.events WHERE position > 3 AND position <= 12 ORDER BY position LIMIT 5) e) AS some FROM en57_read(partition => '*', after => 3, upto => 12, max_count => 5);
SELECT type, partition FROM en57_read('[{"tags": ["x"]}, {"types": ["gem"]}]', partition => '*', backwards => true);
-- row by row, over several batches
SELECT count(*) FROM (SELECT (en57_append('[{"type": "many"}, {"type": "many"}, {"type": "many"}]', partition => CASE WHEN i % 3 = 0 THEN 'acme' WHEN i % 3 = 1 THEN 'select' ELSE 'default' END)).outcome FROM generate_series(1, 500) i) a;
BEGIN;
DECLARE c CURSOR FOR SELECT (en57_read('{"types": ["many"]}', partition => '*')).position;
MOVE 1000 FROM c;
FETCH 2 FROM c;
SELECT en57_drop_partition('select');
MOVE 1000 FROM c;
ROLLBACK;
SELECT count(*), bool_and(ascends) FROM (SELECT (e).position > lag((e).position) OVER () IS NOT FALSE AS ascends FROM (SELECT en57_read('{"types": ["many"]}', partition => '*') AS e) r) s;

-- a table may be called otherwise
ALTER TABLE en57.events_acme RENAME TO "Else where";
SELECT en57_count('{"types": ["b"]}', 'acme');
SELECT outcome FROM en57_append('{"type": "renamed"}', partition => 'acme');
SELECT name, "table" FROM en57_partitions WHERE name = 'acme';
SELECT en57_create_partition('acme');
-- and its old name is free for others
CREATE TABLE en57.events_taken ();
SELECT en57_create_partition('taken');
DROP TABLE en57.events_taken;
SELECT en57_count(partition => 'taken');
ALTER TABLE en57."Else where" RENAME TO events_acme;

-- detached, it is a table like others, with its rows
SELECT en57_detach_partition('default');
SELECT en57_drop_partition('default');
SELECT en57_detach_partition('acme');
SELECT count(*) > 500 AS kept, en57.partition_of('en57.events_acme') AS partition FROM en57.events_acme;
SELECT en57_count(partition => 'acme');
DELETE FROM en57.events_acme WHERE type = 'many';
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'en57.events_acme'::regclass;
-- and DROP EXTENSION would not take it along
DROP EXTENSION en57;
-- it may come back
ALTER TABLE en57.events ATTACH PARTITION en57.events_acme FOR VALUES IN ('acme');
SELECT array_agg(DISTINCT type) FROM en57_read(partition => 'acme');
-- but has no guards then: nothing is appended that could be changed, and what is said makes them again
SELECT en57_append('{"type": "back"}', partition => 'acme');
SELECT en57_import('[{"type": "back"}]', 'acme');
SELECT * FROM en57_check('acme');
SELECT substr(hint, 5) FROM en57_check('acme') \gexec
SELECT * FROM en57_check('acme');
UPDATE en57.events_acme SET type = 'forged';
TRUNCATE en57.events_acme;
-- who switches one off knows of it, and appends go on
ALTER TABLE en57.events_acme DISABLE TRIGGER en57_guard;
SELECT outcome FROM en57_append('{"type": "back"}', partition => 'acme');
SELECT trim(trailing '.' FROM substr(hint, 5)) FROM en57_check('acme') \gexec
SELECT * FROM en57_check('acme');
-- one that is dropped is missed at once, by a session that has appended, too
DROP TRIGGER en57_guard_truncate ON en57.events_acme;
SELECT outcome FROM en57_append('{"type": "back"}', partition => 'acme');
SELECT substr(hint, 5) FROM en57_check('acme') \gexec
SELECT outcome, position > (SELECT max(position) FROM en57.events WHERE type = 'many') AS beyond FROM en57_append('{"type": "back"}', partition => 'acme');

-- what is attached by hand must be as en57 makes it
CREATE TABLE bare (LIKE en57.events);
ALTER TABLE en57.events ATTACH PARTITION bare FOR VALUES IN ('bare');
SELECT en57_append('{"type": "a"}', partition => 'bare');
SELECT en57_count(partition => 'bare');
SELECT en57_count('{"tags": ["a"]}', 'bare');
SELECT en57_get('00000000-0000-0000-0000-000000000001', 'bare');
SELECT en57_count(partition => '*');
SELECT name, "table" FROM en57_partitions WHERE name = 'bare';
ALTER TABLE en57.events DETACH PARTITION bare;
DROP TABLE bare;
CREATE TABLE shuffled (partition text COLLATE "C" NOT NULL, "position" bigint NOT NULL, id uuid NOT NULL, type text COLLATE "C" NOT NULL, data jsonb, meta jsonb, tags text[] COLLATE "C" NOT NULL, stream text COLLATE "C",
    stream_version bigint, schema_version integer NOT NULL, occurred_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL, stable bigint NOT NULL);
ALTER TABLE en57.events ATTACH PARTITION shuffled FOR VALUES IN ('shuffled');
SELECT en57_append('{"type": "a"}', partition => 'shuffled');
SELECT en57_count(partition => 'shuffled');
-- the way out that the hint names: rows come into a new table by the names of their columns
INSERT INTO shuffled (partition, "position", id, type, tags, schema_version, occurred_at, recorded_at, stable)
VALUES ('shuffled', 1, gen_random_uuid(), 'a', '{x}', 1, now(), now(), 0);
BEGIN;
ALTER TABLE en57.events DETACH PARTITION shuffled;
SELECT en57_create_partition('shuffled');
INSERT INTO en57.events_shuffled ("position", id, type, data, meta, tags, stream, stream_version, schema_version, occurred_at, recorded_at, partition, stable)
SELECT "position", id, type, data, meta, tags, stream, stream_version, schema_version, occurred_at, recorded_at, partition, stable FROM shuffled;
COMMIT;
SELECT position, type, tags FROM en57_read('{"tags": ["x"]}', partition => 'shuffled');
SELECT en57_drop_partition('shuffled');
DROP TABLE shuffled;
-- columns of one type in another order
CREATE TABLE shuffled ("position" bigint NOT NULL, id uuid NOT NULL, type text COLLATE "C" NOT NULL, meta jsonb, data jsonb, tags text[] COLLATE "C" NOT NULL, stream text COLLATE "C",
    stream_version bigint, schema_version integer NOT NULL, occurred_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL, partition text COLLATE "C" NOT NULL, stable bigint NOT NULL);
ALTER TABLE en57.events ATTACH PARTITION shuffled FOR VALUES IN ('shuffled');
SELECT en57_append('{"type": "a"}', partition => 'shuffled');
DROP TABLE shuffled;
CREATE TABLE nested (LIKE en57.events) PARTITION BY LIST (type);
ALTER TABLE en57.events ATTACH PARTITION nested FOR VALUES IN ('nested');
SELECT en57_append('{"type": "a"}', partition => 'nested');
SELECT en57_count(partition => 'nested');
DROP TABLE nested;
CREATE TABLE several (LIKE en57.events);
ALTER TABLE en57.events ATTACH PARTITION several FOR VALUES IN ('one', 'two');
SELECT en57_append('{"type": "a"}', partition => 'one');
SELECT en57_count(partition => '*');
SELECT outcome FROM en57_append('{"type": "a"}', partition => 'acme');
SELECT name, "table" FROM en57_partitions WHERE name IS NULL;
DROP TABLE several;
CREATE TABLE rest (LIKE en57.events);
ALTER TABLE en57.events ATTACH PARTITION rest DEFAULT;
SELECT en57_append('{"type": "a"}', partition => 'other');
DROP TABLE rest;
SELECT en57_count(partition => 'acme');
-- indexes that are gone
DROP INDEX en57.events_acme_id;
SELECT en57_append('{"type": "a"}', partition => 'acme');
CREATE UNIQUE INDEX events_acme_id ON en57.events_acme (id);
DROP INDEX en57.events_acme_keys;
SELECT en57_append('{"type": "a"}', partition => 'acme');
SELECT en57_count('{"types": ["many"]}', '*');
CREATE INDEX events_acme_keys ON en57.events_acme USING en57_keys (en57.keys(type, tags, stream, meta), "position");
SELECT outcome FROM en57_append('{"type": "healed"}', partition => 'acme', fail_if => '{"types": ["healed"]}');
-- one's own, and constraints
ALTER TABLE en57.events ADD CONSTRAINT mine CHECK (type <> 'forbidden');
SELECT en57_create_partition('later');
\set VERBOSITY terse
SELECT en57_append('{"type": "forbidden"}', partition => 'later');
\set VERBOSITY default
CREATE VIEW mine AS SELECT * FROM en57.events_later;
SELECT en57_drop_partition('later');
DROP VIEW mine;
SELECT en57_drop_partition('later');
SELECT en57_append('{"type": "a"}', partition => 'later');

-- the search path of the session does not count
CREATE SCHEMA hostile;
CREATE TABLE hostile.events (LIKE en57.events);
CREATE FUNCTION hostile.format(text, VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_format';
CREATE FUNCTION hostile.aclexplode(aclitem[]) RETURNS bigint LANGUAGE sql AS $$ SELECT 1/0 $$;
SET search_path = hostile, pg_catalog, public, en57;
SELECT public.en57_create_partition('safe');
SHOW search_path;
SELECT public.en57_truncate('safe'), public.en57_drop_partition('safe');
RESET search_path;
-- DROP EXTENSION takes the partitions along
DROP EXTENSION en57;
SELECT count(*) FROM pg_class WHERE relname LIKE 'events\_%' AND relkind = 'r';
