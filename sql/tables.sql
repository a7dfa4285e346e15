------------------------------------------------------------------------------------------------------
-- The log
------------------------------------------------------------------------------------------------------

-- The library knows the columns' order (src/store/row/event.rs): those of en57_event come first, as there.
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
COMMENT ON TABLE en57.events IS 'the log: one row for each event; only en57_append and imports write to it';
COMMENT ON COLUMN en57.events."position" IS 'number in the log, unique in the database';
COMMENT ON COLUMN en57.events.id IS 'the event''s id, unique in its partition';
COMMENT ON COLUMN en57.events.type IS 'event type';
COMMENT ON COLUMN en57.events.data IS 'what has happened, as JSON';
COMMENT ON COLUMN en57.events.meta IS 'metadata: correlation_id, causation_id and what the client adds';
COMMENT ON COLUMN en57.events.tags IS 'tags, sorted and without duplicates';
COMMENT ON COLUMN en57.events.stream IS 'name of the stream, if the event is in one';
COMMENT ON COLUMN en57.events.stream_version IS 'number of the event in its stream, from 1';
COMMENT ON COLUMN en57.events.schema_version IS 'version of the event''s schema';
COMMENT ON COLUMN en57.events.occurred_at IS 'when the event happened';
COMMENT ON COLUMN en57.events.recorded_at IS 'when the event was appended';
COMMENT ON COLUMN en57.events.partition IS 'name of the partition';
COMMENT ON COLUMN en57.events.stable IS 'the partition''s frontier when the position was allotted';

-- Only en57_create_partition() creates partitions; privileges.sql creates the default one at its end. Each has a table and
-- indexes of its own (src/store/log/ddl.rs), which are not members of the extension. So a dump has them as the DBA has left them.
-- There are no indexes on the partitioned table: attaching a partition in a restore would create them on the partition, before
-- the dump creates the partition's own.

-- Statistics contain sample values. They would keep what en57_erase() erases, readable for every role that may read the table.
-- en57 does not need them, because it does not use the planner. The partitions have the same setting.
ALTER TABLE en57.events ALTER COLUMN data SET STATISTICS 0, ALTER COLUMN meta SET STATISTICS 0;

CREATE SEQUENCE en57.position_ceiling AS bigint;
COMMENT ON SEQUENCE en57.position_ceiling IS
    'no position above its last value was allotted; after a restart positions begin above it';

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

-- With the TRIGGER privilege, which admins of partitions have, CREATE OR REPLACE TRIGGER puts another trigger in a guard's place.
-- PostgreSQL asks for no more, so this asks for the owner's rights. It looks at the trigger that was made, not at the names in
-- the statement: those could be others' by now. (FOR EACH ROW on en57.events makes triggers of the same name on all partitions.)
CREATE FUNCTION en57.keep_guards() RETURNS event_trigger
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
BEGIN
    SELECT t.tgname AS guard, c.relname AS name INTO found
      FROM pg_event_trigger_ddl_commands() AS made
           JOIN pg_trigger AS t ON t.oid = made.objid AND made.classid = 'pg_trigger'::regclass
           JOIN pg_class AS c ON c.oid = t.tgrelid
     WHERE t.tgname IN ('en57_guard', 'en57_guard_truncate')
       AND NOT pg_has_role(c.relowner, 'USAGE')
       AND EXISTS (SELECT FROM pg_class AS e JOIN pg_namespace AS n ON n.oid = e.relnamespace
                    WHERE n.nspname = 'en57' AND e.relname = 'events'
                      AND (e.oid = c.oid OR EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid AND i.inhparent = e.oid)));
    IF found.guard IS NOT NULL THEN
        RAISE 'must be owner of table %', found.name
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = format('Triggers of the name %s guard its events.', found.guard),
                  HINT = 'Give your trigger another name.';
    END IF;
END
$$;
COMMENT ON FUNCTION en57.keep_guards() IS 'refuses triggers in the place of those that guard events';

CREATE EVENT TRIGGER en57_keep_guards ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION en57.keep_guards();
ALTER EVENT TRIGGER en57_keep_guards ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER en57_keep_guards IS 'keeps the triggers that guard events';

------------------------------------------------------------------------------------------------------
-- A dump contains a default partition, and CREATE EXTENSION has already created one
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.before_restore() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'en57_before_restore' LANGUAGE c;
COMMENT ON FUNCTION en57.before_restore() IS 'drops the default partition, if it is empty, when a restore creates or attaches its own';

CREATE EVENT TRIGGER en57_before_restore ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE')
    EXECUTE FUNCTION en57.before_restore();
ALTER EVENT TRIGGER en57_before_restore ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER en57_before_restore IS 'lets a restore replace the default partition';
