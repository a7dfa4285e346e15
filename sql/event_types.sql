------------------------------------------------------------------------------------------------------
-- Event types: JSON Schemas that data and meta of new events must fit
------------------------------------------------------------------------------------------------------

-- The library knows the columns' order (src/event_type/registry.rs).
CREATE TABLE en57.event_types (
    type text COLLATE "C" NOT NULL CHECK (type OPERATOR(pg_catalog.<>) ''),
    schema_version integer NOT NULL CHECK (schema_version OPERATOR(pg_catalog.>=) 0),
    data_schema jsonb,
    meta_schema jsonb,
    registered_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (type, schema_version),
    CONSTRAINT event_types_version
        CHECK ((schema_version OPERATOR(pg_catalog.>) 0) OPERATOR(pg_catalog.=) (type OPERATOR(pg_catalog.<>) '*')),
    CONSTRAINT event_types_of_all
        CHECK (type OPERATOR(pg_catalog.<>) '*' OR (data_schema IS NULL AND meta_schema IS NOT NULL))
);
COMMENT ON TABLE en57.event_types IS 'event types with the JSON Schemas that new events of them must fit';
COMMENT ON COLUMN en57.event_types.type IS 'the type; * means all types';
COMMENT ON COLUMN en57.event_types.schema_version IS 'the version of the type; 0 for *';
COMMENT ON COLUMN en57.event_types.data_schema IS 'the JSON Schema that data must fit; NULL: none';
COMMENT ON COLUMN en57.event_types.meta_schema IS 'the JSON Schema that meta must fit, in addition to that of *; NULL: none';
COMMENT ON COLUMN en57.event_types.registered_at IS 'when it was registered, or last changed';

SELECT pg_catalog.pg_extension_config_dump('en57.event_types', '');

-- Backends cache definitions. This trigger invalidates their caches when definitions change.
CREATE FUNCTION en57.definitions_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'en57_projections_changed' LANGUAGE c;
COMMENT ON FUNCTION en57.definitions_changed() IS 'tells every backend that event types or upcasters have changed';
CREATE TRIGGER en57_definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON en57.event_types
    FOR EACH STATEMENT EXECUTE FUNCTION en57.definitions_changed();
ALTER TABLE en57.event_types ENABLE ALWAYS TRIGGER en57_definitions_changed;

CREATE FUNCTION en57_register_type(
    type text,
    schema_version integer DEFAULT NULL,
    json_schema jsonb DEFAULT NULL,
    meta_schema jsonb DEFAULT NULL,
    if_not_exists boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_register_type(text, integer, jsonb, jsonb, boolean) IS
    'registers a version of an event type, or changes the JSON Schemas that data and meta of its new events must fit';

CREATE FUNCTION en57_unregister_type(type text, schema_version integer DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_unregister_type(text, integer) IS
    'unregisters a version of an event type, or all its versions; returns how many';

CREATE FUNCTION en57_check_type(
    type text,
    schema_version integer DEFAULT NULL,
    json_schema jsonb DEFAULT NULL,
    meta_schema jsonb DEFAULT NULL,
    partition text DEFAULT '*',
    max_count bigint DEFAULT 100
) RETURNS TABLE ("position" bigint, partition_name text, version integer, faults text)
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION en57_check_type(text, integer, jsonb, jsonb, text, bigint) IS
    'the stored events of a type that would not fit its schemas, or those that are given, if they were appended now';

CREATE VIEW en57_event_types AS
SELECT t.type, t.schema_version, t.data_schema AS json_schema, t.meta_schema, t.registered_at
FROM en57.event_types t;
COMMENT ON VIEW en57_event_types IS 'event types with the JSON Schemas that new events of them must fit';
COMMENT ON COLUMN en57_event_types.type IS 'the type; * means all types';
COMMENT ON COLUMN en57_event_types.schema_version IS 'the version of the type; 0 for *';
COMMENT ON COLUMN en57_event_types.json_schema IS 'the JSON Schema that data must fit; NULL: none';
COMMENT ON COLUMN en57_event_types.meta_schema IS 'the JSON Schema that meta must fit, in addition to that of *; NULL: none';
COMMENT ON COLUMN en57_event_types.registered_at IS 'when it was registered, or last changed';
