-- What a projection has put aside is handled after all, once its function can: a handler is called with it, documents have it in its place.
CREATE EXTENSION IF NOT EXISTS en57;
CREATE TABLE heard (n serial, position bigint, data jsonb);
CREATE FUNCTION hear(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF e.data = '13' THEN RAISE EXCEPTION 'unlucky' USING ERRCODE = 'XX123', DETAIL = 'It is 13.'; END IF;
    INSERT INTO heard (position, data) VALUES (e.position, e.data);
END $$;
CREATE FUNCTION hear_all(e en57_event[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM hear(x) FROM unnest(e) x; END $$;
-- The order matters: a list.
CREATE FUNCTION listed(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.data = '13' THEN RAISE EXCEPTION 'unlucky list'; END IF;
    RETURN coalesce(doc, '[]') || jsonb_build_array(e.data);
END $$;
CREATE FUNCTION of_tag(e en57_event) RETURNS text[] LANGUAGE plpgsql AS $$ BEGIN IF e.data = '7' THEN RAISE EXCEPTION 'no key'; END IF; RETURN e.tags; END $$;
\pset null NULL
SELECT en57_create_projection('heard', '{"types": ["n"]}', 'hear', mode => 'async', on_error => 'skip');
SELECT en57_create_projection('together', '{"types": ["n"]}', 'hear_all', mode => 'async', on_error => 'skip');
SELECT en57_create_document_projection('listed', '{"types": ["n"]}', 'tag:k:', 'listed', mode => 'async', on_error => 'skip');
SELECT en57_create_document_projection('keyed', '{"types": ["n"]}', 'of_tag', 'listed', mode => 'async', on_error => 'skip');
SELECT outcome FROM en57_append('[{"type": "n", "data": 1, "tags": ["k:a"]}, {"type": "n", "data": 13, "tags": ["k:a", "k:b"]}, {"type": "n", "data": 7, "tags": ["k:b"]},
    {"type": "n", "data": 13, "tags": ["k:c"]}, {"type": "n", "data": 2, "tags": ["k:a"]}]');
SELECT en57_run('heard'), en57_run('together'), en57_run('listed'), en57_run('keyed');
SELECT projection, position, attempts, error - 'context' AS error, (event).data FROM en57_projection_dead_letters ORDER BY 1, 2;
SELECT position, data FROM heard ORDER BY n;
SELECT id, doc, version FROM listed ORDER BY id;
SELECT id, doc, version FROM keyed ORDER BY id;

-- they fail again: nothing is changed, and it is told
SELECT en57_replay_projection_dead_letters('heard'), en57_replay_projection_dead_letters('listed'), en57_replay_projection_dead_letters('keyed', 2);
SELECT projection, position, attempts, error->>'message' AS message, regexp_replace(error->>'context', 'PL/pgSQL.*', '..') AS context FROM en57_projection_dead_letters ORDER BY 1, 2;
SELECT count(*) FROM heard;

-- the functions are mended: one, then the rest
CREATE OR REPLACE FUNCTION hear(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO heard (position, data) VALUES (e.position, e.data) $$;
SELECT en57_replay_projection_dead_letters('heard', 4), en57_replay_projection_dead_letters('heard', 4), en57_replay_projection_dead_letters('heard', 1);
SELECT position, data FROM heard WHERE data = '13' ORDER BY n;
SELECT en57_replay_projection_dead_letters('heard'), en57_replay_projection_dead_letters('together');
SELECT position, data FROM heard WHERE data = '13' ORDER BY n;
CREATE OR REPLACE FUNCTION listed(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(doc, '[]') || jsonb_build_array(e.data) $$;
-- in its place, not at the end: fails when the event is only folded in
SELECT en57_replay_projection_dead_letters('listed', 2);
SELECT id, doc, version, position FROM listed ORDER BY id;
SELECT en57_replay_projection_dead_letters('listed');
SELECT id, doc, version, position FROM listed ORDER BY id;
SELECT en57_replay_projection_dead_letters('keyed');
SELECT id, doc, version FROM keyed ORDER BY id;
SELECT projection, position, attempts, error->>'message' AS message FROM en57_projection_dead_letters;
CREATE OR REPLACE FUNCTION of_tag(e en57_event) RETURNS text[] LANGUAGE sql AS $$ SELECT e.tags $$;
SELECT en57_replay_projection_dead_letters('keyed');
SELECT id, doc, version FROM keyed ORDER BY id;
SELECT name, status, lag, dead_letters FROM en57_projections ORDER BY name;
-- they are as if nothing had ever been put aside
CREATE TABLE before AS TABLE keyed;
CALL en57_rebuild('keyed');
SELECT count(*) FROM (SELECT id, doc, version, position FROM before EXCEPT SELECT id, doc, version, position FROM keyed) d;

-- what is nobody's fault is raised, and nothing has happened
CREATE OR REPLACE FUNCTION hear(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
SELECT outcome FROM en57_append('[{"type": "n", "data": 3, "tags": ["k:a"]}, {"type": "n", "data": 4}]');
SELECT en57_run('heard');
CREATE OR REPLACE FUNCTION hear(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO heard (position, data) VALUES (e.position, e.data);
    IF e.data = '4' THEN RAISE EXCEPTION USING ERRCODE = '40P01', MESSAGE = 'as if deadlocked'; END IF;
END $$;
\set VERBOSITY terse
SELECT en57_replay_projection_dead_letters('heard');
SELECT position, attempts FROM en57_projection_dead_letters;
SELECT count(*) FROM heard WHERE data = '3';
-- a failed or paused one may be mended, too; so may an inline one that was async
SELECT en57_pause('heard');
SELECT en57_replay_projection_dead_letters('heard', 6);
SELECT status, dead_letters FROM en57_projections WHERE name = 'heard';
SELECT en57_create_document_projection('listed', '{"types": ["n"]}', 'tag:k:', 'listed', or_replace => true);
INSERT INTO en57.projection_dead_letters (projection, position, error) VALUES ('listed', 1, '{}');
SELECT outcome FROM en57_append('{"type": "n", "data": 5, "tags": ["k:a"]}');
SELECT en57_replay_projection_dead_letters('listed');
SELECT doc, version FROM listed WHERE id = 'a';

-- what does not fit, and whose they are
SELECT en57_replay_projection_dead_letters('none');
SELECT en57_replay_projection_dead_letters(NULL);
SELECT en57_replay_projection_dead_letters('heard', -9223372036854775808);
CREATE ROLE regress_en57_letters;
SET ROLE regress_en57_letters;
SELECT * FROM en57_projection_dead_letters;
SELECT en57_replay_projection_dead_letters('heard');
RESET ROLE;
GRANT SELECT ON en57.events_default TO regress_en57_letters;
SET ROLE regress_en57_letters;
SELECT projection, position, (event).data FROM en57_projection_dead_letters;
SELECT en57_replay_projection_dead_letters('heard');
RESET ROLE;
-- erased, it is told no more
SELECT en57_erase('{"types": ["n"]}', 'gone');
SELECT error, (event).data FROM en57_projection_dead_letters;
\set VERBOSITY default
DROP EXTENSION en57 CASCADE;
DROP TABLE listed, keyed;
DROP OWNED BY regress_en57_letters;
DROP ROLE regress_en57_letters;
