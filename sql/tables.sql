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

-- A partition's table and indexes are its own: what en57_create_partition() makes at run time is the same
-- (src/store/ddl.rs). An index of the partitioned table would be made anew when a dump attaches a partition, before
-- it makes the partition's own.
CREATE TABLE en57.events_default PARTITION OF en57.events FOR VALUES IN ('default');
COMMENT ON TABLE en57.events_default IS 'events of the partition default';
CREATE UNIQUE INDEX events_default_position ON en57.events_default ("position");
CREATE UNIQUE INDEX events_default_id ON en57.events_default (id);
-- The list of streams; an entry for each stream, not for each event.
CREATE UNIQUE INDEX events_default_stream ON en57.events_default (stream) WHERE stream_version = 1;
CREATE INDEX events_default_keys ON en57.events_default
    USING en57_keys (en57.keys(type, tags, stream, meta), "position");

-- An append-only table has no dead rows but those of rolled-back appends: vacuum it for its visibility
-- map and hint bits, after inserts.
ALTER TABLE en57.events_default SET (autovacuum_vacuum_insert_scale_factor = 0.1);

-- Statistics hold values as they are, and would keep what en57_erase() takes away, for all who may read the table. They are of
-- no use to en57, which asks no planner. Partitions that are made later have the same.
ALTER TABLE en57.events ALTER COLUMN data SET STATISTICS 0, ALTER COLUMN meta SET STATISTICS 0;

CREATE SEQUENCE en57.position_ceiling AS bigint;
COMMENT ON SEQUENCE en57.position_ceiling IS
    'no position beyond its last value has been allotted; after a restart positions begin above it';

SELECT pg_catalog.pg_extension_config_dump('en57.events', '');
SELECT pg_catalog.pg_extension_config_dump('en57.events_default', '');
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
CREATE TRIGGER en57_guard BEFORE INSERT OR UPDATE OR DELETE ON en57.events_default
    FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();
CREATE TRIGGER en57_guard_truncate BEFORE TRUNCATE ON en57.events_default
    FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();
ALTER TABLE en57.events ENABLE ALWAYS TRIGGER en57_guard;
ALTER TABLE en57.events ENABLE ALWAYS TRIGGER en57_guard_truncate;
ALTER TABLE en57.events_default ENABLE ALWAYS TRIGGER en57_guard;
ALTER TABLE en57.events_default ENABLE ALWAYS TRIGGER en57_guard_truncate;
