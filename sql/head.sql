-- en57: complete script, assembled from the parts in sql/.
\echo Use "CREATE EXTENSION en57" to load this file. \quit

------------------------------------------------------------------------------------------------------
-- The house
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

CREATE SCHEMA en57;
COMMENT ON SCHEMA en57 IS 'tables and private objects of the event store en57';
