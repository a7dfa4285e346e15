-- Rebuilding: documents are made anew beside the live ones and swapped at once; what stands in the way is told.
-- Fails when a rebuilt document is not the fold of all its events, when the table loses what users have made on it, or when an error leaves live documents half new.
CREATE FUNCTION up(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = 'poison' AND current_setting('t.poison', true) = 'on' THEN RAISE EXCEPTION USING ERRCODE = 'X1234', MESSAGE = 'poisoned'; END IF;
    IF e.type = 'removed' THEN RETURN NULL; END IF;
    RETURN jsonb_build_object('n', coalesce((doc->>'n')::int, 0) + 1);
END $$;
CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS '';
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["d:1"]}, {"type": "a", "tags": ["d:2", "d:3"]}, {"type": "removed", "tags": ["d:3"]},
    {"type": "a", "tags": ["d:1"]}, {"type": "poison", "tags": ["d:4"]}, {"type": "a", "tags": ["d:4", "d:5"]}, {"type": "a"}]');
SELECT en57_create_document_projection('docs', '{}', 'tag:d:', 'up(jsonb,en57_event)');
CREATE TABLE before AS SELECT * FROM docs;
CREATE VIEW differs AS SELECT id FROM before b FULL JOIN docs d USING (id)
    WHERE (b.doc, b.version, b.position, b.updated_at) IS DISTINCT FROM (d.doc, d.version, d.position, d.updated_at);

-- changed by hand: after it, all is as it was, in the same table with what users have made on it
CREATE ROLE regress_reader;
GRANT SELECT ON docs TO regress_reader;
CREATE INDEX docs_n ON docs ((doc->'n'));
ALTER TABLE docs ADD n text GENERATED ALWAYS AS (doc->>'n') STORED;
COMMENT ON TABLE docs IS 'kept';
CREATE VIEW twos AS SELECT id FROM docs WHERE n = '2';
CREATE TABLE table_before AS SELECT oid, relname, relowner, relfilenode, relacl FROM pg_class WHERE relname = 'docs';
UPDATE docs SET doc = '{"n": 99}' WHERE id IN ('1', '4');
DELETE FROM docs WHERE id = '2';
INSERT INTO docs VALUES ('', '{}', 1, 1, now()), ('00', '{}', 1, 1, now()), ('99', '{}', 1, 1, now());
-- equal as jsonb, but not the same
UPDATE docs SET doc = '{"n": 1.0}' WHERE id = '5';
SELECT count(*) FROM differs;
CALL en57_rebuild('docs');
SELECT count(*) FROM differs;
SELECT id, doc, version, position, n FROM docs ORDER BY id;
SELECT * FROM twos;
SELECT count(*) FROM table_before b JOIN pg_class c USING (oid, relname, relowner, relfilenode) WHERE b.relacl = c.relacl;
SELECT obj_description('docs'::regclass);
SELECT name, mode, status, lag FROM en57_projections;
-- what is right already is not written again
CREATE TABLE places AS SELECT id, ctid AS place FROM docs;
CALL en57_rebuild('docs');
SELECT count(*) FROM docs d JOIN places p ON p.id = d.id AND p.place = d.ctid;
-- nothing is left
SELECT (SELECT count(*) FROM en57.rebuilds) + (SELECT count(*) FROM en57.rebuild_documents) AS left_behind;
SELECT * FROM en57_stat_progress_rebuild;
-- it goes on inline, from there
SELECT outcome FROM en57_append('{"type": "a", "tags": ["d:1", "d:6"]}');
SELECT id, doc, version FROM docs WHERE id IN ('1', '6') ORDER BY id;

-- in one transaction: undone with it
BEGIN;
SELECT outcome FROM en57_append('{"type": "a", "tags": ["d:1"]}');
UPDATE docs SET doc = '{}';
CALL en57_rebuild('docs');
SELECT id, doc FROM docs ORDER BY id;
ROLLBACK;
SELECT id, doc FROM docs WHERE id = '1';
-- in a function, and in a procedure that may commit
CREATE FUNCTION in_function() RETURNS text LANGUAGE plpgsql AS $$ BEGIN CALL en57_rebuild('docs'); RETURN 'done'; END $$;
SELECT in_function();
DO $$ BEGIN CALL en57_rebuild('docs'); CALL en57_rebuild('docs'); END $$;
BEGIN ISOLATION LEVEL SERIALIZABLE;
CALL en57_rebuild('docs');
COMMIT;

