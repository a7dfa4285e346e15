-- Events are immutable: UPDATE, DELETE and TRUNCATE raise for every role, whatever the session's settings, on the log and on its partitions.
-- Fails when the guard's triggers are missing, not ALWAYS, or not on the partition itself.
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
RESET ROLE;
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
