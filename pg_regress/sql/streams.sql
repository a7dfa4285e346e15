-- Streams: versions from 1 without gaps, exact expectations, conflicts that tell the truth, reading by version, and the list.
-- Fails when the stream's key is not locked and written, when a head is taken from a row that is not the stream's, when a
-- conflict reports a version that is not the stream's, or when skipping entries goes too far.
\pset null NULL
SET timezone = 'UTC';

-- no stream: as ever
SELECT outcome, position, stream_version FROM en57_append('{"type": "free"}');
-- any version: a stream begins with its first event, and counts on
SELECT outcome, position, first_position, stream_version, conflicts FROM en57_append('[{"type": "opened"}, {"type": "paid", "tags": ["t"]}]', stream => 'a');
SELECT outcome, position, first_position, stream_version, conflicts FROM en57_append('{"type": "closed"}', stream => 'a');
SELECT position, type, stream, stream_version FROM en57_read();

-- exact versions
SELECT outcome, stream_version FROM en57_append('{"type": "x"}', stream => 'a', expected_version => 3);
SELECT outcome, stream_version FROM en57_append('[{"type": "x"}, {"type": "y"}]', stream => 'b', expected_version => 0);
SELECT outcome, stream_version FROM en57_append('{"type": "x"}', stream => 'b', expected_version => -1);

-- conflicts tell the real version, the events beyond the expected one, and the newest position
CREATE FUNCTION attempt(stream text, expected bigint, OUT outcome en57_outcome, OUT "position" bigint, OUT first_position bigint, OUT stream_version bigint, OUT beyond text)
LANGUAGE sql AS $$ SELECT a.outcome, a.position, a.first_position, a.stream_version,
    COALESCE((SELECT string_agg(format('%s@%s', c->>'stream_version', c->>'position'), ' ' ORDER BY n) FROM jsonb_array_elements(a.conflicts) WITH ORDINALITY AS e (c, n)), 'none') || ' of ' || jsonb_array_length(a.conflicts)
    FROM en57_append('{"type": "refused"}', stream => stream, expected_version => expected) a $$;
SELECT n, expected, a.* FROM (VALUES (1, 'a', 0), (2, 'a', 1), (3, 'a', 3), (4, 'a', 5), (5, 'a', 99), (6, 'a', 9223372036854775807), (7, 'none', 1), (8, 'none', 99), (9, 'none', -1)) t (n, stream, expected), attempt(stream, expected) a ORDER BY n;
SELECT en57_count('{"types": ["refused"]}');
-- a stream that exists is not created again; the newest events are told, at most so many, in position order
SET en57.max_conflicts = 2;
SELECT * FROM attempt('a', 0);
RESET en57.max_conflicts;
SELECT jsonb_pretty(jsonb_agg(c - 'id' - 'occurred_at' - 'recorded_at')) FROM en57_append('{"type": "refused"}', stream => 'a', expected_version => 3) a, jsonb_array_elements(a.conflicts) c;

-- as errors
DO $$
DECLARE state text; message text; detail text;
BEGIN
    FOR n IN 1..4 LOOP
        BEGIN
            IF n = 1 THEN PERFORM en57_append('{"type": "x"}', stream => 'none', expected_version => -1, on_conflict => 'raise');
            ELSIF n = 2 THEN PERFORM en57_append('{"type": "x"}', stream => 'none', expected_version => 7, on_conflict => 'raise');
            ELSIF n = 3 THEN PERFORM en57_append('{"type": "x"}', stream => 'b', expected_version => 2, on_conflict => 'raise');
            ELSE PERFORM en57_append('{"type": "x"}', '{"types": ["paid"]}', stream => 'b', on_conflict => 'raise');
            END IF;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
            RAISE NOTICE '% %', state, message;
            RAISE NOTICE '%', jsonb_set(detail::jsonb, '{conflicts}', COALESCE((SELECT jsonb_agg(c->'stream_version') FROM jsonb_array_elements(detail::jsonb->'conflicts') c), '[]'));
        END;
    END LOOP;
