-- Sending the same events again answers like the first time; whatever is known only in part is refused.
-- Fails when ids are left to the unique index alone, or when the condition is checked before the ids.
\pset null NULL
\set one 00000000-0000-0000-0000-000000000001
\set two 00000000-0000-0000-0000-000000000002
\set three 00000000-0000-0000-0000-000000000003
\set four 00000000-0000-0000-0000-000000000004
CREATE FUNCTION event(id text, type text DEFAULT 't', data jsonb DEFAULT '{"n": 1}', tags text[] DEFAULT '{a,b}', more jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$ SELECT jsonb_build_object('id', id, 'type', type, 'data', data, 'tags', tags) || more $$;

SELECT * FROM en57_append(event(:'one'));
SELECT * FROM en57_append(event(:'one'));
-- whatever the condition says now
SELECT outcome, position, conflicts FROM en57_append(event(:'one'), fail_if => '{}');
SELECT outcome, position FROM en57_append(event(:'one'), fail_if => '{"tags": ["a"]}', on_conflict => 'raise');
-- an array of one is the same
SELECT outcome FROM en57_append(jsonb_build_array(event(:'one')));
-- the same tags in another order and repeated, the same data written otherwise; upper-case ids
SELECT outcome FROM en57_append(event(:'one', tags => '{b,a,b}'));
SELECT outcome FROM en57_append(event(:'one', data => '{ "n" : 1 }'));
SELECT outcome FROM en57_append(event(upper(:'one')));
-- meta and times are not compared: a client makes them anew
SELECT outcome FROM en57_append(event(:'one', more => '{"meta": {"try": 2}, "occurred_at": "2020-01-01", "trace_id": "2"}'));
SELECT en57_count(), meta FROM en57_get(:'one');

-- other content under a known id
SELECT en57_append(event(:'one', type => 'u'));
\echo :SQLSTATE
SELECT en57_append(event(:'one', data => '{"n": 2}'));
SELECT en57_append(event(:'one', data => 'null'));
SELECT en57_append(event(:'one') - 'data');
SELECT en57_append(event(:'one', tags => '{a}'));
SELECT en57_append(event(:'one', tags => '{a,b,c}'));
SELECT en57_append(event(:'one', tags => '{}'));
-- JSON null and no data differ, a number's scale does not
SELECT outcome FROM en57_append(event(:'four', data => '1.0'));
SELECT outcome FROM en57_append(event(:'four', data => '1.00'));

-- a batch
SELECT outcome, position, first_position FROM en57_append(jsonb_build_array(event(:'two'), event(:'three')));
SELECT outcome, position, first_position FROM en57_append(jsonb_build_array(event(:'two'), event(:'three')));
SELECT outcome, position, first_position FROM en57_append(jsonb_build_array(event(:'two'), event(:'three')), fail_if => '{}');
-- a part of it is stored, too
SELECT outcome, position, first_position FROM en57_append(event(:'two'));
SELECT outcome, position, first_position FROM en57_append(event(:'three'));
-- partly known: at the end, at the start, in the middle; with events without ids
SELECT en57_append(jsonb_build_array(event('00000000-0000-0000-0000-0000000000aa'), event(:'two')));
\echo :SQLSTATE
SELECT en57_append(jsonb_build_array(event(:'two'), event('00000000-0000-0000-0000-0000000000aa')));
\echo :SQLSTATE
SELECT en57_append(jsonb_build_array(event(:'two'), event(:'three'), event('00000000-0000-0000-0000-0000000000aa')));
SELECT en57_append(jsonb_build_array(event(:'two'), event(:'three') - 'id'));
SELECT en57_append(jsonb_build_array(event(:'two') - 'id', event(:'three')));
\echo :SQLSTATE
-- another order, a gap between them
SELECT en57_append(jsonb_build_array(event(:'three'), event(:'two')));
SELECT en57_append(jsonb_build_array(event(:'one'), event(:'two')));
-- twice in a batch
SELECT en57_append(jsonb_build_array(event('00000000-0000-0000-0000-0000000000bb'), event('00000000-0000-0000-0000-0000000000BB')));
\echo :SQLSTATE
-- all of this stored nothing
SELECT position, id, type, data, tags FROM en57_read();
SELECT en57_exists('{"after": 4}');

-- in the same transaction, and after a rollback
BEGIN;
SELECT outcome FROM en57_append(event('00000000-0000-0000-0000-0000000000cc'));
SELECT outcome FROM en57_append(event('00000000-0000-0000-0000-0000000000cc'));
ROLLBACK;
SELECT outcome FROM en57_append(event('00000000-0000-0000-0000-0000000000cc'));
SELECT outcome FROM en57_append(event('00000000-0000-0000-0000-0000000000cc'));
-- a repeated send that lost its condition's race would have conflicted
SELECT outcome FROM en57_append(event('00000000-0000-0000-0000-0000000000dd'), fail_if => '{"tags": ["a"]}');
-- a large batch with ids
CREATE TABLE batch AS SELECT jsonb_agg(event('00000000-0000-0000-0000-1' || lpad(i::text, 11, '0'), data => to_jsonb(repeat('x', i))) ORDER BY i) AS events FROM generate_series(1, 2000) i;
SELECT outcome, position - first_position FROM batch, en57_append(events);
SELECT outcome, position - first_position FROM batch, en57_append(events);
SELECT en57_append(events - 1000) FROM batch;
