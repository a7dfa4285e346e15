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
SET ROLE regress_en57_reader;
SELECT en57_track('mine', 1);
RESET ROLE;
SELECT en57_track('pipe', 6), en57_tracked('pipe');
DROP EXTENSION en57;
DROP OWNED BY regress_en57_piper, regress_en57_thief, regress_en57_reader;
DROP ROLE regress_en57_piper, regress_en57_thief, regress_en57_reader;
