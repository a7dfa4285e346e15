-- A subscription of all partitions: their events in one order, and one position. Who may not read one of them is given nothing, as he
-- would move the position over what he does not see.
CREATE EXTENSION IF NOT EXISTS en57;
SELECT en57_create_partition('acme');
SELECT en57_create_subscription('all', '{"types": ["a", "b"]}', partition => '*', max_attempts => 1);
SELECT en57_create_subscription('sharded', partition => '*', shards => 2);
SELECT outcome FROM en57_append('{"type": "a", "tags": ["k:1"]}');
SELECT outcome FROM en57_append('[{"type": "b", "tags": ["k:1"]}, {"type": "c", "tags": ["k:3"]}]', partition => 'acme');
SELECT outcome FROM en57_append('{"type": "a", "data": "secret", "tags": ["k:2"]}');
SELECT name, shard, partition, position, head, lag FROM en57_subscriptions ORDER BY 1, 2;
BEGIN;
SELECT position, type, partition FROM en57_poll('all');
SELECT en57_ack('all', 2);
COMMIT;
-- a partition that comes later is one of them
SELECT en57_create_partition('later');
SELECT outcome FROM en57_append('{"type": "b"}', partition => 'later');
SELECT position, type, partition FROM en57_poll('all');
SELECT en57_wait_subscription('all', 2), en57_wait_subscription('all', timeout => '0');
SELECT shard, position, partition FROM (SELECT 0 AS shard, e.position, e.partition FROM en57_poll('sharded', shards => 2) e
    UNION ALL SELECT 1, e.position, e.partition FROM en57_poll('sharded', shard => 1, shards => 2) e) s ORDER BY 2;
-- leases, dead letters and replay
SELECT position FROM en57_poll('all', 1, lease => '1 hour');
SELECT en57_nack('all', 4, 'no');
SELECT position, (event).partition, (event).type FROM en57_dead_letters;
SELECT en57_ack('all', position) FROM en57_poll('all', 10, lease => '1 hour') ORDER BY position;
SELECT en57_replay_dead_letters('all');
SELECT position, partition FROM en57_poll('all', lease => '1 hour');
SELECT en57_nack('all', 4, 'no, with a secret');
SELECT en57_erase('{"types": ["a"]}', 'why');
SELECT position, error FROM en57_dead_letters;
SELECT name, position, lag, dead_letters FROM en57_subscriptions WHERE name = 'all';

-- who may not read all of them
CREATE ROLE regress_en57_part;
SELECT en57_grant('regress_en57_part', 'reader', 'default'), en57_grant('regress_en57_part', 'reader', 'acme');
SET ROLE regress_en57_part;
SELECT en57_create_subscription('part', partition => '*');
RESET ROLE;
SELECT en57_grant('regress_en57_part', 'reader', 'later');
SET ROLE regress_en57_part;
SELECT en57_create_subscription('part', partition => '*');
SELECT count(*) FROM en57_poll('part');
RESET ROLE;
SELECT en57_create_partition('newest');
SET ROLE regress_en57_part;
SELECT en57_poll('part');
SELECT en57_poll('part', lease => '1 hour');
SELECT en57_nack('part', 1);
SELECT en57_wait_subscription('part', 1);
SELECT en57_reset_subscription('part', 1);
SELECT name, position, head, lag FROM en57_subscriptions;
RESET ROLE;
SELECT en57_grant('regress_en57_part', 'reader', 'newest');
SET ROLE regress_en57_part;
SELECT count(*) FROM en57_poll('part');
RESET ROLE;

-- what is emptied has no dead letters; where positions begin anew, so does it
SELECT en57_truncate('acme');
SELECT position FROM en57_dead_letters;
SELECT en57_truncate('default');
SELECT position FROM en57_dead_letters;
SELECT name, min(position), max(position) FROM en57_subscriptions GROUP BY name ORDER BY 1;
SELECT en57_truncate('later'), en57_truncate('default', restart => true);
SELECT name, min(position), max(position) FROM en57_subscriptions GROUP BY name ORDER BY 1;
SELECT outcome FROM en57_append('{"type": "a"}', partition => 'acme');
SELECT position, partition FROM en57_poll('all');
SELECT * FROM en57_check();
DROP EXTENSION en57 CASCADE;
DROP OWNED BY regress_en57_part;
DROP ROLE regress_en57_part;
