-- en57_truncate: empties one partition, and no other way does; positions begin at 1 again where asked for, once it is committed.
-- Fails when the guard's leave outlives the command, when the counter is moved before the commit, or the ceiling is not.
SET client_min_messages = warning;
SELECT en57_create_partition('acme') IS NOT NULL AS made;
SELECT position FROM en57_append('[{"type": "a", "tags": ["x"], "id": "00000000-0000-0000-0000-000000000001"}, {"type": "b"}]');
SELECT position FROM en57_append('{"type": "c", "tags": ["x"]}', partition => 'acme');
SELECT en57_truncate('default');
SELECT en57_count(), en57_count('{"tags": ["x"]}'), en57_count(partition => 'acme'), en57_head(), (en57_get('00000000-0000-0000-0000-000000000001')).type;
-- positions go on, ids are free again
SELECT position, outcome FROM en57_append('{"type": "a", "tags": ["x"], "id": "00000000-0000-0000-0000-000000000001"}', fail_if => '{"tags": ["x"]}');
-- the guard lets nothing else through, not even in the same transaction
BEGIN;
SELECT en57_truncate('default');
SAVEPOINT s;
TRUNCATE en57.events_default;
ROLLBACK TO s;
TRUNCATE en57.events;
ROLLBACK TO s;
DELETE FROM en57.events;
ROLLBACK;
SELECT en57_count();
-- nor after it has failed
CREATE TABLE notes (position bigint REFERENCES en57.events_default (position));
SELECT en57_truncate('default');
DROP TABLE notes;
TRUNCATE en57.events_default;
SELECT en57_count();
-- undone, and in part
BEGIN;
SELECT en57_truncate('default');
SELECT en57_count();
SELECT position FROM en57_append('{"type": "new"}');
SELECT position, type FROM en57_read();
ROLLBACK;
SELECT position, type FROM en57_read();
BEGIN;
SAVEPOINT s;
SELECT en57_truncate('default');
ROLLBACK TO s;
COMMIT;
SELECT position, type FROM en57_read();
BEGIN READ ONLY;
SELECT en57_truncate('default');
ROLLBACK;

-- positions begin again
SELECT en57_truncate('default', restart => true);
\echo :SQLSTATE
SELECT en57_truncate('acme');
-- not where it is undone
BEGIN;
SELECT en57_truncate('default', restart => true);
SELECT en57_head() > 0 AS not_yet;
ROLLBACK;
SELECT position FROM en57_append('{"type": "a", "tags": ["x"]}');
BEGIN;
SAVEPOINT s;
SELECT en57_truncate('default', restart => true);
ROLLBACK TO s;
SELECT position FROM en57_append('{"type": "a", "tags": ["x"]}');
COMMIT;
SELECT last_value >= (SELECT max(position) FROM en57.events) AS covered FROM en57.position_ceiling;
-- not before it is committed
BEGIN;
SELECT en57_truncate('default', restart => true);
SELECT en57_append('{"type": "a"}');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT en57_truncate('default', restart => true);
PREPARE TRANSACTION 'en57_restart';
ROLLBACK;
BEGIN;
SELECT en57_truncate('default', restart => true);
SELECT en57_import('[{"type": "a", "position": 1000000}]', keep_positions => true);
ROLLBACK;
-- after it, at 1; also where the transaction had appended before
BEGIN;
SELECT position FROM en57_append('{"type": "a", "tags": ["x"]}');
SAVEPOINT s;
SELECT en57_truncate('default', restart => true);
RELEASE s;
COMMIT;
SELECT last_value, is_called FROM en57.position_ceiling;
SELECT en57_head(), en57_count(), en57_head(partition => '*');
SELECT position FROM en57_append('[{"type": "a", "tags": ["x"]}, {"type": "b"}]', fail_if => '{"tags": ["x"]}');
SELECT position FROM en57_append('{"type": "c"}', partition => 'acme');
SELECT position, type, partition FROM en57_read(partition => '*');
SELECT last_value > 3 AS covered FROM en57.position_ceiling;
-- again and again
SELECT en57_truncate('acme'), en57_truncate('default', true);
SELECT en57_truncate('default', true);
SELECT position FROM en57_append('{"type": "a"}');
DROP EXTENSION en57;
