------------------------------------------------------------------------------------------------------
-- Appending
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_append(
    events jsonb,
    fail_if en57_query DEFAULT NULL,
    stream text DEFAULT NULL,
    expected_version bigint DEFAULT NULL,
    partition text DEFAULT NULL,
    on_conflict text DEFAULT NULL,
    on_refusal text DEFAULT NULL
) RETURNS en57_append_result
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_append(jsonb, en57_query, text, bigint, text, text, text) IS
    'appends an event or an array of events, unless fail_if matches an event or the stream is not at the expected version';

CREATE FUNCTION en57_append_many(
    requests jsonb,
    partition text DEFAULT NULL,
    on_conflict text DEFAULT NULL,
    all_or_nothing boolean DEFAULT false
) RETURNS TABLE (n integer, result en57_append_result, error jsonb)
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57_append_many(jsonb, text, text, boolean) IS
    'many appends in one call, each with its own condition, in order; one that is not stored does not disturb the others';

CREATE FUNCTION en57_validate(
    events jsonb,
    stream text DEFAULT NULL,
    partition text DEFAULT NULL,
    OUT event integer,
    OUT source text,
    OUT path text,
    OUT problem text
) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION en57_validate(jsonb, text, text) IS
    'the faults for which these events would be refused now: malformed events, schemas of their types, invariants; stores nothing';

