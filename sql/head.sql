-- en57: complete script, assembled from the parts in sql/.
\echo Use "CREATE EXTENSION en57" to load this file. \quit

------------------------------------------------------------------------------------------------------
-- The schema en57, and the language of the extension's functions
------------------------------------------------------------------------------------------------------

DO $$
BEGIN
    IF pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = 'en57 needs a database with the encoding UTF8',
            HINT = 'Create the database with ENCODING ''UTF8''.';
    END IF;
END
$$;

-- An empty schema of this name is dropped and created again, because Rails' schema.rb has create_schema "en57" before
-- enable_extension "en57". It is not reused: its owner could create objects among those of the extension.
DO $$
DECLARE
    present pg_catalog.oid := pg_catalog.to_regnamespace('en57');
    holds text;
BEGIN
    IF present IS NULL THEN
        RETURN;
    END IF;
    -- The objects in a schema depend on it. Default privileges count as well.
    SELECT pg_catalog.string_agg(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', ') INTO holds
        FROM (SELECT classid, objid, objsubid FROM pg_catalog.pg_depend
                  WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
                      AND refobjid OPERATOR(pg_catalog.=) present
                  ORDER BY classid, objid LIMIT 10) d;
    IF holds IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_schema',
            MESSAGE = 'the schema "en57" exists and is not empty',
            DETAIL = pg_catalog.concat('It holds: ', holds, '.'),
            HINT = CASE WHEN pg_catalog.to_regclass('en57.tags') IS NOT NULL AND pg_catalog.to_regclass('en57.events') IS NOT NULL
                THEN 'The Ruby gem''s migration made it. Write ALTER SCHEMA en57 RENAME TO en57_gem, create the extension, and bring the events over as docs/ruby.md shows.'
                ELSE 'The extension needs this schema for itself. Rename yours, for example by ALTER SCHEMA en57 RENAME TO en57_old.'
            END;
    END IF;
    DROP SCHEMA en57;
END
$$;

CREATE SCHEMA en57;
COMMENT ON SCHEMA en57 IS 'tables and private objects of the event store en57';

-- This language is PL/pgSQL, except that errors do not show where in the extension's own functions they were raised.
CREATE FUNCTION en57.plpgsql_handler() RETURNS language_handler
    AS 'MODULE_PATHNAME', 'en57_plpgsql_handler' LANGUAGE c;
COMMENT ON FUNCTION en57.plpgsql_handler() IS 'calls functions of the language en57_plpgsql';
CREATE FUNCTION en57.missing(kind text, name text) RETURNS void
    AS 'MODULE_PATHNAME', 'en57_missing' LANGUAGE c STABLE PARALLEL SAFE;
COMMENT ON FUNCTION en57.missing(text, text) IS 'raises the error that no object of this kind has this name';
-- It does not use PL/pgSQL's validator: pg_dump --binary-upgrade leaves out the handler of a language that uses functions of
-- another extension, and then pg_upgrade would fail.
CREATE LANGUAGE en57_plpgsql HANDLER en57.plpgsql_handler;
COMMENT ON LANGUAGE en57_plpgsql IS 'PL/pgSQL whose errors show no CONTEXT; only for functions of the extension';
