-- Nobody lends his rights to those whose code runs in his calls: not to triggers of admins, not to what a function leaves for the transaction's end, or in the session. And no caller has a say in what others' functions make.
-- Fails without `refuse_triggers` in erasing and emptying, where a trigger counts as en57's by its function alone, without the restricted operation of `as_role`, also where the session has taken the owner's role (`can_be_given_back`), where the caller's cursors are not shut meanwhile, where settings stay behind, and where `for_functions` leaves partition and forms to the session.
CREATE ROLE regress_en57_owner LOGIN;
CREATE ROLE regress_en57_reader;
SELECT en57_create_partition('acme'), en57_create_partition('secret');
SELECT en57_grant('regress_en57_owner', 'admin', 'acme'), en57_grant('regress_en57_reader', 'writer', 'acme');
CREATE SCHEMA theirs AUTHORIZATION regress_en57_owner;
GRANT TEMPORARY ON DATABASE en57_regress TO regress_en57_owner;
CREATE TABLE public.ran (who text);
GRANT ALL ON public.ran TO PUBLIC;

SET ROLE regress_en57_owner;
SET search_path = theirs, public;
CREATE FUNCTION up() RETURNS int LANGUAGE sql AS $$ INSERT INTO public.ran VALUES (current_user); SELECT 1 $$;
CREATE FUNCTION up_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM theirs.up(); RETURN NULL; END $$;

-- triggers on the log: neither by a name as en57's own have, nor row by row
CREATE TRIGGER en57_z AFTER UPDATE ON en57.events_acme FOR EACH STATEMENT EXECUTE FUNCTION up_trigger();
CREATE TRIGGER en57_y BEFORE TRUNCATE ON en57.events_acme FOR EACH STATEMENT EXECUTE FUNCTION up_trigger();
RESET ROLE;
SELECT position FROM en57_append('{"type": "a", "tags": ["a"], "data": 1}', partition => 'acme');
SET ROLE regress_en57_owner;
SELECT en57_erase('{}', 'request 1', 'acme');
RESET ROLE;
SELECT en57_truncate('acme');
ALTER TABLE en57.events_acme DISABLE TRIGGER en57_z, DISABLE TRIGGER en57_y;
DROP TRIGGER en57_z ON en57.events_acme;
DROP TRIGGER en57_y ON en57.events_acme;
SELECT en57_erase('{}', 'request 1', 'acme');
-- nor is the condition of a trigger whose function is en57's: it would be asked with the rights of the owner, or of who empties
SET ROLE regress_en57_owner;
CREATE FUNCTION asked() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM theirs.up(); RETURN false; END $$;
CREATE TRIGGER asks BEFORE UPDATE ON en57.events_acme FOR EACH STATEMENT WHEN (asked()) EXECUTE FUNCTION en57.guard();
CREATE TRIGGER asks_emptying AFTER TRUNCATE ON en57.events_acme FOR EACH STATEMENT WHEN (asked()) EXECUTE FUNCTION en57.definitions_changed();
CREATE TRIGGER asks_writing AFTER INSERT ON en57.events_acme FOR EACH ROW WHEN (asked()) EXECUTE FUNCTION en57.guard();
RESET ROLE;
SELECT position FROM en57_append('{"type": "a", "tags": ["a"], "data": 1}', partition => 'acme');
DROP TRIGGER asks_writing ON en57.events_acme;
SELECT position FROM en57_append('{"type": "a", "tags": ["a"], "data": 1}', partition => 'acme');
SELECT en57_erase('{}', 'request 1', 'acme');
SELECT en57_truncate('acme');
DROP TRIGGER asks ON en57.events_acme;
DROP TRIGGER asks_emptying ON en57.events_acme;
SELECT count(*) FROM ran;
-- one that PostgreSQL has made for a foreign key is no obstacle
CREATE TABLE refers (position bigint REFERENCES en57.events_acme (position));
SELECT position FROM en57_append('{"type": "a", "tags": ["a"], "data": 2}', partition => 'acme');
SELECT en57_erase('{}', 'request 2', 'acme');
DROP TABLE refers;
SELECT en57_truncate('acme');
SELECT * FROM ran;

