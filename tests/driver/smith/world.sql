-- What random calls meet. All of "theirs" belongs to others: no role that calls may learn its secret word, moonstone, or
-- change a thing of it.
CREATE ROLE smith_nobody LOGIN;
CREATE ROLE smith_reader LOGIN;
CREATE ROLE smith_writer LOGIN;
CREATE ROLE smith_admin LOGIN;
CREATE ROLE smith_victim;
SELECT en57_create_partition('mine'), en57_create_partition('theirs');
SELECT en57_grant('smith_reader', 'reader', 'mine'), en57_grant('smith_writer', 'writer', 'mine'),
       en57_grant('smith_admin', 'admin', 'mine'), en57_grant('smith_victim', 'admin', 'theirs');
SELECT en57_register_type('typed', 1, '{"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}'),
       en57_register_type('typed', 2, '{"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": ["integer", "null"]}}}');
CREATE FUNCTION upcast(event en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS $$
    SELECT ROW(event.position, event.id, event.type, coalesce(event.data, '{}') || '{"m": 1}', event.meta, event.tags, event.stream,
        event.stream_version, event.schema_version, event.occurred_at, event.recorded_at, event.partition)::en57_event $$;
SELECT en57_register_upcaster('typed', 1, 'upcast(en57_event)');

-- Functions of each role, in a schema of its own.
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY '{smith_nobody,smith_reader,smith_writer,smith_admin,smith_victim}'::text[] LOOP
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', r, r);
        EXECUTE format('SET ROLE %I', r);
        EXECUTE format($f$
            SET search_path = %I, public;
            CREATE TABLE seen (position bigint, type text);
            CREATE FUNCTION evolve(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT coalesce(state, ''{}'') || jsonb_build_object(coalesce(e.type, ''''), e.data)';
            CREATE FUNCTION sound(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''too many'' WHERE length(state::text) > 2000';
            CREATE FUNCTION keys(e en57_event) RETURNS text[] LANGUAGE sql IMMUTABLE AS 'SELECT e.tags';
            CREATE FUNCTION handle(e en57_event) RETURNS void LANGUAGE sql AS 'INSERT INTO seen VALUES (e.position, e.type)';
            CREATE FUNCTION handle_all(e en57_event[]) RETURNS void LANGUAGE sql AS 'INSERT INTO seen SELECT x.position, x.type FROM unnest(e) x';
            CREATE FUNCTION fails(e en57_event) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
            CREATE FUNCTION forget() RETURNS void LANGUAGE sql AS 'DELETE FROM seen';
            CREATE FUNCTION asks(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS 'SELECT en57_query(tags => ARRAY[''n0''])';
            CREATE FUNCTION decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT command';
        $f$, r);
        RESET ROLE;
        RESET search_path;
    END LOOP;
END $$;

-- Theirs: events, definitions of every kind, a subscription with a dead letter, a source.
SET ROLE smith_victim;
SET search_path = smith_victim, public;
SET en57.partition = 'theirs';
SELECT en57_create_document_projection('their documents', '{}', 'tag:t:', 'evolve');
SELECT en57_create_projection('their handler', '{}', 'handle', mode => 'async');
SELECT en57_create_projection('their failing', '{"types": ["moonstone"]}', 'fails', mode => 'async', on_error => 'skip');
SELECT en57_create_invariant('their rule', '{}', 'tag:t:', 'evolve', 'sound', key_required => false);
SELECT en57_append(jsonb_agg(jsonb_build_object('type', 'moonstone', 'data', jsonb_build_object('moonstone', n), 'meta', '{"by": "moonstone"}'::jsonb, 'tags', ARRAY['t:moonstone' || n % 3])), stream => 'moonstone')
    FROM generate_series(1, 20) n;
SELECT en57_run('their failing');
SELECT en57_create_subscription('their subscription', '{}', max_attempts => 1);
BEGIN;
SELECT count(*) FROM en57_poll('their subscription');
SELECT en57_nack('their subscription', (SELECT min(position) FROM en57_read()), 'moonstone is broken');
COMMIT;
SELECT en57_track('their source', 41);
RESET ROLE;
RESET en57.partition;
RESET search_path;
GRANT EXECUTE ON FUNCTION en57_create_fold(text, en57_function, jsonb, integer, boolean, boolean), en57_drop_fold(text), en57_create_decider(text, en57_function, en57_function, en57_function, jsonb, jsonb, integer, boolean, boolean) TO smith_victim;
SET ROLE smith_victim;
SET search_path = smith_victim, public;
SELECT en57_create_fold('their fold', 'evolve', snapshot_every => 5);
SELECT en57_create_decider('their decider', 'asks', 'evolve', 'decide');
RESET ROLE;
RESET search_path;

-- Ours, of the admin and of the writer.
SET ROLE smith_admin;
SET search_path = smith_admin, public;
SET en57.partition = 'mine';
SELECT en57_create_document_projection('my documents', '{}', 'stream', 'evolve');
SELECT en57_create_projection('my handler', '{"types": ["a"]}', 'handle_all(en57_event[])', mode => 'async', truncate => 'forget');
SELECT en57_create_projection('my inline', '{"types": ["b"]}', 'handle(en57_event)');
SELECT en57_create_invariant('my rule', '{}', 'tag:n:', 'evolve', 'sound', key_required => false);
SELECT en57_create_fold('my fold', 'evolve', snapshot_every => 3);
SELECT en57_create_decider('my decider', 'asks', 'evolve', 'decide');
SELECT en57_append('[{"type": "a", "tags": ["n0", "n:1"]}, {"type": "b", "tags": ["n:2"], "id": "00000000-0000-0000-0000-000000000001"}, {"type": "typed", "data": {"n": 1}}]', stream => 's');
RESET ROLE;
SET ROLE smith_writer;
SET search_path = smith_writer, public;
SELECT en57_create_subscription('a', '{}', partition => 'mine');
SELECT en57_create_subscription('b', '{"types": ["a"]}', partition => 'mine', shards => 4, max_attempts => 2, hold_key => true);
SELECT en57_track('source', 3);
RESET ROLE;
RESET en57.partition;
RESET search_path;
