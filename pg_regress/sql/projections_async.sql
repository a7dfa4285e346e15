-- Asynchronous projections: en57_run handles what is settled, position and effects in one transaction; failures are told, skipped or stopped at.
-- Fails when a position is kept without its effects or the other way round, when a failure undoes what came before it, or when an event is handled twice.
CREATE TABLE seen (n serial, positions bigint[]);
CREATE FUNCTION each(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF e.data ? 'bad' THEN
        RAISE EXCEPTION USING ERRCODE = 'X1234', MESSAGE = 'refused', DETAIL = 'a detail', HINT = 'a hint';
    END IF;
    INSERT INTO seen (positions) VALUES (ARRAY[e.position]);
END $$;
CREATE FUNCTION together(e en57_event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (positions) SELECT array_agg(u.position) FROM unnest(e) u;
    PERFORM each(u) FROM unnest(e) u WHERE u.data ? 'bad';
END $$;
SELECT position FROM en57_append('[{"type": "a"}, {"type": "b"}, {"type": "a"}, {"type": "a"}, {"type": "b"}, {"type": "a"}, {"type": "b"}]');
SELECT en57_create_projection('p', '{"types": ["a"]}', 'each(en57_event)', mode => 'async');
SELECT name, mode, status, position, head, lag FROM en57_projections;
SELECT count(*) FROM seen;
-- so many, the rest, nothing more
SELECT en57_run('p', 0), en57_run('p', 2);
SELECT positions FROM seen ORDER BY n;
SELECT position, lag FROM en57_projections;
SELECT en57_run('p');
SELECT positions FROM seen ORDER BY n;
SELECT position, lag FROM en57_projections;
SELECT en57_run('p'), en57_run('p', NULL);
SELECT outcome FROM en57_append('{"type": "b"}');
SELECT en57_run('p');
SELECT position, lag FROM en57_projections;
-- undone together
BEGIN;
SELECT outcome FROM en57_append('{"type": "a"}');
SELECT en57_run('p');
SELECT count(*) FROM seen;
ROLLBACK;
SELECT count(*) FROM seen;
SELECT position, lag FROM en57_projections;
SELECT outcome FROM en57_append('{"type": "a"}');
SELECT en57_run('p');
SELECT count(*) FROM seen;
-- from the end
SELECT en57_create_projection('end', '{}', 'each(en57_event)', mode => 'async', start => 'end');
SELECT en57_run('end');
SELECT outcome FROM en57_append('{"type": "b"}');
SELECT en57_run('end');
SELECT en57_drop_projection('end');

-- paused
SELECT en57_pause('p');
SELECT outcome FROM en57_append('{"type": "a"}');
SELECT en57_run('p');
SELECT status, lag FROM en57_projections;
SELECT en57_resume('p');
SELECT en57_run('p');

-- a failure stops it: what came before is kept, the reason is told
TRUNCATE seen;
SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "a", "data": {"bad": 1}}, {"type": "a"}, {"type": "a", "data": {"bad": 2}}, {"type": "a"}]');
SELECT en57_run('p');
SELECT count(*) FROM seen;
SELECT status, position - failed_position AS before, last_error->>'sqlstate' AS state, last_error->>'message' AS message, last_error->>'detail' AS detail, last_error->>'hint' AS hint,
    regexp_replace(last_error->>'context', 'position [0-9]+', 'position N') AS context FROM en57_projections;
