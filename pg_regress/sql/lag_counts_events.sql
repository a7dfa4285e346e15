-- What lag is: how many events wait, of the query and of the shard, up to 1000, in both views alike.
-- Fails when positions are counted in place of events, when one of the views counts in another way, or when counting has no end.
CREATE FUNCTION handle(e en57_event) RETURNS void LANGUAGE sql AS '';
SELECT en57_create_subscription('all'), en57_create_subscription('b', '{"types": ["b"]}'), en57_create_subscription('four', shards => 4);
SELECT en57_create_projection('all', '{}', 'handle(en57_event)', 'async'), en57_create_projection('b', '{"types": ["b"]}', 'handle(en57_event)', 'async'), en57_create_projection('inline', '{}', 'handle(en57_event)');
CREATE VIEW lags AS
    SELECT 'subscription' AS kind, name, sum(lag) AS lag FROM en57_subscriptions GROUP BY name
    UNION ALL SELECT 'projection', name, lag FROM en57_projections ORDER BY name, kind;
SELECT * FROM lags;
-- fifty events of others, and one
SELECT count(*) FROM generate_series(1, 50) n, en57_append(jsonb_build_object('type', 'a', 'tags', jsonb_build_array('k:' || n % 7)));
SELECT outcome FROM en57_append('{"type": "b"}');
SELECT * FROM lags;
SELECT value FROM en57_status() WHERE name = 'worker';
-- each shard counts its own
SELECT s.shard, s.lag = (SELECT count(*) FROM en57_read() e WHERE en57.shard_of(en57.event_key(e), 4) = s.shard) AS right FROM en57_subscriptions s WHERE name = 'four';
SELECT count(*) FROM en57_poll('four', 3, shard => 1, shards => 4, lease => '1 hour');
SELECT en57_ack('four', delivered, 1, 4) FROM en57.subscription_shards WHERE shard = 1;
SELECT shard, lag = (SELECT count(*) FROM en57_read(after => s.position) e WHERE en57.shard_of(en57.event_key(e), 4) = s.shard) AS right FROM en57_subscriptions s WHERE name = 'four';
-- paused ones wait, running inline ones do not
SELECT en57_pause('inline');
SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "b"}]');
SELECT * FROM lags;
SELECT en57_resume('inline'), en57_run('all'), en57_run('b');
SELECT * FROM lags WHERE kind = 'projection';
SELECT value FROM en57_status() WHERE name = 'worker';
-- a rename counts where the new name is asked for
CREATE FUNCTION up(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS 'SELECT e';
SELECT en57_register_upcaster('b', 1, 'up(en57_event)', to_type => 'c');
SELECT en57_create_subscription('c', '{"types": ["c"]}');
SELECT * FROM lags WHERE name = 'c';
-- no further than to 1000
SELECT count(position) FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'a', 'tags', jsonb_build_array('k:' || n))) FROM generate_series(1, 5000) n));
SELECT * FROM lags WHERE name IN ('all', 'c', 'four');
-- a shard that has none among many is looked for to the end, and one that has few may be counted too low, but never as 0
SELECT en57_create_subscription('one', '{"tags": ["one"]}', shards => 8);
SELECT count(position) FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'a', 'tags', jsonb_build_array(n, 'one'))) FROM (SELECT 'a' FROM generate_series(1, 9000) UNION ALL SELECT 'b') AS v (n)));
SELECT shard, lag FROM en57_subscriptions WHERE name = 'one' AND lag > 0;
DROP EXTENSION en57 CASCADE;
CREATE EXTENSION en57;
