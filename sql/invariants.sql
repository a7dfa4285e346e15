------------------------------------------------------------------------------------------------------
-- Invariants
------------------------------------------------------------------------------------------------------

CREATE SEQUENCE en57.invariant_number AS bigint;
COMMENT ON SEQUENCE en57.invariant_number IS 'numbers invariants in the order of their creation';

-- The library knows the columns' order (src/invariant/definition.rs). Functions are stored as
-- text, so that a dump can be restored, and because pg_upgrade refuses columns of type regprocedure.
CREATE TABLE en57.invariants (
    name text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL UNIQUE DEFAULT pg_catalog.nextval('en57.invariant_number'),
    partition text NOT NULL,
    query en57_query NOT NULL,
    key text NOT NULL,
    evolve text NOT NULL,
    check_function text NOT NULL,
    initial jsonb,
    search_path text NOT NULL,
    is_enabled boolean NOT NULL,
    key_required boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE en57.invariants IS 'invariants: what must hold of the events of each key after every append';
COMMENT ON COLUMN en57.invariants.name IS 'the invariant''s name';
COMMENT ON COLUMN en57.invariants.number IS 'orders invariants by their creation, and identifies their states';
COMMENT ON COLUMN en57.invariants.partition IS 'the partition of its events';
COMMENT ON COLUMN en57.invariants.query IS 'which events';
COMMENT ON COLUMN en57.invariants.key IS 'of what there is a state: stream, or tag:PREFIX';
COMMENT ON COLUMN en57.invariants.evolve IS 'the function that folds events into a state';
COMMENT ON COLUMN en57.invariants.check_function IS 'the function that returns what is wrong with a state';
COMMENT ON COLUMN en57.invariants.initial IS 'the state of a key before its first event';
COMMENT ON COLUMN en57.invariants.search_path IS 'the search path of its functions';
COMMENT ON COLUMN en57.invariants.is_enabled IS 'whether appends are checked';
COMMENT ON COLUMN en57.invariants.key_required IS 'whether an event that matches must have a key';
COMMENT ON COLUMN en57.invariants.created_at IS 'when it was created';

-- Stored states, so that events need not be read again. The library knows the columns' order (src/store/state/invariant_states.rs). They are not
-- dumped: a missing state is made anew from the events.
CREATE TABLE en57.invariant_states (
    invariant bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    "position" bigint NOT NULL,
    state jsonb,
    mark bigint NOT NULL,
    generation bigint NOT NULL,
    PRIMARY KEY (invariant, id)
) WITH (fillfactor = 50);
-- Statistics would keep what en57_erase() erases.
ALTER TABLE en57.invariant_states ALTER COLUMN state SET STATISTICS 0;
COMMENT ON TABLE en57.invariant_states IS 'states of invariants up to a position, so that earlier events need not be read again';
COMMENT ON COLUMN en57.invariant_states.invariant IS 'the invariant''s number';
COMMENT ON COLUMN en57.invariant_states.id IS 'the stream, or the rest of the tag after the prefix';
COMMENT ON COLUMN en57.invariant_states."position" IS 'all events of the id up to here are in the state';
COMMENT ON COLUMN en57.invariant_states.state IS 'the state';
COMMENT ON COLUMN en57.invariant_states.mark IS 'identifies the function that has made it, and the table of the events';
COMMENT ON COLUMN en57.invariant_states.generation IS 'the version of the upcasters with which the events were read';

SELECT pg_catalog.pg_extension_config_dump('en57.invariant_number', '');
SELECT pg_catalog.pg_extension_config_dump('en57.invariants', '');

-- Backends cache the invariants. This trigger invalidates their caches.
CREATE FUNCTION en57.invariants_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'en57_invariants_changed' LANGUAGE c;
COMMENT ON FUNCTION en57.invariants_changed() IS 'tells every backend that invariants have changed';
CREATE TRIGGER en57_invariants_changed
    AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE ON en57.invariants
    FOR EACH STATEMENT EXECUTE FUNCTION en57.invariants_changed();
ALTER TABLE en57.invariants ENABLE ALWAYS TRIGGER en57_invariants_changed;

CREATE FUNCTION en57_create_invariant(
    name text,
    query en57_query,
    key text,
    evolve en57_function,
    check_function en57_function,
    initial jsonb DEFAULT NULL,
    partition text DEFAULT NULL,
    validate boolean DEFAULT true,
    key_required boolean DEFAULT true,
    if_not_exists boolean DEFAULT false,
    or_replace boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_create_invariant(text, en57_query, text, en57_function, en57_function, jsonb, text, boolean, boolean, boolean, boolean) IS
    'refuses appends after which a check function would object to the state of a stream, or of a tag';

CREATE FUNCTION en57_try_invariant(name text, given jsonb)
    RETURNS TABLE (key text, state jsonb, fault text)
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION en57_try_invariant(text, jsonb) IS
    'the states that an invariant would make of the given events alone, and what is wrong with each; stores nothing';

CREATE FUNCTION en57_drop_invariant(name text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_drop_invariant(text) IS 'drops an invariant';

CREATE FUNCTION en57_disable_invariant(name text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_disable_invariant(text) IS 'stops checking appends until the invariant is enabled again';

CREATE FUNCTION en57_enable_invariant(name text, validate boolean DEFAULT true) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_enable_invariant(text, boolean) IS
    'checks appends again, if the invariant holds for what is stored';

CREATE VIEW en57_invariants WITH (security_barrier) AS
SELECT i.name, i.partition, i.query, i.key, i.evolve, i.check_function, i.initial, i.is_enabled, i.key_required, i.created_at
FROM en57.invariants i
WHERE en57.is_readable(i.partition);
COMMENT ON VIEW en57_invariants IS 'invariants of partitions that the caller may read';
COMMENT ON COLUMN en57_invariants.name IS 'its name';
COMMENT ON COLUMN en57_invariants.partition IS 'the partition of its events';
COMMENT ON COLUMN en57_invariants.query IS 'which events';
COMMENT ON COLUMN en57_invariants.key IS 'of what there is a state: stream, or tag:PREFIX';
COMMENT ON COLUMN en57_invariants.evolve IS 'the function that folds events into a state';
COMMENT ON COLUMN en57_invariants.check_function IS 'the function that returns what is wrong with a state';
COMMENT ON COLUMN en57_invariants.initial IS 'the state of a key before its first event';
COMMENT ON COLUMN en57_invariants.is_enabled IS 'whether appends are checked';
COMMENT ON COLUMN en57_invariants.key_required IS 'whether an event that matches must have a key';
COMMENT ON COLUMN en57_invariants.created_at IS 'when it was created';
