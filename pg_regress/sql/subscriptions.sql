-- Subscriptions: polling and acknowledging in one transaction and under a lease, starts, shards, views, rights, bad input.
\set VERBOSITY terse
SELECT position FROM en57_append('[{"type": "a", "tags": ["x:1"]}, {"type": "b", "tags": ["x:2"]}, {"type": "a", "tags": ["x:3"]}, {"type": "c"}, {"type": "a", "tags": ["x:1"]}]');

-- where it starts
SELECT en57_create_subscription('all');
SELECT en57_create_subscription('tail', start => 'end');
SELECT en57_create_subscription('middle', start => '3');
SELECT en57_create_subscription('some', '{"types": ["a"]}');
SELECT en57_create_subscription('all');
SELECT position, type FROM en57_poll('all');
SELECT position, type FROM en57_poll('tail');
SELECT position, type FROM en57_poll('middle');
SELECT position, type FROM en57_poll('some', max_count => 2);

-- poll, apply, acknowledge in one transaction: undone together
BEGIN;
SELECT position FROM en57_poll('all', 2);
SELECT en57_ack('all', 2);
SELECT position FROM en57_poll('all', 2);
ROLLBACK;
SELECT position FROM en57_poll('all', 2);
BEGIN;
SELECT position FROM en57_poll('all', 2);
SELECT en57_ack('all', 1);
SELECT en57_ack('all', 2);
-- what is acknowledged already changes nothing
SELECT en57_ack('all', 1);
-- more than was given out is refused
SAVEPOINT s;
SELECT en57_ack('all', 3);
ROLLBACK TO s;
COMMIT;
SELECT name, shard, shards, query, position, head, lag, holder, attempts, last_error, dead_letters FROM en57_subscriptions ORDER BY name;
-- in another transaction than the poll's, without a lease: refused, as another one may have polled meanwhile
SELECT position FROM en57_poll('all', 1);
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT en57_ack('all', 3);
\echo :SQLSTATE
\set VERBOSITY terse
-- nor after the poll was rolled back to a savepoint
BEGIN;
SAVEPOINT s;
SELECT position FROM en57_poll('all', 1);
ROLLBACK TO s;
SELECT en57_ack('all', 3);
ROLLBACK;
-- the transaction's own events come, too
BEGIN;
SELECT position FROM en57_append('{"type": "own", "tags": ["x:9"]}');
SELECT position, type FROM en57_poll('tail');
SELECT en57_ack('tail', 6);
ROLLBACK;
SELECT position FROM en57_poll('tail');