-- with another definition: until the swap the old one holds, afterwards the new one
CREATE FUNCTION types(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(doc, '[]') || to_jsonb(e.type) $$;
CREATE FUNCTION by_type(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT e.type $$;
CALL en57_rebuild('docs', 'types(jsonb,en57_event)', '["first"]');
SELECT id, doc, version FROM docs ORDER BY id;
CALL en57_rebuild('docs', key_function => 'by_type(en57_event)');
SELECT id, doc, version FROM docs ORDER BY id;
SELECT outcome FROM en57_append('{"type": "b", "tags": ["d:1"]}');
SELECT id, doc, version FROM docs WHERE id IN ('b', '1');
SELECT handler, key FROM en57_projections;
CALL en57_rebuild('docs', 'up(jsonb,en57_event)', '{}', key => 'tag:d:');
SELECT id, doc, version FROM docs WHERE id IN ('b', '1');

-- an error stops it, is told, and live documents stay; called again it goes on, with another function it begins anew
CREATE TABLE live AS SELECT * FROM docs;
SET t.poison = on;
CALL en57_rebuild('docs');
SELECT name, phase, events_done, events_total > 0 AS total, position, failed_position, last_error->>'sqlstate' AS state, last_error->>'message' AS message, last_error->>'context' AS context FROM en57_stat_progress_rebuild;
SELECT count(*) FROM (TABLE live EXCEPT TABLE docs) x;
CALL en57_rebuild('docs');
CALL en57_rebuild('docs', 'types(jsonb,en57_event)');
-- in one transaction it is the function's own error
BEGIN;
CALL en57_rebuild('docs');
ROLLBACK;
SET t.poison = off;
CALL en57_rebuild('docs');
SELECT count(*) FROM (TABLE live EXCEPT TABLE docs) x;
SET t.poison = on;
CALL en57_rebuild('docs');
CREATE OR REPLACE FUNCTION up(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"replaced"'::jsonb $$;
CALL en57_rebuild('docs');
SELECT DISTINCT doc FROM docs;
SELECT en57_cancel_rebuild('docs');

-- on_error => 'skip': put aside anew, the letters of the old run go
CREATE FUNCTION fussy(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = ANY (current_setting('t.refused')::text[]) THEN RAISE EXCEPTION 'refused %', e.type; END IF;
    RETURN to_jsonb(coalesce((doc#>>'{}')::int, 0) + 1);
END $$;
SET t.refused = '{poison,b}';
SELECT en57_create_document_projection('skipping', '{}', 'tag:d:', 'fussy(jsonb,en57_event)', mode => 'async', on_error => 'skip');
SELECT en57_run('skipping');
SELECT position, error->>'message' AS message FROM en57.projection_dead_letters ORDER BY 1;
SET t.refused = '{removed,b}';
CALL en57_rebuild('skipping');
SELECT position, error->>'message' AS message FROM en57.projection_dead_letters ORDER BY 1;
SELECT status, lag, dead_letters FROM en57_projections WHERE name = 'skipping';
SELECT id, doc, version FROM skipping ORDER BY id;
-- a failed one runs again; what was put aside by hand and fails again stays aside
SELECT en57_create_document_projection('stopping', '{}', 'tag:d:', 'fussy(jsonb,en57_event)', mode => 'async');
SELECT en57_run('stopping');
SELECT en57_resume('stopping', skip => true);
SELECT en57_run('stopping');
SELECT status FROM en57_projections WHERE name = 'stopping';
SET t.refused = '{removed}';
CALL en57_rebuild('stopping');
SELECT status, lag, dead_letters FROM en57_projections WHERE name = 'stopping';
-- paused stays paused
SELECT en57_pause('stopping');
SELECT outcome FROM en57_append('{"type": "a", "tags": ["d:7"]}');
CALL en57_rebuild('stopping');
SELECT status, lag FROM en57_projections WHERE name = 'stopping';
SELECT id, doc FROM stopping WHERE id = '7';

-- one that began at the end begins there again
SELECT en57_create_document_projection('late', '{}', 'tag:d:', 'fussy(jsonb,en57_event)', start => 'end');
SELECT outcome FROM en57_append('{"type": "a", "tags": ["d:1"]}');
CALL en57_rebuild('late');
SELECT id, doc, version FROM late;

-- cancelled, dropped, truncated while it is not done
SET t.refused = '{poison}';
CALL en57_rebuild('late');
SET t.refused = '{a}';
CALL en57_rebuild('late');
SELECT en57_cancel_rebuild('late'), en57_cancel_rebuild('late');
SELECT count(*) FROM en57_stat_progress_rebuild;
SELECT id, doc, version FROM late;
CALL en57_rebuild('late');
SELECT en57_drop_projection('late');
SELECT (SELECT count(*) FROM en57.rebuilds WHERE projection = 'late') + (SELECT count(*) FROM en57.rebuild_documents) AS left_behind;
CALL en57_rebuild('skipping');
CALL en57_rebuild('stopping');
SELECT en57_truncate('default');
SELECT name, phase, position, events_done FROM en57_stat_progress_rebuild;
SET t.refused = '{}';
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["d:8"]}, {"type": "a", "tags": ["d:8"]}]');
CALL en57_rebuild('stopping');
SELECT id, doc, version FROM stopping;
-- the table is gone
DROP TABLE stopping;
CALL en57_rebuild('stopping');
SELECT en57_drop_projection('stopping');

-- handlers: what they have written is theirs
SELECT en57_create_projection('noting', '{}', 'note(en57_event)');
CALL en57_rebuild('noting');

-- bad input
\set VERBOSITY terse
CALL en57_rebuild(NULL);
CALL en57_rebuild('nothing');
CALL en57_rebuild('docs', 'note(en57_event)');
CALL en57_rebuild('docs', key => 'tags');
CALL en57_rebuild('docs', key => 'stream', key_function => 'by_type(en57_event)');
CREATE FUNCTION strictly(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql STRICT AS 'SELECT doc';
CALL en57_rebuild('skipping', 'strictly(jsonb,en57_event)');
SELECT en57_cancel_rebuild(NULL);
SELECT en57_cancel_rebuild('nothing');

-- rights: who may administer the projection; progress is shown to who may read
SET ROLE regress_reader;
CALL en57_rebuild('docs');
SELECT en57_cancel_rebuild('docs');
SELECT * FROM en57_stat_progress_rebuild;
SELECT * FROM en57.rebuild_documents;
RESET ROLE;
DROP EXTENSION en57 CASCADE;
DROP OWNED BY regress_reader;
DROP ROLE regress_reader;
