------------------------------------------------------------------------------------------------------
-- Deciders. They are stored in the table of folds
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_create_decider(
    name text,
    query_function en57_function,
    evolve en57_function,
    decide en57_function,
    initial jsonb DEFAULT NULL,
    command_schema jsonb DEFAULT NULL,
    snapshot_every integer DEFAULT NULL,
    or_replace boolean DEFAULT false,
    if_not_exists boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_create_decider(text, en57_function, en57_function, en57_function, jsonb, jsonb, integer, boolean, boolean) IS
    'names a decider: which events a command depends on, which state they make, and which events the command appends';

CREATE FUNCTION en57_drop_decider(name text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_drop_decider(text) IS 'drops a decider with its snapshots';

CREATE FUNCTION en57_decide(
    name text,
    command jsonb,
    partition text DEFAULT NULL,
    command_id uuid DEFAULT NULL,
    stream text DEFAULT NULL,
    expected_version bigint DEFAULT NULL,
    on_refusal text DEFAULT NULL
) RETURNS en57_append_result
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_decide(text, jsonb, text, uuid, text, bigint, text) IS
    'locks, reads, folds, decides and appends in one call; with an id, a command that was sent before is answered as the first time';

CREATE FUNCTION en57_decide_many(
    name text,
    commands jsonb,
    partition text DEFAULT NULL,
    all_or_nothing boolean DEFAULT false
) RETURNS TABLE (n integer, result en57_append_result, error jsonb)
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57_decide_many(text, jsonb, text, boolean) IS
    'many commands in one call, decided in order; one that fails does not disturb the others';

CREATE FUNCTION en57_try(name text, given jsonb, command jsonb) RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_try(text, jsonb, jsonb) IS
    'the events that a decider would append after the given events alone; stores nothing';

CREATE VIEW en57_deciders AS
SELECT f.name, f.query_function, f.evolve, f.decide, f.initial, f.command_schema, f.snapshot_every, f.created_at, f.updated_at
FROM en57.folds f
WHERE f.decide IS NOT NULL;
COMMENT ON VIEW en57_deciders IS 'the deciders';
COMMENT ON COLUMN en57_deciders.name IS 'its name';
COMMENT ON COLUMN en57_deciders.query_function IS 'the function command → query';
COMMENT ON COLUMN en57_deciders.evolve IS 'the function (state, event) → state';
COMMENT ON COLUMN en57_deciders.decide IS 'the function (command, state) → events';
COMMENT ON COLUMN en57_deciders.initial IS 'the state before the first event';
COMMENT ON COLUMN en57_deciders.command_schema IS 'the JSON Schema of its commands; NULL: none';
COMMENT ON COLUMN en57_deciders.snapshot_every IS 'a snapshot is taken when this many events were read beyond the last one; NULL: never';
COMMENT ON COLUMN en57_deciders.created_at IS 'when it was created';
COMMENT ON COLUMN en57_deciders.updated_at IS 'when it was last redefined';
