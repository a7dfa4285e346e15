-- Reading needs SELECT, appending INSERT on the partition's table, a condition both; checked although rows are written directly.
-- Fails when demand_select or demand_insert is taken out, or when row-level security is not looked at.
\set VERBOSITY terse
CREATE ROLE regress_en57_reader;
CREATE ROLE regress_en57_writer;
CREATE ROLE regress_en57_both;
CREATE ROLE regress_en57_stranger;
GRANT SELECT ON en57.events_default TO regress_en57_reader, regress_en57_both;
GRANT INSERT ON en57.events_default TO regress_en57_writer, regress_en57_both;
SELECT position FROM en57_append('{"type": "secret", "tags": ["s"], "id": "00000000-0000-0000-0000-000000000001"}');

CREATE FUNCTION try(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
    answer text;
BEGIN
    EXECUTE call INTO answer;
    RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN sqlstate || ' ' || sqlerrm || coalesce(' HINT ' || nullif(hint, ''), '');
END $$;
CREATE TABLE calls (n serial, call text);
GRANT SELECT ON calls TO PUBLIC;
INSERT INTO calls (call) VALUES ('SELECT count(*) FROM en57_read()'), ('SELECT en57_read()'), ('SELECT en57_context()'), ('SELECT en57_head()'), ('SELECT en57_last()'), ('SELECT en57_exists()'), ('SELECT en57_count()'),
    ('SELECT en57_get(''00000000-0000-0000-0000-000000000001'')'), ('SELECT en57_wait(0, ''1ms'')'), ('SELECT en57_wait(0, ''1ms'', ''{"tags": ["s"]}'')'), ('SELECT en57_lock(''{"tags": ["t"]}'')'),
    ('SELECT en57_append(''{"type": "a"}'')'), ('SELECT en57_append(''{"type": "a"}'', fail_if => ''{"tags": ["t"]}'')'), ('SELECT en57_append(''{"type": "a"}'', fail_if => ''{}'')'),
    ('SELECT en57_append(''{"type": "secret", "tags": ["s"], "id": "00000000-0000-0000-0000-000000000001"}'')'), ('SELECT en57_append(''{"type": "guess", "tags": ["s"], "id": "00000000-0000-0000-0000-000000000001"}'')'),
    ('SELECT en57.append_events(ARRAY[(NULL, ''a'', NULL, NULL, NULL)]::en57.event[])'), ('SELECT * FROM en57.append_events(ARRAY[(NULL, ''a'', NULL, NULL, NULL)]::en57.event[], ''{"fail_if_events_match": [{}]}'')'), ('SELECT count(*) FROM en57.read_events(''{}'')'),
    ('SELECT en57_query(tags => ''{a}'') @> NULL'), ('SELECT count(*) FROM en57.events'), ('SELECT count(*) FROM en57.events_default'), ('INSERT INTO en57.events_default SELECT * FROM en57.events_default WHERE false'), ('SELECT last_value FROM en57.position_ceiling'), ('SELECT setval(''en57.position_ceiling'', 1)'),
    ('CREATE TABLE en57.mine ()'), ('DROP TABLE en57.events'), ('CREATE INDEX ON en57.events_default (type)');
SET ROLE regress_en57_stranger;
SELECT call, try(call) FROM calls ORDER BY n;
SET ROLE regress_en57_reader;
SELECT call, try(call) FROM calls ORDER BY n;
SET ROLE regress_en57_writer;
SELECT call, try(call) FROM calls ORDER BY n;
SET ROLE regress_en57_both;
SELECT call, try(call) FROM calls ORDER BY n;
RESET ROLE;

-- a revoked privilege counts at once, in a session that has used it, and in a prepared statement
SET ROLE regress_en57_both;
PREPARE p AS SELECT outcome FROM en57_append('{"type": "p"}');
EXECUTE p;
RESET ROLE;
REVOKE INSERT ON en57.events_default FROM regress_en57_both;
SET ROLE regress_en57_both;
EXECUTE p;
SELECT en57_count() > 0;
RESET ROLE;
-- the definer's rights count in a SECURITY DEFINER function
CREATE FUNCTION append_for_all() RETURNS en57_outcome LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$ SELECT outcome FROM en57_append('{"type": "definer"}') $$;
SET ROLE regress_en57_stranger;
SELECT append_for_all();
RESET ROLE;
-- and those of a cursor are checked when it is opened
SET ROLE regress_en57_reader;
BEGIN;
DECLARE c CURSOR FOR SELECT (en57_read()).type;
FETCH 1 FROM c;
COMMIT;
RESET ROLE;

-- row-level security in force for the caller: refused, neither bypassed nor silently unfiltered
GRANT INSERT ON en57.events_default TO regress_en57_both;
ALTER TABLE en57.events_default ENABLE ROW LEVEL SECURITY;
\set VERBOSITY default
SET ROLE regress_en57_both;
SELECT en57_count();
SELECT en57_append('{"type": "a"}');
\set VERBOSITY terse
SELECT left(call, 60) AS call, try(call) FROM calls WHERE call LIKE '%en57%_%(%' AND n <= 19 ORDER BY n;
-- not even the privilege to see that there is something
SET ROLE regress_en57_stranger;
SELECT en57_count();
RESET ROLE;
-- not for the owner and superusers, unless it is forced for the owner
SELECT en57_count() > 0 AS superuser;
ALTER ROLE regress_en57_both BYPASSRLS;
SET ROLE regress_en57_both;
SELECT en57_count() > 0 AS bypassing;
RESET ROLE;
ALTER ROLE regress_en57_both NOBYPASSRLS;
ALTER TABLE en57.events_default DISABLE ROW LEVEL SECURITY;

-- a read-only transaction
BEGIN READ ONLY;
SELECT en57_append('{"type": "a"}');
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT en57_lock('{"tags": ["t"]}');
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT en57.append_events(ARRAY[(NULL, 'a', NULL, NULL, NULL)]::en57.event[]);
\echo :SQLSTATE
ROLLBACK;

-- objects of a hostile schema before pg_catalog and public change nothing
CREATE SCHEMA hostile;
CREATE TABLE hostile.events (LIKE en57.events);
CREATE TABLE hostile.events_default (LIKE en57.events);
CREATE FUNCTION hostile.btint8cmp(bigint, bigint) RETURNS integer LANGUAGE sql AS $$ SELECT 1/0 $$;
CREATE FUNCTION hostile.pg_sequence_last_value(regclass) RETURNS bigint LANGUAGE sql AS $$ SELECT 1/0 $$;
CREATE FUNCTION hostile.keys(text, text[], text, jsonb) RETURNS bigint[] LANGUAGE sql AS $$ SELECT 1/0 $$;
CREATE TYPE hostile.en57_outcome AS ENUM ('stolen');
CREATE FUNCTION hostile.concat(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT 1/0 $$;
CREATE OPERATOR hostile.|| (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = hostile.concat);
SET search_path = hostile, pg_catalog, public, en57;
SET en57.meta = '{"a": 1}';
SELECT outcome FROM public.en57_append('{"type": "hostile", "tags": ["h"], "meta": {"b": 2}}', fail_if => '{"tags": ["h"]}');
SELECT outcome FROM public.en57_append('{"type": "hostile", "tags": ["h"]}', fail_if => '{"tags": ["h"]}');
SELECT type, meta FROM public.en57_read('{"tags": ["h"]}');
RESET en57.meta;
-- with an empty search path
SET search_path = '';
SELECT outcome FROM public.en57_append('{"type": "hostile", "tags": ["h2"]}', fail_if => '{"tags": ["h2"]}');
SELECT outcome, pg_catalog.jsonb_array_length(conflicts) FROM public.en57_append('{"type": "hostile", "tags": ["h2"]}', fail_if => '{"tags": ["h2"]}');
SELECT type FROM public.en57_read('{"tags": ["h2"]}');
SELECT position > 0 FROM en57.append_events(ARRAY[ROW(NULL, 'a', NULL, NULL, '{x}')::en57.event]);
SELECT type, tags FROM en57.read_events(ARRAY['{"tags": ["x"]}'::pg_catalog.jsonb]);
RESET search_path;
-- functions that run with their owner's rights ask for a ticket of the caller's, and have a fixed search_path (should be 0)
SELECT count(*) FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' JOIN pg_extension x ON x.oid = d.refobjid
WHERE x.extname = 'en57' AND prosecdef AND NOT coalesce(proargnames[1] = 'ticket' AND 'search_path=pg_catalog, pg_temp' = ANY (proconfig), false);
-- a ticket is a number that nobody can guess: another one is refused, and uses it up
SELECT en57_create_subscription('guarded');
CREATE TABLE ticket AS SELECT en57.ticket() AS number;
SELECT en57.replay(number + 1, 'guarded', NULL) FROM ticket;
SELECT en57.replay(number, 'guarded', NULL) FROM ticket;
SELECT en57.replay(en57.ticket(), 'guarded', NULL);
DROP SCHEMA hostile CASCADE;
DROP EXTENSION en57 CASCADE;
DROP OWNED BY regress_en57_reader, regress_en57_writer, regress_en57_both, regress_en57_stranger;
DROP ROLE regress_en57_reader, regress_en57_writer, regress_en57_both, regress_en57_stranger;
