-- What foreign keys would keep together, and a restore may tear apart: subscriptions and their shards, projections and their tables.
-- Fails when a lost position is read as NULL, or begins anew unasked.
CREATE FUNCTION evolve(state jsonb, e en57_event) RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(state::int, 0) + 1) $$;
SELECT en57_create_partition('acme');
SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "b"}, {"type": "c"}]');
SELECT en57_create_subscription('whole'), en57_create_subscription('new'), en57_create_subscription('one', max_attempts => 1),
    en57_create_subscription('some', partition => 'acme', shards => 3);
SELECT count(*) FROM en57_poll('whole');
SELECT count(*) FROM en57_poll('some', shard => 1, shards => 3);
SELECT position FROM en57_poll('one', 1, lease => '1 hour');
SELECT en57_nack('one', 1, 'no');
SELECT * FROM en57_check();

-- positions are lost, some or all of a subscription's
DELETE FROM en57.subscription_shards t USING en57.subscriptions s
 WHERE s.id = t.subscription AND (s.name IN ('new', 'one') OR s.name = 'some' AND t.shard = 1);
\x on
SELECT * FROM en57_check();
\x off
SELECT object FROM en57_check('acme');
SELECT object FROM en57_check('default');
SELECT en57_poll('new');
SELECT en57_poll('one');
SELECT en57_lease('one', '1 min');
SELECT en57_ack('one', 1);
SELECT en57_nack('one', 1);
SELECT en57_reshard('one', 2);
SELECT en57_reset_subscription('new', 0);
SELECT en57_lease('new', '1 min');
SELECT en57_poll('some', shard => 1, shards => 3);
SELECT count(*) FROM en57_poll('some', shard => 2, shards => 3);
-- dropped and created again it goes on where it is told to
SELECT en57_drop_subscription('one'), en57_create_subscription('one', start => '2'), en57_drop_subscription('some');
SELECT position FROM en57_poll('one');
SELECT en57_drop_subscription('new');
SELECT * FROM en57_check();
SELECT count(*) FROM en57.dead_letters;

-- shards and dead letters of none
INSERT INTO en57.dead_letters (subscription, "position", shard, key, state, held, attempts) VALUES (1000, 1, 0, 'k', 'parked', false, 1);
INSERT INTO en57.subscription_shards (subscription, shard, "position", delivered) VALUES (1000, 0, 0, 0), (1000, 1, 0, 0);
SELECT * FROM en57_check();
SELECT * FROM en57_check('default');
DELETE FROM en57.dead_letters WHERE subscription = 1000;
DELETE FROM en57.subscription_shards WHERE subscription = 1000;

-- tables of documents
SELECT en57_create_document_projection('gone', '{}', 'stream', 'evolve(jsonb,en57_event)', mode => 'async');
SELECT en57_create_document_projection('shared', '{}', 'stream', 'evolve(jsonb,en57_event)', mode => 'async');
SELECT en57_create_document_projection('renamed', '{}', 'stream', 'evolve(jsonb,en57_event)', mode => 'async', partition => 'acme');
ALTER TABLE renamed RENAME TO otherwise;
SELECT * FROM en57_check();
DROP TABLE gone;
SELECT object, problem FROM en57_check();
-- what a restore of the table's number may hit
UPDATE en57.projections SET document_table = 'shared' WHERE name = 'gone';
SELECT object, problem FROM en57_check();
UPDATE en57.projections SET document_table = 'pg_proc' WHERE name = 'gone';
SELECT * FROM en57_check();
SELECT object FROM en57_check('acme');
SELECT en57_drop_projection('gone', keep_table => true);
SELECT * FROM en57_check();
