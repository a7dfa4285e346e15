-- Dead letters: an event that fails again and again is put aside, and the subscription goes on behind it.
\set VERBOSITY terse
SELECT position FROM en57_append('[{"type": "a", "tags": ["k:1"]}, {"type": "a", "tags": ["k:2"]}, {"type": "a", "tags": ["k:1"]}, {"type": "a", "tags": ["k:3"]}, {"type": "a", "tags": ["k:1"]}, {"type": "a", "tags": ["k:2"]}]');
CREATE FUNCTION polled(name text, max_count bigint DEFAULT 100) RETURNS bigint[] LANGUAGE sql AS $$ SELECT array_agg(position) FROM en57_poll(name, max_count, lease => '1 hour') $$;
CREATE FUNCTION letters(name text) RETURNS TABLE ("position" bigint, attempts int, error text, state text, held boolean, key text, event text) LANGUAGE sql AS
    $$ SELECT d.position, d.attempts, d.error, d.state, d.held, d.key, (d.event).type FROM en57_dead_letters d WHERE subscription = name ORDER BY 1 $$;

-- it must be the first one that is not acknowledged
SELECT en57_create_subscription('plain', max_attempts => 2);
SELECT polled('plain');
SELECT en57_nack('plain', 2, 'boom');
\echo :SQLSTATE
SELECT en57_nack('plain', 7, 'boom');
SELECT en57_nack('plain', NULL);
SELECT en57_ack('plain', 1);
SELECT en57_nack('plain', 1, 'boom');
SELECT en57_nack('plain', 2, 'boom');
SELECT position, attempts, last_error, holder, dead_letters FROM en57_subscriptions;
-- the lease ended with it; what came after the failed event comes again
SELECT en57_nack('plain', 2, 'boom');
SELECT polled('plain');
SELECT en57_nack('plain', 2, 'boom again') AS put_aside;
SELECT position, attempts, last_error, holder, dead_letters FROM en57_subscriptions;
SELECT * FROM letters('plain');
SELECT polled('plain');
SELECT en57_ack('plain', 6);
SELECT polled('plain');
-- replayed before newer events, in their order
SELECT position FROM en57_append('{"type": "b", "tags": ["k:1"]}');
SELECT en57_replay_dead_letters('plain', 3), en57_replay_dead_letters('plain');
SELECT polled('plain', 1), polled('plain');
SELECT state, attempts FROM letters('plain');
-- it fails again, and is put aside again, once
SELECT en57_nack('plain', 2, 'still');
SELECT polled('plain');
SELECT en57_nack('plain', 2, 'and still');
SELECT * FROM letters('plain');
SELECT position, attempts, dead_letters FROM en57_subscriptions;
SELECT polled('plain');
SELECT en57_replay_dead_letters('plain', 2);
-- asked for after the poll: an acknowledgement takes only what was given out
SELECT en57_ack('plain', 7);
SELECT * FROM letters('plain');
SELECT polled('plain');
SELECT en57_ack('plain', 2);
SELECT count(*) FROM letters('plain');
SELECT position, lag FROM en57_subscriptions;
-- dropped
SELECT position FROM en57_append('[{"type": "c"}, {"type": "c"}]');
SELECT polled('plain');
SELECT en57_nack('plain', 8), polled('plain'), en57_nack('plain', 8);
SELECT en57_drop_dead_letters('plain', 9), en57_drop_dead_letters('plain', 8), en57_drop_dead_letters('plain');
SELECT polled('plain');
SELECT en57_ack('plain', 9);