-- what would run at the end of the appender's transaction
SET ROLE regress_en57_owner;
CREATE TABLE later (n int);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION up_trigger();
CREATE FUNCTION handle(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    CASE e.type
        WHEN 'holds' THEN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT theirs.up()';
        WHEN 'defers' THEN INSERT INTO theirs.later VALUES (1);
        WHEN 'makes' THEN CREATE TEMPORARY TABLE made (n int);
        WHEN 'sets' THEN PERFORM set_config('search_path', 'theirs, pg_catalog', false), set_config('work_mem', '64kB', true);
    END CASE;
END $$;
SELECT en57_create_projection('handles', '{}', 'handle(en57_event)', partition => 'acme');
RESET ROLE;
SELECT en57_append('{"type": "holds"}', partition => 'acme');
SELECT en57_append('{"type": "defers"}', partition => 'acme');
SELECT en57_append('{"type": "makes"}', partition => 'acme');
SET search_path = public;
SET work_mem = '4MB';
SELECT outcome FROM en57_append('{"type": "sets"}', partition => 'acme');
BEGIN;
SELECT outcome FROM en57_append('{"type": "sets"}', partition => 'acme');
SHOW work_mem;
SHOW search_path;
COMMIT;
SHOW search_path;
-- nor in a session that has taken its owner's role: what ran at the commit could give that role back
SET ROLE regress_en57_owner;
\set VERBOSITY terse
SELECT outcome FROM en57_append('{"type": "holds"}', partition => 'acme');
SELECT outcome FROM en57_append('{"type": "defers"}', partition => 'acme');
SELECT outcome FROM en57_append('{"type": "makes"}', partition => 'acme');
RESET ROLE;
SET SESSION AUTHORIZATION regress_en57_owner;
SELECT outcome FROM en57_append('{"type": "defers"}', partition => 'acme');
RESET SESSION AUTHORIZATION;
-- the role is not given back by anything that a function can say; after each way the session has the role that it had
SET ROLE regress_en57_owner;
SET search_path = theirs, public;
CREATE FUNCTION as_nobody() RETURNS void LANGUAGE sql SET role = 'none' AS $$ INSERT INTO public.ran VALUES ('as_nobody ' || current_user) $$;
CREATE FUNCTION gives_back(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE e.data->>0;
    IF current_user <> 'regress_en57_owner' THEN INSERT INTO public.ran VALUES (current_user); END IF;
END $$;
SELECT en57_create_projection('gives back', '{"types": ["says"]}', 'gives_back(en57_event)', partition => 'acme');
SELECT en57_drop_projection('handles');
RESET ROLE;
SET search_path = public;
CREATE TABLE said (n serial, what text);
INSERT INTO said (what) VALUES ('RESET ROLE'), ('SET ROLE none'), ('SET LOCAL ROLE postgres'), ('SELECT set_config(''role'', ''none'', false)'), ('SELECT set_config(''role'', ''none'', true)'),
    ('RESET SESSION AUTHORIZATION'), ('SET SESSION AUTHORIZATION DEFAULT'), ('SELECT set_config(''session_authorization'', ''postgres'', false)'), ('SELECT theirs.as_nobody()'),
    ('UPDATE pg_settings SET setting = ''none'' WHERE name = ''role'''), ('DO $d$ BEGIN BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END; END $d$'), ('DISCARD ALL'), ('RESET ALL'), ('COMMIT');
GRANT SELECT ON said TO regress_en57_owner, regress_en57_reader;
CREATE FUNCTION say(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    PERFORM en57_append(jsonb_build_object('type', 'says', 'data', jsonb_build_array(what)), partition => 'acme');
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN RETURN sqlstate || ' ' || sqlerrm;
END $$;
SET ROLE regress_en57_owner;
SELECT what, say(what), current_user FROM said ORDER BY n;
RESET ROLE;
SET ROLE regress_en57_reader;
SELECT what, say(what), current_user FROM said ORDER BY n;
-- nor where no function of the caller's catches it
SELECT outcome FROM en57_append('{"type": "says", "data": ["RESET ROLE"]}', partition => 'acme');
SELECT current_user;
BEGIN;
SET LOCAL ROLE regress_en57_owner;
SELECT outcome FROM en57_append('{"type": "says", "data": ["SELECT set_config(''work_mem'', ''64kB'', false)"]}', partition => 'acme');
SELECT current_user;
COMMIT;
SELECT current_user;
RESET ROLE;
SET SESSION AUTHORIZATION regress_en57_owner;
SELECT what, say(what), current_user FROM said ORDER BY n;
RESET SESSION AUTHORIZATION;
SELECT * FROM ran;
SELECT en57_drop_projection('gives back');
-- nor does it get at the caller's cursors: they show what he may read, and one in the place of his would ask its query with his rights
SET ROLE regress_en57_owner;
SET search_path = theirs, public;
CREATE FUNCTION at_cursors(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c refcursor := 'callers';
    own refcursor := 'own';
    r record;
BEGIN
    CASE e.data->>0
        WHEN 'fetches' THEN FETCH c INTO r; INSERT INTO public.ran VALUES (r::text);
        WHEN 'moves' THEN MOVE c;
        WHEN 'closes' THEN CLOSE c;
        WHEN 'replaces' THEN CLOSE c; OPEN c FOR SELECT theirs.up() FROM generate_series(1, 9);
        WHEN 'says it' THEN EXECUTE 'FETCH callers';
        WHEN 'tries' THEN BEGIN CLOSE c; EXCEPTION WHEN OTHERS THEN NULL; END;
        WHEN 'looks' THEN INSERT INTO public.ran SELECT name || statement FROM pg_cursors;
        WHEN 'uses its own' THEN OPEN own FOR SELECT 7 AS n; FETCH own INTO r; CLOSE own; OPEN own FOR SELECT 8 AS n;
        WHEN 'leaves some' THEN OPEN own FOR SELECT theirs.up(); EXECUTE 'DECLARE another CURSOR FOR SELECT theirs.up()'; FOR r IN SELECT 1 LOOP NULL; END LOOP;
    END CASE;
END $$;
SELECT en57_create_projection('at cursors', '{"types": ["beside"]}', 'at_cursors(en57_event)', partition => 'acme');
RESET ROLE;
SET search_path = public;
CREATE FUNCTION beside(what text, OUT first int, OUT answer text, OUT second int, OUT open text) LANGUAGE plpgsql AS $$
DECLARE
    c refcursor := 'callers';
BEGIN
    OPEN c FOR SELECT generate_series(1, 9);
    FETCH c INTO first;
    BEGIN
        PERFORM en57_append(jsonb_build_object('type', 'beside', 'data', jsonb_build_array(what)), partition => 'acme');
        answer := 'done';
    EXCEPTION WHEN OTHERS THEN answer := sqlstate || ' ' || sqlerrm;
    END;
    FETCH c INTO second;
    open := (SELECT string_agg(name, ' ' ORDER BY name) FROM pg_cursors WHERE name !~ '^($|<)');
    CLOSE c;
END $$;
SELECT w, b.* FROM unnest('{fetches,moves,closes,replaces,says it,tries,looks,uses its own,leaves some}'::text[]) w, beside(w) b;
-- one of a client's, and one that outlives its transaction
DECLARE callers CURSOR WITH HOLD FOR SELECT generate_series(1, 9);
FETCH callers;
SELECT outcome FROM en57_append('{"type": "beside", "data": ["replaces"]}', partition => 'acme');
SELECT outcome FROM en57_append('{"type": "beside", "data": ["fetches"]}', partition => 'acme');
SELECT outcome FROM en57_append('{"type": "beside", "data": ["tries"]}', partition => 'acme');
FETCH callers;
CLOSE callers;
BEGIN;
DECLARE callers CURSOR FOR SELECT generate_series(1, 9);
FETCH callers;
SELECT outcome FROM en57_append('[{"type": "beside", "data": ["looks"]}, {"type": "beside", "data": ["leaves some"]}]', partition => 'acme');
FETCH callers;
SELECT name FROM pg_cursors ORDER BY name;
SAVEPOINT s;
SELECT outcome FROM en57_append('{"type": "beside", "data": ["closes"]}', partition => 'acme');
ROLLBACK TO s;
FETCH callers;
COMMIT;
SELECT * FROM ran;
SELECT en57_drop_projection('at cursors');
\set VERBOSITY default
-- with his own rights, in a session of his, the owner may do all of it, and so may a superuser's function
\connect - regress_en57_owner
SET search_path = theirs, public;
SELECT en57_create_projection('handles', '{"types": ["holds", "defers", "makes"]}', 'handle(en57_event)', partition => 'acme');
SELECT outcome FROM en57_append('[{"type": "holds"}, {"type": "defers"}, {"type": "makes"}]', partition => 'acme');
SELECT en57_drop_projection('handles');
DROP TABLE pg_temp.made;
CLOSE c;
\connect - postgres
SET search_path = public;
ALTER FUNCTION theirs.handle(en57_event) OWNER TO postgres;
SELECT en57_truncate('acme');
SELECT en57_create_projection('handles', '{}', 'theirs.handle(en57_event)', partition => 'acme');
SET ROLE regress_en57_reader;
SELECT outcome FROM en57_append('{"type": "makes"}', partition => 'acme');
RESET ROLE;
SELECT tableowner FROM pg_tables WHERE tablename = 'made';
SELECT en57_drop_projection('handles');
SELECT DISTINCT who FROM ran;
-- an invariant's functions, a decider's, and a table of documents
SET ROLE regress_en57_owner;
SET search_path = theirs, public;
CREATE FUNCTION evolve(state jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DECLARE d CURSOR WITH HOLD FOR SELECT theirs.up()'; RETURN '1'; END $$;
CREATE FUNCTION fine(state jsonb) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
SELECT en57_create_invariant('holding', '{}', 'tag:i:', 'evolve(jsonb,en57_event)', 'fine(jsonb)', partition => 'acme', key_required => false);
RESET ROLE;
SELECT en57_append('{"type": "a", "tags": ["i:1"]}', partition => 'acme');
SELECT en57_drop_invariant('holding');
SET ROLE regress_en57_owner;
CREATE OR REPLACE FUNCTION evolve(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT e.data $$;
SELECT en57_create_document_projection('docs', '{}', 'tag:d:', 'evolve(jsonb,en57_event)', partition => 'acme');
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON docs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION up_trigger();
RESET ROLE;
SELECT en57_append('{"type": "a", "tags": ["d:1"], "data": 1}', partition => 'acme');
SELECT en57_drop_projection('docs');

-- where a function appends and reads is not the caller's choice
SET search_path = public;
SELECT position > 0 AS appended FROM en57_append('[{"type": "hidden"}, {"type": "hidden"}]', partition => 'secret');
CREATE FUNCTION derive(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT en57_append(jsonb_build_object('type', 'derived', 'data', en57_count('{"types": ["hidden"]}'))) $$;
SELECT en57_create_projection('derives', '{"types": ["order"]}', 'derive(en57_event)', partition => 'acme');
CREATE FUNCTION all_of(command jsonb) RETURNS en57_query LANGUAGE sql AS $$ SELECT en57_query(types => '{decided}') $$;
CREATE FUNCTION nothing(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION count_them(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('type', 'decided', 'data', en57_count('{"types": ["hidden"]}')) $$;
SELECT en57_create_decider('counts', 'all_of(jsonb)', 'nothing(jsonb,en57_event)', 'count_them(jsonb,jsonb)');
SET ROLE regress_en57_reader;
SET en57.partition = 'secret';
SELECT outcome FROM en57_append('{"type": "order"}', partition => 'acme');
SELECT outcome FROM en57_decide('counts', '{}', 'acme');
SELECT en57_try('counts', '[]', '{}');
SHOW en57.partition;
RESET en57.partition;
SELECT type, data FROM en57_read('{"types": ["derived", "decided"]}', partition => 'acme');
RESET ROLE;
SELECT count(*) FROM en57_read('{"types": ["derived", "decided"]}', partition => '*');
SELECT en57_drop_projection('derives');

-- nor the form of values: what is kept is the same for everybody
CREATE FUNCTION sum_up(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('sum', coalesce((state->>'sum')::float8, 0) + (e.data->>'amount')::float8,
    'at', e.occurred_at, 'day', e.occurred_at::date::text, 'for', interval '1 day 2 hours'::text, 'bytes', '\xff'::bytea::text) $$;
SELECT en57_create_fold('sums', 'sum_up(jsonb,en57_event)', snapshot_every => 1);
SELECT outcome FROM en57_append('[{"type": "paid", "tags": ["acc:1"], "data": {"amount": 1254.56}, "occurred_at": "2026-01-01T23:30Z"}, {"type": "paid", "tags": ["acc:1"], "data": {"amount": 1300.11}, "occurred_at": "2026-01-01T23:30Z"}]', partition => 'acme');
SET ROLE regress_en57_reader;
SET en57.partition = 'acme';
SET extra_float_digits = -13;
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SET intervalstyle = 'iso_8601';
SET bytea_output = 'escape';
SET standard_conforming_strings = off;
SELECT state FROM en57_state('sums', '{"tags": ["acc:1"]}');
SELECT state FROM en57_fold('{"tags": ["acc:1"]}', 'sum_up(jsonb,en57_event)');
SELECT name, setting FROM pg_settings WHERE name IN ('TimeZone', 'DateStyle', 'IntervalStyle', 'extra_float_digits', 'bytea_output', 'standard_conforming_strings') ORDER BY name;
RESET ALL;
RESET ROLE;
SET en57.partition = 'acme';
SELECT state FROM en57_state('sums', '{"tags": ["acc:1"]}');
SELECT count(*) FROM en57.snapshots;
SET client_min_messages = warning;
DROP OWNED BY regress_en57_owner, regress_en57_reader CASCADE;
DROP ROLE regress_en57_owner, regress_en57_reader;

-- What runs inside a function of the extension gets no ticket from it: neither a view that an import reads, nor a handler.
-- Fails where `asks_for_tickets` takes any function of the extension for one that asks, and without `Away`.
CREATE ROLE regress_en57_importer;
SELECT en57_create_partition('imported');
SELECT en57_grant('regress_en57_importer', 'admin', 'imported');
GRANT EXECUTE ON FUNCTION en57_import_from(regclass, text, boolean, boolean), en57.import_batch(regclass, bigint, integer, text, boolean, boolean, text),
    en57.import_some(en57_event[], text, boolean, boolean, text), en57.import_rows(en57_event[], text, boolean, boolean) TO regress_en57_importer;
CREATE SCHEMA its AUTHORIZATION regress_en57_importer;
SET ROLE regress_en57_importer;
SET search_path = its, public;
CREATE FUNCTION take() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN en57.ticket(); END $$;
CREATE VIEW directly AS SELECT 1::bigint AS position, 'a' AS type, to_jsonb(en57.ticket()) AS data;
CREATE VIEW by_a_function AS SELECT 1::bigint AS position, 'a' AS type, to_jsonb(take()) AS data;
SELECT en57_import_from('directly', 'imported');
SELECT en57_import_from('by_a_function', 'imported');
CREATE FUNCTION taken(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM en57.ticket(); END $$;
SELECT en57_create_projection('takes', '{}', 'taken(en57_event)', partition => 'imported');
CREATE VIEW plain AS SELECT 1::bigint AS position, 'a' AS type;
SELECT en57_import_from('plain', 'imported');
SELECT en57_drop_projection('takes');
-- what it asks for itself, it gets
SELECT en57_import_from('plain', 'imported');
SELECT en57_create_subscription('its', '{}', partition => 'imported');
SELECT position, type FROM en57_poll('its');
-- an upcaster runs inside a function that asks for tickets
CREATE FUNCTION up(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    e.data := to_jsonb(en57.ticket());
    RETURN e;
END $$;
RESET ROLE;
SELECT en57_register_upcaster('a', 1, 'up(en57_event)');
SET ROLE regress_en57_importer;
SELECT position, type FROM en57_poll('its');
RESET ROLE;
RESET search_path;
SELECT en57_drop_upcaster('a', 1);
SELECT en57_drop_subscription('its');
SELECT en57_drop_partition('imported');
DROP OWNED BY regress_en57_importer CASCADE;
DROP ROLE regress_en57_importer;
