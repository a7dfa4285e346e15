------------------------------------------------------------------------------------------------------
-- Projections
------------------------------------------------------------------------------------------------------

CREATE SEQUENCE en57.projection_number AS bigint;
COMMENT ON SEQUENCE en57.projection_number IS 'numbers projections in the order of their creation';

-- The library knows the columns' order (src/projection/definition.rs). Functions are stored as
-- text, so that a dump can be restored, and because pg_upgrade refuses columns of type regprocedure.
CREATE TABLE en57.projections (
    name text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL UNIQUE DEFAULT pg_catalog.nextval('en57.projection_number'),
    mode text NOT NULL CHECK (mode OPERATOR(pg_catalog.=) ANY ('{inline,async}')),
    partition text NOT NULL,
    query en57_query NOT NULL,
    handler text NOT NULL,
    key text,
    key_function text,
    initial jsonb,
    document_table regclass,
    on_error text NOT NULL CHECK (on_error OPERATOR(pg_catalog.=) ANY ('{stop,skip}')),
    batch_size integer NOT NULL,
    search_path text NOT NULL,
    status text NOT NULL CHECK (status OPERATOR(pg_catalog.=) ANY ('{running,paused,failed}')),
    "position" bigint NOT NULL,
    failed_position bigint,
    last_error jsonb,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    start_position bigint NOT NULL DEFAULT 0,
    truncate_function text
) WITH (fillfactor = 50);
-- Statistics would keep what en57_erase() erases.
ALTER TABLE en57.projections ALTER COLUMN last_error SET STATISTICS 0;
COMMENT ON TABLE en57.projections IS 'projections: their events, functions and progress';
COMMENT ON COLUMN en57.projections.name IS 'the projection''s name, and that of its documents'' table';
COMMENT ON COLUMN en57.projections.number IS 'orders projections by their creation';
COMMENT ON COLUMN en57.projections.mode IS 'inline: in the append''s transaction; async: afterwards, by the worker or en57_run';
COMMENT ON COLUMN en57.projections.partition IS 'the partition of its events';
COMMENT ON COLUMN en57.projections.query IS 'which events';
COMMENT ON COLUMN en57.projections.handler IS 'the handler, or the function that folds documents';
COMMENT ON COLUMN en57.projections.key IS 'which documents an event belongs to: stream, or tag:PREFIX';
COMMENT ON COLUMN en57.projections.key_function IS 'the function that says so, in place of key';
COMMENT ON COLUMN en57.projections.initial IS 'the document before its first event';
COMMENT ON COLUMN en57.projections.document_table IS 'the table of the documents';
COMMENT ON COLUMN en57.projections.on_error IS 'stop at an event that fails, or skip it: it becomes a dead letter';
COMMENT ON COLUMN en57.projections.batch_size IS 'how many events are handled at once, at most';
COMMENT ON COLUMN en57.projections.search_path IS 'the search path of its functions';
COMMENT ON COLUMN en57.projections.status IS 'running, paused or failed';
COMMENT ON COLUMN en57.projections."position" IS 'all events up to here are handled; not used while it is inline and running';
COMMENT ON COLUMN en57.projections.failed_position IS 'the event that could not be handled';
COMMENT ON COLUMN en57.projections.last_error IS 'why';
COMMENT ON COLUMN en57.projections.created_at IS 'when it was created';
COMMENT ON COLUMN en57.projections.updated_at IS 'when its position or status last changed';
COMMENT ON COLUMN en57.projections.start_position IS 'it handles the events after this position; a rebuild begins there';
COMMENT ON COLUMN en57.projections.truncate_function IS 'the function that deletes what the handler has written';

CREATE TABLE en57.projection_dead_letters (
    projection text COLLATE "C" NOT NULL,
    "position" bigint NOT NULL,
    error jsonb NOT NULL,
    put_aside_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    attempts integer NOT NULL DEFAULT 1,
    PRIMARY KEY (projection, "position")
);
ALTER TABLE en57.projection_dead_letters ALTER COLUMN error SET STATISTICS 0;
COMMENT ON TABLE en57.projection_dead_letters IS 'events that a projection could not handle';
COMMENT ON COLUMN en57.projection_dead_letters.projection IS 'the projection';
COMMENT ON COLUMN en57.projection_dead_letters."position" IS 'the event';
COMMENT ON COLUMN en57.projection_dead_letters.error IS 'why';
COMMENT ON COLUMN en57.projection_dead_letters.put_aside_at IS 'when it became a dead letter, or last failed';
COMMENT ON COLUMN en57.projection_dead_letters.attempts IS 'how many attempts have failed';

