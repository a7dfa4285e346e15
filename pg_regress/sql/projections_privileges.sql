-- Who may create projections, and with whose rights their functions run: those of the functions' owners, whoever appends.
-- Fails when the handler runs as the appender (a superuser's append would then do what anybody's handler says), or finds names by the appender's search path.
CREATE ROLE regress_en57_admin;
CREATE ROLE regress_en57_app;
CREATE ROLE regress_en57_evil;
GRANT SELECT, INSERT, TRIGGER ON en57.events_default TO regress_en57_admin;
GRANT SELECT, INSERT ON en57.events_default TO regress_en57_app, regress_en57_evil;
CREATE SCHEMA admin AUTHORIZATION regress_en57_admin;
CREATE SCHEMA evil AUTHORIZATION regress_en57_evil;
GRANT TEMPORARY ON DATABASE en57_regress TO regress_en57_evil;
CREATE FUNCTION su(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;

SET ROLE regress_en57_admin;
SET search_path = admin, public;
CREATE TABLE log (who text, session text, event text);
CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (current_user, session_user, e.type); END $$;
CREATE FUNCTION evolve(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('n', coalesce((doc->>'n')::int, 0) + 1, 'who', current_user) $$;
CREATE FUNCTION key(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT current_user || ' ' || coalesce(e.position::text, 'no position yet') $$;
SELECT en57_create_projection('note', '{"tags": ["a"]}', 'note(en57_event)');
SELECT en57_create_document_projection('docs', '{"tags": ["a"]}', 'tag:', 'evolve(jsonb,en57_event)');
SELECT en57_create_document_projection('docs', '{"tags": ["a"]}', 'tag:a', 'evolve(jsonb,en57_event)');
SELECT en57_create_document_projection('by key', '{"tags": ["a"]}', 'key(en57_event)'::regprocedure, 'evolve(jsonb,en57_event)');
SELECT en57_drop_projection('docs');
SELECT en57_create_document_projection('docs', '{"tags": ["a:1"]}', 'tag:a:', 'evolve(jsonb,en57_event)');
-- not with somebody else's function
SELECT en57_create_projection('su', '{}', 'su(en57_event)');
SELECT en57_create_document_projection('su', '{}', 'stream', 'su(en57_event)');
RESET ROLE;
RESET search_path;

-- nobody else may create, pause, run or drop one, or look behind
SET ROLE regress_en57_evil;
SET search_path = evil, public;
CREATE FUNCTION nothing(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT en57_create_projection('mine', '{}', 'nothing(en57_event)');
SELECT en57_pause('note');
SELECT en57_resume('note');
SELECT en57_run('note');
SELECT en57_drop_projection('note');
SELECT en57_wait_projection('note');
SELECT count(*) FROM en57.projections;
SELECT count(*) FROM en57.projection_dead_letters;
SELECT name, mode, status FROM en57_projections ORDER BY name;
SELECT count(*) FROM admin.log;
-- hostile objects: nothing of it is found
CREATE TEMPORARY TABLE log (who text, session text, event text);
CREATE TABLE evil.log (who text, session text, event text);
CREATE FUNCTION evil.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'trapped %', current_user; RETURN true; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.trap);
SET search_path = evil, pg_catalog, public;
SELECT outcome FROM en57_append('{"type": "by evil", "tags": ["a", "a:1"]}');
SELECT outcome FROM en57_append('{"type": "by evil", "tags": ["a", "a:1"]}');
SELECT count(*) FROM pg_temp.log;
SELECT count(*) FROM evil.log;
SHOW search_path;
SELECT current_user;
RESET ROLE;
RESET search_path;
-- a superuser's append does not lend its rights
SELECT outcome FROM en57_append('{"type": "by superuser", "tags": ["a", "a:1"]}');
SET ROLE regress_en57_app;
SELECT outcome FROM en57_append('{"type": "by app", "tags": ["a", "a:1"]}');
RESET ROLE;
SELECT who, event FROM admin.log;
SELECT id, doc, version FROM admin.docs;
SELECT id, doc, version FROM admin."by key";
SELECT tableowner FROM pg_tables WHERE tablename = 'docs';
-- the role cannot be changed back inside a handler
SET ROLE regress_en57_admin;
CREATE FUNCTION admin.escape(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; END $$;
SELECT en57_create_projection('escape', '{"tags": ["escape"]}', 'admin.escape(en57_event)');
RESET ROLE;
SELECT outcome FROM en57_append('{"type": "e", "tags": ["escape"]}');
SELECT current_user = session_user AS is_as_before;
-- a right that is taken away: what was made goes on, nothing new is made
REVOKE TRIGGER ON en57.events_default FROM regress_en57_admin;
SELECT outcome FROM en57_append('{"type": "goes on", "tags": ["a", "a:1"]}');
SET ROLE regress_en57_admin;
SELECT en57_drop_projection('note');
RESET ROLE;
SELECT count(*) FROM admin.log;
-- so en57_revoke says what goes on showing events to whom they were taken from
REVOKE ALL ON en57.events_default FROM regress_en57_admin;
SELECT en57_grant('regress_en57_admin', 'admin', 'default');
SET ROLE regress_en57_admin;
CREATE FUNCTION admin.wrong(doc jsonb) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
SELECT en57_create_invariant('few', '{"tags": ["b:1"]}', 'tag:b:', 'admin.evolve(jsonb,en57_event)', 'admin.wrong(jsonb)');
RESET ROLE;
CREATE FUNCTION other(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
ALTER FUNCTION other(en57_event) OWNER TO regress_en57_app;
SELECT en57_create_projection('other', '{}', 'other(en57_event)');
-- not what he may go on reading, by another role, and not twice
GRANT regress_en57_app TO regress_en57_admin;
SELECT en57_revoke('regress_en57_admin', 'admin', 'default');
REVOKE regress_en57_app FROM regress_en57_admin;
SELECT en57_grant('regress_en57_admin', 'reader');
SELECT en57_revoke('regress_en57_admin', 'reader');
SELECT en57_revoke('regress_en57_admin', 'reader');
SELECT outcome FROM en57_append('{"type": "shown", "tags": ["a", "a:1"]}');
SELECT event FROM admin.log WHERE event = 'shown';
SET ROLE regress_en57_admin;
SELECT count(*) FROM en57_read();
RESET ROLE;
SELECT en57_drop_invariant('few'), en57_drop_projection('other');
DROP FUNCTION other(en57_event);
-- all of them away, by the owner of the log
SELECT en57_drop_projection(name) FROM en57_projections ORDER BY name;
SELECT count(*) FROM en57_projections;
SELECT to_regclass('admin.docs');
DROP TABLE pg_temp.log;
DROP SCHEMA admin, evil CASCADE;
DROP FUNCTION su(en57_event);
REVOKE ALL ON en57.events_default FROM regress_en57_admin, regress_en57_app, regress_en57_evil;
REVOKE ALL ON DATABASE en57_regress FROM regress_en57_evil;
DROP ROLE regress_en57_admin, regress_en57_app, regress_en57_evil;
