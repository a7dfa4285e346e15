-- Upcasters: events of old types and versions are read as new ones, and found by their new names.
-- Fails when a query goes by another name than the one that readers see, when a condition does not lock the keys of older names, or when an upcaster may make another event of an event.
CREATE FUNCTION split_name(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    e.data := jsonb_build_object('first', split_part(e.data ->> 'name', ' ', 1), 'last', split_part(e.data ->> 'name', ' ', 2));
    RETURN e;
END $$;
CREATE FUNCTION add_country(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    e.data := e.data || '{"country": "?"}';
    e.meta := coalesce(e.meta, '{}') || '{"upcast": true}';
    e.schema_version := 3;
    RETURN e;
END $$;
CREATE FUNCTION same(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS 'SELECT e';
SELECT position FROM en57_append('[
    {"type": "signed up", "data": {"name": "Ada Lovelace"}, "tags": ["u:1"]},
    {"type": "signed up", "schema_version": 2, "data": {"first": "Alan", "last": "Turing"}, "tags": ["u:2"]},
    {"type": "signed up", "schema_version": 3, "data": {"first": "Grace", "last": "Hopper", "country": "US"}, "tags": ["u:3"]},
    {"type": "other", "data": 1}]');

-- chained up to the newest version
SELECT en57_register_upcaster('signed up', 1, 'split_name(en57_event)');
SELECT position, schema_version, data FROM en57_read();
SELECT en57_register_upcaster('signed up', 2, 'add_country(en57_event)');
SELECT position, type, schema_version, data, meta FROM en57_read();
SELECT * FROM (SELECT type, from_version, to_type, to_version, upcaster FROM en57_upcasters) u;
-- as they are stored
SELECT position, type, schema_version, data, meta FROM en57_read(upcast => false);
-- wherever events are read
SELECT position, data FROM en57_last('{"tags": ["u:1"]}');
SELECT (e).position, (e).data FROM en57_context('{"tags": ["u:1"]}'), unnest(events) e;
SELECT (en57_read('{"tags": ["u:1"]}')).data;
SELECT g.data FROM en57_read(max_count => 1) r, en57_get(r.id) g;
SELECT conflicts -> 0 -> 'data' AS data, conflicts -> 0 -> 'schema_version' AS version FROM en57_append('{"type": "x"}', fail_if => '{"tags": ["u:1"]}');
SELECT data FROM en57.read_events(ARRAY['{"tags": ["u:1"]}'::jsonb]);
SELECT conflicting_events -> 0 -> 'data' AS data FROM en57.append_events(ARRAY[ROW(NULL, 'x', NULL, NULL, '{}')::en57.event], '{"fail_if_events_match": [{"tags": ["u:1"]}]}');
SELECT outcome FROM en57_append('{"type": "signed up", "schema_version": 1, "data": {"name": "S T"}}', stream => 's');
SELECT position, data, stream, stream_version FROM en57_read_stream('s');
SELECT conflicts -> 0 -> 'data' AS data FROM en57_append('{"type": "x"}', stream => 's', expected_version => 0);
SELECT en57_create_subscription('sub', '{"types": ["signed up"]}');
SELECT position, schema_version, data FROM en57_poll('sub');
SELECT (event).data FROM en57_trace((SELECT id FROM en57_read(max_count => 1)));
-- partitions together
SELECT position, data FROM en57_read('{"tags": ["u:1"]}', partition => '*');
-- counted without being called: this one would fail
SELECT en57_register_upcaster('other', 1, 'split_name(en57_event)');
CREATE FUNCTION fails(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'never'; END $$;
SELECT en57_register_upcaster('other', 1, 'fails(en57_event)');
SELECT en57_count('{"types": ["other"]}'), en57_exists('{"types": ["other"]}');
SELECT en57_read('{"types": ["other"]}');
SELECT en57_drop_upcaster('other', 1);

-- a new name: queries for it find the old events, queries for the old one do not
SELECT en57_register_upcaster('signed up', 3, 'same(en57_event)', to_type => 'user joined');
SELECT position, type, schema_version FROM en57_read('{"types": ["user joined"]}');
SELECT count(*) FROM en57_read('{"types": ["signed up"]}');
SELECT en57_count('{"types": ["user joined"], "tags": ["u:2"]}'), en57_exists('{"types": ["signed up"]}'), (en57_last('{"types": ["user joined"]}')).position;
SELECT position, type FROM en57_read('{"types": ["signed up"]}', upcast => false);
SELECT count(*) FROM en57_read('{"types": ["user joined"]}', upcast => false);
SELECT en57_wait(0, '0s', '{"types": ["user joined"]}') > 0 AS found;
-- streams stay what they are; the shard is that of the stored type
SELECT stream, stream_version, type FROM en57_read_stream('s');
-- matching a value is pure
SELECT en57_query(types => '{user joined}') @> e AS new, en57_query(types => '{signed up}') @> e AS old FROM en57_read(max_count => 1) e;
-- conditions go by it, and lock both names
SELECT outcome, position, conflicts -> 0 ->> 'type' AS type FROM en57_append('{"type": "x"}', fail_if => '{"types": ["user joined"]}');
SELECT outcome FROM en57_append('{"type": "x"}', fail_if => '{"types": ["signed up"]}');
BEGIN;
SELECT outcome FROM en57_append('{"type": "x"}', fail_if => '{"types": ["user joined"], "after": 100}');
SELECT mode, count(*) FROM en57_key_locks WHERE pid = pg_backend_pid() GROUP BY mode ORDER BY mode;
ROLLBACK;
BEGIN;
SELECT en57_lock('{"types": ["user joined"]}') > 0 AS locked;
SELECT mode, count(*) FROM en57_key_locks WHERE pid = pg_backend_pid() GROUP BY mode ORDER BY mode;
ROLLBACK;
-- types that are appended by the old name still
SELECT position FROM en57_append('{"type": "signed up", "schema_version": 1, "data": {"name": "Old Client"}, "tags": ["u:4"]}');
SELECT type, schema_version, data FROM en57_read('{"types": ["user joined"], "tags": ["u:4"]}');

-- projections: inline and async, handlers and documents, new events of old types too
CREATE TABLE seen (how text, type text, version integer, data jsonb);
CREATE FUNCTION see(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO seen VALUES ('inline', e.type, e.schema_version, e.data) $$;
CREATE FUNCTION see_later(e en57_event[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO seen SELECT 'async', u.type, u.schema_version, u.data FROM unnest(e) u $$;
CREATE FUNCTION country_of(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT e.data ->> 'country' $$;
CREATE FUNCTION names(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(doc, '[]') || (e.data -> 'last') $$;
SELECT en57_create_projection('inline', '{"types": ["user joined"]}', 'see(en57_event)', start => 'end');
SELECT en57_create_projection('async', '{"types": ["user joined"]}', 'see_later(en57_event[])', mode => 'async');
SELECT en57_create_projection('nothing', '{"types": ["signed up"]}', 'see(en57_event)');
SELECT en57_create_document_projection('countries', '{"types": ["user joined"]}', 'country_of(en57_event)'::regprocedure, 'names(jsonb, en57_event)');
SELECT outcome FROM en57_append('{"type": "signed up", "schema_version": 1, "data": {"name": "New Comer"}}');
SELECT en57_run('async');
SELECT * FROM seen ORDER BY how, data ->> 'last';
SELECT id, doc, version FROM countries ORDER BY id;
-- an error of an upcaster is one of the event that is handled
SELECT outcome FROM en57_append('{"type": "bad", "schema_version": 1, "tags": ["bad"]}');
SELECT en57_create_projection('skips', '{"types": ["bad", "user joined"]}', 'see_later(en57_event[])', mode => 'async', on_error => 'skip');
SELECT en57_register_upcaster('bad', 1, 'fails(en57_event)');
SELECT en57_run('skips') > 0 AS ran;
SELECT position, error ->> 'message' AS message, error ->> 'context' AS context FROM en57.projection_dead_letters;
SELECT en57_append('{"type": "x"}', fail_if => '{"tags": ["bad"]}');
SELECT en57_drop_upcaster('bad', 1);
SELECT en57_drop_projection(name) FROM en57_projections ORDER BY name;

-- what an upcaster may not do
CREATE FUNCTION wrong(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    CASE e.data ->> 'do'
        WHEN 'gone' THEN RETURN NULL;
        WHEN 'position' THEN e.position := e.position + 1;
        WHEN 'id' THEN e.id := '00000000-0000-0000-0000-000000000000';
        WHEN 'tags' THEN e.tags := '{}';
        WHEN 'tags null' THEN e.tags := '{NULL}';
        WHEN 'stream' THEN e.stream := 'other';
        WHEN 'version' THEN e.stream_version := 7;
        WHEN 'time' THEN e.occurred_at := 'epoch';
        WHEN 'partition' THEN e.partition := 'x';
        WHEN 'type' THEN e.type := 'y';
        WHEN 'schema' THEN e.schema_version := 9;
        WHEN 'meta' THEN e.meta := '[]';
        WHEN 'correlation' THEN e.meta := '{"correlation_id": "other"}';
        WHEN 'nothing' THEN e.data := NULL; e.meta := NULL;
        WHEN 'declared' THEN e.type := 'right'; e.schema_version := 1;
        WHEN 'raise' THEN RAISE 'no way';
    END CASE;
    RETURN e;
END $$;
SELECT en57_register_upcaster('wrong', 1, 'wrong(en57_event)', 'right');
SELECT count(*) FROM (SELECT en57_append(jsonb_build_object('type', 'wrong', 'schema_version', 1, 'tags', jsonb_build_array(d), 'data', jsonb_build_object('do', d)))
    FROM unnest('{gone,position,id,tags,tags null,stream,version,time,partition,type,schema,meta,correlation,nothing,declared,raise}'::text[]) d) a;
SELECT en57_read('{"tags": ["gone"]}');
SELECT en57_read('{"tags": ["position"]}');
SELECT en57_read('{"tags": ["id"]}');
SELECT en57_read('{"tags": ["tags"]}');
SELECT en57_read('{"tags": ["tags null"]}');
SELECT en57_read('{"tags": ["stream"]}');
SELECT en57_read('{"tags": ["version"]}');
SELECT en57_read('{"tags": ["time"]}');
SELECT en57_read('{"tags": ["partition"]}');
SELECT en57_read('{"tags": ["type"]}');
SELECT en57_read('{"tags": ["schema"]}');
SELECT en57_read('{"tags": ["meta"]}');
SELECT en57_read('{"tags": ["correlation"]}');
SELECT type, schema_version, data, meta FROM en57_read('{"tags": ["nothing"]}');
SELECT type, schema_version FROM en57_read('{"tags": ["declared"]}');
SELECT en57_read('{"tags": ["raise"]}');
\set VERBOSITY sqlstate
SELECT en57_read('{"tags": ["gone"]}');
SELECT en57_read('{"tags": ["tags"]}');
\set VERBOSITY default
SELECT position > 0 AS there, type FROM en57_read('{"tags": ["raise"]}', upcast => false);

-- a function that is replaced, or gone
CREATE OR REPLACE FUNCTION same(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS $$ SELECT jsonb_populate_record(e, '{"data": "replaced"}') $$;
SELECT data FROM en57_read('{"tags": ["u:3"]}');
DROP FUNCTION same(en57_event);
SELECT en57_read('{"tags": ["u:3"]}');
SELECT position, data FROM en57_read('{"tags": ["u:3"]}', upcast => false);
CREATE FUNCTION same(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS 'SELECT e';
SELECT type, data FROM en57_read('{"tags": ["u:3"]}');

-- what cannot be registered: circles, gaps, other functions
SELECT en57_register_upcaster('user joined', 1, 'same(en57_event)', 'signed up');
SELECT en57_register_upcaster('a', 1, 'same(en57_event)', 'a', 1);
SELECT en57_register_upcaster('signed up', 5, 'same(en57_event)');
SELECT en57_register_upcaster('gap', 1, 'same(en57_event)');
SELECT en57_register_upcaster('gap', 3, 'same(en57_event)');
SELECT en57_register_upcaster('back', 3, 'same(en57_event)', to_version => 2);
SELECT en57_register_type('gap', 3);
SELECT en57_register_upcaster('gap', 2, 'same(en57_event)');
SELECT en57_register_type('new', 2);
SELECT en57_register_upcaster('old', 1, 'same(en57_event)', 'new');
SELECT en57_register_upcaster('new', 1, 'same(en57_event)');
SELECT en57_register_upcaster('old', 1, 'same(en57_event)', 'new');
SELECT en57_drop_upcaster('new', 1);
SELECT en57_drop_upcaster('none', 1);
CREATE FUNCTION volatile(e en57_event) RETURNS en57_event LANGUAGE sql AS 'SELECT e';
CREATE FUNCTION text_of(e en57_event) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT e.type';
SELECT en57_register_upcaster('x', 1, 'volatile(en57_event)');
SELECT en57_register_upcaster('x', 1, 'text_of(en57_event)');
SELECT en57_register_upcaster('x', 1, 'sum(integer)');
SELECT en57_register_upcaster('x', 1, NULL);
SELECT en57_register_upcaster('x', 1, 0::regprocedure);
SELECT en57_register_upcaster(NULL, 1, 'same(en57_event)');
SELECT en57_register_upcaster('x', NULL, 'same(en57_event)');
SELECT en57_register_upcaster('', 1, 'same(en57_event)');
SELECT en57_register_upcaster('*', 1, 'same(en57_event)');
SELECT en57_register_upcaster('x', 0, 'same(en57_event)');
SELECT en57_register_upcaster('x', 2147483647, 'same(en57_event)');
SELECT en57_register_upcaster('x', 1, 'same(en57_event)', repeat('x', 256));

-- the owner's rights, and the search path of who has registered it; registered by its owner alone
CREATE SCHEMA words;
CREATE TABLE words.secret AS SELECT 'from a table'::text AS word;
SET search_path = words, public;
CREATE FUNCTION words.look_up(e en57_event) RETURNS en57_event LANGUAGE plpgsql STABLE AS $$
BEGIN
    e.data := jsonb_build_object('word', (SELECT word FROM secret), 'as', current_user);
    RETURN e;
END $$;
SELECT en57_register_upcaster('looked up', 1, 'look_up(en57_event)');
RESET search_path;
SELECT outcome FROM en57_append('{"type": "looked up", "schema_version": 1, "tags": ["lu"]}');
CREATE ROLE en57_upcast_reader;
SELECT en57_grant('en57_upcast_reader', 'reader', 'default');
SET ROLE en57_upcast_reader;
SELECT data ->> 'word' AS word, data ->> 'as' <> 'en57_upcast_reader' AS as_owner FROM en57_read('{"tags": ["lu"]}');
SELECT word FROM words.secret;
SELECT en57_register_upcaster('x', 1, 'same(en57_event)');
SELECT count(*) > 0 AS sees FROM en57_upcasters;
SELECT count(*) FROM en57.upcasters;
RESET ROLE;
GRANT EXECUTE ON FUNCTION en57_register_upcaster(text, integer, en57_function, text, integer, boolean), en57_drop_upcaster(text, integer) TO en57_upcast_reader;
SET ROLE en57_upcast_reader;
SELECT en57_register_upcaster('x', 1, 'same(en57_event)');
RESET ROLE;
DROP OWNED BY en57_upcast_reader;
DROP ROLE en57_upcast_reader;

-- a repeating transaction goes by what it has seen first; its own changes it sees
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM en57_read('{"types": ["renamed"]}');
SELECT en57_register_upcaster('other', 1, 'same(en57_event)', 'renamed');
SELECT count(*) FROM en57_read('{"types": ["renamed"]}');
ROLLBACK;
SELECT count(*) FROM en57_read('{"types": ["renamed"]}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SAVEPOINT a;
SELECT en57_register_upcaster('other', 1, 'same(en57_event)', 'renamed');
SELECT en57_count('{"types": ["renamed"]}');
ROLLBACK TO a;
SELECT en57_count('{"types": ["renamed"]}');
ROLLBACK;
-- invariants see new events, too, as they are read; what was kept of states is not used by other names
CREATE FUNCTION sum_up(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(coalesce(state::numeric, 0) + (e.data ->> 'amount')::numeric) $$;
CREATE FUNCTION at_most_40(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT format('%s is more than 40', state) WHERE state::numeric > 40 $$;
CREATE FUNCTION cents(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN e.data := jsonb_build_object('amount', e.data -> 'cents'); RETURN e; END $$;
SELECT en57_register_upcaster('paid cents', 1, 'cents(en57_event)', 'paid');
SELECT en57_create_invariant('limit', '{"types": ["paid"]}', 'tag:limit:', 'sum_up(jsonb,en57_event)', 'at_most_40(jsonb)');
SELECT count((en57_append('{"type": "paid cents", "schema_version": 1, "data": {"cents": 1}, "tags": ["limit:a"]}')).outcome) FROM generate_series(1, 40);
SELECT outcome FROM en57_append('{"type": "paid cents", "schema_version": 1, "data": {"cents": 1}, "tags": ["limit:a"]}');
SELECT outcome FROM en57_append('{"type": "paid", "data": {"amount": 1}, "tags": ["limit:a"]}');
CREATE OR REPLACE FUNCTION cents(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN e.data := jsonb_build_object('amount', trunc((e.data ->> 'cents')::numeric * 0.5, 1)); RETURN e; END $$;
SELECT outcome FROM en57_append('{"type": "paid", "data": {"amount": 20}, "tags": ["limit:a"]}');
SELECT outcome FROM en57_append('{"type": "paid cents", "schema_version": 1, "data": {"cents": 2}, "tags": ["limit:a"]}');
-- so do deciders, and trials of them
CREATE FUNCTION about(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT en57_query(types => '{paid}', tags => ARRAY['limit:' || (command ->> 'id')]) $$;
CREATE FUNCTION tell(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT jsonb_build_object('type', 'told', 'data', state) $$;
SELECT en57_create_decider('telling', 'about(jsonb)', 'sum_up(jsonb,en57_event)', 'tell(jsonb,jsonb)');
SELECT en57_try('telling', '[{"type": "paid cents", "schema_version": 1, "data": {"cents": 3}, "tags": ["limit:b"]}, {"type": "paid", "data": {"amount": 1}, "tags": ["limit:b"]}]', '{"id": "b"}') -> 0 -> 'data' AS told;
SELECT outcome FROM en57_decide('telling', '{"id": "a"}');
SELECT data AS told FROM en57_last('{"types": ["told"]}');
-- one that others lead to stays; without them it goes
SELECT en57_register_upcaster('chained', 2, 'same(en57_event)');
SELECT en57_register_upcaster('chained', 1, 'same(en57_event)');
SELECT en57_drop_upcaster('chained', 2);
SELECT en57_drop_upcaster('chained', 1);
SELECT en57_drop_upcaster('chained', 2);
-- a schema is renamed: sessions that knew the function by its old name do not go on with it, and find it again
CREATE SCHEMA s1;
CREATE FUNCTION s1.up(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN e.data := '"up"'; RETURN e; END $$;
SELECT en57_register_upcaster('homeless', 1, 's1.up(en57_event)');
SELECT outcome FROM en57_append('{"type": "homeless", "schema_version": 1}');
SELECT data FROM en57_last('{"types": ["homeless"]}');
ALTER SCHEMA s1 RENAME TO s2;
SELECT data FROM en57_last('{"types": ["homeless"]}');
ALTER SCHEMA s2 RENAME TO s1;
SELECT data FROM en57_last('{"types": ["homeless"]}');
-- rows and indexes are as they were
SELECT count(*) AS problems FROM en57_check();
