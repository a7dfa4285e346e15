-- Inline projections: handlers run in the append's transaction, for the events that match, in position order; their errors are the append's.
-- Fails when the events are not visible to the handler, when an order is not kept, when a handler's error does not end the append, or when a cached list of projections outlives a change.
CREATE TABLE seen (n serial, projection text, positions bigint[], stored bigint);
CREATE FUNCTION each(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (projection, positions, stored) SELECT 'each', ARRAY[e.position], en57_count();
END $$;
CREATE FUNCTION together(e en57_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO seen (projection, positions, stored) SELECT 'together', array_agg(u.position), en57_count() FROM unnest(e) u
$$;

-- without any projection, and for events that do not match, nothing happens
SELECT position FROM en57_append('{"type": "before", "tags": ["a"]}');
SELECT en57_create_projection('each', '{"tags": ["a"]}', 'each(en57_event)', start => 'end');
SELECT en57_create_projection('together', '[{"tags": ["a"]}, {"types": ["t"]}]', 'together(en57_event[])', start => 'end');
SELECT position FROM en57_append('{"type": "other", "tags": ["b"]}');
SELECT * FROM seen;
-- one after the other in the order of their creation, each in position order; a batch in one call
SELECT position FROM en57_append('[{"type": "x", "tags": ["a"]}, {"type": "t"}, {"type": "x"}, {"type": "t", "tags": ["a"]}]');
SELECT projection, positions, stored FROM seen ORDER BY n;
-- the transaction's end is that of the effects
BEGIN;
SELECT position FROM en57_append('{"type": "t", "tags": ["a"]}');
SELECT count(*) FROM seen;
ROLLBACK;
SELECT count(*) FROM seen;
-- a conflict and a repetition run nothing
SELECT outcome FROM en57_append('{"type": "t", "tags": ["a"]}', fail_if => '{"tags": ["a"]}');
SELECT outcome FROM en57_append('{"type": "t", "tags": ["a"], "id": "00000000-0000-0000-0000-000000000001"}');
SELECT outcome FROM en57_append('{"type": "t", "tags": ["a"], "id": "00000000-0000-0000-0000-000000000001"}');
SELECT count(*) FROM seen;
-- the gem's functions run them, too
SELECT position > 0 FROM en57.append_events(ARRAY[ROW(NULL, 'g', NULL, NULL, '{a}')::en57.event]);
SELECT projection, stored FROM seen ORDER BY n DESC LIMIT 2;
-- a large batch is handed over in parts
TRUNCATE seen;
SELECT en57_create_projection('parts', '{"types": ["many"]}', 'together(en57_event[])', batch_size => 400);
SELECT last.position - last.first_position AS distance FROM en57_append((SELECT jsonb_agg('{"type": "many"}'::jsonb) FROM generate_series(1, 1000))) last;
SELECT cardinality(positions), positions[1] - min(positions[1]) OVER () AS first FROM seen ORDER BY n;
-- the criterion's after counts
SELECT en57_create_projection('after', '{"types": ["late"], "after": 1000000}', 'each(en57_event)');
TRUNCATE seen;
SELECT outcome FROM en57_append('{"type": "late"}');
SELECT count(*) FROM seen;

-- from the beginning: what is stored is handled at once, by the transaction that creates
SELECT en57_create_projection('from the beginning', '{"tags": ["b"]}', 'each(en57_event)');
SELECT projection, positions FROM seen ORDER BY n;
BEGIN;
SELECT outcome FROM en57_append('{"type": "own", "tags": ["own"]}');
SELECT en57_create_projection('own', '{"tags": ["own"]}', 'each(en57_event)');
SELECT outcome FROM en57_append('{"type": "own", "tags": ["own"]}');
SELECT count(*) FROM seen;
ROLLBACK;
SELECT outcome FROM en57_append('{"type": "own", "tags": ["own"]}');
SELECT count(*) FROM seen;

-- paused: nothing is handled; resumed: what was missed is
SELECT en57_pause('from the beginning');
SELECT en57_pause('from the beginning');
TRUNCATE seen;
SELECT outcome FROM en57_append('[{"type": "x", "tags": ["b"]}, {"type": "x", "tags": ["b"]}]');
SELECT count(*) FROM seen;
SELECT name, kind, mode, status, lag > 0 AS lags FROM en57_projections ORDER BY name;
SELECT en57_resume('from the beginning');
SELECT en57_resume('from the beginning');
SELECT outcome FROM en57_append('{"type": "x", "tags": ["b"]}');
SELECT count(*) FROM seen;
SELECT name, status, position = head AS is_at_head, lag FROM en57_projections WHERE name = 'from the beginning';

-- an error is the append's own, with its state and texts, and says where
CREATE FUNCTION refuse(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF e.data ? 'bad' THEN
        RAISE EXCEPTION USING ERRCODE = 'X1234', MESSAGE = 'refused', DETAIL = 'a detail', HINT = 'a hint';
    END IF;
END $$;
SELECT en57_create_projection('refusing', '{"types": ["r"]}', 'refuse(en57_event)');
\set VERBOSITY verbose
\set SHOW_CONTEXT errors
CREATE FUNCTION told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text; c text;
BEGIN
    EXECUTE call;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, c = PG_EXCEPTION_CONTEXT;
    RETURN concat_ws(' | ', sqlstate, m, nullif(d, ''), nullif(h, ''), regexp_replace(regexp_replace(c, 'position [0-9]+', 'position N'), '\n', ' / ', 'g'));
END $$;
\set VERBOSITY default
SELECT told($$SELECT en57_append('[{"type": "r"}, {"type": "r", "data": {"bad": 1}}]')$$);
SELECT en57_count('{"types": ["r"]}');
-- a constraint's name passes through
CREATE TABLE once (id text CONSTRAINT only_once PRIMARY KEY);
CREATE FUNCTION take(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO once VALUES (e.data->>'name') $$;
SELECT en57_create_projection('taking', '{"types": ["taken"]}', 'take(en57_event)');
SELECT outcome FROM en57_append('{"type": "taken", "data": {"name": "ada"}}');
DO $$
DECLARE c text;
BEGIN
    PERFORM en57_append('{"type": "taken", "data": {"name": "ada"}}');
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS c = CONSTRAINT_NAME;
    RAISE NOTICE 'constraint %', c;
END $$;
SELECT en57_count('{"types": ["taken"]}');
-- and the session goes on as before
SELECT outcome FROM en57_append('{"type": "taken", "data": {"name": "bob"}}');
SHOW search_path;

-- a handler that appends: its events are handled after those of the append that has called it
CREATE FUNCTION follow(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (projection, positions) VALUES ('follow ' || (e.data->>'n'), ARRAY[e.position]);
    IF (e.data->>'n')::int > 0 THEN
        PERFORM en57_append(jsonb_build_object('type', 'follow', 'data', jsonb_build_object('n', (e.data->>'n')::int - 1)));
    END IF;
END $$;
SELECT en57_create_projection('following', '{"types": ["follow"]}', 'follow(en57_event)');
TRUNCATE seen;
SELECT outcome FROM en57_append('[{"type": "follow", "data": {"n": 2}}, {"type": "follow", "data": {"n": 1}}]');
SELECT projection, positions[1] - min(positions[1]) OVER () AS nth FROM seen ORDER BY n;
-- not without end
SELECT told($$SELECT en57_append('{"type": "follow", "data": {"n": 16}}')$$);
SELECT told($$SELECT en57_append('{"type": "follow", "data": {"n": 17}}')$$);
-- what a handler appends and takes back is not handled
CREATE FUNCTION take_back(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM en57_append('{"type": "follow", "data": {"n": 5}}');
        RAISE EXCEPTION 'back';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
END $$;
SELECT en57_create_projection('taking back', '{"types": ["take back"]}', 'take_back(en57_event)');
TRUNCATE seen;
SELECT outcome FROM en57_append('{"type": "take back"}');
SELECT count(*) FROM seen;
-- an error that the caller catches leaves nothing behind, not even half a queue
SELECT told($$SELECT en57_append('[{"type": "follow", "data": {"n": 1}}, {"type": "r", "data": {"bad": 1}}]')$$) LIKE 'X1234%' AS refused;
SELECT outcome FROM en57_append('{"type": "follow", "data": {"n": 0}}');
SELECT count(*) FROM seen;

-- a handler that is replaced counts at once; one that is gone is named
CREATE OR REPLACE FUNCTION take(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO once VALUES ('new ' || (e.data->>'name')) $$;
SELECT outcome FROM en57_append('{"type": "taken", "data": {"name": "ada"}}');
SELECT * FROM once ORDER BY id COLLATE "C";
DROP FUNCTION take(en57_event);
SELECT outcome FROM en57_append('{"type": "not taken"}');
SELECT outcome FROM en57_append('{"type": "taken", "data": {"name": "eve"}}');
CREATE FUNCTION take(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO once VALUES ('again ' || (e.data->>'name')) $$;
SELECT outcome FROM en57_append('{"type": "taken", "data": {"name": "eve"}}');
SELECT en57_drop_projection('taking');
DROP FUNCTION take(en57_event);
SELECT outcome FROM en57_append('{"type": "taken", "data": {"name": "eve"}}');

-- at every isolation level the new definitions count
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM seen;
SELECT en57_create_projection('repeatable', '{"types": ["rr"]}', 'each(en57_event)');
SELECT outcome FROM en57_append('{"type": "rr"}');
SELECT count(*) FROM seen;
COMMIT;
-- a handler that is not volatile sees the new row
CREATE FUNCTION stable_count() RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM en57.events WHERE type = 'stable' $$;
CREATE FUNCTION look(e en57_event) RETURNS void LANGUAGE plpgsql STABLE AS $$ BEGIN RAISE NOTICE 'sees %', stable_count(); END $$;
SELECT en57_create_projection('stable', '{"types": ["stable"]}', 'look(en57_event)');
SELECT outcome FROM en57_append('{"type": "stable"}');

-- what does not fit
SELECT told(call) FROM (VALUES
    ($$SELECT en57_create_projection('each', '{}', 'each(en57_event)')$$),
    ($$SELECT en57_create_projection(NULL, '{}', 'each(en57_event)')$$),
    ($$SELECT en57_create_projection('', '{}', 'each(en57_event)')$$),
    ($$SELECT en57_create_projection(repeat('x', 64), '{}', 'each(en57_event)')$$),
    ($$SELECT en57_create_projection('p', NULL, 'each(en57_event)')$$),
    ($$SELECT en57_create_projection('p', '[]', 'each(en57_event)')$$),
    ($$SELECT en57_create_projection('p', '{}', NULL)$$),
    ($$SELECT en57_create_projection('p', '{}', 12345678::regprocedure)$$),
    ($$SELECT en57_create_projection('p', '{}', 'stable_count()')$$),
    ($$SELECT en57_create_projection('p', '{}', 'sum(integer)')$$),
    ($$SELECT en57_create_projection('p', '{}', 'each(en57_event)', mode => 'later')$$),
    ($$SELECT en57_create_projection('p', '{}', 'each(en57_event)', mode => NULL)$$),
    ($$SELECT en57_create_projection('p', '{}', 'each(en57_event)', on_error => 'skip')$$),
    ($$SELECT en57_create_projection('p', '{}', 'each(en57_event)', on_error => 'ignore')$$),
    ($$SELECT en57_create_projection('p', '{}', 'each(en57_event)', batch_size => 0)$$),
    ($$SELECT en57_create_projection('p', '{}', 'each(en57_event)', batch_size => 10001)$$),
    ($$SELECT en57_create_projection('p', '{}', 'each(en57_event)', start => 'middle')$$),
    ($$SELECT en57_create_projection('p', '{}', 'each(en57_event)', partition => 'none')$$),
    ($$SELECT en57_pause('nobody')$$),
    ($$SELECT en57_resume(NULL)$$),
    ($$SELECT en57_resume('each', skip => true)$$),
    ($$SELECT en57_drop_projection('nobody')$$),
    ($$SELECT en57_run('each')$$)) AS calls (call);
BEGIN READ ONLY;
SELECT en57_create_projection('p', '{}', 'each(en57_event)');
ROLLBACK;
