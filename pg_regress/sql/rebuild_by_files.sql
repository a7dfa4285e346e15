-- Swapping by files: the table stays the same one with all that is said about it, its files are new, and all indexes agree with it; where files cannot be exchanged, that is told, and rows are written instead.
-- Fails when an index, a TOAST table or a property of the table is lost on the way, or when a table is given new files that needs more than that.
CREATE FUNCTION a(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('n', coalesce((doc->>'n')::int, 0) + 1, 'long', (SELECT string_agg(md5(g::text || e.position), '') FROM generate_series(1, (e.data->>'long')::int) g)) $$;
CREATE FUNCTION b(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT a(doc, e) || '{"b": [1, 2]}' WHERE e.type <> 'hidden' $$;
SELECT en57_create_document_projection('docs', '{}', 'tag:d:', 'a(jsonb,en57_event)');
SELECT count(*) FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', CASE WHEN g % 100 = 99 THEN 'hidden' ELSE 'a' END, 'tags', ARRAY['d:' || g % 500],
    'data', jsonb_build_object('long', CASE WHEN g % 50 = 0 THEN 300 ELSE 1 END))) FROM generate_series(1, 1500) g));
SELECT en57_create_document_projection('fresh', '{}', 'tag:d:', 'b(jsonb,en57_event)');
CREATE VIEW differs AS SELECT id FROM fresh f FULL JOIN docs d USING (id) WHERE f::text IS DISTINCT FROM d::text;
-- faults in the files; not every build of PostgreSQL has the extensions that look for them
CREATE FUNCTION faults(OUT of_rows bigint, OUT not_visible bigint, OUT not_frozen bigint) LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM pg_available_extensions WHERE name IN ('amcheck', 'pg_visibility')) < 2 THEN
        SELECT 0, 0, 0 INTO of_rows, not_visible, not_frozen;
        RETURN;
    END IF;
    SET LOCAL client_min_messages = warning;
    CREATE EXTENSION IF NOT EXISTS amcheck;
    CREATE EXTENSION IF NOT EXISTS pg_visibility;
    PERFORM bt_index_check(i.oid, true) FROM pg_index x JOIN pg_class i ON i.oid = indexrelid
      WHERE indrelid = 'docs'::regclass AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree');
    SELECT count(*) INTO of_rows FROM verify_heapam('docs', check_toast => true);
    SELECT count(*) INTO not_visible FROM pg_check_visible('docs');
    SELECT count(*) INTO not_frozen FROM pg_check_frozen('docs');
    -- all pages are known to be seen by all
    SELECT of_rows + count(*) INTO of_rows FROM pg_visibility_map_summary('docs') WHERE all_visible = 0 OR all_visible <> all_frozen;
END $$;

-- all that can be said about a table and its indexes
CREATE ROLE regress_reader;
GRANT SELECT ON docs TO regress_reader;
COMMENT ON TABLE docs IS 'kept';
COMMENT ON COLUMN docs.doc IS 'kept, too';
ALTER TABLE docs SET (fillfactor = 70, toast.autovacuum_enabled = off);
ALTER TABLE docs ALTER doc SET STORAGE EXTERNAL, ALTER version SET STATISTICS 77;
CREATE STATISTICS docs_statistics ON version, position FROM docs;
CREATE INDEX docs_gin ON docs USING gin (doc jsonb_path_ops) WITH (fastupdate = on);
CREATE INDEX docs_partial ON docs (version DESC NULLS LAST) INCLUDE (position) WITH (fillfactor = 50) WHERE version > 2;
CREATE INDEX docs_expression ON docs ((doc->>'n') COLLATE "C" text_pattern_ops, length(doc->>'long'));
CREATE INDEX docs_hash ON docs USING hash (version);
CREATE INDEX docs_brin ON docs USING brin (position) WITH (pages_per_range = 2);
CREATE UNIQUE INDEX docs_unique ON docs (position, id) NULLS NOT DISTINCT;
ALTER TABLE docs ADD CONSTRAINT docs_constraint UNIQUE (updated_at, id);
COMMENT ON INDEX docs_partial IS 'kept';
ALTER INDEX docs_expression ALTER COLUMN 1 SET STATISTICS 66;
CLUSTER docs USING docs_pkey;
ANALYZE docs;
CREATE VIEW hidden_in AS SELECT count(*) FROM docs WHERE doc @> '{"b": [2]}';
CREATE VIEW is_such AS SELECT c.oid, relname, relowner, relam, reltablespace, relpersistence, relhasindex, relacl, reloptions, relrewrite,
        obj_description(c.oid) AS comment, pg_get_indexdef(c.oid) AS index, indisvalid, indisready, indisclustered, indimmediate, indisunique,
        (SELECT array_agg((attname, attstorage, attstattarget, attcompression)::text ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid) AS columns,
        (SELECT reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid) AS of_toast
    FROM pg_class c LEFT JOIN pg_index i ON indexrelid = c.oid WHERE c.oid = 'docs'::regclass OR indrelid = 'docs'::regclass;
CREATE TABLE was_such AS SELECT * FROM is_such;
CREATE TABLE files AS SELECT oid, relfilenode, reltoastrelid FROM pg_class WHERE oid IN (SELECT oid FROM was_such);

CALL en57_rebuild('docs', 'b(jsonb,en57_event)', swap => 'files');
SELECT count(*) AS differ FROM differs;
SELECT count(*) FROM docs;
(TABLE was_such EXCEPT TABLE is_such) UNION ALL (TABLE is_such EXCEPT TABLE was_such);
SELECT count(*) AS relations, count(*) FILTER (WHERE f.relfilenode <> c.relfilenode) AS with_new_files,
    count(*) FILTER (WHERE f.reltoastrelid <> c.reltoastrelid) AS with_new_toast, min(c.reltuples) FILTER (WHERE c.relkind = 'r') FROM files f JOIN pg_class c USING (oid);
SELECT relname = 'pg_toast_' || 'docs'::regclass::oid AS named, relrewrite, indexrelid::regclass::text = 'pg_toast.' || relname || '_index' AS index_named
    FROM pg_class t JOIN pg_index ON indrelid = t.oid WHERE t.oid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'docs');