END $$;

-- fail_if and the version must both hold; the version is checked first, and stream_version tells which of them it was
SELECT outcome, position, stream_version, (SELECT array_agg(c->>'type') FROM jsonb_array_elements(conflicts) c) AS beyond
FROM (VALUES (1, 99, '{"tags": ["t"]}'::en57_query), (2, 3, '{"tags": ["t"]}'), (3, 99, '{"tags": ["none"]}'), (4, 2, '{"tags": ["t"]}')) t (n, expected, fail_if),
    en57_append('{"type": "refused"}', fail_if, stream => 'b', expected_version => expected) a ORDER BY n;
SELECT outcome, stream_version FROM en57_append('{"type": "z"}', '{"tags": ["none"]}', stream => 'b', expected_version => 3);
-- with any version, too, a conflict tells the stream's
SELECT outcome, position, stream_version FROM en57_append('{"type": "z"}', '{"tags": ["t"]}', stream => 'c');
-- fail_if may name a stream, another one or the same
SELECT outcome, position FROM en57_append('{"type": "z"}', '{"stream": "a"}', stream => 'c');
SELECT outcome, position FROM en57_append('{"type": "z"}', '{"stream": "a", "types": ["nothing"]}', stream => 'a');
SELECT outcome, position FROM en57_append('{"type": "z"}', '{"stream": "d"}', stream => 'd');
SELECT outcome, position FROM en57_append('{"type": "z"}', '{"stream": "d"}', stream => 'd');

-- events in a stream are found by type, tag and stream alike
SELECT array(SELECT position FROM en57_read('{"stream": "b"}')) AS stream, array(SELECT position FROM en57_read('{"types": ["x"]}')) AS types, array(SELECT position FROM en57_read('{"stream": "a", "tags": ["t"]}')) AS both,
    array(SELECT position FROM en57_read('{"stream": "a", "types": ["x", "closed"]}')) AS of_types, array(SELECT position FROM en57_read('[{"stream": "d"}, {"stream": "b", "after": 8}]')) AS several, en57_count('{"stream": "none"}') AS none;

-- a transaction: several streams at once, own events count, rolled-back ones do not
BEGIN;
SELECT outcome, stream_version FROM en57_append('{"type": "m"}', stream => 'm1', expected_version => 0);
SELECT outcome, stream_version FROM en57_append('[{"type": "m"}, {"type": "m"}]', stream => 'm2', expected_version => 0);
SELECT outcome, stream_version FROM en57_append('{"type": "m"}', stream => 'm1', expected_version => 1);
SELECT outcome, stream_version FROM en57_append('{"type": "m"}', stream => 'm1', expected_version => 1);
SAVEPOINT s;
SELECT outcome, stream_version FROM en57_append('[{"type": "undone"}, {"type": "undone"}]', stream => 'm1', expected_version => 2);
SELECT outcome, stream_version FROM en57_append('{"type": "undone"}', stream => 'm3', expected_version => 0);
SELECT version FROM en57_stream('m1');
ROLLBACK TO s;
SELECT version FROM en57_stream('m1');
SELECT en57_stream('m3') IS NULL AS m3_is_gone;
SELECT outcome, stream_version FROM en57_append('{"type": "m"}', stream => 'm1', expected_version => 2);
SELECT outcome, stream_version FROM en57_append('{"type": "m"}', stream => 'm3', expected_version => 0);
COMMIT;
BEGIN;
SELECT outcome, stream_version FROM en57_append('{"type": "undone"}', stream => 'm1', expected_version => 3);
SELECT outcome, stream_version FROM en57_append('{"type": "undone"}', stream => 'm4', expected_version => 0);
ROLLBACK;
SELECT outcome, stream_version FROM en57_append('{"type": "m"}', stream => 'm1', expected_version => 3);
SELECT outcome, stream_version FROM en57_append('{"type": "m"}', stream => 'm4', expected_version => 0);
SELECT stream, array_agg(stream_version ORDER BY position) AS versions FROM en57_read() WHERE stream LIKE 'm%' GROUP BY stream ORDER BY stream;
-- after an error in a block the rest stands
DO $$
BEGIN
    PERFORM en57_append('{"type": "n"}', stream => 'n', expected_version => 0);
    BEGIN
        PERFORM en57_append('{"type": "n"}', stream => 'n', expected_version => 1);
        PERFORM en57_append('{"type": "n"}', stream => 'n', expected_version => 0, on_conflict => 'raise');
    EXCEPTION WHEN SQLSTATE 'N5702' THEN
        RAISE NOTICE '%', SQLERRM;
    END;
    PERFORM en57_append('{"type": "n"}', stream => 'n', expected_version => 1);
