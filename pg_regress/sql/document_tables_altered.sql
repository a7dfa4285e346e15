-- What somebody adds to a table of documents is honoured: such a table is written by statements, any other directly.
-- Fails when store/documents.rs takes a table for plain that is not, loses entries of the index where a row moves to another page, or writes without the owner's rights.
CREATE FUNCTION counted(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE WHEN e.type = 'gone' THEN NULL ELSE jsonb_build_object('n', coalesce((doc->>'n')::int, 0) + 1, 'pad', repeat('x', (e.data->>'pad')::int)) END
$$;
SELECT en57_create_document_projection('d', '{}', 'tag:d:', 'counted(jsonb,en57_event)');
CREATE FUNCTION add(id text, pad int DEFAULT 0, type text DEFAULT 'new') RETURNS en57_outcome LANGUAGE sql AS $$
    SELECT outcome FROM en57_append(jsonb_build_object('type', type, 'tags', ARRAY['d:' || id], 'data', jsonb_build_object('pad', pad)))
$$;
CREATE FUNCTION by_index(wanted text) RETURNS TABLE (id text, n int, pad int) LANGUAGE sql SET enable_seqscan = off AS $$
    SELECT id, (doc->>'n')::int, length(doc->>'pad') FROM d WHERE id = wanted
$$;

-- rows that grow move to other pages, where the index finds them; dead versions are not found
SELECT count(add('grow' || n % 20, n * 7)) FROM generate_series(1, 400) n;
SELECT count(*), sum(f.n), max(f.pad) FROM generate_series(0, 19) n, by_index('grow' || n) f;
SET enable_seqscan = off;
SELECT count(*) FROM d WHERE id BETWEEN 'grow' AND 'grow9';
RESET enable_seqscan;
-- several times in one transaction, undone in part
BEGIN;
SELECT add('one');
SAVEPOINT s;
SELECT add('one'), add('two'), add('one', 0, 'gone'), add('one', 5), add('grow1', 0, 'gone');
SELECT * FROM by_index('one');
ROLLBACK TO s;
SELECT add('one');
COMMIT;
SELECT * FROM by_index('one');
SELECT * FROM by_index('two');
SELECT n FROM by_index('grow1');
SELECT add('one', 0, 'gone');
SELECT count(*) FROM by_index('one');
SELECT add('one');
SELECT * FROM by_index('one');
-- by hand, before and within the same transaction
UPDATE d SET doc = '{"n": 100}' WHERE id = 'one';
BEGIN;
UPDATE d SET doc = jsonb_set(doc, '{n}', '200') WHERE id = 'one';
SELECT add('one');
COMMIT;
SELECT * FROM by_index('one');

-- a CHECK, a trigger, an index with an expression, a unique one, a rule, row security
ALTER TABLE d ADD CONSTRAINT small CHECK ((doc->>'n')::int < 203);
SELECT add('one');
\set VERBOSITY terse
SELECT add('one');
\set VERBOSITY default
ALTER TABLE d DROP CONSTRAINT small;
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% %', TG_OP, coalesce(new.id, old.id); RETURN coalesce(new, old); END $$;
CREATE TRIGGER shout AFTER INSERT OR UPDATE OR DELETE ON d FOR EACH ROW EXECUTE FUNCTION shout();
SELECT add('one'), add('three'), add('three', 0, 'gone');
DROP TRIGGER shout ON d;
CREATE UNIQUE INDEX by_n ON d ((doc->>'n')) WHERE id ~ '^u';
SELECT add('u1');
SELECT add('u2');
SELECT id FROM d WHERE doc->>'n' = '1' AND id ~ '^u';
DROP INDEX by_n;
CREATE RULE quiet AS ON UPDATE TO d WHERE old.id = 'u1' DO INSTEAD NOTHING;
SELECT add('u1');
SELECT * FROM by_index('u1');
DROP RULE quiet ON d;
SELECT add('u1');
SELECT * FROM by_index('u1');
CREATE ROLE keeper;
GRANT CREATE ON SCHEMA public TO keeper;
ALTER TABLE d OWNER TO keeper;
ALTER TABLE d ENABLE ROW LEVEL SECURITY;
ALTER TABLE d FORCE ROW LEVEL SECURITY;
CREATE POLICY none ON d USING (id <> 'u3');
SELECT add('u1');
\set VERBOSITY terse
SELECT add('u3');
ALTER TABLE d DISABLE ROW LEVEL SECURITY;
SELECT add('u3');
-- an owner who may not write any more
REVOKE UPDATE ON d FROM keeper;
SELECT add('u3');
GRANT UPDATE ON d TO keeper;
SELECT add('u3');
SELECT * FROM by_index('u3');
-- no key any more, and another one
ALTER TABLE d DROP CONSTRAINT d_pkey;
SELECT add('u3');
ALTER TABLE d ADD PRIMARY KEY (id, version);
SELECT add('u3');
SELECT * FROM by_index('u3');
SELECT en57_drop_projection('d');
REVOKE CREATE ON SCHEMA public FROM keeper;
DROP ROLE keeper;
