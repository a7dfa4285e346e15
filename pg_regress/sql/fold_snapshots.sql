-- Which snapshots are of use to whom, and how many are kept.
-- Fails when a state is taken for right that other upcasters have made, or when readers can have states kept without end.
CREATE FUNCTION rate(e en57_event) RETURNS en57_event LANGUAGE plpgsql STABLE SET shop.rate = '10' AS $$
BEGIN
    e.data := to_jsonb(current_setting('shop.rate')::int);
    RETURN e;
END $$;
CREATE FUNCTION added(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(coalesce(state::int, 0) + e.data::int) $$;
SELECT en57_create_fold('added', 'added(jsonb,en57_event)', snapshot_every => 1);

-- another setting of the upcaster's function, and other names that begin alike
SELECT repeat('x', 64) || '1' AS one, repeat('x', 64) || '2' AS two \gset
SELECT count(*) FROM unnest(ARRAY[:'one', :'two', :'two']) AS type, en57_append(jsonb_build_object('type', type, 'data', 1));
SELECT en57_register_upcaster(:'one', 1, 'rate(en57_event)', to_version => 1, to_type => 'y');
SELECT state FROM en57_state('added', '{}');
ALTER FUNCTION rate(en57_event) SET shop.rate = '100';
SELECT state FROM en57_state('added', '{}');
SELECT en57_drop_upcaster(:'one', 1);
SELECT state FROM en57_state('added', '{}');
SELECT en57_register_upcaster(:'two', 1, 'rate(en57_event)', to_version => 1, to_type => 'y');
SELECT state FROM en57_state('added', '{}');
-- queries that no upcaster is about keep theirs
SELECT state FROM en57_state('added', jsonb_build_object('types', ARRAY[:'one'])::en57_query);
SELECT en57_drop_upcaster(:'two', 1);
UPDATE en57.snapshots SET state = '"found"' WHERE query = jsonb_build_object('types', ARRAY[:'one'])::en57_query;
SELECT state FROM en57_state('added', jsonb_build_object('types', ARRAY[:'one'])::en57_query);

-- those of so many queries of a fold and partition; the least recently made ones go, of others none
SELECT en57_create_fold('others', 'added(jsonb,en57_event)', snapshot_every => 1);
SELECT state FROM en57_state('others', '{}');
SELECT en57_create_partition('apart');
SELECT outcome FROM en57_append('{"type": "q:1", "data": 1}', partition => 'apart');
SELECT state FROM en57_state('added', '{}', 'apart');
SELECT en57_drop_snapshots('others'), en57_drop_snapshots('added') > 1;
SELECT state FROM en57_state('others', '{}');
SELECT state FROM en57_state('added', '{}', 'apart');
SELECT count(*) FROM generate_series(1, 20) n, en57_append(jsonb_build_object('type', 'q:' || n, 'data', n));
SHOW en57.max_snapshots;
SET en57.max_snapshots = 3;
SELECT (en57_state('added', jsonb_build_object('types', ARRAY['q:' || n])::en57_query)).state FROM generate_series(1, 5) n;
SELECT name, partition, query FROM en57_snapshots ORDER BY taken_at;
-- one that is made anew is new
SELECT outcome FROM en57_append('{"type": "q:3", "data": 1}');
SELECT state FROM en57_state('added', '{"types": ["q:3"]}');
SELECT count(*) FROM en57_snapshots WHERE name = 'added' AND partition = 'default';
BEGIN;
SELECT state FROM en57_state('added', '{"types": ["q:6"]}');
SELECT state FROM en57_state('added', '{"types": ["q:7"]}');
COMMIT;
SELECT query, count(*) FROM en57_snapshots WHERE name = 'added' AND partition = 'default' GROUP BY 1 ORDER BY max(taken_at);
RESET en57.max_snapshots;
CREATE ROLE regress_en57_snapshots;
SET ROLE regress_en57_snapshots;
SET en57.max_snapshots = 1000000;
RESET ROLE;
DROP ROLE regress_en57_snapshots;
-- none of a query that begins after a position: it will be another one next time
SELECT state FROM en57_state('added', '{"types": ["q:8"], "after": 1}');
SELECT count(*) FROM en57.snapshots WHERE query = '{"types": ["q:8"], "after": 1}';
