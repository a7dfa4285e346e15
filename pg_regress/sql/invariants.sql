-- Invariants: after every append the state of each key that its events touch is folded over stored and new events; what the check function says refuses the append.
-- Fails when new events are not in the state, when the state is that of another key, when a conflict or a repetition is checked, when a kept state outlives
-- what it was made with, or when a refused append leaves anything.
CREATE FUNCTION balance(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT to_jsonb((state#>>'{}')::bigint + CASE e.type WHEN 'withdrawn' THEN -1 ELSE 1 END * (e.data->>'cents')::bigint) $$;
CREATE FUNCTION not_negative(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN (state#>>'{}')::bigint < 0 THEN format('%s cents are missing', -(state#>>'{}')::bigint) END $$;
CREATE FUNCTION event(type text, cents bigint, VARIADIC tags text[] DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('type', type, 'data', jsonb_build_object('cents', cents), 'tags', tags) $$;
-- What a call answers, or its error.
CREATE FUNCTION told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; m text; d text; h text; c text;
BEGIN
    EXECUTE call INTO answer;
    RETURN coalesce(answer, 'NULL');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, c = PG_EXCEPTION_CONTEXT;
    c := regexp_replace(c, '(SQL statement|PL/pgSQL function told).*', '');
    RETURN concat_ws(E'\n   ', sqlstate || ' ' || m, 'DETAIL ' || nullif(d, ''), 'HINT ' || nullif(h, ''),
        'CONTEXT ' || nullif(regexp_replace(regexp_replace(c, 'position [0-9]+', 'position N', 'g'), '\n', ' / ', 'g'), ''));
END $$;
CREATE FUNCTION append(VARIADIC events jsonb[]) RETURNS text LANGUAGE sql AS $$
    SELECT told(format('SELECT outcome FROM en57_append(%L)', to_jsonb(events))) $$;
CREATE VIEW kept AS SELECT i.name, s.id, s.state, s.position = en57_head(en57_query(tags => ARRAY['account:' || s.id])) AS is_newest
    FROM en57.invariant_states s JOIN en57.invariants i ON i.number = s.invariant ORDER BY i.name, s.id;
\pset format unaligned
\pset tuples_only on

SELECT append(event('withdrawn', 1, 'account:before'));
SELECT en57_create_invariant('no debt', '{"types": ["paid in", "withdrawn"]}', 'tag:account:', 'balance(jsonb,en57_event)', 'not_negative(jsonb)', initial => '0', validate => false, key_required => false);
SELECT name, partition, query, key, evolve, check_function, initial, is_enabled FROM en57_invariants;

-- stored and new events count, each key for itself; the text is the message
SELECT append(event('paid in', 100, 'account:a'));
SELECT append(event('withdrawn', 101, 'account:a'));
SELECT append(event('withdrawn', 100, 'account:a'));
SELECT append(event('withdrawn', 1, 'account:b'));
-- events that do not match, or have no key, are not looked at
SELECT append(event('other', 1, 'account:b'));
SELECT append(event('withdrawn', 1, 'konto:b'));
-- a tag that is the prefix begins so, too: its id is empty
SELECT append(event('withdrawn', 1, 'account:'));
SELECT append(event('paid in', 1, 'account:'));
SELECT append(event('withdrawn', 1, 'account:', 'account:a'), event('paid in', 1, 'account:a'));
SELECT append(event('withdrawn', 1, 'account:'));
-- the append as a whole: what it does in between is nobody's business, and it comes whole or not at all
SELECT append(event('withdrawn', 5, 'account:c'), event('paid in', 5, 'account:c'));
SELECT append(event('paid in', 5, 'account:c'), event('other', 1), event('withdrawn', 6, 'account:c'), event('other', 2));
SELECT append(event('paid in', 5, 'account:d', 'account:e'), event('withdrawn', 6, 'account:e'));
SELECT append(event('paid in', 5, 'account:d', 'account:e'), event('withdrawn', 5, 'account:e'));
SELECT en57_count('{"tags": ["account:d"]}'), en57_count('{"tags": ["account:e"]}');
-- a key that is broken already (it was not validated) takes only what mends it
SELECT append(event('withdrawn', 1, 'account:before'));
SELECT append(event('paid in', 1, 'account:before'));
SELECT append(event('paid in', 1, 'account:before'));

-- two appends in one transaction: the second sees the first; a savepoint takes it back
BEGIN;
SELECT append(event('paid in', 10, 'account:t'));
SAVEPOINT s;
SELECT append(event('withdrawn', 10, 'account:t'));
SELECT append(event('withdrawn', 1, 'account:t'));
ROLLBACK TO s;
SELECT append(event('withdrawn', 9, 'account:t'));
SELECT append(event('withdrawn', 2, 'account:t'));
COMMIT;
SELECT sum((data->>'cents')::int * CASE type WHEN 'withdrawn' THEN -1 ELSE 1 END) FROM en57_read('{"tags": ["account:t"]}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT append(event('withdrawn', 2, 'account:t'));
SELECT append(event('withdrawn', 1, 'account:t'));
SELECT append(event('withdrawn', 1, 'account:t'));
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT append(event('paid in', 1, 'account:t'));
SELECT append(event('withdrawn', 2, 'account:t'));
ROLLBACK;
SELECT append(event('withdrawn', 1, 'account:t'));

-- a conflict is told first, a repetition is answered as the first time, and neither is checked
SELECT told($$SELECT outcome FROM en57_append('{"type": "withdrawn", "data": {"cents": 1}, "tags": ["account:a"]}', fail_if => '{"tags": ["account:a"]}')$$);
SELECT told($$SELECT outcome FROM en57_append('{"type": "withdrawn", "data": {"cents": 1}, "tags": ["account:a"]}', fail_if => '{"tags": ["account:a"]}', on_conflict => 'raise')$$) LIKE 'N5701%';
SELECT told($$SELECT outcome FROM en57_append('{"type": "withdrawn", "data": {"cents": 1}, "tags": ["account:a"]}', stream => 's', expected_version => 1)$$);
SELECT told($$SELECT outcome FROM en57_append('{"type": "paid in", "data": {"cents": 7}, "tags": ["account:r"], "id": "00000000-0000-0000-0000-000000000001"}')$$);
SELECT append(event('withdrawn', 7, 'account:r'));
SELECT en57_disable_invariant('no debt');
SELECT append(event('withdrawn', 7, 'account:r'));
SELECT en57_enable_invariant('no debt', validate => false);
SELECT told($$SELECT outcome FROM en57_append('{"type": "paid in", "data": {"cents": 7}, "tags": ["account:r"], "id": "00000000-0000-0000-0000-000000000001"}')$$);
SELECT append(event('withdrawn', 1, 'account:r'));

-- every way in: streams, the gem's function, handlers, imports
SELECT told($$SELECT outcome FROM en57_append('{"type": "withdrawn", "data": {"cents": 1}, "tags": ["account:a"]}', stream => 's', expected_version => 0)$$);
SELECT told($$SELECT conflicting_events FROM en57.append_events(ARRAY[ROW(NULL, 'withdrawn', '{"cents": 1}', NULL, '{account:a}')::en57.event])$$);
CREATE FUNCTION withdraw(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT en57_append(event('withdrawn', 1, 'account:a')) $$;
SELECT en57_create_projection('withdraw', '{"types": ["handled"]}', 'withdraw(en57_event)');
SELECT append('{"type": "handled"}');
SELECT told($$SELECT en57_import('[{"type": "paid in", "data": {"cents": 3}, "tags": ["account:i"]}, {"type": "withdrawn", "data": {"cents": 4}, "tags": ["account:i"], "stream": "i"}]')$$);
SELECT told($$SELECT en57_import('[{"type": "withdrawn", "data": {"cents": 3}, "tags": ["account:i"]}, {"type": "paid in", "data": {"cents": 3}, "tags": ["account:i"], "stream": "i"}]')$$);
SELECT en57_count('{"types": ["handled"]}'), en57_count('{"tags": ["account:i"]}');
SELECT en57_drop_projection('withdraw');

-- by stream; several invariants, of which the first in the order of creation refuses
CREATE FUNCTION versions(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(state, '[]') || to_jsonb(e.stream_version) $$;
CREATE FUNCTION three(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'full: ' || state::text WHERE jsonb_array_length(state) > 3 $$;
SELECT en57_create_invariant('three', '{}', 'stream', 'versions(jsonb,en57_event)', 'three(jsonb)', key_required => false);
SELECT told($$SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "b"}]', stream => 'three')$$);
SELECT told($$SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "b"}]', stream => 'three')$$);
SELECT told($$SELECT outcome FROM en57_append('[{"type": "a"}]', stream => 'three')$$);
SELECT told($$SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "withdrawn", "data": {"cents": 1}, "tags": ["account:a"]}]', stream => 'three')$$);
SELECT en57_drop_invariant('three');
SELECT told($$SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "a"}]', stream => 'three')$$);
-- of a query that names a stream itself, other streams' events are none
SELECT en57_create_invariant('three', '{"stream": "only"}', 'stream', 'versions(jsonb,en57_event)', 'three(jsonb)');
SELECT told($$SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "a"}]', stream => 'three')$$);
SELECT left(told($$SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "a"}, {"type": "a"}, {"type": "a"}]', stream => 'only')$$), 24);
SELECT en57_drop_invariant('three');

-- functions get the event as it is stored, all of it
CREATE TABLE seen (state jsonb);
SET timezone = 'UTC';
CREATE FUNCTION remember(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(state, '[]') || to_jsonb(e) $$;
CREATE FUNCTION fine(state jsonb) RETURNS text LANGUAGE sql AS $$ DELETE FROM seen; INSERT INTO seen VALUES (state); SELECT NULL::text $$;
SELECT en57_create_invariant('whole', '{}', 'tag:w:', 'remember(jsonb,en57_event)', 'fine(jsonb)', key_required => false);
SELECT outcome FROM en57_append('[{"type": "w", "tags": ["w:1", "x"], "data": [1], "meta": {"m": 1}, "correlation_id": "c"}, {"type": "v"}, {"type": "w", "tags": ["w:1"], "schema_version": 2, "occurred_at": "2024-01-01"}]', stream => 'w');
SELECT (SELECT state FROM seen) = (SELECT jsonb_agg(e) FROM en57_read('{"tags": ["w:1"]}') e);
SELECT told($$SELECT en57_import('[{"type": "w", "tags": ["w:2"], "stream": "w2", "recorded_at": "2020-01-01"}, {"type": "w", "tags": ["w:2"], "stream": "w"}]')$$);
SELECT (SELECT state FROM seen) = (SELECT jsonb_agg(e) FROM en57_read('{"tags": ["w:2"]}') e);
SELECT en57_drop_invariant('whole');
RESET timezone;

-- states are kept every sixteen events; what is kept is the fold, and goes with the transaction
SELECT count(*) FROM kept;
SELECT count(append(event('paid in', 1, 'account:k'))) FROM generate_series(1, 15);
SELECT * FROM kept;
BEGIN;
SELECT append(event('paid in', 1, 'account:k'));
SELECT * FROM kept;
ROLLBACK;
SELECT * FROM kept;
SELECT append(event('paid in', 1, 'account:k'), event('withdrawn', 2, 'account:k'));
SELECT * FROM kept;
SELECT append(event('withdrawn', 15, 'account:k'));
SELECT append(event('withdrawn', 14, 'account:k'));
SELECT * FROM kept;
BEGIN;
SELECT count(append(event('paid in', 1, 'account:k'))) FROM generate_series(1, 40);
SELECT * FROM kept;
SAVEPOINT s;
SELECT count(append(event('paid in', 1, 'account:k'))) FROM generate_series(1, 40);
ROLLBACK TO s;
SELECT * FROM kept;
SELECT append(event('withdrawn', 41, 'account:k'));
ROLLBACK;
-- also where few events are found among many: of other types under the tag, under other tags of the type
SELECT told($$SELECT outcome FROM en57_append((SELECT jsonb_agg(e) FROM generate_series(1, 40000) g, LATERAL (VALUES (event('other', g, 'account:m')), (event('paid in', g, 'konto:m'))) v (e)))$$);
CREATE FUNCTION touches_many_pages(call text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || call INTO plan;
    RETURN (plan#>>'{0,Plan,Shared Hit Blocks}')::int + (plan#>>'{0,Plan,Shared Read Blocks}')::int > 250;
END $$;
SELECT touches_many_pages($$SELECT en57_append(event('paid in', 1, 'account:m'))$$);
SELECT * FROM kept WHERE id = 'm';
SELECT touches_many_pages($$SELECT en57_append(event('paid in', 1, 'account:m'))$$);
SELECT append(event('withdrawn', 3, 'account:m'));
SELECT append(event('withdrawn', 2, 'account:m'));
SELECT * FROM kept WHERE id = 'm';
-- a large batch is one transition
SELECT told($$SELECT outcome FROM en57_append((SELECT jsonb_agg(event('paid in', 1, 'account:l')) FROM generate_series(1, 1000)))$$);
SELECT * FROM kept;
-- what is kept is used: with the events before it gone from view, it still counts
UPDATE en57.invariant_states SET state = '1000000' WHERE id = 'l';
SELECT append(event('withdrawn', 1000001, 'account:l'));
SELECT append(event('withdrawn', 999999, 'account:l'));
-- a function that is replaced is another one: all states are made anew
CREATE OR REPLACE FUNCTION balance(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT to_jsonb((state#>>'{}')::bigint + CASE e.type WHEN 'withdrawn' THEN -1 ELSE 2 END * (e.data->>'cents')::bigint) $$;
SELECT append(event('withdrawn', 999999, 'account:l'));
SELECT append(event('withdrawn', 18, 'account:k'));
SELECT append(event('withdrawn', 1, 'account:k'));
SELECT * FROM kept WHERE id = 'k';
BEGIN;
CREATE OR REPLACE FUNCTION balance(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT to_jsonb((state#>>'{}')::bigint + CASE e.type WHEN 'withdrawn' THEN -1 ELSE 3 END * (e.data->>'cents')::bigint) $$;
SELECT append(event('withdrawn', 1, 'account:k'));
SELECT * FROM kept WHERE id = 'k';
ROLLBACK;
SELECT append(event('withdrawn', 18, 'account:k'));
-- also where only a setting of it changes
SELECT append(event('withdrawn', 1, 'account:k'));
UPDATE en57.invariant_states SET state = '1000000';
ALTER FUNCTION balance(jsonb, en57_event) SET work_mem = '1MB';
SELECT append(event('withdrawn', 18, 'account:k'));
ALTER FUNCTION balance(jsonb, en57_event) RESET work_mem;
-- of how events are read, too
UPDATE en57.invariant_states SET generation = 77, state = '1000000';
SELECT append(event('withdrawn', 18, 'account:k'));

-- disabled: nothing is checked; enabled again: all that is stored is
SELECT en57_disable_invariant('no debt');
SELECT en57_disable_invariant('no debt');
SELECT is_enabled FROM en57_invariants;
SELECT append(event('withdrawn', 1, 'account:zz'), event('withdrawn', 2, 'account:z'));
SELECT told($$SELECT en57_enable_invariant('no debt')$$);
SELECT append(event('paid in', 1, 'account:zz'), event('paid in', 1, 'account:z'), event('paid in', 500000, 'account:l'), event('paid in', 10, 'account:r'));
SELECT en57_enable_invariant('no debt');
SELECT append(event('withdrawn', 2, 'account:z'));
SELECT id FROM kept;
-- created with what is stored
SELECT told($$SELECT en57_create_invariant('no debt', '{}', 'tag:account:', 'balance(jsonb,en57_event)', 'not_negative(jsonb)', '0', key_required => false)$$);
SELECT told($$SELECT en57_create_invariant('debt', '{"types": ["withdrawn"]}', 'tag:account:', 'balance(jsonb,en57_event)', 'not_negative(jsonb)', '0', key_required => false)$$);
BEGIN;
SELECT append(event('withdrawn', 1, 'konto:own'));
SELECT told($$SELECT en57_create_invariant('debt', '{"types": ["withdrawn"]}', 'tag:konto:', 'balance(jsonb,en57_event)', 'not_negative(jsonb)', '0', key_required => false)$$);
ROLLBACK;

-- an emptied partition begins anew
SELECT en57_truncate('default');
SELECT count(*) FROM en57.invariant_states;
SELECT append(event('paid in', 1, 'account:l'));
SELECT append(event('withdrawn', 3, 'account:l'));

-- errors of the functions are the append's, and say where
CREATE FUNCTION fails(state jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.data ? 'bad' THEN RAISE EXCEPTION USING ERRCODE = 'X1234', MESSAGE = 'bad event', DETAIL = 'a detail', HINT = 'a hint'; END IF;
    RETURN coalesce(e.data, '{}');
END $$;
CREATE FUNCTION fails(state jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF state ? 'empty' THEN RETURN ''; END IF; RETURN 1 / (state->>'n')::int; END $$;
SELECT en57_create_invariant('failing', '{"types": ["f"]}', 'tag:f:', 'fails(jsonb,en57_event)', 'fails(jsonb)');
SELECT append('{"type": "f", "tags": ["f:1"]}');
SELECT append('{"type": "f", "tags": ["f:1"], "data": {"bad": true}}');
SELECT append('{"type": "f", "tags": ["f:1"], "data": {"n": 0}}');
SELECT append('{"type": "f", "tags": ["f:1"], "data": {"n": 1}}');
SELECT append('{"type": "f", "tags": ["f:1"], "data": {"empty": 1}}');
-- a function that appends would not be seen by the append that is being checked
CREATE OR REPLACE FUNCTION fails(state jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (en57_append('{"type": "g"}')).outcome; END $$;
SELECT append('{"type": "f", "tags": ["f:1"], "data": {"n": 1}}');
CREATE OR REPLACE FUNCTION fails(state jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN en57_import('[{"type": "g"}]'); END $$;
SELECT append('{"type": "f", "tags": ["f:1"], "data": {"n": 1}}');
SELECT append('{"type": "g"}');
-- one that is gone is named, but where nothing matches
DROP FUNCTION fails(jsonb);
SELECT append('{"type": "g"}');
SELECT append('{"type": "f", "tags": ["f:1"], "data": {"n": 1}}');
SELECT en57_drop_invariant('failing');
SELECT append('{"type": "f", "tags": ["f:1"], "data": {"n": 1}}');
SHOW search_path;
-- NULL begins anew, as in a fold: with the initial state
CREATE FUNCTION last(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULLIF(e.data, 'null') || COALESCE(state, '"nothing"') $$;
CREATE FUNCTION show(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(state::text, 'NULL') $$;
SELECT en57_create_invariant('showing', '{"types": ["n"]}', 'tag:n:', 'last(jsonb,en57_event)', 'show(jsonb)');
SELECT append('{"type": "n", "tags": ["n:1"], "data": [1]}', '{"type": "n", "tags": ["n:1"], "data": null}', '{"type": "n", "tags": ["n:1"], "data": [2]}');
SELECT append('{"type": "n", "tags": ["n:1"], "data": [1]}', '{"type": "n", "tags": ["n:1"], "data": null}');
SELECT en57_drop_invariant('showing');
SELECT en57_create_invariant('showing', '{"types": ["n"]}', 'tag:n:', 'last(jsonb,en57_event)', 'show(jsonb)', '["initial"]');
SELECT append('{"type": "n", "tags": ["n:1"], "data": [1]}', '{"type": "n", "tags": ["n:1"], "data": null}', '{"type": "n", "tags": ["n:1"], "data": [2]}');
SELECT append('{"type": "n", "tags": ["n:1"], "data": [1]}', '{"type": "n", "tags": ["n:1"], "data": null}');
SELECT en57_drop_invariant('showing');

-- partitions keep to themselves
SELECT en57_create_partition('other');
SELECT en57_create_invariant('other', '{}', 'tag:account:', 'balance(jsonb,en57_event)', 'not_negative(jsonb)', '0', partition => 'other', key_required => false);
SELECT told($$SELECT outcome FROM en57_append(event('withdrawn', 1, 'account:l'), partition => 'other')$$);
SELECT told($$SELECT outcome FROM en57_append(event('paid in', 1, 'account:l'), partition => 'other')$$);
SELECT told($$SELECT en57_drop_partition('other')$$);
SELECT name, partition FROM en57_invariants ORDER BY name;
SELECT en57_drop_invariant('other');
SELECT en57_drop_partition('other');

-- one that is there: refused, left, or made what is asked for
CREATE FUNCTION nothing(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT NULL::text $$;
CREATE FUNCTION at_most_twenty(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'too many' WHERE jsonb_array_length(state) > 20 $$;
CREATE FUNCTION remembered(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(state, '[]') || to_jsonb(e.type) $$;
SELECT en57_create_invariant('keyed', '{"types": ["keyed"]}', 'tag:key:', 'remembered(jsonb,en57_event)', 'nothing(jsonb)', or_replace => true);
SELECT told($$SELECT en57_create_invariant('keyed', '{"types": ["keyed"]}', 'tag:key:', 'remembered(jsonb,en57_event)', 'nothing(jsonb)')$$);
SELECT en57_create_invariant('keyed', '{"types": ["keyed"]}', 'tag:key:', 'remembered(jsonb,en57_event)', 'nothing(jsonb)', if_not_exists => true);
SELECT en57_create_invariant('keyed', '{"types": ["else"]}', 'stream', 'remembered(jsonb,en57_event)', 'nothing(jsonb)', '[]', key_required => false, if_not_exists => true);
SELECT query, key FROM en57_invariants WHERE name = 'keyed';
-- what is the same already is not looked at again: what is stored would not hold
SELECT en57_disable_invariant('keyed');
SELECT append('{"type": "keyed"}');
SELECT en57_enable_invariant('keyed', validate => false);
SELECT en57_create_invariant('keyed', '{"types": ["keyed"]}', 'tag:key:', 'remembered(jsonb,en57_event)', 'nothing(jsonb)', or_replace => true);
SELECT left(told($$SELECT en57_create_invariant('keyed', '{"types": ["keyed", "k"]}', 'tag:key:', 'remembered(jsonb,en57_event)', 'nothing(jsonb)', or_replace => true)$$), 23);
SELECT query FROM en57_invariants WHERE name = 'keyed';
-- another one forgets the states that were kept
SELECT count(append('{"type": "keyed", "tags": ["key:kept"]}')) FROM generate_series(1, 20);
SELECT count(*) FROM en57.invariant_states WHERE id = 'kept';
SELECT en57_create_invariant('keyed', '{"types": ["keyed", "k"]}', 'tag:key:', 'remembered(jsonb,en57_event)', 'at_most_twenty(jsonb)', validate => false, key_required => false, or_replace => true);
SELECT query, check_function, key_required, is_enabled FROM en57_invariants WHERE name = 'keyed';
SELECT count(*) FROM en57.invariant_states WHERE id = 'kept';
SELECT append('{"type": "keyed"}');
SELECT append('{"type": "k", "tags": ["key:kept"]}');
-- a disabled one stays disabled
SELECT en57_disable_invariant('keyed');
SELECT en57_create_invariant('keyed', '{"types": ["keyed"]}', 'tag:key:', 'remembered(jsonb,en57_event)', 'at_most_twenty(jsonb)', or_replace => true);
SELECT query, is_enabled FROM en57_invariants WHERE name = 'keyed';
-- the path by which its functions find names is part of it
SET search_path = public, pg_catalog;
SELECT en57_create_invariant('keyed', '{"types": ["keyed"]}', 'tag:key:', 'remembered(jsonb,en57_event)', 'at_most_twenty(jsonb)', if_not_exists => true);
RESET search_path;
SELECT en57_create_partition('elsewhere');
SELECT en57_create_invariant('keyed', '{}', 'stream', 'remembered(jsonb,en57_event)', 'nothing(jsonb)', partition => 'elsewhere', if_not_exists => true);
SELECT told(format($$SELECT en57_create_invariant('keyed', '{}', 'stream', 'remembered(jsonb,en57_event)', 'nothing(jsonb)', %s)$$, args)) FROM (VALUES
    ($$or_replace => true, partition => 'elsewhere'$$), ('or_replace => true, if_not_exists => true'), ('or_replace => NULL'), ('if_not_exists => NULL'), ('key_required => NULL')) AS a (args);
SELECT en57_drop_partition('elsewhere');
SELECT en57_drop_invariant('keyed');

-- what does not fit
CREATE FUNCTION text_key(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT e.type $$;
CREATE FUNCTION strict_balance(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql STRICT AS $$ SELECT state $$;
SELECT told(call) FROM (VALUES
    ($$SELECT en57_create_invariant(NULL, '{}', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('', '{}', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant(repeat('x', 64), '{}', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', NULL, 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '{"types": ["a"], "after": 1}', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '[{"types": ["a"]}, {"types": ["b"], "after": 1}]', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '[]', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '{}', NULL, 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '{}', 'text_key(en57_event)', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '{}', 'tag:', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '{}', 'stream', NULL, 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '{}', 'stream', 'balance(jsonb,en57_event)', NULL)$$),
    ($$SELECT en57_create_invariant('i', '{}', 'stream', 12345678::regprocedure, 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '{}', 'stream', 'not_negative(jsonb)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '{}', 'stream', 'balance(jsonb,en57_event)', 'text_key(en57_event)')$$),
    ($$SELECT en57_create_invariant('i', '{}', 'stream', 'strict_balance(jsonb,en57_event)', 'not_negative(jsonb)')$$),
    ($$SELECT en57_create_invariant('i', '{}', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)', validate => NULL)$$),
    ($$SELECT en57_create_invariant('i', '{}', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)', partition => 'none')$$),
    ($$SELECT en57_create_invariant('i', '{}', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)', partition => '*')$$),
    ($$SELECT en57_drop_invariant('nobody')$$),
    ($$SELECT en57_drop_invariant(NULL)$$),
    ($$SELECT en57_disable_invariant('nobody')$$),
    ($$SELECT en57_enable_invariant('nobody')$$),
    ($$SELECT en57_enable_invariant('no debt', NULL)$$)) AS calls (call);
BEGIN READ ONLY;
SELECT told($$SELECT en57_create_invariant('i', '{}', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$);
ROLLBACK;

-- whose rights: the functions run as their owners, whoever appends; who may not read gets the text alone
CREATE ROLE regress_en57_owner;
CREATE ROLE regress_en57_app;
CREATE ROLE regress_en57_evil;
GRANT SELECT, INSERT, TRIGGER ON en57.events_default TO regress_en57_owner;
GRANT INSERT ON en57.events_default TO regress_en57_app;
GRANT SELECT, INSERT ON en57.events_default TO regress_en57_evil;
CREATE SCHEMA owner AUTHORIZATION regress_en57_owner;
CREATE SCHEMA evil AUTHORIZATION regress_en57_evil;
SET ROLE regress_en57_owner;
SET search_path = owner, public;
CREATE TABLE blocked (name text);
INSERT INTO blocked VALUES ('eve');
CREATE FUNCTION names(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(current_user::text) || e.data $$;
CREATE FUNCTION allowed(state jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT format('%s is blocked, says %s', name, state->>0) FROM blocked WHERE name = state->>1); END $$;
SELECT en57_create_invariant('blocking', '{"types": ["signed up"]}', 'tag:user:', 'names(jsonb,en57_event)', 'allowed(jsonb)');
SELECT told($$SELECT en57_create_invariant('not mine', '{}', 'tag:user:', 'balance(jsonb,en57_event)', 'allowed(jsonb)', '0')$$);
SELECT told($$SELECT en57_create_invariant('not mine', '{}', 'tag:user:', 'names(jsonb,en57_event)', 'not_negative(jsonb)')$$);
RESET ROLE;
SET search_path = evil, public;
CREATE TABLE evil.blocked (name text);
SET ROLE regress_en57_app;
SELECT append('{"type": "signed up", "tags": ["user:1"], "data": "ada"}');
SELECT append('{"type": "signed up", "tags": ["user:2"], "data": "eve"}');
SELECT told($$SELECT en57_drop_invariant('blocking')$$);
SELECT count(*) FROM en57_invariants;
SELECT told($$SELECT count(*) FROM en57.invariant_states$$);
SET ROLE regress_en57_evil;
SELECT told($$SELECT en57_create_invariant('i', '{}', 'stream', 'balance(jsonb,en57_event)', 'not_negative(jsonb)')$$);
SELECT told($$SELECT en57_disable_invariant('blocking')$$);
SELECT told($$SELECT en57_enable_invariant('blocking')$$);
SELECT name FROM en57_invariants ORDER BY name;
SELECT told($$SELECT count(*) FROM en57.invariants$$);
RESET ROLE;
RESET search_path;
SELECT en57_drop_invariant('blocking');
DROP SCHEMA owner, evil CASCADE;
DROP OWNED BY regress_en57_owner, regress_en57_app, regress_en57_evil;
DROP ROLE regress_en57_owner, regress_en57_app, regress_en57_evil;
