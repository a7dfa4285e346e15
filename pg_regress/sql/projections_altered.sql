-- Projections that are there: left, made others, begun anew. Where they begin.
CREATE EXTENSION IF NOT EXISTS en57;
CREATE FUNCTION told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; hint text; detail text;
BEGIN
    EXECUTE call INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat(SQLSTATE, ' ', SQLERRM, E'\n   DETAIL ' || nullif(detail, ''), E'\n   HINT ' || nullif(hint, ''));
END $$;
CREATE FUNCTION counted(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(coalesce(doc::int, 0) + 1) $$;
CREATE FUNCTION listed(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(doc, '[]') || to_jsonb(e.position) $$;
CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, handler text, position bigint);
CREATE FUNCTION see(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO seen (handler, position) VALUES ('see', e.position) $$;
CREATE FUNCTION look(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO seen (handler, position) VALUES ('look', e.position) $$;
CREATE FUNCTION forget() RETURNS void LANGUAGE sql AS $$ DELETE FROM seen $$;
CREATE VIEW what AS SELECT handler, array_agg(position ORDER BY n) AS positions FROM seen GROUP BY handler ORDER BY handler;
CREATE VIEW about AS SELECT name, mode, query, handler, key, status, position, start_position AS start, truncate_function AS truncate FROM en57_projections ORDER BY name;
\pset tuples_only on
\pset format unaligned
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["k:1"]}, {"type": "b", "tags": ["k:1", "l:1"]}, {"type": "a", "tags": ["k:2"]}, {"type": "b", "tags": ["k:2"]}, {"type": "a", "tags": ["k:1", "l:2"]}]');

-- where it begins: after a position
SELECT told(format($$SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)', start => %L)$$, start))
  FROM unnest(ARRAY['6', '-1', '3.0', ' 3', '', 'middle', '9999999999999999999', NULL]) AS start;
SELECT told($$SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)', start => '6', mode => 'async')$$);
SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)', start => '3');
SELECT en57_create_projection('hand', '{"types": ["a"]}', 'see(en57_event)', start => '1', mode => 'async');
SELECT en57_run('hand');
SELECT id, doc FROM docs ORDER BY id;
SELECT * FROM what;
SELECT * FROM about;
-- a rebuild begins there, too
CALL en57_rebuild('docs');
SELECT id, doc FROM docs ORDER BY id;

-- one that is there is left
SELECT told($$SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)')$$);
SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)', if_not_exists => true);
SELECT en57_create_document_projection('docs', '{"types": ["a"]}', 'tag:l:', 'counted(jsonb,en57_event)', '0', mode => 'async', on_error => 'skip', batch_size => 7, start => 'end', if_not_exists => true);
SELECT en57_create_projection('docs', '{}', 'see(en57_event)', if_not_exists => true);
SELECT en57_create_projection('hand', '{}', 'look(en57_event)', mode => 'async', truncate => 'forget()', if_not_exists => true);
SELECT told($$SELECT en57_create_projection('docs', '{}', 'see(en57_event)', or_replace => true)$$);
SELECT told($$SELECT en57_create_document_projection('hand', '{}', 'stream', 'counted(jsonb,en57_event)', or_replace => true)$$);
SELECT en57_create_partition('apart');
SELECT en57_create_projection('hand', '{"types": ["a"]}', 'see(en57_event)', partition => 'apart', mode => 'async', if_not_exists => true);
SELECT told($$SELECT en57_create_projection('hand', '{"types": ["a"]}', 'see(en57_event)', partition => 'apart', mode => 'async', or_replace => true)$$);
SELECT * FROM about;

