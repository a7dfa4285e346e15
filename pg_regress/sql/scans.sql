-- Functions that return events, in FROM: the planner is offered a scan, which reads as it is asked.
-- Fails when a scan returns something else than the function, when it reads more than it is asked for, when an order is promised that is not kept, or when a
-- second pass over it sees what has been appended since the first.
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT count(*) FROM (SELECT en57_append((SELECT jsonb_agg(jsonb_build_object('type', (ARRAY['a', 'b', 'c'])[1 + i % 3], 'tags', ARRAY['n:' || i % 10], 'data', i, 'stream', 's' || i % 4))
                                            FROM generate_series(100 * k + 1, 100 * k + 100) i)) FROM generate_series(0, 9) k) x;
CREATE TABLE numbers AS SELECT generate_series(1, 5) AS n;
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;

-- what is asked for: LIMIT ends the read, and order needs no sort, in both directions
EXPLAIN (COSTS OFF) SELECT * FROM en57_read() LIMIT 3;
EXPLAIN (COSTS OFF, VERBOSE) SELECT data FROM en57_read('{"tags": ["n:1"]}') LIMIT 3;
EXPLAIN (COSTS OFF) SELECT data FROM en57_read('{"tags": ["n:1"]}') ORDER BY position LIMIT 3;
EXPLAIN (COSTS OFF) SELECT data FROM en57_read('{"tags": ["n:1"]}') ORDER BY position DESC LIMIT 3;
EXPLAIN (COSTS OFF) SELECT data FROM en57_read('{"tags": ["n:1"]}', backwards => true) ORDER BY position DESC, type LIMIT 3;
EXPLAIN (COSTS OFF) SELECT data FROM en57_read_stream('s1') ORDER BY stream_version DESC LIMIT 3;
SELECT data FROM en57_read('{"tags": ["n:1"]}') LIMIT 3;
SELECT data FROM en57_read('{"tags": ["n:1"]}') ORDER BY position DESC LIMIT 3;
SELECT data FROM en57_read('{"tags": ["n:1"]}', backwards => true) ORDER BY position LIMIT 3;
SELECT stream_version, data FROM en57_read_stream('s1') ORDER BY stream_version DESC LIMIT 3;
SELECT stream_version, data FROM en57_read_stream('s1', 10, 20) ORDER BY stream_version DESC LIMIT 3;
SELECT stream_version, data FROM en57_read_stream('s1', 10, 20, backwards => true) ORDER BY stream_version LIMIT 3;
-- where the number of events is limited, another order would be that of other events
SELECT data FROM en57_read('{"tags": ["n:1"]}', max_count => 3) ORDER BY position DESC;
SELECT * FROM plan($$SELECT data FROM en57_read('{"tags": ["n:1"]}', max_count => 3) ORDER BY position DESC$$);
SELECT * FROM plan($$SELECT data FROM en57_read('{"tags": ["n:1"]}', max_count => 3) ORDER BY position$$);
-- an order by something else, or where the order is not known
SELECT * FROM plan($$SELECT data FROM en57_read() ORDER BY type$$);
SELECT * FROM plan($$SELECT data FROM numbers, en57_read(backwards => n > 1) ORDER BY position$$);
-- the order of what is joined is not that of the scan
SELECT * FROM plan($$SELECT data, n FROM en57_read(max_count => 3), numbers ORDER BY position, n$$);
SELECT data, n FROM en57_read(max_count => 2), numbers WHERE n < 3 ORDER BY position, n DESC;

