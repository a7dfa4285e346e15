-- Subscriptions and projections whose positions are beyond the log, as where events come from an older backup: en57_check() tells
-- of them, since they would not be given what is appended up to there.
\pset format unaligned
\pset tuples_only on

CREATE FUNCTION handle(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT position FROM en57_append('[{"type": "a", "tags": ["t"]}, {"type": "b"}, {"type": "a"}]');
SELECT en57_create_subscription('far', '{"tags": ["t"]}', start => 'end');
SELECT en57_create_subscription('near', '{"tags": ["t"]}', start => 'end');
SELECT en57_create_projection('p', '{"tags": ["t"]}', 'handle(en57_event)', 'async');
SELECT * FROM en57_check();

UPDATE en57.subscription_shards SET position = 5 WHERE subscription = (SELECT id FROM en57.subscriptions WHERE name = 'far');
UPDATE en57.projections SET position = 7;
SELECT * FROM en57_check();
-- once the log is there, it cannot be known any more
SELECT position FROM en57_append('[{"type": "a"}, {"type": "a"}]');
SELECT object, problem FROM en57_check('default');
SELECT en57_reset_subscription('far', 4);
SELECT en57_drop_projection('p');
SELECT * FROM en57_check();
