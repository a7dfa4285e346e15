-- Erasing: data and meta go, with what was made of them; where events stand and how they are found stays.
-- Fails when Fetcher::look does not follow versions on a page (en57_check finds damage, en57_get nothing), when `found` is not
-- remembered there (events come twice), when aminsert takes erased events for new ones, when key functions are not asked before
-- and after, and when any of documents, rebuilds, states, snapshots or errors is left out of erase.rs.
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE TABLE facts (position bigint, seen text);

SELECT position FROM en57_append('[
    {"type": "registered", "tags": ["person:ada", "course:sql"], "data": {"email": "ada@secret.example"}, "meta": {"user": "clerk secret", "correlation_id": "c-1", "causation_id": "k-1"}},
    {"type": "registered", "tags": ["person:bob", "course:sql"], "data": {"email": "bob@example.org"}, "meta": {"user": "clerk"}},
    {"type": "moved", "tags": ["person:ada"], "data": {"city": "secret city"}},
    {"type": "paid", "tags": ["person:ada"]},
    {"type": "paid", "tags": ["person:ada"], "meta": {"correlation_id": "c-1"}},
    {"type": "noted", "tags": ["person:bob"], "data": null, "meta": {"trace_id": "t"}}
]', stream => 'people');

-- What is refused.
SELECT en57_erase(NULL, 'why');
SELECT en57_erase('{"tags": ["person:ada"]}', NULL);
SELECT en57_erase('{"tags": ["person:ada"]}', '');
SELECT en57_erase('{"tags": ["person:ada"]}', E' \t\n');
SET en57.partition = '*';
SELECT en57_erase('{"tags": ["person:ada"]}', 'why');
RESET en57.partition;
SELECT en57_erase('{"tags": ["person:ada"]}', 'why', 'nowhere');
SELECT en57_erase('{"tags": ["person:ada"]}', 'why', '');
SELECT en57_erase('[]', 'why');
SELECT en57_erase('{"tags": ["person:ada"], "oops": 1}', 'why');
UPDATE en57.events_default SET data = NULL;

-- What is erased.
SELECT en57_erase('{"tags": ["person:ada"]}', 'request 17');
SELECT position, type, data, meta, tags, stream, stream_version FROM en57_read();
SELECT number, partition, query, reason, erased_by = session_user AS by_me, erased_at < clock_timestamp() AS dated, events, documents, positions FROM en57_erasures;
-- Which events are erased, and not without data from the start.
SELECT position, data IS NULL AS has_none, EXISTS (SELECT FROM en57_erasures e WHERE e.positions @> r.position) AS erased FROM en57_read() r;
-- Again: nothing is left to erase, and nothing is noted.
SELECT en57_erase('{"tags": ["person:ada"]}', 'request 17, again');
SELECT en57_erase('{"tags": ["person:nobody"]}', 'request 18');
SELECT count(*) FROM en57_erasures;

-- They are found as before, in both directions, and by nobody twice.
SELECT en57_count('{"tags": ["person:ada"]}'), en57_count('{"correlation_id": "c-1"}'), en57_count('{"causation_id": "k-1"}'), en57_count();
SELECT array_agg(position) FROM en57_read('[{"tags": ["person:ada"]}, {"types": ["paid"]}, {"tags": ["person:ada"], "types": ["moved", "paid"]}]', backwards => true);
SELECT array_agg(stream_version) FROM en57_read_stream('people'), LATERAL (SELECT 1) s;
SELECT array_agg(stream_version) FROM en57_read_stream('people', from_version => 3);
SELECT stream, version, first_position, last_position FROM en57_streams;
SELECT (en57_last('{"tags": ["person:ada"]}')).position, en57_exists('{"correlation_id": "c-1"}'), en57_head('{"tags": ["person:ada"]}');
SELECT (en57_get(id)).position, (en57_get(id)).data FROM en57_read() WHERE position IN (1, 3, 5);
SELECT outcome, position, jsonb_array_length(conflicts), conflicts->0->'data' AS data FROM en57_append('{"type": "paid"}', fail_if => '{"tags": ["person:ada"]}');
SELECT outcome, position FROM en57_append('{"type": "moved", "tags": ["person:ada"]}', fail_if => '{"tags": ["person:ada"], "after": 5}');
SELECT outcome, stream_version FROM en57_append('{"type": "moved"}', stream => 'people', expected_version => 6);
SELECT * FROM en57_check();

