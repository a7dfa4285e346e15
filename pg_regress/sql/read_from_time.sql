-- Reading from a time, pages of a context, what finds nothing, and states as of a time.
-- Fails when the search for a time trusts that times grow with positions, when a page claims to be complete where more follows, or
-- when a state as of a time comes from a snapshot.
\pset null NULL
SET timezone = 'UTC';
-- a log of a thousand events, a minute apart, in several partitions
SELECT en57_position_at('2020-01-01') AS empty, (SELECT count(*) FROM en57_read(recorded_from => '2020-01-01')) AS none;
SELECT count(*) FROM (SELECT en57_append(jsonb_build_object('type', 't' || i % 2, 'data', i, 'tags', ARRAY['m:' || i % 3]), partition => CASE WHEN i <= 1000 THEN 'default' END) FROM generate_series(1, 1000) i OFFSET 0) s;
ALTER TABLE en57.events_default DISABLE TRIGGER ALL;
UPDATE en57.events_default SET recorded_at = timestamptz '2020-01-01' + position * interval '1 minute', occurred_at = timestamptz '2020-01-01' + position * interval '1 minute';
CREATE FUNCTION at(n numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT timestamptz '2020-01-01' + n * interval '1 minute' $$;
SELECT n, en57_position_at(at(n)), (SELECT array_agg(position ORDER BY position) FROM en57_read(recorded_from => at(n), max_count => 2)) AS first, (SELECT count(*) FROM en57_read('{"types": ["t1"]}', recorded_from => at(n))) AS t1
    FROM unnest('{-5,0,1,1.5,2,499.9,500,500.1,999,1000,1000.1,5000}'::numeric[]) n;
SELECT bool_and(en57_position_at(at(n)) = n - 1 AND en57_position_at(at(n + 0.001)) = n) FROM generate_series(1, 1000) n;
SELECT en57_position_at('infinity') AS infinity, en57_position_at('-infinity') AS minus, en57_position_at(NULL) AS null, (SELECT count(*) FROM en57_read(recorded_from => 'infinity')) AS none, (SELECT count(*) FROM en57_read(recorded_from => '-infinity')) AS all,
    (SELECT count(*) FROM en57_read(recorded_from => NULL)) AS not_given;
-- with the other bounds, and backwards
SELECT array(SELECT position FROM en57_read(recorded_from => at(10), as_of => at(12))) AS both, array(SELECT position FROM en57_read(recorded_from => at(990), backwards => true, max_count => 3)) AS newest,
    array(SELECT position FROM en57_read(recorded_from => at(10), after => 20, upto => 22)) AS after, array(SELECT position FROM en57_read(recorded_from => at(10), after => 2, upto => 12)) AS further,
    array(SELECT position FROM en57_read('{"tags": ["m:1"]}', recorded_from => at(10), max_count => 3)) AS tag, array(SELECT position FROM en57_read(recorded_from => at(5), occurred_until => at(4))) AS neither;
SELECT position FROM en57_read(recorded_from => at(10), after => -1);
-- times out of order, by less than ten seconds: none is missed
UPDATE en57.events_default SET recorded_at = recorded_at + interval '62 seconds' WHERE position = 500;
UPDATE en57.events_default SET recorded_at = recorded_at - interval '67 seconds' WHERE position = 700;
SELECT position, en57_position_at(recorded_at), array(SELECT position FROM en57_read(recorded_from => e.recorded_at, max_count => 3)) FROM en57_read() e WHERE position IN (499, 500, 501, 502, 698, 699, 700, 701);
-- a gap, as rolled-back appends leave it
BEGIN; SELECT count(*) FROM (SELECT en57_append('{"type": "gone"}') FROM generate_series(1, 300) OFFSET 0) s; ROLLBACK;
SELECT en57_position_at(at(1000)), en57_position_at(at(1001)) >= 1000 AS behind, (SELECT outcome FROM en57_append('{"type": "new"}'));
SELECT en57_position_at(at(1001)) = 1300 AS before_the_new_one, array(SELECT type FROM en57_read(recorded_from => at(1001))) AS new;
-- where subscriptions and projections begin
SELECT en57_create_subscription('from 900', '{}', start => en57_position_at(at(900))::text);
SELECT min(position), count(*) FROM en57_poll('from 900', 1000);
SELECT en57_reset_subscription('from 900', en57_position_at(at(950)));
SELECT min(position), count(*) FROM en57_poll('from 900', 1000);
-- all partitions, and rights
SELECT en57_create_partition('p');
SELECT outcome FROM en57_append('{"type": "p"}', partition => 'p');
SELECT en57_position_at('2020-01-01', 'p') AS p, en57_position_at(at(7), '*') AS all, array(SELECT type FROM en57_read(recorded_from => at(1001), partition => '*')) AS both, array(SELECT type FROM en57_read(recorded_from => at(1001), partition => 'p')) AS p;
SELECT en57_position_at(now(), 'nowhere');
CREATE ROLE en57_no_reader;
SET ROLE en57_no_reader;
SELECT en57_position_at(now());
RESET ROLE;
DROP ROLE en57_no_reader;

-- a page, and up to where it is complete
SELECT position, array(SELECT e.position FROM unnest(events) e) FROM en57_context('{"tags": ["m:1"]}', max_count => 3);
SELECT position, array(SELECT e.position FROM unnest(events) e) FROM en57_context('{"tags": ["m:1"]}', after => 7, max_count => 2);
SELECT position = en57_head('{"tags": ["m:1"]}') AS at_the_head, array(SELECT e.position FROM unnest(events) e) FROM en57_context('{"tags": ["m:1"]}', after => 994, max_count => 100);
-- just as many as there are: whoever asks again learns that there are no more
SELECT position = en57_head('{"tags": ["m:1"]}') AS at_the_head, cardinality(events) FROM en57_context('{"tags": ["m:1"]}', max_count => 334);
SELECT position = en57_head('{"tags": ["m:1"]}') AS at_the_head, cardinality(events) FROM en57_context('{"tags": ["m:1"]}', after => 1000, max_count => 334);
SELECT position, cardinality(events) FROM en57_context('{"tags": ["m:1"]}', after => 7, max_count => 0);
SELECT position = en57_head('{"tags": ["m:1"]}') AS at_the_head, cardinality(events) FROM en57_context('{"tags": ["m:1"]}', after => 900);
SELECT position FROM en57_context('{}', max_count => -1);
SELECT position FROM en57_context('{}', after => -1, max_count => 1);
-- a follower: every event once, whatever the size of its pages
CREATE FUNCTION follow(q en57_query, size bigint, partition text DEFAULT NULL, OUT seen bigint[], OUT pages int) LANGUAGE plpgsql AS $$
DECLARE
    c record; at bigint := 0;
BEGIN
    pages := 0;
    LOOP
        c := en57_context(q, after => at, max_count => size, partition => partition);
        EXIT WHEN c.position = at;
        seen := seen || array(SELECT e.position FROM unnest(c.events) e);
        at := c.position;
        pages := pages + 1;
    END LOOP;
END $$;
SELECT size, f.seen = array(SELECT position FROM en57_read('{"types": ["t1"]}')) AS each_once, pages FROM unnest('{1,7,250,500,501}'::bigint[]) size, follow('{"types": ["t1"]}', size) f;
SELECT f.seen = array(SELECT position FROM en57_read(partition => '*')) AS each_once FROM follow('{}', 100, '*') f;
-- a page ends where its events are large
SELECT outcome FROM en57_append(jsonb_build_array(jsonb_build_object('type', 'large', 'data', repeat('x', 3000000)), jsonb_build_object('type', 'large', 'data', repeat('y', 3000000)), jsonb_build_object('type', 'large', 'data', repeat('z', 3000000))));
SELECT cardinality(events), position < en57_head('{"types": ["large"]}') AS more_follow FROM en57_context('{"types": ["large"]}', max_count => 100);
SELECT cardinality(array_agg(s)) FROM follow('{"types": ["large"]}', 100) f, unnest(f.seen) s;
-- the transaction's own events do not move it beyond what is settled
BEGIN;
SELECT outcome FROM en57_append('[{"type": "own"}, {"type": "own"}]');
SELECT cardinality(events), position <= en57_head('{"types": ["own"]}') AS settled FROM en57_context('{"types": ["own"]}', max_count => 1);
ROLLBACK;

-- what finds nothing is NULL, also in FROM; en57_read has no row there
SELECT l.position, l IS NULL AS nothing FROM en57_last('{"tags": ["none"]}') l;
SELECT position FROM en57_read('{"tags": ["none"]}', backwards => true, max_count => 1);
SELECT n, l.position FROM generate_series(0, 3) n LEFT JOIN LATERAL en57_read(en57_query(tags => ARRAY['m:' || n]), backwards => true, max_count => 1) l ON true;
SELECT coalesce((en57_last('{"tags": ["none"]}')).position, 0) AS or_0;

-- a stream's version where the window has nothing: of one moment
SELECT outcome FROM en57_append('[{"type": "s"}, {"type": "s"}]', stream => 'cart');
SELECT s.version, e.stream_version FROM en57_stream('cart') s LEFT JOIN LATERAL en57_read_stream('cart', from_version => 2, to_version => coalesce(s.version, 0)) e ON true;
SELECT s.version, e.stream_version FROM en57_stream('cart') s LEFT JOIN LATERAL en57_read_stream('cart', from_version => 3, to_version => coalesce(s.version, 0)) e ON true;
SELECT s.version, e.stream_version FROM en57_stream('none') s LEFT JOIN LATERAL en57_read_stream('none', from_version => 3, to_version => coalesce(s.version, 0)) e ON true;

-- states as of a time, and until one
CREATE FUNCTION add(s jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(s, '[]') || e.data $$;
SELECT en57_create_fold('f', 'add(jsonb,en57_event)', snapshot_every => 1);
SELECT jsonb_array_length(state), position = en57_head('{"tags": ["m:1"]}') AS all FROM en57_state('f', '{"tags": ["m:1"]}');
SELECT state, position FROM en57_state('f', '{"tags": ["m:1"]}', as_of => at(8));
SELECT state, position FROM en57_fold('{"tags": ["m:1"]}', 'add(jsonb,en57_event)', as_of => at(8));
SELECT state, position FROM en57_state('f', '{"tags": ["m:1"]}', occurred_until => at(4));
SELECT state, position FROM en57_fold('{"tags": ["m:1"]}', 'add(jsonb,en57_event)', occurred_until => at(4));
SELECT state, position FROM en57_state('f', '{"tags": ["m:1"]}', occurred_until => at(10), as_of => at(5));
SELECT state, position FROM en57_fold('{"tags": ["m:1"]}', 'add(jsonb,en57_event)', occurred_until => at(10), as_of => at(5), initial => '["from"]');
SELECT state, position FROM en57_fold('{"tags": ["m:1"]}', 'add(jsonb,en57_event)', occurred_until => at(10), upto => 5);
-- the one that was recorded early is in, though one before it is not
SELECT state->-1 AS last, position FROM en57_state('f', '{"types": ["t0", "t1"], "after": 690}', as_of => (SELECT recorded_at FROM en57_read(after => 699, upto => 700)));
SELECT state, position = en57_head('{"tags": ["m:1"]}') AS all FROM en57_state('f', '{"tags": ["m:1"]}', as_of => '-infinity');
SELECT jsonb_array_length(state), position = en57_head('{"tags": ["m:1"]}') AS all FROM en57_state('f', '{"tags": ["m:1"]}', as_of => 'infinity', occurred_until => 'infinity');
SELECT count(*) FROM en57_snapshots;
-- the stream's version, of what is now alone
SELECT n, s.stream_version FROM unnest('{NULL,infinity}'::timestamptz[]) n, en57_state('f', '{"stream": "cart"}', as_of => n) s;
