------------------------------------------------------------------------------------------------------
-- Event types: JSON Schemas that data and meta of new events must fit
------------------------------------------------------------------------------------------------------

-- The library knows the columns' order (src/schema/registry.rs).
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
COMMENT ON COLUMN en57.event_types.type IS 'the type; * stands for all';
COMMENT ON COLUMN en57.event_types.schema_version IS 'the version of the type; 0 for *';
COMMENT ON COLUMN en57.event_types.data_schema IS 'what data must fit; NULL: anything';
COMMENT ON COLUMN en57.event_types.meta_schema IS 'what meta must fit, beside what holds for all; NULL: anything';
COMMENT ON COLUMN en57.event_types.registered_at IS 'when it was registered, or changed last';

SELECT pg_catalog.pg_extension_config_dump('en57.event_types', '');
