------------------------------------------------------------------------------------------------------
-- Folds
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_fold(
    query en57_query,
    evolve en57_function,
    initial jsonb DEFAULT NULL,
    upto bigint DEFAULT NULL,
    as_of timestamptz DEFAULT NULL,
    partition text DEFAULT NULL,
    occurred_until timestamptz DEFAULT NULL,
    OUT state jsonb,
    OUT "position" bigint
) RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_fold(en57_query, en57_function, jsonb, bigint, timestamptz, text, timestamptz) IS
    'the state that evolve(state, event) makes of the matching events, and the position to use as after in fail_if; both of one moment';

CREATE SEQUENCE en57.fold_number AS bigint;
COMMENT ON SEQUENCE en57.fold_number IS 'numbers the definitions of folds and deciders';

-- The library knows the columns' order (src/fold/definition.rs). Functions are stored as text,
-- so that a dump can be restored, and because pg_upgrade refuses columns of type regprocedure.
CREATE TABLE en57.folds (
    name text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL UNIQUE DEFAULT pg_catalog.nextval('en57.fold_number'),
    evolve text NOT NULL,
    initial jsonb,
    snapshot_every integer,
    query_function text,
    decide text,
    command_schema jsonb,
    search_path text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE en57.folds IS 'named folds and deciders';
COMMENT ON COLUMN en57.folds.name IS 'its name';
COMMENT ON COLUMN en57.folds.number IS 'a new number after each redefinition; a snapshot belongs to a number';
COMMENT ON COLUMN en57.folds.evolve IS 'the function (state, event) → state';
COMMENT ON COLUMN en57.folds.initial IS 'the state before the first event';
COMMENT ON COLUMN en57.folds.snapshot_every IS 'a snapshot is taken when this many events were read beyond the last one; NULL: never';
COMMENT ON COLUMN en57.folds.query_function IS 'of a decider: the function command → query';
COMMENT ON COLUMN en57.folds.decide IS 'of a decider: the function (command, state) → events';
COMMENT ON COLUMN en57.folds.command_schema IS 'of a decider: the JSON Schema of its commands';
COMMENT ON COLUMN en57.folds.search_path IS 'the search path of its functions';
COMMENT ON COLUMN en57.folds.created_at IS 'when it was created';
COMMENT ON COLUMN en57.folds.updated_at IS 'when it was last redefined';

-- The library knows the columns' order (src/store/state/fold_snapshots.rs), and writes the table without the
-- executor. Snapshots are not dumped, because they can be made again.
CREATE TABLE en57.snapshots (
    fold bigint NOT NULL,
    partition oid NOT NULL,
    query_hash bigint NOT NULL,
    "position" bigint NOT NULL,
    query en57_query NOT NULL,
    mark bigint NOT NULL,
    generation bigint NOT NULL,
    state jsonb,
    taken_at timestamptz NOT NULL,
    PRIMARY KEY (fold, partition, query_hash, "position")
);
-- Statistics would keep what en57_erase() erases.
ALTER TABLE en57.snapshots ALTER COLUMN state SET STATISTICS 0;
COMMENT ON TABLE en57.snapshots IS 'snapshots: stored states of folds and deciders';
COMMENT ON COLUMN en57.snapshots.fold IS 'the number of the definition';
COMMENT ON COLUMN en57.snapshots.partition IS 'the partition''s table';
COMMENT ON COLUMN en57.snapshots.query_hash IS 'a hash of the query';
COMMENT ON COLUMN en57.snapshots."position" IS 'all events that match are in the state up to here';
COMMENT ON COLUMN en57.snapshots.query IS 'the query of its events';
COMMENT ON COLUMN en57.snapshots.mark IS 'the version of evolve that has made it';
COMMENT ON COLUMN en57.snapshots.generation IS 'the version of the upcasters with which the events were read';
COMMENT ON COLUMN en57.snapshots.state IS 'the state';
COMMENT ON COLUMN en57.snapshots.taken_at IS 'when it was taken';

SELECT pg_catalog.pg_extension_config_dump('en57.fold_number', '');
SELECT pg_catalog.pg_extension_config_dump('en57.folds', '');

-- Backends cache folds and deciders. This trigger invalidates their caches.
CREATE TRIGGER en57_folds_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON en57.folds
    FOR EACH STATEMENT EXECUTE FUNCTION en57.projections_changed();
ALTER TABLE en57.folds ENABLE ALWAYS TRIGGER en57_folds_changed;

CREATE FUNCTION en57_create_fold(
    name text,
    evolve en57_function,
    initial jsonb DEFAULT NULL,
    snapshot_every integer DEFAULT 100,
    or_replace boolean DEFAULT false,
    if_not_exists boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_create_fold(text, en57_function, jsonb, integer, boolean, boolean) IS
    'names a fold, of whose states en57_state keeps snapshots; with or_replace, redefines it';

CREATE FUNCTION en57_try_fold(name text, given jsonb, query en57_query DEFAULT NULL) RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_try_fold(text, jsonb, en57_query) IS
    'the state that a fold would make of the given events alone, of those that match';

CREATE FUNCTION en57_drop_fold(name text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_drop_fold(text) IS 'drops a fold with its snapshots';

CREATE FUNCTION en57_state(
    name text,
    query en57_query,
    partition text DEFAULT NULL,
    as_of timestamptz DEFAULT NULL,
    occurred_until timestamptz DEFAULT NULL,
    OUT state jsonb,
    OUT "position" bigint,
    OUT stream_version bigint
) RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_state(text, en57_query, text, timestamptz, timestamptz) IS
    'the state that a named fold makes of the matching events, and the position to use as after in fail_if, both of one moment; also the version of the stream, if the query names one';

CREATE FUNCTION en57_drop_snapshots(name text) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_drop_snapshots(text) IS
    'drops the snapshots of a fold or decider, for the case that something that its evolve calls has changed; returns how many there were';

CREATE VIEW en57_folds AS
SELECT f.name, f.evolve, f.initial, f.snapshot_every, f.created_at, f.updated_at
FROM en57.folds f
WHERE f.decide IS NULL;
COMMENT ON VIEW en57_folds IS 'the named folds';
COMMENT ON COLUMN en57_folds.name IS 'its name';
COMMENT ON COLUMN en57_folds.evolve IS 'the function (state, event) → state';
COMMENT ON COLUMN en57_folds.initial IS 'the state before the first event';
COMMENT ON COLUMN en57_folds.snapshot_every IS 'a snapshot is taken when this many events were read beyond the last one; NULL: never';
COMMENT ON COLUMN en57_folds.created_at IS 'when it was created';
COMMENT ON COLUMN en57_folds.updated_at IS 'when it was last redefined';

CREATE VIEW en57_snapshots WITH (security_barrier) AS
SELECT f.name, en57.partition_of(s.partition::pg_catalog.regclass) AS partition, s.query, s."position",
    pg_catalog.pg_column_size(s.state) AS bytes, s.taken_at
FROM en57.snapshots s JOIN en57.folds f ON f.number OPERATOR(pg_catalog.=) s.fold
WHERE en57.is_readable(en57.partition_of(s.partition::pg_catalog.regclass));
COMMENT ON VIEW en57_snapshots IS
    'the snapshots of folds and deciders whose events the caller may read; without their states';
COMMENT ON COLUMN en57_snapshots.name IS 'the fold or decider';
COMMENT ON COLUMN en57_snapshots.partition IS 'the partition of its events';
COMMENT ON COLUMN en57_snapshots.query IS 'the query of its events';
COMMENT ON COLUMN en57_snapshots.taken_at IS 'when it was taken';
COMMENT ON COLUMN en57_snapshots."position" IS 'all events that match are in the state up to here';
COMMENT ON COLUMN en57_snapshots.bytes IS 'the size of the state on disk';