-- a poll that finds nothing writes nothing and locks nothing
BEGIN;
SELECT position FROM en57_poll('tail');
SELECT txid_current_if_assigned() IS NULL AS wrote_nothing, (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks;
COMMIT;
-- nor does one that finds something, without a lease
BEGIN;
SELECT position FROM en57_poll('all', 1);
SELECT txid_current_if_assigned() IS NULL AS wrote_nothing, holder = 'pid ' || pg_backend_pid() AS holds FROM en57_subscriptions WHERE name = 'all';
COMMIT;
-- but where much has gone by that is not its own the position moves, so that the next poll need not look at it
SELECT count(*) FROM (SELECT en57_append(jsonb_agg('{"type": "z"}'::jsonb)) FROM generate_series(1, 1500)) x;
BEGIN;
SELECT position, type FROM en57_poll('some', max_count => 10);
SELECT en57_ack('some', 5);
COMMIT;
SELECT position < head AS behind, lag FROM en57_subscriptions WHERE name = 'some';
SELECT position FROM en57_poll('some');
SELECT position = head AS there, lag FROM en57_subscriptions WHERE name = 'some';

-- under a lease, in several transactions
SELECT position FROM en57_poll('middle', 3, lease => '1 hour');
SELECT holder = (SELECT en57.session()) AS mine, lease_until > now() + '59 min' AS long, position FROM en57_subscriptions WHERE name = 'middle';
SELECT en57_ack('middle', 4);
SELECT en57_ack('middle', 9);
-- what was not acknowledged comes again
SELECT position FROM en57_poll('middle', 3, lease => '1 hour');
-- all is acknowledged: the lease is over
SELECT en57_ack('middle', 8);
SELECT holder, lease_until, position FROM en57_subscriptions WHERE name = 'middle';
SELECT en57_ack('middle', 8);

-- a lease that is kept from poll to poll, known by its token wherever the calls come from
SELECT en57_lease('middle', '1 hour', holder => 'worker') AS token \gset
SELECT en57_lease('middle', '1 hour', holder => 'worker') AS another;
SELECT en57_lease('middle', '1 hour') AS another;
SELECT position FROM en57_poll('middle', 2);
SELECT position FROM en57_poll('middle', 2, token => :token);
SELECT en57_ack('middle', 9);
SELECT en57_ack('middle', 9, token => :token - 1);
\echo :SQLSTATE
SELECT en57_ack('middle', 9, token => :token);
SELECT en57_lease('middle', '2 hours', token => :token) = :token AS renewed;
SELECT holder, lease_until > now() + '119 min' AS longer, position FROM en57_subscriptions WHERE name = 'middle';
SELECT position FROM en57_poll('middle', 2, token => :token);
SELECT en57_ack('middle', 11, token => :token);
SELECT holder FROM en57_subscriptions WHERE name = 'middle';
SELECT en57_lease('middle', '0', token => :token) AS ended;
SELECT holder FROM en57_subscriptions WHERE name = 'middle';
SELECT position FROM en57_poll('middle', 2, token => :token);
SELECT en57_lease('middle', '1 hour', holder => 'worker') > :token AS grows;
SELECT en57_ack('middle', 10, token => :token);
SELECT en57_ack('middle', 10, token => 0);

-- reset: leases end; events come again
SELECT en57_reset_subscription('middle', 4);
SELECT position, holder FROM en57_subscriptions WHERE name = 'middle';
SELECT position FROM en57_poll('middle', 2);
SELECT en57_reset_subscription('middle', 100000);
SELECT en57_reset_subscription('middle', -1);
SELECT en57_reset_subscription('middle', NULL);

-- shards: the first poll decides how many; one key is in one shard
SELECT en57_create_subscription('four');
SELECT count(*) FROM (SELECT en57_append(jsonb_agg(jsonb_build_object('type', 's', 'tags', jsonb_build_array('k:' || n % 40)))) FROM generate_series(1, 400) n) x;
CREATE TEMP TABLE got AS SELECT shard, e.* FROM generate_series(0, 3) shard, en57_poll('four', 10000, shard => shard, shards => 4) e;
SELECT count(*) = en57_count() AS all, count(DISTINCT position) = count(*) AS once, count(DISTINCT shard) FROM got;
SELECT max(shards) FROM (SELECT count(DISTINCT shard) AS shards FROM got GROUP BY en57.event_key((position, id, type, data, meta, tags, stream, stream_version, schema_version, occurred_at, recorded_at, partition)::en57_event)) x;
-- the split is stored with the positions: it must never change
SELECT key, en57.shard_of(key, 4), en57.shard_of(key, 1024) FROM unnest(ARRAY['tag:course:sql', 'type:t', 'stream:s-1', 'tag:', 'stream:tag:a']) key;
SELECT position FROM en57_poll('four');
SELECT position FROM en57_poll('four', shard => 1, shards => 3);
BEGIN;
SELECT max(position) AS last FROM en57_poll('four', 10000, shard => 2, shards => 4) \gset
SELECT en57_ack('four', :last, 2, 4);
COMMIT;
-- one has gone ahead: the others must get there before their number changes
SELECT en57_reshard('four', 2);
SELECT shard, position < drain_to AS behind FROM en57_subscriptions WHERE name = 'four' ORDER BY shard;
SELECT en57_reshard('four', 2);
CREATE PROCEDURE drain(name text, shard int, shards int) LANGUAGE plpgsql AS $$
DECLARE last bigint;
BEGIN
    LOOP
        last := max(position) FROM en57_poll(name, 1000, shard => shard, shards => shards);
        EXIT WHEN last IS NULL;
        PERFORM en57_ack(name, last, shard, shards);
    END LOOP;
END $$;
CALL drain('four', 0, 4);
CALL drain('four', 1, 4);
SELECT position FROM en57_append('{"type": "s", "tags": ["k:1"]}');
SELECT en57_reshard('four', 2);
CALL drain('four', 3, 4);
SELECT en57_reshard('four', 2);
SELECT shard, shards, position = :last AS there, drain_to FROM en57_subscriptions WHERE name = 'four' ORDER BY shard;
SELECT count(*) FROM generate_series(0, 1) shard, en57_poll('four', 10000, shard => shard, shards => 2) e;
-- asked for and given up
CALL drain('four', 0, 2);
CALL drain('four', 1, 2);
SELECT count(*) FROM (SELECT en57_append(jsonb_agg(jsonb_build_object('type', 's', 'tags', jsonb_build_array('k:' || n)))) FROM generate_series(1, 40) n) x;
CALL drain('four', 1, 2);
SELECT en57_reshard('four', 1);
SELECT en57_reshard('four', 2);
SELECT DISTINCT shards, drain_to FROM en57_subscriptions WHERE name = 'four';
SELECT en57_reset_subscription('four', 5);
SELECT en57_reshard('four', 1);
SELECT position FROM en57_poll('four', 3);

-- bad input
SELECT en57_create_subscription(NULL);
SELECT en57_create_subscription('');
SELECT en57_create_subscription(repeat('é', 128));
SELECT en57_create_subscription('x', start => 'yesterday');
SELECT en57_create_subscription('x', start => '-1');
SELECT en57_create_subscription('x', start => '99999');
SELECT en57_create_subscription('x', start => NULL);
SELECT en57_create_subscription('x', max_attempts => 0);
SELECT en57_create_subscription('x', partition => 'nowhere');
SELECT en57_create_subscription('x', '{"tpyes": []}');
SELECT * FROM en57_poll('nobody');
\echo :SQLSTATE
SELECT * FROM en57_poll(NULL);
SELECT * FROM en57_poll('all', 0);
SELECT * FROM en57_poll('all', NULL);
SELECT * FROM en57_poll('all', wait => '-1s');
SELECT * FROM en57_poll('all', wait => NULL);
SELECT * FROM en57_poll('all', lease => '0');
SELECT * FROM en57_poll('all', shard => 1);
SELECT * FROM en57_poll('all', shard => -1);
SELECT * FROM en57_poll('all', shards => 1025);
SELECT * FROM en57_poll('all', shard => NULL);
SELECT en57_ack('nobody', 1);
SELECT en57_ack('all', NULL);
SELECT en57_ack('all', 1, 0, 2);
SELECT en57_ack(NULL, 1);
SELECT en57_lease('all', NULL);
SELECT en57_lease('all', '-1s');
SELECT en57_lease('all', '1s', holder => '');
SELECT en57_lease('all', '1s', holder => 'pid 1/1');
SELECT en57_lease('all', '1s', token => 7);
SELECT en57_reshard('all', 0);
SELECT en57_reshard('nobody', 2);
SELECT en57_drop_subscription('nobody');
SELECT en57_drop_subscription(NULL);

-- whose it is: the creator's, members of that role's, and en57's owner's; events are read with the caller's rights
CREATE ROLE regress_en57_owner;
CREATE ROLE regress_en57_member IN ROLE regress_en57_owner;
CREATE ROLE regress_en57_other;
CREATE ROLE regress_en57_monitor IN ROLE pg_monitor;
GRANT SELECT ON en57.events_default TO regress_en57_owner, regress_en57_other;
SET ROLE regress_en57_monitor;
SELECT en57_create_subscription('x');
SET ROLE regress_en57_owner;
SELECT en57_create_subscription('owned');
SET ROLE regress_en57_member;
SELECT count(*) FROM en57_poll('owned', 3);
SELECT name FROM en57_subscriptions;
SET ROLE regress_en57_other;
SELECT count(*) FROM en57_poll('owned', 3);
SELECT en57_lease('owned', '1s');
SELECT en57_ack('owned', 1);
SELECT en57_nack('owned', 1);
SELECT en57_reset_subscription('owned', 0);
SELECT en57_reshard('owned', 2);
SELECT en57_replay_dead_letters('owned');
SELECT en57_drop_dead_letters('owned');
SELECT en57_drop_subscription('owned');
SELECT count(*) FROM en57_subscriptions;
SELECT count(*) FROM en57_dead_letters;
-- not round the functions either
SELECT * FROM en57.subscriptions;
UPDATE en57.subscription_shards SET position = 0;
DELETE FROM en57.dead_letters;
SELECT en57.lock_shard(1, 0, true);
SELECT en57.redeem(en57.ticket());
SELECT en57.acknowledge(0, 'owned', 1, 0, 1, NULL);
SELECT en57.acknowledge(en57.ticket(), 'owned', 1, 0, 1, NULL);
-- a ticket that somebody with more rights has left is of no use to who cannot guess it
RESET ROLE;
SELECT en57.ticket() IS NOT NULL AS given;
SET ROLE regress_en57_other;
SELECT en57.acknowledge(0, 'owned', 1, 0, 1, NULL);
SET ROLE regress_en57_monitor;
SELECT name, position, head, lag FROM en57_subscriptions WHERE name = 'owned';
RESET ROLE;
SELECT count(*) FROM en57_poll('owned', 3);
REVOKE SELECT ON en57.events_default FROM regress_en57_owner;
SET ROLE regress_en57_owner;
SELECT count(*) FROM en57_poll('owned', 3);
SELECT name, position, head FROM en57_subscriptions;
RESET ROLE;
-- the role is gone, and what it owned is en57's owner's
DROP OWNED BY regress_en57_owner;
DROP ROLE regress_en57_owner;
SET ROLE regress_en57_member;
SELECT name FROM en57_subscriptions;
RESET ROLE;
SELECT en57_drop_subscription('owned');
-- objects of a hostile schema change nothing
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.least(bigint, bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT 1/0 $$;
CREATE FUNCTION hostile.lesser(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT 1/0 = 1 $$;
CREATE OPERATOR hostile.< (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = hostile.lesser);
CREATE FUNCTION hostile.en57_wait(bigint, interval, en57_query, text) RETURNS bigint LANGUAGE sql AS $$ SELECT 1/0 $$;
SET search_path = hostile, pg_catalog, public;
SELECT position FROM public.en57_poll('all', 1, wait => '1ms');
SET search_path = '';
SELECT position FROM public.en57_poll('all', 1, wait => '1ms');
SELECT count(*) OPERATOR(pg_catalog.>) 0 FROM public.en57_subscriptions;
RESET search_path;
DROP SCHEMA hostile CASCADE;

-- a poll that found nothing moves no shard of another number than it has asked for: what is none of its own may be another's
SELECT en57_create_subscription('resharded', shards => 2);
SELECT en57.move_on(en57.ticket(), 'resharded', 0, 3, 0, 1, NULL, '{}');
SELECT shard, position FROM en57_subscriptions WHERE name = 'resharded' ORDER BY shard;
SELECT en57.move_on(en57.ticket(), 'resharded', 0, 2, 0, 1, NULL, '{}');
SELECT shard, position FROM en57_subscriptions WHERE name = 'resharded' ORDER BY shard;

-- a poll may lengthen a lease many times over: others do not take it for one that a clock which was set back has left behind
SELECT en57_create_subscription('lengthened');
SELECT en57_lease('lengthened', '1 min', holder => 'one') AS token \gset
SELECT count(*) FROM en57_poll('lengthened', 1, lease => '1 hour', token => :token);
SELECT en57_lease('lengthened', '1 min', holder => 'two') IS NULL AS is_held;
SELECT lease_until - clock_timestamp() > '50 min' AS is_long FROM en57_subscriptions WHERE name = 'lengthened';

SELECT en57_drop_subscription(name) FROM (SELECT DISTINCT name FROM en57_subscriptions) s;
SELECT count(*) FROM en57.subscription_shards;
DROP EXTENSION en57;
DROP OWNED BY regress_en57_member, regress_en57_other, regress_en57_monitor;
DROP ROLE regress_en57_member, regress_en57_other, regress_en57_monitor;
