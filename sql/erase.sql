------------------------------------------------------------------------------------------------------
-- Erasing
------------------------------------------------------------------------------------------------------

CREATE SEQUENCE en57.erasure_number AS bigint;
COMMENT ON SEQUENCE en57.erasure_number IS 'numbers erasures';

CREATE TABLE en57.erasures (
    number bigint PRIMARY KEY DEFAULT pg_catalog.nextval('en57.erasure_number'),
    partition text COLLATE "C" NOT NULL,
    query text NOT NULL,
    reason text NOT NULL,
    erased_by text NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    events bigint NOT NULL,
    documents bigint NOT NULL,
    positions int8multirange NOT NULL
);
COMMENT ON TABLE en57.erasures IS 'what was erased, by whom, and why';
COMMENT ON COLUMN en57.erasures.number IS 'the erasure''s number';
COMMENT ON COLUMN en57.erasures.partition IS 'the partition';
COMMENT ON COLUMN en57.erasures.query IS 'the query whose events were erased';
COMMENT ON COLUMN en57.erasures.reason IS 'why, as given to en57_erase';
COMMENT ON COLUMN en57.erasures.erased_by IS 'the login role that has erased them';
COMMENT ON COLUMN en57.erasures.erased_at IS 'when';
COMMENT ON COLUMN en57.erasures.events IS 'how many events were erased';
COMMENT ON COLUMN en57.erasures.documents IS 'how many documents were folded anew';
COMMENT ON COLUMN en57.erasures.positions IS 'the positions of the events; empty after the partition was emptied';

SELECT pg_catalog.pg_extension_config_dump('en57.erasure_number', '');
SELECT pg_catalog.pg_extension_config_dump('en57.erasures', '');

CREATE FUNCTION en57_erase(query en57_query, reason text, partition text DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_erase(en57_query, text, text) IS
    'erases data and meta of the matching events, and what was made of them; returns how many were erased';

CREATE VIEW en57_erasures WITH (security_barrier) AS
SELECT e.number, e.partition, e.query, e.reason, e.erased_by, e.erased_at, e.events, e.documents, e.positions
FROM en57.erasures e
WHERE en57.is_readable(e.partition);
COMMENT ON VIEW en57_erasures IS 'what was erased in partitions that the caller may read, by whom, and why';
COMMENT ON COLUMN en57_erasures.number IS 'the erasure''s number';
COMMENT ON COLUMN en57_erasures.partition IS 'the partition';
COMMENT ON COLUMN en57_erasures.query IS 'the query whose events were erased';
COMMENT ON COLUMN en57_erasures.reason IS 'why, as given to en57_erase';
COMMENT ON COLUMN en57_erasures.erased_by IS 'the login role that has erased them';
COMMENT ON COLUMN en57_erasures.erased_at IS 'when';
COMMENT ON COLUMN en57_erasures.events IS 'how many events were erased';
COMMENT ON COLUMN en57_erasures.documents IS 'how many documents were folded anew';
COMMENT ON COLUMN en57_erasures.positions IS 'the positions of the events; empty after the partition was emptied';