-- A repeated send of an erased event is none: it says what is not stored.
SELECT outcome FROM en57_append('{"id": "11111111-1111-7111-8111-111111111111", "type": "sent", "data": {"n": 1}}');
SELECT en57_erase('{"types": ["sent"]}', 'request 19');
SELECT outcome FROM en57_append('{"id": "11111111-1111-7111-8111-111111111111", "type": "sent", "data": {"n": 1}}');
SELECT outcome FROM en57_append('{"id": "11111111-1111-7111-8111-111111111111", "type": "sent"}');

-- Undone with its transaction.
BEGIN;
SELECT position FROM en57_append('{"type": "own", "tags": ["person:eve"], "data": {"a": 1}}');
SAVEPOINT s;
SELECT en57_erase('{"tags": ["person:bob"]}', 'a slip');
SELECT en57_erase('{"tags": ["person:eve"]}', 'just appended');
SELECT position, data FROM en57_read('[{"tags": ["person:bob"]}, {"tags": ["person:eve"]}]');
ROLLBACK TO s;
SELECT position, data FROM en57_read('[{"tags": ["person:bob"]}, {"tags": ["person:eve"]}]');
SELECT en57_erase('{"tags": ["person:eve"]}', 'just appended');
SELECT position FROM en57_append('{"type": "own", "tags": ["person:eve"], "data": {"a": 2}}');
SELECT position, data FROM en57_read('{"tags": ["person:eve"]}');
COMMIT;
SELECT position, data FROM en57_read('[{"tags": ["person:bob"]}, {"tags": ["person:eve"]}]');
SELECT * FROM en57_check();
VACUUM en57.events_default;
SELECT * FROM en57_check();
SELECT count(*), count(DISTINCT position) FROM en57_read();
REINDEX TABLE en57.events_default;
SELECT * FROM en57_check();

-- Row versions beside the old ones on their page, as pruning leaves them.
SELECT count(*) FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'many', 'tags', jsonb_build_array('many:' || n % 3), 'data', jsonb_build_object('n', n))) FROM generate_series(1, 200) n));
SELECT en57_erase('{"tags": ["many:0"]}', 'a third');
SELECT en57_erase('{"tags": ["many:1"]}', 'another');
SELECT count(*), count(DISTINCT position), count(data) FROM en57_read('{"types": ["many"]}');
VACUUM en57.events_default;
SELECT count(*), count(DISTINCT position), count(data) FROM en57_read('{"types": ["many"]}');
SELECT count(*) FROM en57_read('{"types": ["many"]}') r WHERE (en57_get(r.id)).position = r.position;
SELECT * FROM en57_check();

-- So many places of one event that leaves of the index are split between them: its high key is the last entry on the left.
SELECT position FROM en57_append('[{"type": "split", "tags": ["split:1"], "meta": {"user": "x"}}, {"type": "split", "tags": ["split:2"]}]') \gset
SET client_min_messages = warning;
DO $$
BEGIN
    FOR i IN 1..700 LOOP
        BEGIN
            PERFORM en57_erase('{"tags": ["split:1"]}', 'undone');
            RAISE EXCEPTION 'undone';
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
    END LOOP;
END $$;
RESET client_min_messages;
SELECT * FROM en57_check();
SELECT count(*) FROM en57_read('{"types": ["split"]}');
SELECT count(*) FROM en57_read('{"tags": ["split:1"]}', backwards => true);

-- Everything, where that is said.
SELECT en57_erase('{}', 'the end of the trial') > 60 AS many;
SELECT count(*) FROM en57_read() WHERE data IS NOT NULL;

-- Truncated events are nowhere; what was done stays on record.
SELECT en57_truncate('default', restart => true);
SELECT count(*), bool_and(isempty(positions)) FROM en57_erasures;

