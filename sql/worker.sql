------------------------------------------------------------------------------------------------------
-- The worker
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_worker_start(OUT started boolean, OUT pid integer) RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_worker_start() IS
    'starts the background worker of this database, which runs async projections; started is false if it was already running';

CREATE FUNCTION en57_worker_stop() RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_worker_stop() IS
    'stops the background worker of this database until it is started again; returns whether there was one';

CREATE FUNCTION en57.worker_pid() RETURNS integer
    AS 'MODULE_PATHNAME', 'en57_worker_pid' LANGUAGE c VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION en57.worker_pid() IS 'the process of this database''s background worker; NULL if it does not run';

REVOKE ALL ON FUNCTION en57_worker_start(), en57_worker_stop(), en57.worker_pid() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION en57.worker_pid() TO pg_monitor;

-- A worker can be waiting for the extension. This statement fires the trigger that wakes it, though it changes no row.
UPDATE en57.projections SET status = status WHERE false;
