-- Events are immutable: UPDATE, DELETE and TRUNCATE raise for every role, whatever the session's settings, on the log and on its partitions.
-- Fails when the guard's triggers are missing, not ALWAYS, or not on the partition itself; and without `keep_guards`, which keeps who may create triggers from replacing them.
CREATE ROLE regress_en57_owner;
CREATE ROLE regress_en57_writer;
SELECT position FROM en57_append('[{"type": "a", "id": "00000000-0000-0000-0000-000000000001"}, {"type": "b"}]');
GRANT ALL ON en57.events, en57.events_default TO regress_en57_writer;
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN sqlstate || ' ' || sqlerrm || coalesce(' HINT ' || nullif(hint, ''), '');
END $$;
CREATE TABLE statements (n serial, statement text);
INSERT INTO statements (statement) SELECT format(s, t) FROM unnest('{en57.events,en57.events_default}'::text[]) t, unnest(ARRAY[
    'UPDATE %s SET type = ''x''', 'UPDATE %s SET position = 9 WHERE false', 'UPDATE ONLY %s SET data = NULL', 'DELETE FROM %s', 'DELETE FROM %s WHERE position = 1', 'TRUNCATE %s',
    'WITH gone AS (DELETE FROM %s RETURNING *) SELECT count(*) FROM gone',
    'MERGE INTO %s e USING (SELECT 1) s ON e.position = 1 WHEN MATCHED THEN DELETE', 'MERGE INTO %s e USING (SELECT 1) s ON e.position = 1 WHEN MATCHED THEN UPDATE SET type = ''x''']) s;
INSERT INTO statements (statement) VALUES ('TRUNCATE en57.events, en57.events_default RESTART IDENTITY CASCADE'), ('TRUNCATE ONLY en57.events_default'),
    ('INSERT INTO en57.events_default SELECT * FROM en57.events WHERE position = 1 ON CONFLICT (id) DO UPDATE SET type = ''x''');