-- documents are made anew where anything is another that makes them, from where the projection began; and not otherwise
SELECT xmin::text AS before FROM docs WHERE id = '2' \gset
SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)', start => 'end', or_replace => true);
SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)', batch_size => 7, or_replace => true);
SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)', mode => 'async', or_replace => true);
SELECT xmin::text = :'before' FROM docs WHERE id = '2';
SELECT * FROM about WHERE name = 'docs';
SELECT outcome FROM en57_append('{"type": "a", "tags": ["k:2", "l:3"]}');
SELECT id, doc FROM docs ORDER BY id;
-- as async it has not handled this one; made inline it has
SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)', or_replace => true);
SELECT id, doc FROM docs ORDER BY id;
SELECT outcome FROM en57_append('{"type": "b", "tags": ["k:2"]}');
SELECT id, doc FROM docs ORDER BY id;
-- another query, key, function, initial
SELECT en57_create_document_projection('docs', '{"types": ["a"]}', 'tag:l:', 'listed(jsonb,en57_event)', '["first"]', or_replace => true);
SELECT id, doc FROM docs ORDER BY id;
SELECT en57_create_document_projection('docs', '{"types": ["a"]}', 'tag:k:', 'counted(jsonb,en57_event)', mode => 'async', or_replace => true);
SELECT count(*) FROM docs;
SELECT en57_run('docs');
SELECT id, doc FROM docs ORDER BY id;
-- all or nothing
BEGIN;
SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'listed(jsonb,en57_event)', or_replace => true);
SELECT id, doc FROM docs ORDER BY id;
ROLLBACK;
SELECT id, doc FROM docs ORDER BY id;
SELECT * FROM about WHERE name = 'docs';
-- a paused one stays so
SELECT en57_pause('docs');
SELECT en57_create_document_projection('docs', '{"types": ["b"]}', 'tag:k:', 'counted(jsonb,en57_event)', or_replace => true);
SELECT status, position, mode FROM about WHERE name = 'docs';
SELECT count(*) FROM docs;
SELECT en57_resume('docs');
SELECT id, doc FROM docs ORDER BY id;

-- reset: documents go, and come again
UPDATE docs SET doc = '"by hand"';
SELECT en57_reset_projection('docs');
SELECT id, doc FROM docs ORDER BY id;
SELECT en57_reset_projection('docs', start => '6');
SELECT id, doc FROM docs ORDER BY id;
SELECT en57_reset_projection('docs', start => 'end');
SELECT count(*), (SELECT start FROM about WHERE name = 'docs') FROM docs;
SELECT en57_reset_projection('docs', 'beginning');
SELECT id, doc FROM docs ORDER BY id;
SELECT en57_pause('docs');
SELECT en57_reset_projection('docs');
SELECT count(*), (SELECT status FROM about WHERE name = 'docs') FROM docs;
SELECT en57_resume('docs');
SELECT told(format('SELECT en57_reset_projection(%s)', args)) FROM unnest(ARRAY['NULL', $$'nobody'$$, $$'docs', 'middle'$$, $$'docs', '8'$$]) AS args;
-- a rebuild under way begins anew there
INSERT INTO en57.rebuilds (projection, handler, key, search_path, start_position, position, events) SELECT name, handler, key, search_path, start_position, 7, 3 FROM en57.projections WHERE name = 'docs';
SELECT en57_reset_projection('docs', '4');
SELECT start_position, position, events FROM en57.rebuilds;
SELECT id, doc FROM docs ORDER BY id;
CALL en57_rebuild('docs');
SELECT id, doc FROM docs ORDER BY id;
-- one that is made another ends it
INSERT INTO en57.rebuilds (projection, handler, key, search_path, start_position, position, events) SELECT name, handler, key, search_path, start_position, 7, 3 FROM en57.projections WHERE name = 'docs';
SELECT en57_create_document_projection('docs', '{"types": ["a"]}', 'tag:k:', 'counted(jsonb,en57_event)', or_replace => true);
SELECT count(*) FROM en57.rebuilds;
SELECT id, doc FROM docs ORDER BY id;

