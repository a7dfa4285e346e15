-- A rebuild makes another projection of one: other events, or in the append's transaction, or after it. The live documents go on as they were
-- until the swap.
CREATE EXTENSION IF NOT EXISTS en57;
CREATE FUNCTION listed(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(doc, '[]') || to_jsonb(e.position) $$;
CREATE FUNCTION data_of(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(doc, '[]') || coalesce(e.data, 'null') $$;
CREATE FUNCTION told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text; detail text;
BEGIN
    EXECUTE call;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat(SQLSTATE, ' ', SQLERRM, E'\n   DETAIL ' || nullif(detail, ''), E'\n   HINT ' || nullif(hint, ''));
END $$;
CREATE VIEW about AS SELECT name, mode, query, status, position, start_position AS start FROM en57_projections ORDER BY name;
\pset tuples_only on
\pset format unaligned
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["k:1"]}, {"type": "b", "tags": ["k:1", "l:1"]}, {"type": "a", "tags": ["k:2"]}, {"type": "b", "tags": ["k:2"], "data": "secret"}]');
SELECT en57_create_document_projection('docs', '{"types": ["a"]}', 'tag:k:', 'listed(jsonb,en57_event)');
SELECT id, doc FROM docs ORDER BY id;

-- other events
CALL en57_rebuild('docs', query => '{"types": ["b"]}');
SELECT id, doc FROM docs ORDER BY id;
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["k:1"]}, {"type": "b", "tags": ["k:1"]}]');
SELECT id, doc FROM docs ORDER BY id;
SELECT * FROM about;
-- by files, of an async one, in a transaction, with another key at once
CALL en57_rebuild('docs', query => '{}', swap => 'files');
SELECT id, doc FROM docs ORDER BY id;
CALL en57_rebuild('docs', mode => 'async');
SELECT outcome FROM en57_append('{"type": "a", "tags": ["k:1"]}');
SELECT id, doc FROM docs ORDER BY id;
SELECT en57_run('docs');
SELECT id, doc FROM docs ORDER BY id;
SELECT outcome FROM en57_append('{"type": "b", "tags": ["k:2", "l:2"]}');
BEGIN;
CALL en57_rebuild('docs', query => '{"types": ["b"]}', key => 'tag:l:', mode => 'inline');
SELECT id, doc FROM docs ORDER BY id;
SELECT * FROM about;
ROLLBACK;
SELECT id, doc FROM docs ORDER BY id;
SELECT * FROM about;
CALL en57_rebuild('docs', query => '{"types": ["b"]}', key => 'tag:l:', mode => 'inline');
SELECT outcome FROM en57_append('{"type": "b", "tags": ["l:2"]}');
SELECT id, doc FROM docs ORDER BY id;
SELECT * FROM about;
-- a paused one stays so, and misses nothing
SELECT en57_pause('docs');
CALL en57_rebuild('docs', query => '{}', key => 'tag:k:', mode => 'async');
SELECT outcome FROM en57_append('{"type": "c", "tags": ["k:3"]}');
SELECT en57_run('docs');
SELECT * FROM about;
SELECT en57_resume('docs');
SELECT en57_run('docs');
SELECT id, doc FROM docs ORDER BY id;

-- one that is under way has its own events, and its own view of how far it is
CREATE FUNCTION bad(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN IF e.type = 'c' THEN RAISE 'not this one'; END IF; RETURN coalesce(doc, '[]') || coalesce(e.data, 'null'); END $$;
CALL en57_rebuild('docs', 'bad(jsonb,en57_event)', query => '{"types": ["b", "c"]}');
SELECT phase, position, failed_position, head = en57_head('{"types": ["b", "c"]}') FROM en57_stat_progress_rebuild;
SELECT query, mode FROM en57.rebuilds;
SELECT told($$CALL en57_rebuild('docs', 'bad(jsonb,en57_event)', query => '{"types": ["b"]}')$$);
-- events that the rebuild takes, and the projection does not, are erased: it begins anew
SELECT count(*) > 0 FROM en57.rebuild_documents WHERE doc::text ~ 'secret';
SELECT en57_create_document_projection('others', '{"types": ["a"]}', 'tag:k:', 'data_of(jsonb,en57_event)');
SELECT told($$CALL en57_rebuild('others', 'bad(jsonb,en57_event)', query => '{"types": ["b", "c"]}')$$);
CALL en57_rebuild('others', 'bad(jsonb,en57_event)', query => '{"types": ["b", "c"]}');
SELECT en57_erase('{"types": ["b"]}', 'a test');
SELECT count(*) FROM en57.rebuild_documents WHERE doc::text ~ 'secret';
SELECT projection, position, events FROM en57.rebuilds ORDER BY projection;
CREATE OR REPLACE FUNCTION bad(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(doc, '[]') || to_jsonb(e.type) || coalesce(e.data, 'null') $$;
CALL en57_rebuild('docs');
CALL en57_rebuild('others');
SELECT id, doc FROM docs ORDER BY id;
SELECT (SELECT jsonb_object_agg(id, doc) FROM docs) = (SELECT jsonb_object_agg(id, doc) FROM others);
SELECT * FROM about;

-- what does not fit
SELECT told(format('CALL en57_rebuild(%s)', args)) FROM unnest(ARRAY[$$'docs', mode => 'sometimes'$$, $$'docs', query => '{"typs": []}'$$]) AS args;
SELECT en57_create_document_projection('skips', '{}', 'tag:k:', 'listed(jsonb,en57_event)', mode => 'async', on_error => 'skip');
SELECT told($$CALL en57_rebuild('skips', mode => 'inline')$$);
-- nothing differs: it is rebuilt as it is
CALL en57_rebuild('skips', mode => 'async', query => '{}');
SELECT count(*) FROM skips;
-- who may pause it may rebuild it, but not make another one of it that is not his
CREATE ROLE regress_en57_admin;
GRANT SELECT, TRIGGER ON en57.events_default TO regress_en57_admin;
SET ROLE regress_en57_admin;
SELECT told($$CALL en57_rebuild('docs')$$);
SELECT told($$CALL en57_rebuild('docs', query => '{}')$$);
SELECT told($$CALL en57_rebuild('docs', mode => 'async')$$);
RESET ROLE;
REVOKE ALL ON en57.events_default FROM regress_en57_admin;
DROP ROLE regress_en57_admin;
SELECT en57_drop_projection('docs'), en57_drop_projection('others'), en57_drop_projection('skips');
SELECT en57_truncate('default', true);
DROP VIEW about;
DROP FUNCTION told, listed, data_of, bad;