-- in the transaction of the poll: savepoints keep what was done before the failure
SELECT en57_create_subscription('tx', max_attempts => 1);
BEGIN;
SELECT array_agg(position) FROM en57_poll('tx', 4);
SELECT en57_ack('tx', 1);
SELECT en57_nack('tx', 2, 'tx') AS put_aside;
-- what comes behind it must be polled again
SAVEPOINT s;
SELECT en57_ack('tx', 4);
ROLLBACK TO s;
SELECT array_agg(position) FROM en57_poll('tx', 4);
SELECT en57_ack('tx', 3);
COMMIT;
SELECT position FROM en57_subscriptions WHERE name = 'tx';
-- no attempt after which it is given up
SELECT en57_create_subscription('patient', max_attempts => NULL);
SELECT en57_nack('patient', 1, n::text) FROM generate_series(1, 5) n, LATERAL (SELECT polled('patient') WHERE n > 0) p WHERE p.polled IS NOT NULL;
SELECT attempts, last_error FROM en57_subscriptions WHERE name = 'patient';

-- hold_key: events of the same key are held behind it, in order
SELECT en57_create_subscription('held', max_attempts => 1, hold_key => true);
SELECT polled('held', 2);
SELECT en57_nack('held', 1, 'boom') AS put_aside;
SELECT polled('held', 3);
SELECT * FROM letters('held');
SELECT en57_ack('held', 6);
SELECT polled('held');
SELECT * FROM letters('held');
SELECT en57_ack('held', 9);
-- new ones of the key are held as well, and the position moves on
SELECT position FROM en57_append('[{"type": "d", "tags": ["k:1"]}, {"type": "d", "tags": ["k:1"]}]');
SELECT polled('held');
SELECT position, lag, dead_letters FROM en57_subscriptions WHERE name = 'held';
-- a later one cannot overtake the first of its key
SELECT en57_replay_dead_letters('held', 5);
\echo :SQLSTATE
SELECT en57_replay_dead_letters('held', 1);
SELECT position FROM en57_append('{"type": "e", "tags": ["k:1"]}');
SELECT polled('held', 2);
SELECT en57_ack('held', 1);
SELECT polled('held', 2);
-- it fails: those behind it are held again, the new one too
SELECT en57_nack('held', 3, 'again') AS put_aside;
SELECT polled('held');
SELECT * FROM letters('held');
SELECT en57_replay_dead_letters('held');
SELECT polled('held');
SELECT en57_ack('held', 12);
SELECT count(*) FROM letters('held');
SELECT position, lag FROM en57_subscriptions WHERE name = 'held';
-- a reset back forgets the dead letters beyond: they come again
SELECT en57_reset_subscription('held', 0), polled('held', 1), en57_nack('held', 1), polled('held', 2);
SELECT en57_reset_subscription('held', 2);
SELECT position FROM letters('held');
SELECT polled('held', 2);
SELECT en57_reset_subscription('held', 0);
SELECT count(*) FROM letters('held');

-- replayed before the position has passed those that are held: each comes once
SELECT en57_create_subscription('soon', max_attempts => 1, hold_key => true);
SELECT polled('soon', 1), en57_nack('soon', 1), polled('soon', 3);
SELECT en57_replay_dead_letters('soon'), polled('soon', 6);
SELECT en57_ack('soon', 4), polled('soon', 3);

-- in shards: a letter stays with its key, whatever their number
SELECT en57_create_subscription('shards', max_attempts => 1);
SELECT en57.shard_of('tag:k:3', 3) AS old, en57.shard_of('tag:k:3', 2) AS new \gset
CREATE PROCEDURE park(name text, shard int, shards int, upto bigint) LANGUAGE plpgsql AS $$
DECLARE p bigint;
BEGIN
    LOOP
        p := position FROM en57_poll(name, 1, shard => shard, shards => shards);
        EXIT WHEN p > upto OR p IS NULL;
        PERFORM en57_nack(name, p, 'parked', shard, shards);
    END LOOP;
END $$;
CALL park('shards', :old, 3, 4);
SELECT position, shard = :old AS there FROM en57_dead_letters WHERE subscription = 'shards' AND key = 'tag:k:3';
SELECT en57_reset_subscription('shards', 4), en57_reshard('shards', 2);
SELECT position, shard = :new AS there FROM en57_dead_letters WHERE subscription = 'shards' AND key = 'tag:k:3';
SELECT en57_replay_dead_letters('shards', 4);
SELECT position FROM en57_poll('shards', 1, shard => :new, shards => 2);
