-- Subscriptions of partitions that are emptied or dropped.
-- Fails when a subscription stays beyond positions that begin at 1 again, or keeps dead letters of events that are gone.
SELECT en57_create_partition('acme');
SELECT position FROM en57_append('[{"type": "a"}, {"type": "a"}, {"type": "a"}]', partition => 'acme');
SELECT en57_create_subscription('mail', partition => 'acme', max_attempts => 1);
SELECT en57_create_subscription('here');
BEGIN;
SELECT position FROM en57_poll('mail');
SELECT en57_nack('mail', 1, 'no such address');
COMMIT;
SELECT position FROM en57_poll('mail', max_count => 1, lease => '1 hour');
SELECT name, position, dead_letters, holder IS NOT NULL AS held FROM en57_subscriptions ORDER BY 1;
-- emptied: what was put aside is gone, the position stays
SELECT en57_truncate('acme');
SELECT name, position, dead_letters, holder IS NOT NULL AS held FROM en57_subscriptions ORDER BY 1;
-- positions begin again, and so do subscriptions; a lease of before counts no more
BEGIN;
SELECT en57_truncate('acme', restart => true);
ROLLBACK;
SELECT name, position FROM en57_subscriptions ORDER BY 1;
SELECT en57_truncate('acme', restart => true);
SELECT name, position, dead_letters, holder IS NOT NULL AS held FROM en57_subscriptions ORDER BY 1;
\set VERBOSITY terse
SELECT en57_ack('mail', 2);
SELECT position FROM en57_append('{"type": "b"}', partition => 'acme');
BEGIN;
SELECT position, type FROM en57_poll('mail');
SELECT en57_ack('mail', 1);
COMMIT;
SELECT name, position, lag FROM en57_subscriptions ORDER BY 1;
-- a partition with subscriptions is not dropped
\set VERBOSITY default
SELECT en57_drop_partition('acme');
SELECT en57_detach_partition('acme');
SELECT en57_drop_subscription('mail');
SELECT en57_drop_partition('acme');