SELECT en57_run('p');
SELECT en57_wait_projection('p');
SELECT en57_resume('p');
SELECT status, failed_position IS NULL AS forgotten FROM en57_projections;
SELECT en57_run('p');
SELECT count(*) FROM seen;
SELECT en57_resume('p', skip => true);
SELECT en57_run('p');
SELECT count(*) FROM seen;
SELECT status, dead_letters FROM en57_projections;
-- replaced, it goes on
CREATE OR REPLACE FUNCTION each(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen (positions) VALUES (ARRAY[e.position]); END $$;
SELECT en57_resume('p');
SELECT en57_run('p');
SELECT count(*) FROM seen;
SELECT status, lag, dead_letters FROM en57_projections;
SELECT en57_drop_projection('p');
SELECT count(*) FROM en57.projection_dead_letters;

-- skipping: the events that cannot be handled are put aside, also from the middle of an array
CREATE OR REPLACE FUNCTION each(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
TRUNCATE seen;
SELECT en57_create_projection('s', '{"types": ["a"]}', 'together(en57_event[])', mode => 'async', on_error => 'skip', batch_size => 4);
SELECT en57_run('s');
SELECT positions FROM seen ORDER BY n;
SELECT l.position, e.data, l.error->>'message' AS message FROM en57.projection_dead_letters l JOIN en57_read() e USING (position) ORDER BY 1;
SELECT status, lag, dead_letters FROM en57_projections;
SELECT en57_drop_projection('s');

-- what is nobody's fault is no failure: it ends the run, and nothing has happened
CREATE OR REPLACE FUNCTION each(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01', MESSAGE = 'as if deadlocked'; END $$;
SELECT en57_create_projection('d', '{"types": ["a"]}', 'each(en57_event)', mode => 'async', on_error => 'skip');
\set VERBOSITY terse
SELECT en57_run('d');
CREATE OR REPLACE FUNCTION each(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(60) $$;
SET statement_timeout = '50ms';
SELECT en57_run('d');
RESET statement_timeout;
\set VERBOSITY default
SELECT status, position, dead_letters FROM en57_projections;
DROP FUNCTION each(en57_event);
SELECT en57_run('d');
SELECT en57_drop_projection('d');

-- documents
CREATE FUNCTION count_up(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = 'poison' THEN RAISE EXCEPTION 'poison'; END IF;
    RETURN to_jsonb(coalesce((doc#>>'{}')::int, 0) + 1);
END $$;
CREATE FUNCTION type(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT e.type $$;
SELECT en57_create_document_projection('types', '{}', 'type(en57_event)'::regprocedure, 'count_up(jsonb,en57_event)', mode => 'async', on_error => 'skip', batch_size => 3);
SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "poison"}, {"type": "a"}]');
SELECT en57_run('types', 5);
SELECT sum(version) FROM types;
SELECT en57_run('types') = en57_count() - 6 AS all_but_one;
SELECT id, doc, version, version = en57_count(en57_query(types => ARRAY[id])) AS complete FROM types ORDER BY id;
SELECT dead_letters, lag FROM en57_projections;

-- waiting: true when it has handled all up to there, false when the time is over
SELECT en57_wait_projection('types'), en57_wait_projection('types', 1, '0');
SELECT outcome FROM en57_append('{"type": "a"}');
SELECT en57_wait_projection('types', timeout => '10ms');
SELECT en57_run('types');
SELECT en57_wait_projection('types');
\set VERBOSITY terse
SELECT en57_wait_projection('types', -1);
SELECT en57_wait_projection('types', 1, NULL);
SELECT en57_wait_projection('types', 1, '-1s');
SELECT en57_wait_projection(NULL);
SELECT en57_run('types', -1);
SELECT en57_run(NULL);
\set VERBOSITY default
-- a key function that fails is the event's failure as well
CREATE FUNCTION bad_key(e en57_event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF e.type = 'poison' THEN RAISE 'no key'; END IF; RETURN e.type; END $$;
CREATE FUNCTION count_all(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(coalesce((doc#>>'{}')::int, 0) + 1) $$;
SELECT en57_create_document_projection('keyed', '{}', 'bad_key(en57_event)'::regprocedure, 'count_all(jsonb,en57_event)', mode => 'async', on_error => 'skip');
SELECT en57_run('keyed') = en57_count() - 1 AS all_but_one;
SELECT error->>'message' AS message, regexp_replace(error->>'context', 'position [0-9]+', 'position N') AS context FROM en57.projection_dead_letters WHERE projection = 'keyed';
