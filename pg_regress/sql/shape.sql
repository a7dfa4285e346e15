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