SELECT count(*) FROM pg_class WHERE relname ~ '^pg_temp_' OR relrewrite <> 0;
-- indexes agree with the table, and the table with itself
SELECT * FROM faults();
SET enable_seqscan = off;
SELECT count(*) FROM docs WHERE doc @> '{"b": [2]}';
SELECT count(*) FROM docs WHERE version > 2;
SELECT count(*) FROM docs WHERE version = 2;
SELECT count(*) FROM docs WHERE doc->>'n' COLLATE "C" = '3' AND length(doc->>'long') > 9000;
SET enable_indexscan = off;
SELECT count(*) FROM docs WHERE position BETWEEN 1000 AND 1100;
SET enable_bitmapscan = off;
SET enable_seqscan = on;
SELECT count(*) FROM docs WHERE doc @> '{"b": [2]}';
SELECT count(*) FROM docs WHERE version > 2;
SELECT count(*) FROM docs WHERE version = 2;
SELECT count(*) FROM docs WHERE doc->>'n' COLLATE "C" = '3' AND length(doc->>'long') > 9000;
SELECT count(*) FROM docs WHERE position BETWEEN 1000 AND 1100;
RESET enable_indexscan;
RESET enable_bitmapscan;
TABLE hidden_in;
-- it goes on, and can be done again
SELECT count(*) FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'a', 'tags', ARRAY['d:' || g], 'data', '{"long": 200}'::jsonb)) FROM generate_series(490, 510) g));
SELECT count(*) AS differ FROM differs;
CALL en57_rebuild('docs', swap => 'files');
SELECT count(*) AS differ FROM differs;
VACUUM (FREEZE) docs;
SELECT * FROM faults();

-- of NULL and few documents rows come; nothing that is equal is written, whatever the way
CREATE TABLE file AS SELECT pg_relation_filenode('docs');
CREATE TABLE places AS SELECT id, ctid AS place FROM docs;
UPDATE docs SET doc = '{}' WHERE id = '7';
DELETE FROM docs WHERE id = '8';
INSERT INTO docs VALUES ('surplus', '{}', 1, 1, now());
CALL en57_rebuild('docs');
SELECT count(*) AS differ FROM differs;
UPDATE docs SET doc = '{}' WHERE id = '7';
CALL en57_rebuild('docs', swap => 'rows');
SELECT count(*) AS differ FROM differs;
SELECT count(*) FROM docs JOIN places USING (id) WHERE docs.ctid <> place;
SELECT count(*) FROM file WHERE pg_relation_filenode = pg_relation_filenode('docs');
-- an asynchronous projection
SELECT en57_create_document_projection('later', '{}', 'tag:d:', 'a(jsonb,en57_event)', mode => 'async');
CALL en57_rebuild('later', 'b(jsonb,en57_event)', swap => 'files');
SELECT (SELECT count(*) FROM later) = (SELECT count(*) FROM docs) AS same, status, lag FROM en57_projections WHERE name = 'later';

-- in a transaction block: undone with it, and with a savepoint
UPDATE docs SET doc = '{}' WHERE id = '7';
BEGIN;
SAVEPOINT s;
CALL en57_rebuild('docs', swap => 'files');
SELECT count(*) AS differ FROM differs;
ROLLBACK TO s;
SELECT count(*) AS differ FROM differs;
SELECT count(*) FROM en57_append('{"type": "a", "tags": ["d:1"], "data": {"long": 200}}');
CALL en57_rebuild('docs', swap => 'files');
SELECT count(*) AS differ FROM differs;
ROLLBACK;
SELECT count(*) AS differ FROM differs;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM docs ORDER BY id;
FETCH 2 FROM c;
CALL en57_rebuild('docs', swap => 'files');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM docs WHERE id = '7';
CALL en57_rebuild('docs', swap => 'files');
COMMIT;
SELECT count(*) AS differ FROM differs;
SELECT count(*) FROM pg_class WHERE relname ~ '^pg_temp_' OR relrewrite <> 0;

