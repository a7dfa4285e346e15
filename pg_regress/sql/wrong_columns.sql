-- The library reads and writes rows by their columns' places: whatever has another shape is refused
-- before it is touched. Fails (a crash, or garbage in rows) without the checks of columns, row types
-- and key index columns.

-- a table with other columns: nothing is written, nothing is read
SELECT outcome FROM en57_append('{"type": "a"}');
ALTER TABLE en57.events ADD COLUMN extra integer;
SELECT outcome FROM en57_append('{"type": "b"}');
SELECT position, type FROM en57_read();
ALTER TABLE en57.events DROP COLUMN extra;
SELECT outcome FROM en57_append('{"type": "b"}');
SELECT en57_count();
-- what was dropped leaves its place behind, also many of them, and one that is not the last
ALTER TABLE en57.events ADD COLUMN a integer DEFAULT 7, ADD COLUMN b text, ADD COLUMN c text, ADD COLUMN d text NOT NULL DEFAULT 'd',
    ADD COLUMN e bigint GENERATED ALWAYS AS ("position" + 1) STORED;
SELECT en57_append('{"type": "b"}');
SELECT object, hint FROM en57_check();
ALTER TABLE en57.events DROP COLUMN a, DROP COLUMN b, DROP COLUMN c, DROP COLUMN d, DROP COLUMN e;
SELECT outcome FROM en57_append('[{"type": "c", "tags": ["x"], "data": {"n": 1}}, {"type": "d", "data": [2], "meta": {"m": 3}}]', stream => 's');
SELECT outcome FROM en57_append('{"type": "c"}', fail_if => '{"tags": ["x"]}');
SELECT position, type, tags, data, meta, stream_version FROM en57_read();
SELECT (en57_last()).type;
SELECT erased FROM en57_erase('{"tags": ["x"]}', 'why') AS erased;
SELECT position, type, data FROM en57_read('{"stream": "s"}');
SELECT * FROM en57_check();
-- a partition of later has the same columns
SELECT en57_create_partition('later');
SELECT outcome FROM en57_append('{"type": "e"}', partition => 'later');
SELECT type FROM en57_read(partition => '*');
DROP EXTENSION en57;
CREATE EXTENSION en57;
ALTER TABLE en57.events_default ALTER COLUMN data SET DEFAULT '{}';
SELECT outcome FROM en57_append('{"type": "a"}');
SELECT position, type, data FROM en57_read();

-- row types with other columns
BEGIN;
ALTER TYPE en57_append_result ADD ATTRIBUTE more integer;
SELECT outcome FROM en57_append('{"type": "b"}');
ROLLBACK;
BEGIN;
ALTER TYPE en57_event ADD ATTRIBUTE more integer;
SELECT en57_last();
ROLLBACK;
BEGIN;
ALTER TYPE en57.event ADD ATTRIBUTE more integer;
SELECT en57.append_events(ARRAY[ROW(NULL, 'a', NULL, NULL, NULL, 1)::en57.event]);
ROLLBACK;

-- the access method on a table of somebody's own
CREATE TABLE own (k bigint[], n bigint);
CREATE INDEX ON own USING en57_keys (n);
CREATE INDEX ON own USING en57_keys (k);
CREATE INDEX ON own USING en57_keys (k, n, n);
CREATE INDEX ON own USING en57_keys (n, n);
CREATE UNIQUE INDEX ON own USING en57_keys (k, n);
-- with the right columns it is kept, and does not touch the log's positions
CREATE INDEX own_keys ON own USING en57_keys (k, n);
INSERT INTO own VALUES ('{1,2}', 1000000), (NULL, 1), ('{}', 2), ('{3}', NULL);
SELECT outcome, position FROM en57_append('{"type": "c"}');
REINDEX INDEX own_keys;
INSERT INTO own VALUES ('{1,NULL}', 5);
DROP TABLE own;

-- a query keeps within the limits of its text, however it is made
SELECT en57_query(tags => (SELECT array_agg('t' || i) FROM generate_series(1, 10001) i));
SELECT count(*) FROM (
    SELECT en57_query(tags => (SELECT array_agg('t' || i) FROM generate_series(1, 10000) i))
) q;