-- What is made of events.
CREATE FUNCTION person(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$
    SELECT coalesce(doc, '{}') || jsonb_build_object('email', coalesce(e.data->>'email', doc->>'email', '-'), e.type, e.position) $$;
CREATE FUNCTION city(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(e.data->>'city', 'unknown') $$;
CREATE FUNCTION visits(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('n', coalesce((doc->>'n')::int, 0) + 1, 'last', e.data->>'who') $$;
CREATE FUNCTION strictly(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.data IS NULL THEN RAISE EXCEPTION 'what is %?', e.type USING DETAIL = 'It has no data.'; END IF;
    RETURN e.data;
END $$;
CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO facts VALUES (e.position, e.data->>'email') $$;
SELECT en57_create_document_projection('people', '{"types": ["registered", "left"]}', 'tag:person:', 'person(jsonb,en57_event)');
SELECT en57_create_document_projection('people_later', '{"types": ["registered", "left"]}', 'tag:person:', 'person(jsonb,en57_event)', mode => 'async');
SELECT en57_create_document_projection('cities', '{"types": ["visited"]}', 'city(en57_event)'::regprocedure, 'visits(jsonb,en57_event)');
SELECT en57_create_projection('notes', '{"types": ["registered"]}', 'note(en57_event)');
SELECT position FROM en57_append('[
    {"type": "registered", "tags": ["person:ada"], "data": {"email": "ada@secret.example"}},
    {"type": "registered", "tags": ["person:bob"], "data": {"email": "bob@example.org"}},
    {"type": "visited", "tags": ["person:ada"], "data": {"city": "Rome", "who": "ada"}},
    {"type": "visited", "tags": ["person:bob"], "data": {"city": "Rome", "who": "bob"}},
    {"type": "visited", "tags": ["person:ada"], "data": {"city": "Oslo", "who": "ada"}}
]');
SELECT en57_run('people_later', 1);
SELECT position FROM en57_append('{"type": "left", "tags": ["person:ada"], "data": {"email": "new@secret.example"}}');
SELECT id, doc, version, position FROM people ORDER BY id;
SELECT id, doc, version, position FROM cities ORDER BY id;
SELECT en57_erase('{"tags": ["person:ada"]}', 'request 1');
SELECT id, doc, version, position FROM people ORDER BY id;
SELECT id, doc, version, position FROM people_later ORDER BY id;
SELECT id, doc, version, position FROM cities ORDER BY id;
SELECT events, documents, positions FROM en57_erasures ORDER BY number DESC LIMIT 1;
SELECT en57_run('people_later');
-- As a rebuild makes them.
CREATE TABLE before AS SELECT 'people' AS name, p.* FROM people p UNION ALL SELECT 'cities', c.* FROM cities c UNION ALL SELECT 'later', c.* FROM people_later c;
CALL en57_rebuild('people');
CALL en57_rebuild('people_later');
CALL en57_rebuild('cities');
(SELECT 'people' AS name, p.* FROM people p UNION ALL SELECT 'cities', c.* FROM cities c UNION ALL SELECT 'later', c.* FROM people_later c) EXCEPT TABLE before;
TABLE facts ORDER BY 1;

-- A function that cannot do without data: nothing is erased.
SELECT en57_create_document_projection('strict', '{"types": ["rated"]}', 'tag:person:', 'strictly(jsonb,en57_event)');
SELECT position FROM en57_append('[{"type": "rated", "tags": ["person:bob"], "data": {"stars": 5}}, {"type": "rated", "tags": ["person:bob"], "data": {"stars": 1}}]');
SELECT en57_erase('{"tags": ["person:bob"]}', 'request 2');
SELECT count(data) FROM en57_read('{"tags": ["person:bob"]}');
SELECT en57_drop_projection('strict');

-- What upcasters cannot take is refused as well.
CREATE FUNCTION up(e en57_event) RETURNS en57_event LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF e.data IS NULL THEN RAISE EXCEPTION 'no data'; END IF;
    e.data := e.data || '{"up": true}';
    RETURN e;
END $$;
SELECT en57_register_upcaster('rated', 1, 'up(en57_event)');
SELECT en57_erase('{"types": ["rated"]}', 'request 2');
SELECT count(data) FROM en57_read('{"tags": ["person:bob"]}');
CREATE OR REPLACE FUNCTION up(e en57_event) RETURNS en57_event LANGUAGE sql STABLE AS $$ SELECT e $$;
SELECT en57_erase('{"types": ["rated"]}', 'request 2');

-- Invariants: their states are made anew, and must hold.
CREATE FUNCTION total(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(state, '0')::int + (e.data->>'n')::int) $$;
CREATE FUNCTION lenient(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(state, '0')::int + coalesce((e.data->>'n')::int, 0)) $$;
CREATE FUNCTION not_negative(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'negative: ' || (state)::text WHERE state::int < 0 $$;
SELECT en57_create_invariant('balance', '{"types": ["booked"]}', 'tag:account:', 'lenient(jsonb,en57_event)', 'not_negative(jsonb)');
SELECT count(*) FROM generate_series(1, 20) n, LATERAL en57_append(jsonb_build_object('type', 'booked', 'tags', ARRAY['account:1', 'n:' || n], 'data', jsonb_build_object('n', 1)));
SELECT count(*) FROM en57_append('{"type": "booked", "tags": ["account:1"], "data": {"n": -20}}');
SELECT id, state FROM en57.invariant_states;
SELECT en57_erase('{"tags": ["n:3"]}', 'request 3');
SELECT id, state FROM en57.invariant_states;
SELECT en57_disable_invariant('balance');
SELECT en57_erase('{"tags": ["n:3"]}', 'request 3');
SELECT count(*) FROM en57_append('{"type": "booked", "tags": ["account:1"], "data": {"n": 100}}');
SELECT en57_enable_invariant('balance');
SELECT en57_erase('{"types": ["booked"]}', 'request 4');
SELECT id, state FROM en57.invariant_states;
SELECT outcome FROM en57_append('{"type": "booked", "tags": ["account:1"], "data": {"n": 0}}');
SELECT outcome FROM en57_append('{"type": "booked", "tags": ["account:1"], "data": {"n": -1}}');

-- Snapshots.
SELECT en57_create_fold('people', 'person(jsonb,en57_event)', snapshot_every => 1);
SELECT position FROM en57_append('{"type": "registered", "tags": ["person:cyd"], "data": {"email": "cyd@secret.example"}}');
SELECT state->'email' FROM en57_state('people', '{"tags": ["person:cyd"]}');
SELECT count(*) FROM en57.snapshots;
SELECT en57_erase('{"tags": ["person:cyd"]}', 'request 5');
SELECT count(*) FROM en57.snapshots;
SELECT state->'email' FROM en57_state('people', '{"tags": ["person:cyd"]}');

-- Errors that quote.
CREATE FUNCTION fail(e en57_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'bad: %', e.data; END $$;
SELECT en57_create_projection('failing', '{"types": ["told"]}', 'fail(en57_event)', mode => 'async');
SELECT en57_create_projection('skipping', '{"types": ["told"]}', 'fail(en57_event)', mode => 'async', on_error => 'skip');
SELECT en57_create_subscription('readers', '{"types": ["told"]}', max_attempts => 1);
SELECT position FROM en57_append('{"type": "told", "data": "secret"}');
SELECT en57_run('failing'), en57_run('skipping');
BEGIN;
SELECT data FROM en57_poll('readers');
SELECT en57_nack('readers', (SELECT position FROM en57_last('{"types": ["told"]}')), 'no: secret');
COMMIT;
SELECT last_error->>'message' FROM en57_projections WHERE name = 'failing';
SELECT error->>'message' FROM en57.projection_dead_letters;
SELECT error FROM en57_dead_letters;
SELECT en57_erase('{"types": ["told"]}', 'request 6');
SELECT last_error FROM en57_projections WHERE name = 'failing';
SELECT error FROM en57.projection_dead_letters;
SELECT error FROM en57_dead_letters;
-- Also those of a later event: evolve has quoted a document that was made of the erased one.
CREATE FUNCTION balks(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = 'moves' THEN RAISE EXCEPTION 'cannot move %', doc; END IF;
    RETURN coalesce(e.data, doc, '{}');
END $$;
SELECT en57_create_document_projection('stops', '{"types": ["lives", "moves"]}', 'tag:at:', 'balks(jsonb,en57_event)', mode => 'async');
SELECT en57_create_document_projection('skips', '{"types": ["lives", "moves"]}', 'tag:at:', 'balks(jsonb,en57_event)', mode => 'async', on_error => 'skip');
SELECT en57_create_document_projection('elsewhere', '{"types": ["moves"]}', 'tag:at:', 'balks(jsonb,en57_event)', mode => 'async');
SELECT count(*) FROM en57_append('[{"type": "lives", "tags": ["at:1"], "data": {"street": "secret"}}, {"type": "moves", "tags": ["at:1"]}]');
SELECT en57_run('stops'), en57_run('skips'), en57_run('elsewhere');
SELECT name, last_error->>'message' AS message FROM en57.projections WHERE name IN ('stops', 'elsewhere') ORDER BY name;
SELECT error->>'message' AS message FROM en57.projection_dead_letters WHERE projection = 'skips';
SELECT en57_erase('{"types": ["lives"]}', 'request 6');
SELECT name, last_error->>'message' AS message FROM en57.projections WHERE name IN ('stops', 'elsewhere') ORDER BY name;
SELECT error->>'message' AS message FROM en57.projection_dead_letters WHERE projection = 'skips';
SELECT en57_drop_projection(name) FROM unnest('{stops,skips,elsewhere}'::text[]) AS name;

-- Not by a function that en57 calls: it would go on with what it has read.
CREATE FUNCTION eraser(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT en57_erase('{}', 'from within') $$;
SELECT en57_create_projection('erasing', '{"types": ["bell"]}', 'eraser(en57_event)');
SELECT outcome FROM en57_append('{"type": "bell"}');
SELECT en57_drop_projection('erasing');

-- What keeps a row from being changed is told.
CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER no BEFORE UPDATE ON en57.events_default FOR EACH ROW EXECUTE FUNCTION no();
SELECT position FROM en57_append('{"type": "ruled", "data": 1}');
SELECT en57_erase('{"types": ["ruled"]}', 'request 7');
DROP TRIGGER no ON en57.events_default;
SELECT en57_erase('{"types": ["ruled"]}', 'request 7');

-- In a partition of its own, by its admins.
SELECT en57_create_partition('acme');
CREATE ROLE regress_en57_erase_reader;
CREATE ROLE regress_en57_erase_writer;
CREATE ROLE regress_en57_erase_admin;
SELECT en57_grant('regress_en57_erase_reader', 'reader', 'acme');
SELECT en57_grant('regress_en57_erase_writer', 'writer', 'acme');
SELECT en57_grant('regress_en57_erase_admin', 'admin', 'acme');
SELECT outcome FROM en57_append('{"type": "a", "data": "secret"}', partition => 'acme');
SET ROLE regress_en57_erase_reader;
SELECT en57_erase('{}', 'no', 'acme');
SELECT count(*) FROM en57_erasures;
SELECT * FROM en57.erasures;
SET ROLE regress_en57_erase_writer;
SELECT en57_erase('{}', 'no', 'acme');
SET ROLE regress_en57_erase_admin;
SELECT en57_erase('{}', 'no');
SET en57.partition = 'acme';
SELECT en57_erase('{}', 'request 8');
RESET en57.partition;
SET ROLE regress_en57_erase_reader;
SELECT partition, query, reason, events FROM en57_erasures;
RESET ROLE;
GRANT EXECUTE ON FUNCTION en57_erase(en57_query, text, text) TO regress_en57_erase_writer;
SET ROLE regress_en57_erase_writer;
SELECT en57_erase('{}', 'no', 'acme');
RESET ROLE;
BEGIN READ ONLY;
SELECT en57_erase('{}', 'no');
ROLLBACK;
REVOKE ALL ON FUNCTION en57_erase(en57_query, text, text) FROM regress_en57_erase_writer;
SELECT en57_revoke('regress_en57_erase_reader', 'reader', 'acme');
SELECT en57_revoke('regress_en57_erase_writer', 'writer', 'acme');
SELECT en57_revoke('regress_en57_erase_admin', 'admin', 'acme');

-- Statistics have kept nothing of it; of the log as a whole neither, which autovacuum never renews.
SELECT en57_create_partition('later');
SELECT count(*) FROM unnest('{default,later}'::text[]) AS p, generate_series(1, 3) n, en57_append(jsonb_build_object('type', 'registered', 'tags', ARRAY['person:dan', 'n:' || n], 'data', '{"email": "dan@secret.example"}'::jsonb, 'meta', '{"user": "secret"}'::jsonb), partition => p);
ANALYZE;
SELECT schemaname, tablename, attname FROM pg_stats WHERE (schemaname = 'en57' OR tablename IN ('people', 'people_later', 'cities')) AND attname IN ('data', 'meta', 'doc', 'error', 'last_error') OR tablename IN ('snapshots', 'invariant_states') AND attname = 'state';
SELECT DISTINCT tablename FROM pg_stats WHERE tablename ~ '^events|^people$' ORDER BY 1;
-- Who wants them for queries of her own is told how to be rid of them.
ALTER TABLE en57.events ALTER COLUMN data SET STATISTICS 100;
ANALYZE en57.events;
SELECT tablename, most_common_vals::text ~ 'dan@secret' AS told FROM pg_stats WHERE schemaname = 'en57' AND attname = 'data' ORDER BY 1;
SELECT en57_erase('{"tags": ["person:dan"]}', 'request 9');
SELECT en57_erase('{"tags": ["person:dan"]}', 'request 9', 'later');
VACUUM (ANALYZE) en57.events_default, en57.events_later;
ANALYZE en57.events;
SELECT tablename, most_common_vals::text ~ 'dan@secret' AS told FROM pg_stats WHERE schemaname = 'en57' AND attname = 'data' ORDER BY 1;
SELECT * FROM en57_check();
DROP ROLE regress_en57_erase_reader, regress_en57_erase_writer, regress_en57_erase_admin;