END $$;
SELECT array_agg(stream_version) FROM en57_read_stream('n');

-- to decide again in the transaction of a conflict: the version that it told is the one to expect, whatever the level
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome, stream_version FROM en57_append('{"type": "again"}', stream => 'n', expected_version => 0);
SELECT outcome, stream_version FROM en57_append('{"type": "again"}', stream => 'n', expected_version => 2);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT en57_lock('{"stream": "n"}') > 0 AS locked;
SELECT outcome, stream_version FROM en57_append('{"type": "again"}', stream => 'n', expected_version => (SELECT version FROM en57_stream('n')));
-- locked once, as checked and written: no second mode was taken at the key
SELECT mode, count(*) FROM en57_key_locks WHERE pid = pg_backend_pid() GROUP BY mode ORDER BY mode;
COMMIT;

-- nor where a tag beside the stream is rarer: it is locked as written, and who has locked the stream appends without another lock that somebody could hold
BEGIN;
SELECT en57_lock('{"stream": "n", "tags": ["rare"]}') > 0 AS locked;
SELECT outcome, stream_version FROM en57_append('{"type": "again"}', '{"stream": "n", "tags": ["rare"]}', stream => 'n', expected_version => 4);
SELECT mode, count(*) FROM en57_key_locks WHERE pid = pg_backend_pid() GROUP BY mode ORDER BY mode;
COMMIT;

-- repeated sends: the same answer whatever is expected now; for another stream it is other content
SELECT outcome, first_position - position AS n, stream_version FROM en57_append('[{"type": "r", "id": "00000000-0000-0000-0000-000000000001"}, {"type": "r", "id": "00000000-0000-0000-0000-000000000002"}]', stream => 'r', expected_version => 0);
SELECT outcome, stream_version FROM en57_append('{"type": "r"}', stream => 'r');
SELECT outcome, first_position - position AS n, stream_version FROM en57_append('[{"type": "r", "id": "00000000-0000-0000-0000-000000000001"}, {"type": "r", "id": "00000000-0000-0000-0000-000000000002"}]', stream => 'r', expected_version => 0);
SELECT outcome, stream_version FROM en57_append('{"type": "r", "id": "00000000-0000-0000-0000-000000000002"}', stream => 'r', expected_version => 77);
SELECT en57_append('{"type": "r", "id": "00000000-0000-0000-0000-000000000002"}', stream => 'other');
\echo :SQLSTATE
SELECT en57_append('{"type": "r", "id": "00000000-0000-0000-0000-000000000002"}');
\echo :SQLSTATE
SELECT outcome FROM en57_append('{"type": "r", "id": "00000000-0000-0000-0000-000000000003"}');
SELECT en57_append('{"type": "r", "id": "00000000-0000-0000-0000-000000000003"}', stream => 'r');
\echo :SQLSTATE
-- a new event with a known one among them is no repeat
SELECT en57_append('[{"type": "r", "id": "00000000-0000-0000-0000-000000000002"}, {"type": "r", "id": "00000000-0000-0000-0000-000000000009"}]', stream => 'r', expected_version => 3);
\echo :SQLSTATE
SELECT version FROM en57_stream('r');

