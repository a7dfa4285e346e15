-- Time: what was known at a time (as_of), what had happened by then (occurred_until), and both.
-- Fails when a bound is exclusive, when the two are confused, or when a time zone is lost.
\pset null NULL
SET timezone = 'UTC';
-- three events that tell of the past and of the future, each recorded in a transaction of its own
SELECT position FROM en57_append('{"type": "moved", "tags": ["ada"], "data": "Paris", "occurred_at": "2020-01-01 00:00:00+00"}');
SELECT position FROM en57_append('{"type": "moved", "tags": ["ada"], "data": "Rome", "occurred_at": "2022-01-01 00:00:00+00"}');
-- learnt late: she was in Oslo in between
SELECT position FROM en57_append('{"type": "moved", "tags": ["ada"], "data": "Oslo", "occurred_at": "2021-01-01 00:00:00+00"}');
SELECT position FROM en57_append('{"type": "moved", "tags": ["ada"], "data": "Cairo", "occurred_at": "infinity"}');
SELECT position FROM en57_append('{"type": "born", "tags": ["ada"], "occurred_at": "-infinity"}');
SELECT position FROM en57_append('{"type": "now", "tags": ["ada"]}');
CREATE TABLE recorded AS SELECT position, recorded_at FROM en57_read();
SELECT count(DISTINCT recorded_at) FROM recorded;

-- what was known when event n had been recorded, of what had happened by a time: the answer to two questions at once
SELECT until, n, array(SELECT COALESCE(data #>> '{}', type) FROM en57_read('{"tags": ["ada"]}', as_of => (SELECT recorded_at FROM recorded WHERE position = n), occurred_until => until)) AS known
FROM (VALUES ('2020-06-01'::timestamptz), ('2021-06-01'), ('2022-06-01')) t (until), generate_series(1, 3) n ORDER BY until, n;
-- bounds are inclusive, to the microsecond
SELECT n, array(SELECT position FROM en57_read(as_of => recorded_at)) AS at, array(SELECT position FROM en57_read(as_of => recorded_at - interval '1 microsecond')) AS just_before,
    array(SELECT position FROM en57_read(as_of => recorded_at, backwards => true, max_count => 1)) AS newest FROM generate_series(1, 6) n, recorded WHERE position = n ORDER BY n;
SELECT array(SELECT position FROM en57_read(occurred_until => '2021-01-01')) AS at, array(SELECT position FROM en57_read(occurred_until => '2020-12-31 23:59:59.999999')) AS just_before;
-- the ends of time
SELECT b, a, array(SELECT position FROM en57_read(as_of => a, occurred_until => b)) FROM unnest('{-infinity,infinity,NULL}'::timestamptz[]) WITH ORDINALITY AS x (a, i), unnest('{-infinity,2021-01-01,infinity,NULL}'::timestamptz[]) WITH ORDINALITY AS y (b, j) ORDER BY i, j;
-- the same instant in other zones, as an argument and in an event
SELECT array(SELECT position FROM en57_read(occurred_until => '2021-01-01 05:30:00+05:30')) AS india, array(SELECT position FROM en57_read(occurred_until => '2021-01-01 05:29:59+05:30')) AS just_before,
    array(SELECT position FROM en57_read(occurred_until => '2020-12-31 19:00:00-05')) AS new_york, array(SELECT position FROM en57_read(occurred_until => timestamptz '2021-01-01 01:00:00 Europe/Paris')) AS paris;
SET timezone = 'America/New_York';
SELECT position FROM en57_append('[{"type": "zone", "occurred_at": "2019-07-01 12:00:00"}, {"type": "zone", "occurred_at": "2019-07-01 12:00:00 Europe/Paris"}, {"type": "zone", "occurred_at": "2019-07-01T12:00:00Z"}]');
SELECT position, occurred_at FROM en57_read('{"types": ["zone"]}');
SELECT array(SELECT position FROM en57_read('{"types": ["zone"]}', occurred_until => '2019-07-01 08:00:00')) AS read_in_the_session_s_zone;
SET timezone = 'UTC';
SELECT position, occurred_at FROM en57_read('{"types": ["zone"]}');
SELECT array(SELECT position FROM en57_read('{"types": ["zone"]}', occurred_until => '2019-07-01 12:00:00')) AS until;
-- one append has one time of recording, which is the time of occurring where none was given
SELECT count(DISTINCT recorded_at), count(DISTINCT occurred_at) FROM en57_append('[{"type": "same"}, {"type": "same"}]') a, en57_read('{"types": ["same"]}');
-- the transaction's start does not decide it
BEGIN;
SELECT pg_sleep(0.01);
SELECT outcome FROM en57_append('{"type": "late"}');
SELECT recorded_at > now() AS after_the_start FROM en57_last('{"types": ["late"]}');
COMMIT;
-- with positions, limits, types and streams
SELECT outcome FROM en57_append('[{"type": "s", "occurred_at": "2018-01-03"}, {"type": "s", "occurred_at": "2018-01-01"}, {"type": "s", "occurred_at": "2018-01-02"}]', stream => 's');
SELECT array(SELECT stream_version FROM en57_read('{"stream": "s"}', occurred_until => '2018-01-02')) AS stream, array(SELECT stream_version FROM en57_read('{"stream": "s"}', occurred_until => '2018-01-02', max_count => 1, backwards => true)) AS newest,
    array(SELECT stream_version FROM en57_read('{"stream": "s"}', occurred_until => '2018-01-03', after => (SELECT first_position FROM en57_stream('s')))) AS after;
SELECT en57_append('{"type": "bad", "occurred_at": "yesterday-ish"}');
SELECT en57_append('{"type": "bad", "occurred_at": "2021-02-30"}');