CREATE FUNCTION en57_lock(query en57_query, partition text DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_lock(en57_query, text) IS
    'blocks other appends of matching events until the transaction ends; returns the position up to which no matching event is missing';

------------------------------------------------------------------------------------------------------
-- Reading
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.read_rows(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'en57_read_rows' LANGUAGE c STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION en57.read_rows(internal) IS 'tells the planner about how many events a call returns';

CREATE FUNCTION en57_read(
    query en57_query DEFAULT NULL,
    after bigint DEFAULT NULL,
    upto bigint DEFAULT NULL,
    max_count bigint DEFAULT NULL,
    backwards boolean DEFAULT false,
    as_of timestamptz DEFAULT NULL,
    occurred_until timestamptz DEFAULT NULL,
    recorded_from timestamptz DEFAULT NULL,
    partition text DEFAULT NULL,
    upcast boolean DEFAULT true
) RETURNS SETOF en57_event
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 SUPPORT en57.read_rows;
COMMENT ON FUNCTION en57_read(en57_query, bigint, bigint, bigint, boolean, timestamptz, timestamptz, timestamptz, text, boolean) IS
    'the events that match, in position order: after exclusive, upto inclusive';

CREATE FUNCTION en57_context(
    query en57_query DEFAULT NULL,
    partition text DEFAULT NULL,
    after bigint DEFAULT NULL,
    max_count bigint DEFAULT NULL,
    OUT "position" bigint,
    OUT events en57_event[]
) RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_context(en57_query, text, bigint, bigint) IS
    'the matching events beyond after, all or at most max_count, and the position up to which none is missing; both of one moment';

CREATE FUNCTION en57_position_at(at timestamptz, partition text DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_position_at(timestamptz, text) IS
    'the position directly before the first event that was recorded at this time or later';

CREATE FUNCTION en57_head(query en57_query DEFAULT NULL, partition text DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_head(en57_query, text) IS
    'the position up to which no matching event is missing, or ever will be';

CREATE FUNCTION en57_last(query en57_query DEFAULT NULL, partition text DEFAULT NULL) RETURNS en57_event
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_last(en57_query, text) IS 'the newest event that matches, or NULL';

CREATE FUNCTION en57_exists(query en57_query DEFAULT NULL, partition text DEFAULT NULL) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_exists(en57_query, text) IS 'whether an event matches';

CREATE FUNCTION en57_count(query en57_query DEFAULT NULL, partition text DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_count(en57_query, text) IS 'how many events match';

CREATE FUNCTION en57_get(id uuid, partition text DEFAULT NULL) RETURNS en57_event
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_get(uuid, text) IS 'the event with this id, or NULL';

------------------------------------------------------------------------------------------------------
-- Streams
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_read_stream(
    stream text,
    from_version bigint DEFAULT NULL,
    to_version bigint DEFAULT NULL,
    max_count bigint DEFAULT NULL,
    backwards boolean DEFAULT false,
    partition text DEFAULT NULL
) RETURNS SETOF en57_event
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 SUPPORT en57.read_rows;
COMMENT ON FUNCTION en57_read_stream(text, bigint, bigint, bigint, boolean, text) IS
    'the events of a stream in the order of their versions, from one version to another, both inclusive';

CREATE FUNCTION en57_stream(stream text, partition text DEFAULT NULL) RETURNS en57_stream_info
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_stream(text, text) IS 'version, positions and times of a stream; NULL if there is no such stream';

CREATE FUNCTION en57_streams(
    prefix text DEFAULT NULL,
    after text DEFAULT NULL,
    max_count bigint DEFAULT NULL,
    partition text DEFAULT NULL
) RETURNS SETOF en57_stream_info
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57_streams(text, text, bigint, text) IS
    'the streams whose names begin with prefix and come after "after", sorted by the bytes of their names';

CREATE FUNCTION en57.streams_now() RETURNS SETOF en57_stream_info
    AS 'MODULE_PATHNAME', 'en57_streams_now' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57.streams_now() IS 'the streams of the session''s partition at this moment, without waiting';

CREATE VIEW en57_streams AS SELECT * FROM en57.streams_now();
COMMENT ON VIEW en57_streams IS 'the streams of the session''s partition at this moment; unlike the function of that name it does not wait';
COMMENT ON COLUMN en57_streams.stream IS 'its name';
COMMENT ON COLUMN en57_streams.version IS 'the version of its last event, which is the number of its events';
COMMENT ON COLUMN en57_streams.first_position IS 'the position of its first event';
COMMENT ON COLUMN en57_streams.last_position IS 'the position of its last event';
COMMENT ON COLUMN en57_streams.first_recorded_at IS 'when its first event was appended';
COMMENT ON COLUMN en57_streams.last_recorded_at IS 'when its last event was appended';

------------------------------------------------------------------------------------------------------
-- Lists of types and tags
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_types(
    partition text DEFAULT NULL,
    OUT type text,
    OUT events bigint,
    OUT first_position bigint,
    OUT last_position bigint,
    OUT first_recorded_at timestamptz,
    OUT last_recorded_at timestamptz
) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57_types(text) IS
    'the types of stored events: for each the number of events, and position and time of the first and the last one';

CREATE FUNCTION en57_tags(
    prefix text DEFAULT NULL,
    after text DEFAULT NULL,
    max_count bigint DEFAULT 1000,
    partition text DEFAULT NULL,
    OUT tag text,
    OUT events bigint,
    OUT first_position bigint,
    OUT last_position bigint,
    OUT first_recorded_at timestamptz,
    OUT last_recorded_at timestamptz
) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57_tags(text, text, bigint, text) IS
    'the tags that begin with prefix and come after "after", sorted by bytes: for each the number of events, and position and time of the first and the last one';

------------------------------------------------------------------------------------------------------
-- Causes and effects
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_trace(
    id uuid,
    partition text DEFAULT NULL,
    OUT depth integer,
    OUT parent uuid,
    OUT event en57_event
) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57_trace(uuid, text) IS
    'the first cause of an event and all effects of that: a tree by causation_id, depth first, in position order';

CREATE FUNCTION en57_trace_text(id uuid, partition text DEFAULT NULL) RETURNS text
    LANGUAGE en57_plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    RETURN (SELECT string_agg(
        format('%s%s  %s  %s', repeat('  ', t.depth), translate((t.event).type, E'\n\r', '  '), (t.event)."position",
            to_char((t.event).recorded_at, 'YYYY-MM-DD HH24:MI:SS.MSOF')),
        E'\n' ORDER BY t.n)
      FROM @extschema@.en57_trace(id, partition) WITH ORDINALITY AS t (depth, parent, event, n));
END
$$;
COMMENT ON FUNCTION en57_trace_text(uuid, text) IS
    'en57_trace as an indented text: type, position and time of each event';

------------------------------------------------------------------------------------------------------
-- Waiting
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_wait(
    after bigint,
    timeout interval DEFAULT '30s',
    query en57_query DEFAULT NULL,
    partition text DEFAULT NULL
) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_wait(bigint, interval, en57_query, text) IS
    'sleeps until the frontier is beyond after (with a query: until an event beyond after matches), or the time is over; returns the frontier';
