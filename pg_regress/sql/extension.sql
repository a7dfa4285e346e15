-- What the extension consists of, that all of it is explained, and that it can be dropped and created elsewhere.
CREATE VIEW members AS
SELECT d.classid, d.objid, o.type, replace(o.identity, '(pg_catalog.json AS', '(json AS') AS identity FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'en57', pg_identify_object(d.classid, d.objid, d.objsubid) o
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    -- newer majors list array types and the row types of tables, too
    AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND (t.typcategory = 'A' OR c.relkind <> 'c'));
SELECT type, identity FROM members ORDER BY type, identity COLLATE "C";
-- every object that a user can name has a comment (should be empty)
SELECT type, identity FROM members m
WHERE NOT EXISTS (SELECT FROM pg_description c WHERE c.classoid = m.classid AND c.objoid = m.objid AND c.objsubid = 0)
    AND type IN ('schema', 'table', 'type', 'composite type', 'function', 'operator', 'access method', 'view', 'sequence')
ORDER BY type, identity COLLATE "C";
-- and so has every column of tables and views; the partitions' are those of en57.events (should be empty)
SELECT c.oid::regclass AS relation, a.attname FROM members m JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND col_description(c.oid, a.attnum) IS NULL
ORDER BY c.oid::regclass::text COLLATE "C", a.attnum;
-- volatility, strictness, parallel safety: what appends or reads is volatile, not STRICT, and never parallel
SELECT p.oid::regprocedure AS function, provolatile, proisstrict, proparallel FROM members m JOIN pg_proc p ON p.oid = m.objid AND m.classid = 'pg_proc'::regclass
ORDER BY p.proname COLLATE "C", pg_get_function_identity_arguments(p.oid) COLLATE "C";
-- user data goes into a dump
SELECT unnest(extconfig)::regclass FROM pg_extension WHERE extname = 'en57';
-- in any order: no table refers to another one (should be empty)
SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'f';
DROP VIEW members;
-- not relocatable
ALTER EXTENSION en57 SET SCHEMA pg_catalog;
-- the settings, known once the library is loaded
SELECT en57_head();
SELECT name, setting, unit, vartype, context, min_val, max_val, short_desc FROM pg_settings WHERE name LIKE 'en57.%' ORDER BY name;

-- dropped and created again: the store is empty, positions begin at 1, in a session that has used the old one
SELECT position FROM en57_append('[{"type": "a"}, {"type": "b"}]');
DROP EXTENSION en57;
SELECT en57_count();
CREATE EXTENSION en57;
SELECT en57_count(), en57_head();
SELECT position FROM en57_append('{"type": "a"}', fail_if => '{}');
-- within one transaction, and undone
BEGIN;
DROP EXTENSION en57;
CREATE EXTENSION en57;
SELECT position FROM en57_append('{"type": "new"}', fail_if => '{}');
ROLLBACK;
SELECT position, type FROM en57_read();
-- positions may jump, as after a restart: the counter of the log was another one's meanwhile
SELECT outcome, position > 1 AS grows FROM en57_append('{"type": "b"}', fail_if => '{"types": ["b"]}');
SELECT type FROM en57_read();
DROP EXTENSION en57;

-- in a schema of its own, not on the search path
CREATE SCHEMA store;
CREATE EXTENSION en57 SCHEMA store;
SELECT en57_count();
SELECT outcome, position FROM store.en57_append('{"type": "a", "tags": ["x"]}', fail_if => '{"tags": ["x"]}');
SELECT outcome, position FROM store.en57_append('{"type": "a", "tags": ["x"]}', fail_if => '{"tags": ["x"]}');
SELECT position, type, tags FROM store.en57_read('{"tags": ["x"]}');
SELECT position, cardinality(events) FROM store.en57_context();
SELECT store.en57_query(tags => '{b,a}') OPERATOR(store.|) '{"types": ["t"]}';
SELECT (store.en57_last()).type, store.en57_query(types => '{a}') OPERATOR(store.@>) store.en57_last() AS matches;
SELECT position FROM en57.append_events(ARRAY[ROW(NULL, 'g', NULL, NULL, '{y}')::en57.event], '{"fail_if_events_match": [{"tags": ["y"]}]}');
SELECT position, type FROM en57.read_events('{}');
SELECT pg_describe_object(classid, objid, 0) FROM pg_depend WHERE refobjid = 'store'::regnamespace AND classid = 'pg_type'::regclass ORDER BY 1;
-- the schema goes only with it
DROP SCHEMA store;
DROP SCHEMA en57;
DROP TABLE en57.events;
-- a partition's table is no member, be it the default one: a dump has it as it is
BEGIN;
DROP TABLE en57.events_default;
SELECT store.en57_create_partition('default');
ROLLBACK;
-- an empty default partition makes way for a dump's, under whichever name; one with events does not
BEGIN;
SELECT store.en57_truncate('default');
CREATE TABLE IF NOT EXISTS en57.events_default (LIKE en57.events);
CREATE TABLE en57.events_default (LIKE en57.events);
SELECT count(*) FROM pg_inherits WHERE inhparent = 'en57.events'::regclass;
ALTER TABLE en57.events ATTACH PARTITION en57.events_default FOR VALUES IN ('default');
CREATE TABLE en57.renamed (LIKE en57.events);
ALTER TABLE en57.events ATTACH PARTITION en57.renamed FOR VALUES IN ('default');
SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'en57.events'::regclass;
ROLLBACK;
CREATE TABLE en57.events_default (LIKE en57.events);
SELECT en57.before_restore();
CREATE TABLE events_default (LIKE en57.events);
DROP TABLE events_default;

DROP EXTENSION en57;
SELECT count(*) FROM pg_namespace WHERE nspname = 'en57';
SELECT count(*) FROM pg_am WHERE amname = 'en57_keys';

-- where the schema en57 is taken by something else, it says so
CREATE SCHEMA en57;
CREATE TABLE en57.events ();
\set VERBOSITY terse
CREATE EXTENSION en57;
DROP TABLE en57.events;
DROP SCHEMA en57;
CREATE EXTENSION en57;

-- Whoever may create functions in the schema of the extension can have none run with the rights of others by that, not even
-- by one that fits better than PostgreSQL's own. Without all arguments in the call of en57_create_partition the extension is not
-- created; without the schema of the operators in en57_partitions: "mine".
DROP EXTENSION en57;
CREATE FUNCTION en57_create_partition(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'mine, with the rights of %', current_user; END $$;
CREATE FUNCTION mine(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'mine, with the rights of %', current_user; END $$;
CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = mine);
CREATE EXTENSION en57;
SELECT name FROM en57_partitions;
