-- A subscription that is there is changed, or created again by a script: what it has done stays done, and no event is left out.
CREATE EXTENSION IF NOT EXISTS en57;
CREATE FUNCTION told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; hint text; detail text;
BEGIN
    EXECUTE call INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat(SQLSTATE, ' ', SQLERRM, E'\n   DETAIL ' || nullif(detail, ''), E'\n   HINT ' || nullif(hint, ''));
END $$;
\pset tuples_only on
SELECT count(*) FROM en57_append('[{"type": "a", "tags": ["k:1"]}, {"type": "b", "tags": ["k:2"]}, {"type": "a", "tags": ["k:1"]},
    {"type": "b", "tags": ["k:1"]}, {"type": "a", "tags": ["k:2"]}, {"type": "c"}]');

-- created again: left as it is, or made what is asked for; where it begins is no part of what it is
SELECT en57_create_subscription('s', '{"types": ["a"]}', if_not_exists => true);
BEGIN;
SELECT position FROM en57_poll('s', 1);
SELECT en57_ack('s', 1);
COMMIT;
SELECT en57_create_subscription('s', '{"types": ["a"]}', if_not_exists => true);
SELECT en57_create_subscription('s', '{"types": ["a"]}', start => 'end', or_replace => true);
SELECT en57_create_subscription('s', '{"types": ["b"]}', max_attempts => NULL, hold_key => true, shards => 3, if_not_exists => true);
SELECT told($$SELECT en57_create_subscription('s', '{"types": ["a"]}')$$);
SELECT told($$SELECT en57_create_subscription('s', if_not_exists => true, or_replace => true)$$);
SELECT told($$SELECT en57_create_subscription('new', if_not_exists => true, or_replace => true)$$);
SELECT told($$SELECT en57_create_subscription('s', or_replace => NULL)$$);
SELECT name, query, position, lag, max_attempts, hold_key, shards FROM en57_subscriptions;
SELECT en57_create_subscription('s', '{"types": ["a", "b"]}', max_attempts => NULL, hold_key => true, or_replace => true);
SELECT name, query, position, lag, max_attempts, hold_key, shards FROM en57_subscriptions;
-- it stays in its partition
SELECT en57_create_partition('apart');
SELECT en57_create_subscription('s', '{"types": ["a", "b"]}', partition => 'apart', if_not_exists => true);
SELECT told($$SELECT en57_create_subscription('s', '{"types": ["a", "b"]}', partition => 'apart', or_replace => true)$$);
SELECT told($$SELECT en57_create_subscription('s', '{"types": ["a", "b"]}', partition => 'apart')$$);
-- shards: at once where all are at one position; otherwise when they have arrived
SELECT en57_create_subscription('s', '{"types": ["a", "b"]}', max_attempts => NULL, hold_key => true, shards => 1, or_replace => true);
SELECT told($$SELECT position FROM en57_poll('s', 1, shards => 2)$$);
SELECT en57_create_subscription('s', '{"types": ["a", "b"]}', max_attempts => NULL, hold_key => true, shards => 2, or_replace => true);
SELECT shard, shards, position, lag FROM en57_subscriptions ORDER BY shard;
SELECT en57.shard_of('tag:k:1', 2), en57.shard_of('tag:k:2', 2);
BEGIN;
SELECT position FROM en57_poll('s', 10, shard => 1, shards => 2);
SELECT en57_ack('s', 5, shard => 1, shards => 2);
COMMIT;
SELECT en57_alter_subscription('s', shards => 1);
SELECT shard, shards, position, lag, drain_to FROM en57_subscriptions ORDER BY shard;

