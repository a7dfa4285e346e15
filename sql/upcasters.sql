------------------------------------------------------------------------------------------------------
-- Upcasters: functions that convert old events when they are read
------------------------------------------------------------------------------------------------------

-- The library knows the columns' order (src/upcast/definitions.rs).
CREATE TABLE en57.upcasters (
    type text COLLATE "C" NOT NULL,
    from_version integer NOT NULL,
    to_type text COLLATE "C" NOT NULL,
    to_version integer NOT NULL,
    function text NOT NULL,
    search_path text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (type, from_version)
);
COMMENT ON TABLE en57.upcasters IS 'functions that convert old events into newer ones when they are read';
COMMENT ON COLUMN en57.upcasters.type IS 'the type of the events that it converts';
COMMENT ON COLUMN en57.upcasters.from_version IS 'their version';
COMMENT ON COLUMN en57.upcasters.to_type IS 'the type that they become';
COMMENT ON COLUMN en57.upcasters.to_version IS 'the version that they become';
COMMENT ON COLUMN en57.upcasters.function IS 'the function, with its schema and argument types';
COMMENT ON COLUMN en57.upcasters.search_path IS 'the search path of the function';
COMMENT ON COLUMN en57.upcasters.registered_at IS 'when it was registered';

SELECT pg_catalog.pg_extension_config_dump('en57.upcasters', '');

CREATE TRIGGER en57_definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON en57.upcasters
    FOR EACH STATEMENT EXECUTE FUNCTION en57.definitions_changed();
ALTER TABLE en57.upcasters ENABLE ALWAYS TRIGGER en57_definitions_changed;

CREATE FUNCTION en57_register_upcaster(
    type text,
    from_version integer,
    upcaster en57_function,
    to_type text DEFAULT NULL,
    to_version integer DEFAULT NULL,
    if_not_exists boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_register_upcaster(text, integer, en57_function, text, integer, boolean) IS
    'lets events of a type and version be read as another one: by default the next version';

CREATE FUNCTION en57_drop_upcaster(type text, from_version integer) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_drop_upcaster(text, integer) IS
    'lets events of a type and version be read as they are stored, as before';

CREATE VIEW en57_upcasters AS
SELECT u.type, u.from_version, u.to_type, u.to_version, u.function AS upcaster, u.search_path, u.registered_at
FROM en57.upcasters u;
COMMENT ON VIEW en57_upcasters IS 'upcasters: which type and version is converted to which, and by which function';
COMMENT ON COLUMN en57_upcasters.type IS 'the type of the events that it converts';
COMMENT ON COLUMN en57_upcasters.from_version IS 'their version';
COMMENT ON COLUMN en57_upcasters.to_type IS 'the type that they become';
COMMENT ON COLUMN en57_upcasters.to_version IS 'the version that they become';
COMMENT ON COLUMN en57_upcasters.upcaster IS 'the function, with its schema and argument types';
COMMENT ON COLUMN en57_upcasters.search_path IS 'the search path of the function';
COMMENT ON COLUMN en57_upcasters.registered_at IS 'when it was registered';
