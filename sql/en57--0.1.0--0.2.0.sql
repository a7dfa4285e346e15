-- en57: from version 0.1.0 to 0.2.0.
\echo Use "ALTER EXTENSION en57 UPDATE" to load this file. \quit

-- What is created here belongs to the owner of the extension, whoever runs the update.
DO $$
BEGIN
    EXECUTE pg_catalog.format('SET LOCAL ROLE %I',
        (SELECT pg_catalog.pg_get_userbyid(extowner) FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'en57'));
END
$$;

-- The changes, in the order of the parts of the script (SQL_PARTS in Makefile).

-- At the end: a worker that waits for this version looks again. The trigger tells it, though no row changes.
UPDATE en57.projections SET status = status WHERE false;