-- handlers: without a truncate function what was handled stays handled, and another definition is for what comes
SELECT told($$SELECT en57_reset_projection('hand')$$);
SELECT en57_run('hand');
SELECT en57_create_projection('hand', '{}', 'look(en57_event)', mode => 'async', or_replace => true);
SELECT outcome FROM en57_append('{"type": "b"}');
SELECT en57_run('hand');
SELECT * FROM what;
-- with one, all is handled again
SELECT en57_create_projection('hand', '{}', 'look(en57_event)', mode => 'async', truncate => 'forget()', or_replace => true);
SELECT * FROM what;
SELECT en57_reset_projection('hand');
SELECT count(*) FROM seen;
SELECT en57_run('hand');
SELECT * FROM what;
SELECT en57_create_projection('hand', '{"types": ["b"]}', 'see(en57_event)', truncate => 'forget()', or_replace => true);
SELECT * FROM what;
SELECT * FROM about WHERE name = 'hand';
SELECT en57_reset_projection('hand', '4');
SELECT * FROM what;
-- what does not fit
SELECT told($$SELECT en57_create_projection('p', '{}', 'see(en57_event)', truncate => 'see(en57_event)')$$);
SELECT told($$SELECT en57_create_projection('p', '{}', 'see(en57_event)', truncate => 'pg_catalog.pg_backend_pid()')$$);
SELECT told($$SELECT en57_create_projection('p', '{}', 'see(en57_event)', if_not_exists => true, or_replace => true)$$);
SELECT told($$SELECT en57_create_projection('p', '{}', 'see(en57_event)', or_replace => NULL)$$);
-- one that fails: as its error was raised, and nothing has happened
CREATE OR REPLACE FUNCTION forget() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM seen; RAISE 'not now'; END $$;
\set VERBOSITY default
SELECT en57_reset_projection('hand');
SELECT * FROM what;
-- one that is gone
DROP FUNCTION forget();
SELECT told($$SELECT en57_reset_projection('hand')$$);
CREATE FUNCTION forget() RETURNS void LANGUAGE sql AS $$ DELETE FROM seen $$;
-- emptying the partition calls it
SELECT en57_truncate('default', restart => true);
SELECT count(*) FROM seen;
SELECT count(*) FROM docs;
SELECT outcome FROM en57_append('[{"type": "b", "tags": ["k:1"]}, {"type": "a", "tags": ["k:1"]}]');
SELECT * FROM what;
SELECT * FROM about;

-- a renamed type is found by its new name where documents are made anew, and erased data stays erased
CREATE FUNCTION same(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS $$ SELECT e $$;
SELECT en57_register_upcaster('b', 1, 'same(en57_event)', to_type => 'B');
SELECT outcome FROM en57_append('{"type": "B", "schema_version": 1, "tags": ["k:1"], "data": "secret"}');
CREATE FUNCTION data_of(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(doc, '[]') || coalesce(e.data, 'null') $$;
SELECT en57_create_document_projection('docs', '{"types": ["B"]}', 'tag:k:', 'data_of(jsonb,en57_event)', or_replace => true);
SELECT id, doc FROM docs;
SELECT en57_erase('{"types": ["B"]}', 'a test');
SELECT id, doc FROM docs;
SELECT en57_reset_projection('docs');
SELECT id, doc FROM docs;

SELECT en57_drop_upcaster('b', 1);

-- whose rights: an admin of the partition, with the rights of the owner of what makes documents
CREATE ROLE regress_en57_admin;
CREATE ROLE regress_en57_reader;
GRANT SELECT, TRIGGER ON en57.events_default TO regress_en57_admin;
GRANT SELECT ON en57.events_default TO regress_en57_reader;
SET ROLE regress_en57_reader;
SELECT told($$SELECT en57_reset_projection('docs')$$);
SET ROLE regress_en57_admin;
CREATE FUNCTION pg_temp.mine(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT doc $$;
RESET ROLE;
CREATE SCHEMA mine AUTHORIZATION regress_en57_admin;
SET ROLE regress_en57_admin;
CREATE FUNCTION mine.mine(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT doc $$;
SELECT told($$SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'mine.mine(jsonb,en57_event)', or_replace => true)$$);
SELECT told($$SELECT en57_create_document_projection('docs', '{}', 'tag:k:', 'data_of(jsonb,en57_event)', or_replace => true)$$);
CREATE FUNCTION mine.see(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT told($$SELECT en57_create_projection('hand', '{}', 'mine.see(en57_event)', truncate => 'forget()', or_replace => true)$$);
-- the truncate function has its owner's rights
SELECT en57_reset_projection('hand', 'beginning');
SELECT told('SELECT count(*) FROM seen');
RESET ROLE;
SELECT * FROM what;

SELECT en57_drop_projection('docs'), en57_drop_projection('hand'), en57_drop_partition('apart');
SELECT en57_truncate('default', true);
DROP OWNED BY regress_en57_admin, regress_en57_reader;
DROP ROLE regress_en57_admin, regress_en57_reader;
DROP VIEW what, about;
DROP TABLE seen;
DROP FUNCTION told, counted, listed, see, look, forget, same, data_of;