-- conditions on the position bound the read
CREATE FUNCTION matches(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
        IF line ~ 'Index Matches' THEN RETURN trim(line); END IF;
    END LOOP;
    RETURN 'no scan';
END $$;
SELECT * FROM plan($$SELECT count(*) FROM en57_read() WHERE position > 990 AND 995 >= position$$);
SELECT matches($$SELECT count(*) FROM en57_read() WHERE position > 990 AND 995 >= position$$);
SELECT array_agg(position) FROM en57_read() WHERE position > 990 AND 995 >= position;
SELECT matches(format('SELECT * FROM en57_read(after => 100, upto => 200) WHERE %s', condition)), condition
  FROM unnest(ARRAY['position < 103', '103 > position', 'position <= 103', 'position = 150', 'position >= 198', 'position > 198::smallint', 'position > 198::bigint', 'position > 1000', 'position < -5',
                    'position > NULL::int', 'position > 9223372036854775807', 'position >= -9223372036854775808', 'position <> 150', 'position > 198.0', 'position + 1 > 199', 'position > random() * 0 + 198',
                    'position > (SELECT 198)', 'position = ANY (ARRAY[150, 151])']) AS condition;
SELECT matches($$SELECT * FROM en57_read(max_count => 100) WHERE position > 98$$);
SELECT count(*) FROM en57_read(max_count => 100) WHERE position > 98;
SELECT count(*) FROM en57_read(after => 100) WHERE position > NULL::int;
SELECT * FROM en57_read(after => -1) WHERE position > 5;
SELECT n, (SELECT count(*) FROM en57_read() WHERE position > n * 200) FROM numbers;

-- conditions on type, tags and stream: on the index, as if the query named them
SELECT * FROM plan($$SELECT data FROM en57_read('{"tags": ["n:1"]}') WHERE type = 'a' AND tags @> '{n:1}' AND 's1' = stream AND position < 500$$);
SELECT matches(format('SELECT * FROM en57_read(%s) WHERE %s', query, condition)), query, condition
  FROM unnest(ARRAY['', '''{"types": ["a", "b"], "tags": ["n:1"]}''']) AS query,
       unnest(ARRAY['type = ''a''', '''a'' = type', 'type IN (''a'', ''c'')', 'type = ANY (''{}'')', 'type = ANY (''{a,NULL}'')', 'type = NULL::text', 'type <> ''a''', 'type = ''a'' AND type = ''b''', 'type = left(stream, 0) || ''a''',
                    'tags @> ''{n:1}''', 'tags @> ''{n:1,n:2}''', 'tags @> ''{}''', 'tags @> ''{NULL}''', 'tags @> NULL', '''{n:1}'' @> tags', 'tags && ''{n:1}''', 'stream = ''s1''', 'stream = ''s1'' AND stream = ''s2''',
                    'recorded_at > now() + interval ''1 h''']) AS condition;
SELECT n, (SELECT count(*) FROM en57_read() WHERE tags @> ARRAY['n:' || n] AND stream = 's' || n % 4) FROM numbers;
-- not where the number of events is limited
SELECT matches($$SELECT * FROM en57_read(max_count => 100) WHERE type = 'a'$$);
-- each pass begins with a few rows, and a window of a stream is read from where it begins
SELECT matches('SELECT n, (SELECT position FROM en57_read() WHERE position > n ORDER BY position LIMIT 1) FROM generate_series(1, 100) n');
SELECT matches($$SELECT * FROM en57_read_stream('s1', 1, 3) ORDER BY stream_version DESC LIMIT 1$$);

-- the same as the function, whatever is asked
CREATE FUNCTION differ(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    first text;
    second text;
BEGIN
    SET LOCAL en57.enable_scan = on;
    EXECUTE 'SELECT count(*) || coalesce(string_agg(x::text, chr(10)), '''') FROM (' || query || ') x' INTO first;
    SET LOCAL en57.enable_scan = off;
    EXECUTE 'SELECT count(*) || coalesce(string_agg(x::text, chr(10)), '''') FROM (' || query || ') x' INTO second;
    RETURN CASE WHEN first = second THEN 'same' ELSE 'differ: ' || left(first, 50) || ' and ' || left(second, 50) END;
END $$;
SELECT en57_create_partition('acme');
SELECT count(*) FROM (SELECT en57_append(jsonb_build_object('type', 'other', 'tags', ARRAY['n:' || i % 3], 'data', i), partition => 'acme') FROM generate_series(1, 20) i) x;
CREATE FUNCTION up(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN e.type := 'newer b'; e.data := jsonb_build_object('was', e.data); e.schema_version := 2; RETURN e; END $$;
SELECT en57_register_upcaster('b', 1, 'up', 'newer b', 2);
CREATE TABLE odd AS SELECT 1 AS x, y FROM unnest('{1, 3}'::int[]) AS y;
CREATE TABLE collated (a text COLLATE "POSIX", b text COLLATE "C");
-- imported events have the times of their source, in any order
SELECT en57_create_partition('imported');
SELECT en57_import((SELECT jsonb_agg(jsonb_build_object('type', 'i', 'recorded_at', timestamptz '2020-01-01Z' + i * interval '1 day')) FROM generate_series(1, 1000) i), partition => 'imported');
SELECT en57_import((SELECT jsonb_agg(jsonb_build_object('type', 'j', 'recorded_at', timestamptz '2015-01-01Z' + i * interval '1 hour')) FROM generate_series(1, 4000) i), partition => 'imported');
SELECT differ(query), query FROM unnest(ARRAY[
    'SELECT * FROM en57_read()',
    'SELECT e FROM en57_read() e',
    'SELECT e, e.data, (e).tags FROM en57_read(''{"types": ["newer b"]}'') e WHERE e.stream = ''s1''',
    'SELECT e.recorded_at, e.id FROM en57_read(partition => ''*'') e ORDER BY position DESC, id',
    'SELECT * FROM en57_read(upcast => false) WHERE type = ''b''',
    'SELECT count(*) FROM en57_read()',
    'SELECT 1 FROM en57_read() LIMIT 7',
    'SELECT max(position), min(position), type FROM en57_read() GROUP BY type ORDER BY type',
    'SELECT DISTINCT type FROM en57_read() ORDER BY type',
    'SELECT a.position, b.position FROM en57_read(max_count => 30) a JOIN en57_read(backwards => true) b ON b.position = a.position + 1 ORDER BY 1',
    'SELECT n, e.position FROM numbers LEFT JOIN LATERAL en57_read(en57_query(tags => ARRAY[''n:'' || n]), max_count => n) e ON true ORDER BY 1, 2',
    'SELECT n, e FROM numbers LEFT JOIN en57_read(''{"tags": ["nothing"]}'') e ON e.position = n ORDER BY n',
    'SELECT n, (SELECT array_agg(position) FROM en57_read_stream(''s'' || n, 1, 3)) FROM numbers',
    'SELECT n, (SELECT e FROM en57_read() e WHERE e.position > n * 100 ORDER BY e.position DESC LIMIT 1) FROM numbers',
    'SELECT * FROM en57_read() WHERE type IN (''a'', ''newer b'') AND tags @> ''{n:4}''',
    'SELECT * FROM en57_read() WHERE type = ''b''',
    'SELECT * FROM en57_read(''[{"types": ["c"]}, {"tags": ["n:7"]}]'') WHERE stream = ''s1'' ORDER BY position DESC',
    'SELECT * FROM en57_read(partition => ''*'') WHERE type = ''other'' AND recorded_at > now() - interval ''1 day'' ORDER BY position',
    'SELECT * FROM en57_read_stream(''s2'', 3, 50) WHERE tags @> ''{n:2}'' AND type = ''a''',
    'SELECT n, (SELECT array_agg(position) FROM en57_read() WHERE tags @> ARRAY[''n:'' || n] AND type = ''c'' AND position < 100) FROM numbers',
    'SELECT position, generate_series(1, 3) * position AS g FROM en57_read(upto => 2) ORDER BY position, g DESC',
    'SELECT DISTINCT position, unnest(ARRAY[1, 2, 1]) + position * 0 AS g FROM en57_read(upto => 2) ORDER BY position, g',
    'SELECT position, unnest(ARRAY[1, 2, 1]) + position * 0 AS g, count(*) FROM en57_read() GROUP BY 1, 2 ORDER BY 1, 2',
    'SELECT position, row_number() OVER (ORDER BY position, x) * position AS g FROM en57_read(upto => 2), generate_series(1, 3) x ORDER BY position, g DESC',
    'SELECT n, (SELECT count(*) FROM en57_read(max_count => CASE WHEN 1 IN (SELECT x FROM odd WHERE y = n) THEN 3 ELSE 5 END)) FROM numbers',
    'SELECT (SELECT count(*) FROM en57_read() WHERE type = coalesce(a, b)) FROM collated',
    'SELECT count(*) FROM en57_read(partition => ''imported'') WHERE recorded_at >= ''2021-01-01Z''',
    'SELECT count(*) FROM en57_read(partition => ''imported'') WHERE recorded_at = ''2020-01-11Z''',
    'SELECT stream_version FROM en57_read_stream(''s1'', 1, 3) ORDER BY stream_version DESC',
    'SELECT * FROM en57_read_stream(''s2'', 5, 9) WHERE position > 20 ORDER BY stream_version DESC',
    'SELECT * FROM (SELECT * FROM en57_read() OFFSET 10 LIMIT 500) e WHERE position > 400 ORDER BY position',
    'SELECT * FROM en57_read() WITH ORDINALITY LIMIT 5',
    'SELECT * FROM ROWS FROM (en57_read(), generate_series(1, 3)) WITH ORDINALITY LIMIT 5',
    'SELECT position, row_number() OVER (ORDER BY position DESC), lag(position) OVER (ORDER BY position) FROM en57_read(upto => 50) ORDER BY position',
    'WITH e AS MATERIALIZED (SELECT * FROM en57_read()) SELECT count(*) FROM e a, e b WHERE a.position = b.position',
    'SELECT position FROM en57_read(upto => 5) UNION ALL SELECT position FROM en57_read(after => 990) ORDER BY position DESC',
    'SELECT * FROM en57_read() WHERE EXISTS (SELECT FROM en57_read(''{"tags": ["n:3"]}'') f WHERE f.position = en57_read.position) ORDER BY position']) AS query;
-- where upcasters are at work, types and tags are what they make of them
SELECT matches($$SELECT * FROM en57_read() WHERE type = 'newer b'$$), matches($$SELECT * FROM en57_read(upcast => false) WHERE type = 'b'$$);
SELECT en57_drop_upcaster('b', 1);

-- one call is one moment: a second pass shows nothing that was appended since the first
CREATE FUNCTION append_one(n int) RETURNS bool LANGUAGE sql AS $$ SELECT (en57_append(jsonb_build_object('type', 'late', 'data', n))).outcome = 'appended' $$;
SET enable_material = off;
SELECT * FROM plan('SELECT n, count(position) FROM numbers LEFT JOIN en57_read(''{"types": ["late"]}'') ON n > 0 GROUP BY n');
BEGIN;
SELECT append_one(0);
SELECT n, count(position) FROM numbers LEFT JOIN en57_read('{"types": ["late"]}') ON append_one(n) GROUP BY n ORDER BY n;
SELECT count(*) FROM en57_read('{"types": ["late"]}');
-- and it ends, though each of its events appends another one
SELECT count(append_one(1)) FROM en57_read('{"types": ["late"]}');
SELECT count(*) FROM en57_read('{"types": ["late"]}');
ROLLBACK;
-- nor where a plan is kept, and a condition alone depends on the row
SET plan_cache_mode = force_generic_plan;
PREPARE kept(bigint, bigint, bigint, bigint) AS SELECT n, (SELECT count(*) FROM odd WHERE x > n), (SELECT count(*) FROM en57_read('{"types": ["late"]}', after => $1 + $2 + $3 + $4) WHERE position > n) FROM numbers WHERE append_one(n);
BEGIN;
EXECUTE kept(0, 0, 0, 0);
ROLLBACK;
DEALLOCATE kept;
RESET plan_cache_mode;
RESET enable_material;
-- with other arguments it is another call
BEGIN;
SELECT n, (SELECT count(*) FROM en57_read('{"types": ["late"]}', after => n - n) WHERE append_one(n) IS NULL), (SELECT count(*) FROM en57_read('{"types": ["late"]}', after => n - n)) FROM numbers WHERE append_one(n);
ROLLBACK;

-- cursors: backwards only where the cursor says so; held over a commit; after a rollback of what was appended
BEGIN;
DECLARE plain CURSOR FOR SELECT position FROM en57_read();
FETCH 2 FROM plain;
FETCH BACKWARD FROM plain;
ROLLBACK;
BEGIN;
DECLARE scrolled SCROLL CURSOR FOR SELECT position FROM en57_read();
FETCH 2 FROM scrolled;
FETCH BACKWARD FROM scrolled;
DECLARE held CURSOR WITH HOLD FOR SELECT position FROM en57_read(upto => 40);
FETCH 2 FROM held;
COMMIT;
FETCH 2 FROM held;
CLOSE held;
BEGIN;
DECLARE own CURSOR FOR SELECT data FROM en57_read('{"types": ["late"]}');
SAVEPOINT s;
SELECT count(append_one(1)) FROM generate_series(1, 100);
FETCH 1 FROM own;
ROLLBACK TO s;
MOVE ALL FROM own;
ROLLBACK;
CREATE PROCEDURE in_steps() LANGUAGE plpgsql AS $$
DECLARE p bigint; n int := 0;
BEGIN
    FOR p IN SELECT position FROM en57_read(upto => 500) LOOP
        n := n + 1;
        IF n % 100 = 0 THEN COMMIT; END IF;
    END LOOP;
    RAISE NOTICE '% events', n;
END $$;
CALL in_steps();
-- the partition is emptied, or dropped, while a cursor reads it
BEGIN;
DECLARE of_acme CURSOR FOR SELECT data FROM en57_read(partition => 'acme');
FETCH 1 FROM of_acme;
SELECT en57_truncate('acme');
SELECT en57_drop_partition('acme');
MOVE ALL FROM of_acme;
ROLLBACK;

-- PostgreSQL's own scan: where rows are locked or changed, where there is a number of rows, and where the function is called through another one
SELECT * FROM plan('SELECT n FROM numbers JOIN en57_read(upto => 3) ON position = n FOR UPDATE OF numbers');
SELECT * FROM plan('UPDATE numbers SET n = n FROM en57_read(upto => 3) WHERE position = n');
SELECT * FROM plan('SELECT * FROM en57_read() WITH ORDINALITY');
SELECT * FROM plan('INSERT INTO numbers SELECT position FROM en57_read(upto => 3)');
BEGIN;
ALTER FUNCTION en57_read SET work_mem = '1MB';
SELECT * FROM plan('SELECT * FROM en57_read()');
SELECT count(*) FROM en57_read();
ROLLBACK;
SET en57.enable_scan = off;
SELECT * FROM plan('SELECT * FROM en57_read()');
RESET en57.enable_scan;

-- rights: those of the caller, on the function and on the partition; an estimate tells nothing to who may not read
CREATE ROLE en57_scans_reader;
REVOKE EXECUTE ON FUNCTION en57_read FROM PUBLIC;
SET ROLE en57_scans_reader;
SELECT * FROM en57_read();
EXPLAIN (COSTS OFF) SELECT * FROM en57_read();
RESET ROLE;
GRANT EXECUTE ON FUNCTION en57_read TO PUBLIC;
SET ROLE en57_scans_reader;
EXPLAIN SELECT * FROM en57_read();
SELECT * FROM en57_read();
RESET ROLE;
SELECT en57_grant('en57_scans_reader', 'reader', 'default');
SET ROLE en57_scans_reader;
SELECT count(*) FROM en57_read();
RESET ROLE;
DROP OWNED BY en57_scans_reader;
DROP ROLE en57_scans_reader;

-- estimates are near what is there
CREATE FUNCTION estimate(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE plan json; guess float; actual float;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, FORMAT json, TIMING OFF, SUMMARY OFF) ' || query INTO plan;
    guess := greatest((plan->0->'Plan'->>'Plan Rows')::float, 1);
    actual := greatest((plan->0->'Plan'->>'Actual Rows')::float, 1);
    RETURN CASE WHEN guess / actual BETWEEN 0.5 AND 2 THEN 'near' ELSE format('%s for %s', guess, actual) END;
END $$;
SELECT estimate('SELECT * FROM ' || call), call FROM unnest(ARRAY[
    'en57_read()', 'en57_read(after => 500)', 'en57_read(after => 990, upto => 995)', 'en57_read(max_count => 7)', $$en57_read('{"tags": ["n:1"]}')$$, $$en57_read('{"types": ["a", "b"]}')$$,
    $$en57_read('[{"tags": ["n:1"]}, {"tags": ["n:2"]}]')$$, $$en57_read('{"tags": ["nothing"]}')$$, $$en57_read('{"tags": ["n:1"], "types": ["a"]}', after => 900)$$, $$en57_read_stream('s1')$$,
    $$en57_read_stream('s1', 11, 20)$$, $$en57_read_stream('nothing')$$, $$en57_read(partition => '*')$$, $$en57_read(partition => 'acme')$$]) AS call;
SELECT * FROM plan($$SELECT * FROM en57_read(partition => 'nowhere')$$);

-- a plan that is kept goes with the function
PREPARE kept AS SELECT count(*) FROM en57_read('{"tags": ["n:1"]}') WHERE position > $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE kept(0);
EXECUTE kept(990);
EXPLAIN (COSTS OFF) EXECUTE kept(990);
DROP EXTENSION en57 CASCADE;
CREATE EXTENSION en57;
SELECT outcome FROM en57_append('{"type": "a", "tags": ["n:1"]}');
EXECUTE kept(0);