-- a large batch: versions in the order of the events; then every window, from both ends, against the plain rows
SELECT outcome, position - first_position AS n, stream_version FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'big', 'data', i, 'meta', jsonb_build_object('pad', repeat('x', 500)), 'tags', jsonb_build_array('i:' || i)) ORDER BY i) FROM generate_series(1, 3000) i), stream => 'big', expected_version => 0);
SELECT count(*), bool_and(data::int = stream_version AND position = first + stream_version) FROM (SELECT *, min(position) OVER () - 1 AS first FROM en57_read_stream('big')) e;
SELECT count(*) AS wrong FROM (VALUES (NULL::bigint), (0), (1), (2), (3), (700), (1500), (1501), (2999), (3000), (3001), (9223372036854775807)) f (f),
    (VALUES (NULL::bigint), (0), (1), (2), (699), (1500), (2999), (3000), (3001), (9223372036854775807)) t (t), (VALUES (NULL::bigint), (0), (1), (5), (400), (9223372036854775807)) m (m), (VALUES (false), (true), (NULL)) b (b),
    LATERAL (SELECT array(SELECT stream_version FROM en57_read_stream('big', f, t, m, b)) AS versions) r,
    LATERAL (SELECT array(SELECT v FROM generate_series(GREATEST(COALESCE(f, 1), 1), LEAST(COALESCE(t, 3000), 3000)) v ORDER BY CASE WHEN b THEN -v ELSE v END LIMIT m) AS versions) e
    WHERE r.versions IS DISTINCT FROM e.versions;