SELECT pg_catalog.pg_extension_config_dump('en57.projection_number', '');
SELECT pg_catalog.pg_extension_config_dump('en57.projections', '');
SELECT pg_catalog.pg_extension_config_dump('en57.projection_dead_letters', '');

-- Backends cache the inline projections. This trigger invalidates their caches.
CREATE FUNCTION en57.projections_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'en57_projections_changed' LANGUAGE c;
COMMENT ON FUNCTION en57.projections_changed() IS 'tells every backend that projections have changed';
CREATE TRIGGER en57_projections_changed
    AFTER INSERT OR DELETE OR TRUNCATE
        OR UPDATE OF name, number, mode, partition, query, handler, key, key_function, initial,
            document_table, on_error, batch_size, search_path, status
    ON en57.projections
    FOR EACH STATEMENT EXECUTE FUNCTION en57.projections_changed();
ALTER TABLE en57.projections ENABLE ALWAYS TRIGGER en57_projections_changed;

CREATE FUNCTION en57_create_projection(
    name text,
    query en57_query,
    handler en57_function,
    mode text DEFAULT 'inline',
    on_error text DEFAULT 'stop',
    batch_size integer DEFAULT NULL,
    partition text DEFAULT NULL,
    start text DEFAULT 'beginning',
    truncate en57_function DEFAULT NULL,
    if_not_exists boolean DEFAULT false,
    or_replace boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_create_projection(text, en57_query, en57_function, text, text, integer, text, text, en57_function, boolean, boolean) IS
    'calls a function with the events that match: in the append''s transaction (inline), or after it (async)';

CREATE FUNCTION en57_create_document_projection(
    name text,
    query en57_query,
    key text,
    evolve en57_function,
    initial jsonb DEFAULT NULL,
    mode text DEFAULT 'inline',
    on_error text DEFAULT 'stop',
    batch_size integer DEFAULT NULL,
    partition text DEFAULT NULL,
    start text DEFAULT 'beginning',
    if_not_exists boolean DEFAULT false,
    or_replace boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_create_document_projection(text, en57_query, text, en57_function, jsonb, text, text, integer, text, text, boolean, boolean) IS
    'keeps a table of documents: one for each stream, or for each tag that begins with a prefix';

CREATE FUNCTION en57_create_document_projection(
    name text,
    query en57_query,
    key en57_function,
    evolve en57_function,
    initial jsonb DEFAULT NULL,
    mode text DEFAULT 'inline',
    on_error text DEFAULT 'stop',
    batch_size integer DEFAULT NULL,
    partition text DEFAULT NULL,
    start text DEFAULT 'beginning',
    if_not_exists boolean DEFAULT false,
    or_replace boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME', 'en57_create_document_projection_by' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_create_document_projection(text, en57_query, en57_function, en57_function, jsonb, text, text, integer, text, text, boolean, boolean) IS
    'keeps a table of documents; a function returns the ids of an event''s documents';

CREATE FUNCTION en57_try_projection(name text, given jsonb)
    RETURNS TABLE (id text, doc jsonb, version bigint, "position" bigint)
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION en57_try_projection(text, jsonb) IS
    'the documents that a projection would make of the given events alone; stores nothing';

CREATE FUNCTION en57_drop_projection(name text, keep_table boolean DEFAULT false) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_drop_projection(text, boolean) IS
    'drops a projection, with the table of its documents unless that is to be kept';

CREATE FUNCTION en57_reset_projection(name text, start text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_reset_projection(text, text) IS
    'deletes what a projection has made, and lets it handle its events again, from where it began or from start';

CREATE FUNCTION en57_pause(name text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_pause(text) IS 'stops a projection until it is resumed';

CREATE FUNCTION en57_resume(name text, skip boolean DEFAULT false) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_resume(text, boolean) IS
    'lets a paused or failed projection continue; with skip, after the event at which it has failed';

CREATE FUNCTION en57_run(name text, max_events bigint DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_run(text, bigint) IS
    'lets an async projection handle settled events; returns how many it has handled';

CREATE FUNCTION en57_wait_projection(
    name text,
    "position" bigint DEFAULT NULL,
    timeout interval DEFAULT '30s'
) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_wait_projection(text, bigint, interval) IS
    'sleeps until a projection has handled all events up to a position (by default: all that exist), or the time is over; returns whether it has';

CREATE FUNCTION en57.is_readable(partition text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'en57_is_readable' LANGUAGE c STABLE STRICT;
COMMENT ON FUNCTION en57.is_readable(text) IS 'whether the caller may read the events of a partition';

CREATE FUNCTION en57.pending(query en57_query, partition text, positions bigint[])
    RETURNS TABLE (shard integer, head bigint, lag bigint)
    AS 'MODULE_PATHNAME', 'en57_pending' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 COST 10000;
COMMENT ON FUNCTION en57.pending(en57_query, text, bigint[]) IS
    'the frontier of a query, and how many events are beyond the position of each shard, up to 1000; NULL in the cases of en57.head_now';

CREATE VIEW en57_projections WITH (security_barrier) AS
SELECT p.name,
    CASE WHEN p.document_table IS NULL THEN 'handler' ELSE 'documents' END AS kind,
    p.mode,
    p.partition,
    p.query,
    p.handler,
    coalesce(p.key, p.key_function) AS key,
    p.document_table,
    p.on_error,
    p.batch_size,
    p.status,
    CASE WHEN i.is_running_inline THEN h.head ELSE p."position" END AS "position",
    h.head,
    h.lag,
    p.failed_position,
    p.last_error,
    (SELECT pg_catalog.count(*) FROM en57.projection_dead_letters d
        WHERE d.projection OPERATOR(pg_catalog.=) p.name) AS dead_letters,
    p.created_at,
    p.updated_at,
    p.start_position,
    p.truncate_function
FROM en57.projections p,
    LATERAL (SELECT p.mode OPERATOR(pg_catalog.=) 'inline' AND p.status OPERATOR(pg_catalog.=) 'running') i (is_running_inline),
    -- There is nothing to count beyond the last position.
    LATERAL en57.pending(p.query, p.partition,
        ARRAY[CASE WHEN i.is_running_inline THEN 9223372036854775807 ELSE p."position" END]) h
WHERE en57.is_readable(p.partition);
COMMENT ON VIEW en57_projections IS
    'projections whose events the caller may read, with their progress';
COMMENT ON COLUMN en57_projections.name IS 'its name, and that of its documents'' table';
COMMENT ON COLUMN en57_projections.kind IS 'handler, or documents';
COMMENT ON COLUMN en57_projections.mode IS 'inline: in the append''s transaction; async: afterwards, by the worker or en57_run';
COMMENT ON COLUMN en57_projections.partition IS 'the partition of its events';
COMMENT ON COLUMN en57_projections.query IS 'which events';
COMMENT ON COLUMN en57_projections.handler IS 'the handler, or the function that folds documents';
COMMENT ON COLUMN en57_projections.key IS 'which documents an event belongs to: stream, tag:PREFIX, or a function';
COMMENT ON COLUMN en57_projections.document_table IS 'the table of the documents';
COMMENT ON COLUMN en57_projections.on_error IS 'stop at an event that fails, or skip it: it becomes a dead letter';
COMMENT ON COLUMN en57_projections.batch_size IS 'how many events are handled at once, at most';
COMMENT ON COLUMN en57_projections.status IS 'running, paused or failed';
COMMENT ON COLUMN en57_projections."position" IS 'all events up to here are handled; the head while it is inline and running';
COMMENT ON COLUMN en57_projections.head IS 'the query''s frontier; NULL while another transaction keeps the partition locked, on a standby, and if logical replication fills it';
COMMENT ON COLUMN en57_projections.lag IS 'how many events are waiting for it, counted up to 1000; NULL if head is NULL';
COMMENT ON COLUMN en57_projections.failed_position IS 'the event that could not be handled';
COMMENT ON COLUMN en57_projections.last_error IS 'why';
COMMENT ON COLUMN en57_projections.dead_letters IS 'how many dead letters it has';
COMMENT ON COLUMN en57_projections.created_at IS 'when it was created';
COMMENT ON COLUMN en57_projections.updated_at IS 'when its position or status last changed';
COMMENT ON COLUMN en57_projections.start_position IS 'it handles the events after this position';
COMMENT ON COLUMN en57_projections.truncate_function IS 'the function that deletes what the handler has written';
