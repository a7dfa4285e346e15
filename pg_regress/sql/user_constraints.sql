-- CHECK and NOT NULL constraints that a DBA adds to a partition are enforced by appends, and a refused batch stores nothing.
-- Fails when appends pass over the table's constraints.
\set VERBOSITY terse
ALTER TABLE en57.events_default ADD CONSTRAINT mine_type CHECK (type <> 'forbidden');
ALTER TABLE en57.events_default ADD CONSTRAINT mine_size CHECK (jsonb_array_length(data->'items') < 100) NOT VALID;
SELECT outcome, position FROM en57_append('{"type": "allowed", "data": {"items": [1]}}');
SELECT en57_append('{"type": "forbidden"}');
\echo :SQLSTATE
SELECT en57_append('[{"type": "allowed"}, {"type": "forbidden"}, {"type": "allowed"}]');
\echo :SQLSTATE
SELECT en57_append(jsonb_build_object('type', 'large', 'data', jsonb_build_object('items', (SELECT jsonb_agg(i) FROM generate_series(1, 100) i))));
SELECT en57.append_events(ARRAY[(NULL, 'forbidden', NULL, NULL, NULL)]::en57.event[]);
-- a constraint on the log holds for its partitions
ALTER TABLE en57.events ADD CONSTRAINT mine_tags CHECK (cardinality(tags) < 3);
SELECT en57_append('{"type": "allowed", "tags": ["a", "b", "c"]}');
SELECT outcome FROM en57_append('{"type": "allowed", "tags": ["a", "b"]}');
-- NOT NULL
DROP EXTENSION en57;
CREATE EXTENSION en57;
ALTER TABLE en57.events_default ALTER COLUMN data SET NOT NULL;
SELECT outcome, position FROM en57_append('{"type": "with data", "data": null}');
SELECT en57_append('{"type": "without data"}');
\echo :SQLSTATE
ALTER TABLE en57.events_default ALTER COLUMN data DROP NOT NULL;
SELECT outcome FROM en57_append('{"type": "without data"}');
SELECT type, data FROM en57_read();