-- versions are skipped in the index, from the nearer end, and the head is one probe: few of the table's 200 pages and more are touched
CREATE FUNCTION pages(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || statement INTO plan;
    RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::bigint + (plan->0->'Plan'->>'Shared Read Blocks')::bigint;
END $$;
SELECT pages('SELECT * FROM en57_read_stream(''big'')') > 200 AS all_of_it, pages('SELECT * FROM en57_read_stream(''big'', 1400, 1404)') < 60 AS middle, pages('SELECT * FROM en57_read_stream(''big'', 1600, 1604)') < 60 AS beyond_the_middle,
    pages('SELECT * FROM en57_read_stream(''big'', to_version => 1604, max_count => 5, backwards => true)') < 60 AS backwards, pages('SELECT * FROM en57_read_stream(''big'', 2990)') < 40 AS newest, pages('SELECT * FROM en57_read_stream(''big'', 3001)') < 20 AS nothing_new,
    pages('SELECT en57_stream(''big'')') < 20 AS head, pages('SELECT en57_append(''{"type": "x"}'', stream => ''big'', expected_version => 0)') < 60 AS conflict;
SELECT array(SELECT stream_version FROM en57_read_stream('a', 2, 3)) AS window, array(SELECT type FROM en57_read_stream('a', backwards => true, max_count => 2)) AS newest, array(SELECT stream_version FROM en57_read_stream('a', to_version => 1)) AS first,
    array(SELECT stream_version FROM en57_read_stream('a', from_version => 4, partition => 'default')) AS last, array(SELECT stream_version FROM en57_read_stream('unknown')) AS unknown, array(SELECT stream_version FROM en57_read_stream('a', 3, 2)) AS empty,
    array(SELECT stream_version FROM en57_read_stream('a', from_version => 6)) AS past_the_end, array(SELECT stream_version FROM en57_read_stream('a', from_version => 2, max_count => 2)) AS no_more_than_asked;
-- rolled-back events between them are passed over, and do not count
BEGIN;
SELECT outcome FROM en57_append((SELECT jsonb_agg('{"type": "undone"}'::jsonb) FROM generate_series(1, 500)), stream => 'holes');
ROLLBACK;
SELECT stream_version FROM en57_append((SELECT jsonb_agg('{"type": "h"}'::jsonb) FROM generate_series(1, 100)), stream => 'holes', expected_version => 0);
BEGIN;
SELECT outcome FROM en57_append((SELECT jsonb_agg('{"type": "undone"}'::jsonb) FROM generate_series(1, 500)), stream => 'holes');
ROLLBACK;
SELECT stream_version FROM en57_append((SELECT jsonb_agg('{"type": "h"}'::jsonb) FROM generate_series(1, 100)), stream => 'holes', expected_version => 100);
SELECT count(*) AS wrong FROM generate_series(1, 200) f, LATERAL (SELECT array(SELECT stream_version FROM en57_read_stream('holes', f, f + 2)) AS up, array(SELECT stream_version FROM en57_read_stream('holes', GREATEST(f - 2, 0), f, backwards => true)) AS down) r
    WHERE up <> array(SELECT generate_series(f, LEAST(f + 2, 200))::bigint) OR down <> array(SELECT generate_series(f, GREATEST(f - 2, 1), -1)::bigint);
-- as a value for each row, and in a cursor that is read in pieces
BEGIN;
DECLARE c CURSOR FOR SELECT (e).stream_version FROM (SELECT en57_read_stream('big', from_version => 2000) AS e) s;
FETCH 2 FROM c;
MOVE 500 FROM c;
SELECT outcome FROM en57_append('{"type": "later"}', stream => 'big');
FETCH 2 FROM c;
MOVE ALL FROM c;
ROLLBACK;

-- one stream
SELECT stream, version, first_position, last_position, first_recorded_at <= last_recorded_at AS in_order, last_recorded_at > now() - interval '1 hour' AS recent FROM en57_stream('a');
SELECT (s).version, first_recorded_at = (SELECT recorded_at FROM en57_read_stream('b', max_count => 1)) AS first, last_recorded_at = (SELECT recorded_at FROM en57_read_stream('b', max_count => 1, backwards => true)) AS last FROM en57_stream('b', partition => 'default') s;
SELECT en57_stream('none') IS NULL AS none, en57_stream(NULL) IS NULL AS of_null;

-- the list: by name, in the order of bytes
SELECT outcome FROM unnest('{B,é,Z,z,a/1,a/2,a/10,a%,a_,ab,ä}'::text[]) n, en57_append('{"type": "s"}', stream => n);
SELECT stream, version, last_position - first_position AS span FROM en57_streams;
SELECT array(SELECT stream FROM en57_streams('a')) AS a, array(SELECT stream FROM en57_streams('a/')) AS slash, array(SELECT stream FROM en57_streams('a_')) AS no_pattern, array(SELECT stream FROM en57_streams('a%')) AS nor_this,
    array(SELECT stream FROM en57_streams('')) = array(SELECT stream FROM en57_streams) AS all_of_it, array(SELECT stream FROM en57_streams('nothing')) AS nothing;
SELECT array(SELECT stream FROM en57_streams(max_count => 3)) AS page_1, array(SELECT stream FROM en57_streams(after => 'a', max_count => 3)) AS page_2, array(SELECT stream FROM en57_streams('a/', after => 'a/1')) AS rest_of_prefix, array(SELECT stream FROM en57_streams('a/', after => 'A')) AS before_prefix,
    array(SELECT stream FROM en57_streams('a/', after => 'b')) AS behind_prefix, array(SELECT stream FROM en57_streams(after => 'é')) AS after_the_last, array(SELECT stream FROM en57_streams(max_count => 0)) AS zero, array(SELECT stream FROM en57_streams('m', partition => 'default', max_count => 2)) AS named_partition;
-- many, in pages of the function and of the caller
SELECT count(DISTINCT position) FROM generate_series(1, 700) i, en57_append('{"type": "p"}', stream => format('page/%s', lpad(i::text, 4, '0')), expected_version => 0);
SELECT count(*), min(stream), max(stream), bool_and(version = 1) FROM en57_streams('page/');
WITH RECURSIVE pages (n, names) AS (
    SELECT 1, array(SELECT stream FROM en57_streams('page/', max_count => 90))
    UNION ALL SELECT n + 1, array(SELECT stream FROM en57_streams('page/', after => names[90], max_count => 90)) FROM pages WHERE cardinality(names) = 90)
SELECT count(*) AS pages, sum(cardinality(names)) AS names, count(DISTINCT u) FROM pages LEFT JOIN LATERAL (SELECT DISTINCT n * 1000 + cardinality(names) AS u) x ON true;
BEGIN;
DECLARE c CURSOR FOR SELECT (s).stream FROM (SELECT en57_streams('page/') AS s) x;
MOVE 600 FROM c;
FETCH 1 FROM c;
COMMIT;
-- the transaction's own are listed, rolled-back ones are not
BEGIN;
SELECT outcome FROM en57_append('[{"type": "p"}, {"type": "p"}]', stream => 'own');
SELECT stream, version FROM en57_streams('own');
ROLLBACK;
SELECT stream, version FROM en57_streams('own');

-- the safety net: an index entry for each stream, unique, that survives REINDEX
SELECT count(*) = (SELECT count(DISTINCT stream) FROM en57.events) AS one_for_each FROM en57_streams;
INSERT INTO en57.events SELECT 1000000, gen_random_uuid(), type, data, meta, tags, stream, 1, schema_version, occurred_at, recorded_at, partition, stable FROM en57.events WHERE stream = 'a' AND stream_version = 1;
REINDEX INDEX CONCURRENTLY en57.events_default_stream;
SELECT count(*) = (SELECT count(DISTINCT stream) FROM en57.events) AS one_for_each FROM en57_streams;
SELECT outcome, stream_version FROM en57_append('{"type": "s"}', stream => 'after reindex', expected_version => 0);
SELECT array(SELECT stream FROM en57_streams('after'));
-- another partial index is somebody's own, and kept
CREATE UNIQUE INDEX mine ON en57.events_default (stream) WHERE stream_version = 2;
CREATE UNIQUE INDEX also_mine ON en57.events_default (id) WHERE type = 'nothing';
SELECT outcome, stream_version FROM en57_append('{"type": "s"}', stream => 'after reindex', expected_version => 1);
SELECT outcome FROM en57_append('{"type": "s", "id": "00000000-0000-0000-0000-00000000000a"}');
SELECT (en57_get('00000000-0000-0000-0000-00000000000a')).type;
SELECT pg_relation_size('en57.also_mine') = current_setting('block_size')::bigint AS has_no_entries;
SET enable_seqscan = off;
SELECT count(*) FROM en57.events_default WHERE stream_version = 2 AND stream = 'after reindex';
RESET enable_seqscan;
DROP INDEX en57.mine, en57.also_mine;
-- without it no stream goes on, rather than be lost from the list
BEGIN;
DROP INDEX en57.events_default_stream;
SAVEPOINT s;
SELECT en57_append('{"type": "s"}', stream => 'lost');
ROLLBACK TO s;
SELECT * FROM en57_streams;
ROLLBACK TO s;
SELECT outcome FROM en57_append('{"type": "in no stream"}');
ROLLBACK;

-- other roles: reading and expecting need SELECT, appending to a stream INSERT alone
CREATE ROLE regress_en57_writer;
CREATE ROLE regress_en57_reader;
GRANT INSERT ON en57.events_default TO regress_en57_writer;
GRANT SELECT ON en57.events_default TO regress_en57_reader;
SET ROLE regress_en57_writer;
SELECT outcome, stream_version FROM en57_append('{"type": "w"}', stream => 'w');
SELECT en57_append('{"type": "w"}', stream => 'w', expected_version => 1);
SELECT en57_read_stream('w');
SELECT en57_stream('w');
SELECT * FROM en57_streams;
SET ROLE regress_en57_reader;
SELECT stream_version FROM en57_read_stream('w');
SELECT version FROM en57_stream('w');
SELECT stream FROM en57_streams WHERE stream = 'w';
SELECT en57_append('{"type": "w"}', stream => 'w');
RESET ROLE;
DROP OWNED BY regress_en57_writer, regress_en57_reader;
DROP ROLE regress_en57_writer, regress_en57_reader;
