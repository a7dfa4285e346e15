------------------------------------------------------------------------------------------------------
-- The log
------------------------------------------------------------------------------------------------------

-- The library knows the columns' order (src/store/event.rs): those of en57_event come first, as there.
CREATE TABLE en57.events (
    "position" bigint NOT NULL,
    id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    data jsonb,
    meta jsonb,
    tags text[] COLLATE "C" NOT NULL,
    stream text COLLATE "C",
    stream_version bigint,
    schema_version integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    partition text COLLATE "C" NOT NULL,
    stable bigint NOT NULL
) PARTITION BY LIST (partition);
COMMENT ON TABLE en57.events IS 'the log: one row an event; written by en57_append alone';
COMMENT ON COLUMN en57.events."position" IS 'place in the log, unique in the database';
COMMENT ON COLUMN en57.events.id IS 'the event''s id, unique in its partition';
COMMENT ON COLUMN en57.events.type IS 'event type';
COMMENT ON COLUMN en57.events.data IS 'what happened';
COMMENT ON COLUMN en57.events.meta IS 'circumstances: correlation_id, causation_id and what the client adds';
COMMENT ON COLUMN en57.events.tags IS 'tags, sorted and without duplicates';
COMMENT ON COLUMN en57.events.stream IS 'name of the stream, if the event is in one';
COMMENT ON COLUMN en57.events.stream_version IS 'number of the event in its stream, from 1';
COMMENT ON COLUMN en57.events.schema_version IS 'version of the event''s schema';
COMMENT ON COLUMN en57.events.occurred_at IS 'when the event happened';
COMMENT ON COLUMN en57.events.recorded_at IS 'when the event was appended';
COMMENT ON COLUMN en57.events.partition IS 'name of the partition';
COMMENT ON COLUMN en57.events.stable IS 'the partition''s frontier when the position was allotted';

-- Partitions are made by en57_create_partition() alone, the default one at the end of privileges.sql: each has a table and
-- indexes of its own (src/store/ddl.rs), which are no members of the extension. So a dump has them as the DBA has left them.
-- An index of the partitioned table would be made anew when a dump attaches a partition, before it makes the partition's
-- own.

-- Statistics hold values as they are, and would keep what en57_erase() takes away, for all who may read the table. They are of
-- no use to en57, which asks no planner. The partitions have the same.
ALTER TABLE en57.events ALTER COLUMN data SET STATISTICS 0, ALTER COLUMN meta SET STATISTICS 0;

CREATE SEQUENCE en57.position_ceiling AS bigint;
COMMENT ON SEQUENCE en57.position_ceiling IS
    'no position beyond its last value has been allotted; after a restart positions begin above it';

SELECT pg_catalog.pg_extension_config_dump('en57.events', '');
SELECT pg_catalog.pg_extension_config_dump('en57.position_ceiling', '');

------------------------------------------------------------------------------------------------------
-- Events are immutable, for every role
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.guard() RETURNS trigger
    AS 'MODULE_PATHNAME', 'en57_guard' LANGUAGE c;
COMMENT ON FUNCTION en57.guard() IS 'refuses statements that would change events';

CREATE TRIGGER en57_guard BEFORE INSERT OR UPDATE OR DELETE ON en57.events
    FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();
CREATE TRIGGER en57_guard_truncate BEFORE TRUNCATE ON en57.events
    FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();
ALTER TABLE en57.events ENABLE ALWAYS TRIGGER en57_guard;
ALTER TABLE en57.events ENABLE ALWAYS TRIGGER en57_guard_truncate;

------------------------------------------------------------------------------------------------------
-- A dump brings the default partition along, and CREATE EXTENSION has made one
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.make_way() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'en57_make_way' LANGUAGE c;
COMMENT ON FUNCTION en57.make_way() IS 'drops the default partition as long as it is empty, where a restore makes or attaches its own';

CREATE EVENT TRIGGER en57_make_way ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE')
    EXECUTE FUNCTION en57.make_way();
ALTER EVENT TRIGGER en57_make_way ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER en57_make_way IS 'lets a restore bring the default partition along';
