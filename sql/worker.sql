------------------------------------------------------------------------------------------------------
-- The worker
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_worker_start(OUT started boolean, OUT pid integer) RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_worker_start() IS
    'starts the background worker of this database, which runs async projections; started is false where it ran already';

CREATE FUNCTION en57_worker_stop() RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_worker_stop() IS
    'stops the background worker of this database until it is started again; whether there was one';

CREATE FUNCTION en57.worker_pid() RETURNS integer
    AS 'MODULE_PATHNAME', 'en57_worker_pid' LANGUAGE c VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION en57.worker_pid() IS 'the process of this database''s background worker, NULL where it does not run';

REVOKE ALL ON FUNCTION en57_worker_start(), en57_worker_stop(), en57.worker_pid() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION en57.worker_pid() TO pg_monitor;

-- A worker that waits for the extension looks again: the trigger tells it, though no row changes.
UPDATE en57.projections SET status = status WHERE false;