-- Under a lease events were given out by the old query. Who acknowledges them must not pass over those of the new one: fails when the lease stays.
SELECT en57_create_subscription('leased', '{"types": ["a"]}');
SELECT position FROM en57_poll('leased', 2, lease => '1 hour');
SELECT en57_lease('leased', '1 hour') AS token \gset
SELECT en57_alter_subscription('leased', max_attempts => 3), en57_alter_subscription('leased', hold_key => true);
SELECT en57_alter_subscription('leased', '{"types": ["a"]}');
SELECT en57_ack('leased', 1);
SELECT en57_alter_subscription('leased', '{"types": ["a", "b"]}');
SELECT told($$SELECT en57_ack('leased', 3)$$);
SELECT told(format($$SELECT en57_ack('leased', 3, token => %s)$$, :token));
SELECT position, lag, holder, max_attempts, hold_key FROM en57_subscriptions WHERE name = 'leased';
SELECT position FROM en57_poll('leased', 10, lease => '1 hour');
-- in one transaction with the poll: fails when what was given out is still known
SELECT en57_create_subscription('at once', '{"types": ["a"]}');
BEGIN;
SELECT position FROM en57_poll('at once', 2);
SELECT en57_alter_subscription('at once', '{"types": ["a", "b"]}');
SELECT told($$SELECT en57_ack('at once', 3)$$);
SELECT position FROM en57_poll('at once', 2);
SELECT en57_ack('at once', 2);
COMMIT;
SELECT position FROM en57_poll('at once', 2);
-- a poll that has found nothing by the old query does not move it: fails when en57.move_on does not compare
SELECT en57_create_subscription('none', '{"types": ["none"]}');
SELECT en57_alter_subscription('none', '{"types": ["b"]}');
SELECT en57.move_on(en57.ticket(), 'none', 0, 1, 0, 6, NULL, '{"types": ["none"]}');
SELECT position FROM en57_poll('none');
SELECT en57.move_on(en57.ticket(), 'none', 0, 1, 0, 1, NULL, '{"types": ["b"]}');
SELECT name, position FROM en57_subscriptions WHERE name = 'none';
-- max_attempts counts from the next failure; dead letters of the old query stay
SELECT en57_create_subscription('dead', '{"types": ["a"]}', max_attempts => 5);
BEGIN;
SELECT position FROM en57_poll('dead', 1);
SELECT en57_nack('dead', 1, 'no');
COMMIT;
SELECT en57_alter_subscription('dead', max_attempts => 1);
BEGIN;
SELECT position FROM en57_poll('dead', 1);
SELECT en57_nack('dead', 1, 'no again');
COMMIT;
SELECT en57_alter_subscription('dead', '{"types": ["c"]}', max_attempts => NULL);
SELECT en57_replay_dead_letters('dead');
SELECT position, type FROM en57_poll('dead');
SELECT en57_alter_subscription('dead');
SELECT query, max_attempts FROM en57_subscriptions WHERE name = 'dead';

-- what is refused
SELECT told($$SELECT en57_alter_subscription('nobody')$$);
SELECT told($$SELECT en57_alter_subscription(NULL)$$);
SELECT told($$SELECT en57_alter_subscription('s', max_attempts => 0)$$);
SELECT told($$SELECT en57_alter_subscription('s', max_attempts => -2)$$);
SELECT told($$SELECT en57_alter_subscription('s', shards => 0)$$);
SELECT told($$SELECT en57_alter_subscription('s', shards => 1025)$$);
CREATE ROLE regress_en57_owner;
CREATE ROLE regress_en57_other;
GRANT SELECT ON en57.events_default TO regress_en57_owner, regress_en57_other;
SET ROLE regress_en57_owner;
SELECT en57_create_subscription('owned', '{"types": ["a"]}', or_replace => true);
SELECT en57_create_subscription('owned', '{"types": ["b"]}', or_replace => true);
SET ROLE regress_en57_other;
SELECT told($$SELECT en57_create_subscription('owned', '{"types": ["b"]}', if_not_exists => true)$$);
SELECT told($$SELECT en57_create_subscription('owned', '{"types": ["b"]}', or_replace => true)$$);
SELECT told($$SELECT en57_create_subscription('owned', '{"types": ["b"]}')$$);
SELECT told($$SELECT en57_alter_subscription('owned', hold_key => true)$$);
RESET ROLE;
REVOKE SELECT ON en57.events_default FROM regress_en57_owner;
SET ROLE regress_en57_owner;
SELECT told($$SELECT en57_alter_subscription('owned', '{"types": ["c"]}')$$);
SELECT told($$SELECT en57_alter_subscription('owned', hold_key => true)$$);
RESET ROLE;
SELECT name, query, hold_key FROM en57_subscriptions WHERE name = 'owned';
DROP EXTENSION en57 CASCADE;
DROP OWNED BY regress_en57_owner, regress_en57_other;
DROP ROLE regress_en57_owner, regress_en57_other;