-- what a table may have that files know nothing of: told, and written by rows
\set VERBOSITY terse
CALL en57_rebuild('docs', swap => 'both');
CALL en57_rebuild('docs', swap => '');
\set VERBOSITY default
CREATE PROCEDURE try(change text, take_back text) LANGUAGE plpgsql AS $$
DECLARE detail text; file oid;
BEGIN
    EXECUTE change;
    BEGIN
        CALL en57_rebuild('docs', swap => 'files');
        RAISE EXCEPTION 'files were swapped';
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        RAISE NOTICE '%: %', SQLERRM, detail;
    END;
    file := pg_relation_filenode('docs');
    UPDATE docs SET doc = '{}' WHERE id = '7';
    CALL en57_rebuild('docs');
    IF pg_relation_filenode('docs') <> file OR EXISTS (SELECT FROM docs JOIN fresh USING (id) WHERE docs.doc <> fresh.doc) THEN RAISE 'not written'; END IF;
    EXECUTE take_back;
END $$;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CALL try('CREATE TRIGGER t BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION nothing()', 'DROP TRIGGER t ON docs');
CALL try('CREATE TABLE refers (id text COLLATE "C" REFERENCES docs)', 'DROP TABLE refers');
CALL try('ALTER TABLE docs ADD CHECK (version > 0)', 'ALTER TABLE docs DROP CONSTRAINT docs_version_check');
CALL try('ALTER TABLE docs ADD CONSTRAINT docs_deferred UNIQUE (version, id) DEFERRABLE', 'ALTER TABLE docs DROP CONSTRAINT docs_deferred');
CALL try('CREATE RULE r AS ON UPDATE TO docs WHERE false DO INSTEAD NOTHING', 'DROP RULE r ON docs');
CALL try('ALTER TABLE docs ADD EXCLUDE USING btree (id WITH =)', 'ALTER TABLE docs DROP CONSTRAINT docs_id_excl');
CALL try('CREATE TABLE child () INHERITS (docs)', 'DROP TABLE child; ANALYZE docs');
CALL try('ALTER TABLE docs SET UNLOGGED', 'ALTER TABLE docs SET LOGGED');
CALL try('ALTER TABLE docs DROP CONSTRAINT docs_pkey; CREATE INDEX docs_id ON docs (id)', 'DROP INDEX docs_id; ALTER TABLE docs ADD PRIMARY KEY (id)');
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'docs_gin'::regclass;
CALL try('', 'REINDEX INDEX docs_gin');
-- a superuser's table has no row security
CREATE ROLE regress_owner;
GRANT CREATE ON SCHEMA public TO regress_owner;
ALTER TABLE docs OWNER TO regress_owner;
ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
CALL en57_rebuild('docs', swap => 'files');
ALTER TABLE docs FORCE ROW LEVEL SECURITY;
CREATE POLICY all_of_them ON docs USING (true);
CALL try('', 'ALTER TABLE docs NO FORCE ROW LEVEL SECURITY');
REVOKE DELETE ON docs FROM regress_owner;
CALL en57_rebuild('docs', swap => 'files');
GRANT DELETE ON docs TO regress_owner;
ALTER TABLE docs OWNER TO CURRENT_USER;
CALL try('ALTER TABLE docs ADD own text', 'ALTER TABLE docs DROP own');
-- a column that was dropped leaves a trace
CALL en57_rebuild('docs', swap => 'files');
-- refused before a rebuild begins; it can also come to it later
SELECT count(*) FROM en57_stat_progress_rebuild;
CREATE FUNCTION sums(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT to_jsonb(1)';
CREATE UNIQUE INDEX later_unique ON later ((doc->>'n'), id, version);
CREATE UNIQUE INDEX later_doc ON later ((doc = '1')) WHERE doc = '1';
\set VERBOSITY terse
CALL en57_rebuild('later', 'sums(jsonb,en57_event)', swap => 'files');
\set VERBOSITY default
SELECT phase, last_error->>'sqlstate' AS sqlstate FROM en57_stat_progress_rebuild;
DROP INDEX later_doc;
CALL en57_rebuild('later', swap => 'files');
SELECT DISTINCT doc FROM later;
SELECT count(*) FROM pg_class WHERE relname ~ '^pg_temp_' OR relrewrite <> 0;

DROP EXTENSION en57 CASCADE;
DROP OWNED BY regress_reader, regress_owner;
DROP ROLE regress_reader, regress_owner;
