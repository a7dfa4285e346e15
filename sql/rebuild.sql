------------------------------------------------------------------------------------------------------
-- Rebuilding projections
------------------------------------------------------------------------------------------------------

CREATE SEQUENCE en57.rebuild_number AS bigint;
COMMENT ON SEQUENCE en57.rebuild_number IS 'numbers rebuilds';

-- The library knows the columns' order (src/projection/rebuild/state.rs).
CREATE TABLE en57.rebuilds (
    number bigint PRIMARY KEY DEFAULT pg_catalog.nextval('en57.rebuild_number'),
    projection text COLLATE "C" NOT NULL UNIQUE,
    handler text NOT NULL,
    key text,
    key_function text,
    initial jsonb,
    search_path text NOT NULL,
    query en57_query,
    mode text CHECK (mode OPERATOR(pg_catalog.=) ANY ('{inline,async}')),
    functions text,
    phase text NOT NULL DEFAULT 'building'
        CHECK (phase OPERATOR(pg_catalog.=) ANY ('{building,swapping,failed,cancelled}')),
    start_position bigint NOT NULL,
    "position" bigint NOT NULL,
    events bigint NOT NULL DEFAULT 0,
    work interval NOT NULL DEFAULT '0',
    failed_position bigint,
    last_error jsonb,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE en57.rebuilds IS 'rebuilds of projections that are under way, with their progress';
COMMENT ON COLUMN en57.rebuilds.number IS 'the rebuild''s number';
COMMENT ON COLUMN en57.rebuilds.projection IS 'the projection';
COMMENT ON COLUMN en57.rebuilds.handler IS 'the function that folds documents, after the swap';
COMMENT ON COLUMN en57.rebuilds.key IS 'which documents an event belongs to, after the swap';
COMMENT ON COLUMN en57.rebuilds.key_function IS 'the function that says so, in place of key';
COMMENT ON COLUMN en57.rebuilds.initial IS 'the document before its first event, after the swap';
COMMENT ON COLUMN en57.rebuilds.search_path IS 'the search path of its functions, after the swap';
COMMENT ON COLUMN en57.rebuilds.query IS 'its events after the swap; NULL: as before';
COMMENT ON COLUMN en57.rebuilds.mode IS 'its mode after the swap; NULL: as before';
COMMENT ON COLUMN en57.rebuilds.functions IS 'a hash of the functions'' definitions: if they change, the rebuild begins anew';
COMMENT ON COLUMN en57.rebuilds.phase IS 'building, swapping, failed, or cancelled';
COMMENT ON COLUMN en57.rebuilds.start_position IS 'where the projection began';
COMMENT ON COLUMN en57.rebuilds."position" IS 'all events up to here are in the rebuilt documents';
COMMENT ON COLUMN en57.rebuilds.events IS 'the number of these events';
COMMENT ON COLUMN en57.rebuilds.work IS 'how long they took, without pauses';
COMMENT ON COLUMN en57.rebuilds.failed_position IS 'the event that could not be handled';
COMMENT ON COLUMN en57.rebuilds.last_error IS 'why';
COMMENT ON COLUMN en57.rebuilds.started_at IS 'when it began';
COMMENT ON COLUMN en57.rebuilds.updated_at IS 'when its last batch was done';

-- The documents of all rebuilds. All rebuilds share one table, so that a rebuild needs no DDL: it leaves only rows behind, a
-- running dump does not block it, and dropping the extension drops the documents.
CREATE TABLE en57.rebuild_documents (
    rebuild bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    doc jsonb NOT NULL,
    version bigint NOT NULL,
    "position" bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (rebuild, id)
) WITH (fillfactor = 80);
-- Statistics would keep what en57_erase() erases.
ALTER TABLE en57.rebuild_documents ALTER COLUMN doc SET STATISTICS 0;
ALTER TABLE en57.rebuilds ALTER COLUMN last_error SET STATISTICS 0;
COMMENT ON TABLE en57.rebuild_documents IS 'documents of rebuilds that are under way';
COMMENT ON COLUMN en57.rebuild_documents.rebuild IS 'the rebuild';
COMMENT ON COLUMN en57.rebuild_documents.id IS 'the document';
COMMENT ON COLUMN en57.rebuild_documents.doc IS 'the document after the swap';
COMMENT ON COLUMN en57.rebuild_documents.version IS 'how many events are in it';
COMMENT ON COLUMN en57.rebuild_documents."position" IS 'the position of its last event';
COMMENT ON COLUMN en57.rebuild_documents.updated_at IS 'when that event was recorded';
COMMENT ON COLUMN en57.rebuild_documents.bytes IS 'its size in memory';

CREATE TABLE en57.rebuild_dead_letters (
    rebuild bigint NOT NULL,
    "position" bigint NOT NULL,
    error jsonb NOT NULL,
    PRIMARY KEY (rebuild, "position")
);
ALTER TABLE en57.rebuild_dead_letters ALTER COLUMN error SET STATISTICS 0;
COMMENT ON TABLE en57.rebuild_dead_letters IS 'dead letters of a rebuild';
COMMENT ON COLUMN en57.rebuild_dead_letters.rebuild IS 'the rebuild';
COMMENT ON COLUMN en57.rebuild_dead_letters."position" IS 'the event';
COMMENT ON COLUMN en57.rebuild_dead_letters.error IS 'why';

SELECT pg_catalog.pg_extension_config_dump('en57.rebuild_number', '');
SELECT pg_catalog.pg_extension_config_dump('en57.rebuilds', '');
SELECT pg_catalog.pg_extension_config_dump('en57.rebuild_documents', '');
SELECT pg_catalog.pg_extension_config_dump('en57.rebuild_dead_letters', '');

CREATE PROCEDURE en57_rebuild(
    name text,
    evolve en57_function DEFAULT NULL,
    initial jsonb DEFAULT NULL,
    key text DEFAULT NULL,
    key_function en57_function DEFAULT NULL,
    swap text DEFAULT NULL,
    query en57_query DEFAULT NULL,
    mode text DEFAULT NULL
)
    AS 'MODULE_PATHNAME' LANGUAGE c;
COMMENT ON PROCEDURE en57_rebuild(text, en57_function, jsonb, text, en57_function, text, en57_query, text) IS
    'folds the documents of a projection anew beside the live ones, and swaps them; called again it continues where it stopped';

CREATE FUNCTION en57_cancel_rebuild(name text) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_cancel_rebuild(text) IS
    'cancels the rebuild of a projection, whose live documents stay; returns whether there was a rebuild';

CREATE VIEW en57_stat_progress_rebuild WITH (security_barrier) AS
SELECT r.projection AS name,
    p.partition,
    r.phase,
    r.events AS events_done,
    e.total AS events_total,
    (r.events OPERATOR(pg_catalog./) nullif(s.seconds, 0))::bigint AS per_second,
    pg_catalog.make_interval(secs => ((e.total OPERATOR(pg_catalog.-) r.events)
        OPERATOR(pg_catalog.*) s.seconds OPERATOR(pg_catalog./) nullif(r.events, 0))::double precision) AS remaining,
    r."position",
    h.head,
    r.failed_position,
    r.last_error,
    r.started_at,
    r.updated_at
FROM en57.rebuilds r
    JOIN en57.projections p ON p.name OPERATOR(pg_catalog.=) r.projection,
    LATERAL (SELECT en57.head_now(coalesce(r.query, p.query), p.partition)) n (head),
    -- greatest() ignores NULL.
    LATERAL (SELECT CASE WHEN n.head IS NOT NULL THEN greatest(n.head, r."position") END AS head) h,
    -- Estimated: the same share of the remaining positions matches as of those that are done.
    LATERAL (SELECT r.events OPERATOR(pg_catalog.+) pg_catalog.ceil(r.events::numeric OPERATOR(pg_catalog.*)
        (h.head OPERATOR(pg_catalog.-) r."position")
        OPERATOR(pg_catalog./) nullif(r."position" OPERATOR(pg_catalog.-) r.start_position, 0))::bigint AS total) e,
    LATERAL (SELECT extract(epoch FROM r.work) AS seconds) s
WHERE r.phase OPERATOR(pg_catalog.<>) 'cancelled' AND en57.is_readable(p.partition);
COMMENT ON VIEW en57_stat_progress_rebuild IS
    'rebuilds of projections whose events the caller may read, with their progress; events_total and remaining are estimates';
COMMENT ON COLUMN en57_stat_progress_rebuild.name IS 'the projection';
COMMENT ON COLUMN en57_stat_progress_rebuild.partition IS 'the partition of its events';
COMMENT ON COLUMN en57_stat_progress_rebuild.phase IS 'building; swapping: it waits until it can swap; failed';
COMMENT ON COLUMN en57_stat_progress_rebuild.events_done IS 'how many events are folded';
COMMENT ON COLUMN en57_stat_progress_rebuild.events_total IS 'how many there are, an estimate; NULL if head is NULL';
COMMENT ON COLUMN en57_stat_progress_rebuild.per_second IS 'events a second, without pauses';
COMMENT ON COLUMN en57_stat_progress_rebuild.remaining IS 'how long the rest takes, an estimate; NULL if head is NULL';
COMMENT ON COLUMN en57_stat_progress_rebuild."position" IS 'all events up to here are in the rebuilt documents';
COMMENT ON COLUMN en57_stat_progress_rebuild.head IS 'the head of the projection''s query; NULL while another transaction keeps the partition locked, on a standby, and if logical replication fills it';
COMMENT ON COLUMN en57_stat_progress_rebuild.failed_position IS 'the event that could not be handled';
COMMENT ON COLUMN en57_stat_progress_rebuild.last_error IS 'why';
COMMENT ON COLUMN en57_stat_progress_rebuild.started_at IS 'when it began';
COMMENT ON COLUMN en57_stat_progress_rebuild.updated_at IS 'when its last batch was done';
