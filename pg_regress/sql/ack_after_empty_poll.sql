-- A worker acknowledges what its poll has given it, be it nothing. Waiting for a subscription.
-- Fails when an acknowledgement of nothing is an error, when one that is not the caller's is taken for one, or when waiting asks for more than that nothing is left.
\set VERBOSITY default
\pset null NULL
SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "b"}, {"type": "a"}]');
SELECT en57_create_subscription('s', '{"types": ["a"]}');
-- NULL: nothing is done with, whoever says so
SELECT en57_ack('s', NULL), en57_ack('s', NULL, token => 7), en57_ack('s', NULL, 1, 2);
SELECT shards, position FROM en57_subscriptions;
SELECT en57_ack('s', (SELECT max(position) FROM en57_poll('s'))) FROM generate_series(1, 3);
SELECT position, lag FROM en57_subscriptions;
-- after an empty poll the last position may be acknowledged again, in this session
SELECT count(*) FROM en57_poll('s');
SELECT en57_ack('s', 3), en57_ack('s', 1);
-- but not what was never acknowledged, nor another shard's, nor as another number of shards
SELECT en57_ack('s', 4);
SELECT en57_ack('s', 3, 1, 2);
SELECT en57_ack('s', NULL, 1, 2);
-- once a poll has found something it is as ever
SELECT outcome FROM en57_append('{"type": "a"}');
SELECT count(*) FROM en57_poll('s');
SELECT en57_ack('s', 3);
SELECT en57_poll('s', lease => '1 hour') IS NOT NULL AS polled;
SELECT en57_ack('s', 4);
SELECT en57_ack('s', 4);
-- nor may others
\c
SELECT en57_ack('s', 3);
SELECT count(*) FROM en57_poll('s', lease => '1 hour');
SELECT en57_ack('s', 4);
-- with a token the token counts
SELECT en57_lease('s', '1 hour') AS token \gset
SELECT count(*) FROM en57_poll('s', token => :token);
SELECT en57_ack('s', 4, token => :token);
SELECT en57_ack('s', 4, token => 1);
SELECT en57_ack('s', NULL, token => 1);
SELECT en57_lease('s', '0', token => :token);
-- others' subscriptions are others' still
CREATE ROLE stranger;
SET ROLE stranger;
SELECT en57_ack('s', NULL);
SELECT en57_wait_subscription('s', 0, '0');
RESET ROLE;
SELECT en57_ack('none', NULL);
SELECT en57_ack(NULL, NULL);
SELECT en57_ack('s', NULL, 5, 2);

-- waiting: for all that there is
SELECT en57_wait_subscription('s'), en57_wait_subscription('s', 0, '0'), en57_wait_subscription('s', 4, '0'), en57_wait_subscription('s', 5, '10ms');
SELECT outcome FROM en57_append('{"type": "b"}');
SELECT en57_wait_subscription('s', timeout => '0') AS others, en57_wait_subscription('s', 5, '0') AS others;
SELECT outcome FROM en57_append('{"type": "a"}');
SELECT en57_wait_subscription('s', timeout => '10ms'), en57_wait_subscription('s', 6, '0'), en57_wait_subscription('s', 5, '0'), en57_wait_subscription('s', 1000, '0');
SELECT en57_ack('s', max(position)) FROM en57_poll('s');
SELECT en57_wait_subscription('s');
-- each shard
SELECT outcome FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'c', 'tags', jsonb_build_array(n))) FROM unnest('{k1,k2,k3,k4}'::text[]) n));
SELECT en57_create_subscription('two', '{"types": ["c"]}', shards => 2);
SELECT en57_wait_subscription('two', timeout => '0');
SELECT en57_ack('two', max(position), 0, 2) FROM en57_poll('two', shard => 0, shards => 2);
SELECT en57_wait_subscription('two', timeout => '0'), (SELECT sum(lag) FROM en57_subscriptions WHERE name = 'two') > 0 AS lag;
SELECT en57_ack('two', max(position), 1, 2) FROM en57_poll('two', shard => 1, shards => 2);
SELECT en57_wait_subscription('two', timeout => '0');
-- a dead letter is done with
SELECT en57_create_subscription('once', '{"types": ["c"]}', max_attempts => 1, start => '9');
SELECT en57_wait_subscription('once', timeout => '0');
BEGIN;
SELECT position FROM en57_poll('once');
SELECT en57_nack('once', 10);
SELECT en57_wait_subscription('once', timeout => '0');
ROLLBACK;
SELECT en57_wait_subscription('once', timeout => '0');
-- refused
SELECT en57_wait_subscription('none');
SELECT en57_wait_subscription(NULL);
SELECT en57_wait_subscription('s', -1);
SELECT en57_wait_subscription('s', 1, NULL);
SELECT en57_wait_subscription('s', 1, '-1s');
GRANT stranger TO CURRENT_USER;
SET ROLE stranger;
SELECT en57_create_subscription('mine');
RESET ROLE;
SELECT en57_grant('stranger', 'reader');
SET ROLE stranger;
SELECT en57_create_subscription('mine', '{"types": ["none"]}'), en57_wait_subscription('mine');
RESET ROLE;
SELECT en57_revoke('stranger', 'reader');
SET ROLE stranger;
SELECT en57_wait_subscription('mine', 0);
RESET ROLE;
DROP EXTENSION en57;
DROP ROLE stranger;
CREATE EXTENSION en57;