GRANT SELECT ON statements TO PUBLIC;
-- the superuser
SELECT statement, try(statement) FROM statements ORDER BY n;
-- as a replica does: ordinary triggers do not fire there
SET session_replication_role = replica;
SELECT try(statement), count(*) FROM statements GROUP BY 1 ORDER BY 1;
RESET session_replication_role;
-- a role with every privilege
SET ROLE regress_en57_writer;
SELECT try(statement), count(*) FROM statements GROUP BY 1 ORDER BY 1;
-- inserting past en57_append is for a restore: the owner's
SELECT try('INSERT INTO en57.events SELECT * FROM en57.events WHERE false');
SELECT try('INSERT INTO en57.events_default SELECT 100, ''00000000-0000-0000-0000-000000000009'', ''x'', NULL, NULL, ''{}'', NULL, NULL, 1, now(), now(), ''default'', 0');
COPY en57.events FROM stdin;
\.
-- nor may it take the guard away
SELECT left(try('ALTER TABLE en57.events_default DISABLE TRIGGER en57_guard'), 5) AS refused;
SELECT left(try('DROP TRIGGER en57_guard ON en57.events_default'), 5) AS refused;
SELECT left(try('SET session_replication_role = replica'), 5) AS refused;
-- nor replace it: CREATE OR REPLACE TRIGGER asks for the TRIGGER privilege alone; by none of the ways that a command comes
RESET ROLE;
CREATE FUNCTION harmless() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
SET ROLE regress_en57_writer;
\set VERBOSITY default
CREATE OR REPLACE TRIGGER en57_guard AFTER DELETE ON en57.events_default FOR EACH STATEMENT EXECUTE FUNCTION harmless();
\set VERBOSITY terse
CREATE OR REPLACE TRIGGER en57_guard_truncate AFTER DELETE ON en57.events_default FOR EACH STATEMENT EXECUTE FUNCTION harmless();
CREATE OR REPLACE TRIGGER en57_guard BEFORE INSERT OR UPDATE OR DELETE ON en57.events_default FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION en57.guard();
CREATE OR REPLACE TRIGGER en57_guard BEFORE INSERT OR UPDATE OR DELETE ON en57.events_default FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();
CREATE OR REPLACE TRIGGER en57_guard AFTER DELETE ON en57.events FOR EACH STATEMENT EXECUTE FUNCTION harmless();
-- one on the log for each row makes triggers of its name on the partitions
CREATE OR REPLACE TRIGGER en57_guard AFTER DELETE ON en57.events FOR EACH ROW EXECUTE FUNCTION harmless();
CREATE OR REPLACE TRIGGER en57_guard_truncate AFTER DELETE ON en57.events FOR EACH ROW EXECUTE FUNCTION harmless();
DO $$ BEGIN EXECUTE 'CREATE OR REPLACE TRIGGER en57_guard AFTER DELETE ON en57.events_default FOR EACH STATEMENT EXECUTE FUNCTION harmless()'; END $$;
SET search_path = en57, public;
CREATE OR REPLACE TRIGGER en57_guard AFTER DELETE ON events_default FOR EACH STATEMENT EXECUTE FUNCTION harmless();
RESET search_path;
ALTER TRIGGER en57_guard ON en57.events_default RENAME TO mine;
SELECT try(statement), count(*) FROM statements GROUP BY 1 ORDER BY 1;
-- triggers of other names, and on other tables, are nobody's business
CREATE TRIGGER other AFTER DELETE ON en57.events_default FOR EACH STATEMENT EXECUTE FUNCTION harmless();
CREATE OR REPLACE TRIGGER other AFTER DELETE ON en57.events_default FOR EACH STATEMENT EXECUTE FUNCTION harmless();
CREATE TEMPORARY TABLE events_default (n int);
CREATE TRIGGER en57_guard AFTER DELETE ON events_default FOR EACH STATEMENT EXECUTE FUNCTION harmless();
DROP TABLE events_default;
RESET ROLE;
DROP TRIGGER other ON en57.events_default;
-- the owner may, and where one is no guard by its function, its condition or what it fires for, it is missed: nothing is appended that could be changed
SELECT count(*) FROM en57_check();
BEGIN;
CREATE OR REPLACE TRIGGER en57_guard BEFORE INSERT OR UPDATE OR DELETE ON en57.events_default FOR EACH STATEMENT EXECUTE FUNCTION harmless();
CREATE OR REPLACE TRIGGER en57_guard_truncate BEFORE TRUNCATE ON en57.events FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION en57.guard();
\x on
SELECT * FROM en57_check();
\x off
SELECT en57_append('{"type": "a"}');
ROLLBACK;
CREATE TABLE others (n serial, made text);
INSERT INTO others (made) VALUES ('BEFORE INSERT OR UPDATE OR DELETE ON en57.events_default FOR EACH STATEMENT WHEN (false)'), ('BEFORE INSERT OR UPDATE OF data OR DELETE ON en57.events_default FOR EACH STATEMENT'),
    ('BEFORE INSERT OR UPDATE ON en57.events_default FOR EACH STATEMENT'), ('AFTER INSERT OR UPDATE OR DELETE ON en57.events_default FOR EACH STATEMENT'), ('BEFORE INSERT OR UPDATE OR DELETE ON en57.events_default FOR EACH ROW'),
    ('BEFORE INSERT OR UPDATE OR DELETE ON en57.events_default FOR EACH STATEMENT');
CREATE FUNCTION replaced(made text) RETURNS TABLE (append text, faults bigint) LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE 'CREATE OR REPLACE TRIGGER en57_guard ' || made || ' EXECUTE FUNCTION en57.guard(); ALTER TABLE en57.events_default ENABLE ALWAYS TRIGGER en57_guard';
    append := left(try('SELECT en57_append(''{"type": "c"}'')'), 75);
    faults := (SELECT count(*) FROM en57_check());
    RETURN NEXT;
END $$;
BEGIN;
SELECT o.made, r.* FROM others o, replaced(o.made) r ORDER BY n;
ROLLBACK;
-- the owner of the tables, not a superuser
ALTER TABLE en57.events OWNER TO regress_en57_owner;
ALTER TABLE en57.events_default OWNER TO regress_en57_owner;
SET ROLE regress_en57_owner;
SELECT try(statement), count(*) FROM statements GROUP BY 1 ORDER BY 1;
RESET ROLE;
-- triggers of every kind are in force
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger WHERE tgrelid IN ('en57.events'::regclass, 'en57.events_default'::regclass) ORDER BY 1, 2;
-- nothing has changed
SELECT position, type, data FROM en57_read();
DROP EXTENSION en57 CASCADE;
DROP OWNED BY regress_en57_owner, regress_en57_writer;
DROP ROLE regress_en57_owner, regress_en57_writer;
