-- en57_track: an event of another log is taken once. Fails when positions that do not grow are let through.
\set VERBOSITY terse
SELECT en57_tracked('kafka:0');
BEGIN;
SELECT en57_track('kafka:0', 0);
SELECT outcome FROM en57_append('{"type": "taken", "tags": ["offset:0"]}');
COMMIT;
SELECT en57_tracked('kafka:0');
SELECT en57_track('kafka:0', 7);
SELECT en57_tracked('kafka:0');
-- the same again, or an older one: nothing is stored
BEGIN;
SELECT en57_append('{"type": "again"}') IS NOT NULL;
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT en57_track('kafka:0', 7);
\set VERBOSITY terse
\echo :SQLSTATE
ROLLBACK;
SELECT en57_track('kafka:0', 6);
SELECT en57_tracked('kafka:0'), en57_count();
-- undone with its transaction
BEGIN;
SELECT en57_track('kafka:0', 8), en57_track('kafka:0', 9), en57_track('kafka:1', 1);
SELECT en57_tracked('kafka:0');
ROLLBACK;
SELECT en57_tracked('kafka:0'), en57_tracked('kafka:1');
SELECT en57_track('kafka:0', 9223372036854775807);

-- rewound, it is taken again from there; forgotten, from anywhere
SELECT source, position, owner = current_user AS is_mine FROM en57_sources;
SELECT en57_track('again', 3);
SELECT en57_reset_source('again', 1);
SELECT en57_track('again', 1);
SELECT en57_track('again', 2), en57_tracked('again');
SELECT en57_reset_source('again', 0), en57_tracked('again');
SELECT en57_reset_source('again', 9), en57_tracked('again');
SELECT en57_reset_source('again');
SELECT en57_tracked('again');
SELECT en57_track('again', 0), en57_tracked('again');
BEGIN;
SELECT en57_reset_source('again');
ROLLBACK;
SELECT en57_reset_source('again'), en57_tracked('again');
\set VERBOSITY default
SELECT en57_reset_source('again');
\echo :SQLSTATE
SELECT en57_reset_source('kafka:0', -1);
\set VERBOSITY terse
SELECT en57_reset_source(NULL);
-- events with ids are not stored twice
SELECT en57_track('ids', 1), outcome FROM en57_append('{"type": "taken", "id": "00000000-0000-0000-0000-000000000001"}');
SELECT en57_reset_source('ids');
SELECT en57_track('ids', 1), outcome FROM en57_append('{"type": "taken", "id": "00000000-0000-0000-0000-000000000001"}');
SELECT en57_reset_source('ids');

-- bad input
SELECT en57_track(NULL, 1);
SELECT en57_track('s', NULL);
SELECT en57_track('', 1);
SELECT en57_track('s', -1);
SELECT en57_track(repeat('s', 256), 1);
SELECT en57_tracked(NULL);

-- who may append may track; a source belongs to who tracked it first
CREATE ROLE regress_en57_piper;
CREATE ROLE regress_en57_thief;
CREATE ROLE regress_en57_reader;
GRANT INSERT ON en57.events_default TO regress_en57_piper, regress_en57_thief;
GRANT SELECT ON en57.events_default TO regress_en57_reader;
SET ROLE regress_en57_piper;
SELECT en57_track('pipe', 5), en57_tracked('pipe');
SET ROLE regress_en57_thief;
SELECT en57_track('pipe', 6);
SELECT en57_track('pipe', 5);
SELECT en57_tracked('pipe');
SELECT * FROM en57.tracked;
SELECT * FROM en57_sources;
SELECT en57_reset_source('pipe');
SELECT en57_reset_source('pipe', 1);
SELECT en57.reset_source(1, 'pipe', 1);
SET ROLE regress_en57_reader;
SELECT en57_track('mine', 1);
RESET ROLE;
SELECT en57_track('pipe', 6), en57_tracked('pipe');
-- forgotten, it belongs to who tracks it next
SET ROLE regress_en57_piper;
SELECT en57_reset_source('pipe', 4), en57_tracked('pipe');
SELECT source, position, owner FROM en57_sources;
RESET ROLE;
SELECT en57_reset_source('pipe');
SET ROLE regress_en57_thief;
SELECT en57_track('pipe', 1), en57_tracked('pipe');
SELECT en57_reset_source('pipe', 0);
RESET ROLE;
DROP EXTENSION en57;
DROP OWNED BY regress_en57_piper, regress_en57_thief, regress_en57_reader;
DROP ROLE regress_en57_piper, regress_en57_thief, regress_en57_reader;
