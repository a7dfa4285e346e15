-- en57: complete script, assembled from the parts in sql/.
\echo Use "CREATE EXTENSION en57" to load this file. \quit

------------------------------------------------------------------------------------------------------
-- The schema en57, and the language of the extension's functions
------------------------------------------------------------------------------------------------------

DO $$
BEGIN
    IF pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = 'en57 needs a database with the encoding UTF8',
            HINT = 'Create the database with ENCODING ''UTF8''.';
    END IF;
END
$$;

-- An empty schema of this name is dropped and created again, because Rails' schema.rb has create_schema "en57" before
-- enable_extension "en57". It is not reused: its owner could create objects among those of the extension.
DO $$
DECLARE
    present pg_catalog.oid := pg_catalog.to_regnamespace('en57');
    holds text;
BEGIN
    IF present IS NULL THEN
        RETURN;
    END IF;
    -- The objects in a schema depend on it. Default privileges count as well.
    SELECT pg_catalog.string_agg(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', ') INTO holds
        FROM (SELECT classid, objid, objsubid FROM pg_catalog.pg_depend
                  WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
                      AND refobjid OPERATOR(pg_catalog.=) present
                  ORDER BY classid, objid LIMIT 10) d;
    IF holds IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_schema',
            MESSAGE = 'the schema "en57" exists and is not empty',
            DETAIL = pg_catalog.concat('It holds: ', holds, '.'),
            HINT = CASE WHEN pg_catalog.to_regclass('en57.tags') IS NOT NULL AND pg_catalog.to_regclass('en57.events') IS NOT NULL
                THEN 'The Ruby gem''s migration made it. Write ALTER SCHEMA en57 RENAME TO en57_gem, create the extension, and bring the events over as docs/ruby.md shows.'
                ELSE 'The extension needs this schema for itself. Rename yours, for example by ALTER SCHEMA en57 RENAME TO en57_old.'
            END;
    END IF;
    DROP SCHEMA en57;
END
$$;

CREATE SCHEMA en57;
COMMENT ON SCHEMA en57 IS 'tables and private objects of the event store en57';

-- This language is PL/pgSQL, except that errors do not show where in the extension's own functions they were raised.
CREATE FUNCTION en57.plpgsql_handler() RETURNS language_handler
    AS 'MODULE_PATHNAME', 'en57_plpgsql_handler' LANGUAGE c;
COMMENT ON FUNCTION en57.plpgsql_handler() IS 'calls functions of the language en57_plpgsql';
CREATE FUNCTION en57.missing(kind text, name text) RETURNS void
    AS 'MODULE_PATHNAME', 'en57_missing' LANGUAGE c STABLE PARALLEL SAFE;
COMMENT ON FUNCTION en57.missing(text, text) IS 'raises the error that no object of this kind has this name';
-- It does not use PL/pgSQL's validator: pg_dump --binary-upgrade leaves out the handler of a language that uses functions of
-- another extension, and then pg_upgrade would fail.
CREATE LANGUAGE en57_plpgsql HANDLER en57.plpgsql_handler;
COMMENT ON LANGUAGE en57_plpgsql IS 'PL/pgSQL whose errors show no CONTEXT; only for functions of the extension';
------------------------------------------------------------------------------------------------------
-- Type en57_query: which events; a union of criteria
------------------------------------------------------------------------------------------------------

CREATE TYPE en57_query;

CREATE FUNCTION en57_query_in(cstring) RETURNS en57_query
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_out(en57_query) RETURNS cstring
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_recv(internal) RETURNS en57_query
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_send(en57_query) RETURNS bytea
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE en57_query (
    INPUT = en57_query_in,
    OUTPUT = en57_query_out,
    RECEIVE = en57_query_recv,
    SEND = en57_query_send,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
COMMENT ON TYPE en57_query IS
    'which events: a criterion {"types", "tags", "any_tags", "stream", "stream_prefix", "correlation_id", "causation_id", "after"}, or an array of criteria';

CREATE FUNCTION en57_query(jsonb) RETURNS en57_query
    AS 'MODULE_PATHNAME', 'en57_query_from_jsonb' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION en57_query(jsonb) IS 'the query that a JSON document describes';
CREATE FUNCTION en57_query_to_jsonb(en57_query) RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION en57_query_to_jsonb(en57_query) IS 'the query as a JSON document';

CREATE CAST (jsonb AS en57_query) WITH FUNCTION en57_query(jsonb) AS IMPLICIT;
-- json is cast by its text. There is no implicit cast from text: PostgreSQL refuses to compare text with jsonb, and such a cast
-- would turn that comparison into one of queries.
CREATE CAST (json AS en57_query) WITH INOUT AS IMPLICIT;
CREATE CAST (en57_query AS jsonb) WITH FUNCTION en57_query_to_jsonb(en57_query) AS ASSIGNMENT;

CREATE FUNCTION en57_query(
    types text[] DEFAULT NULL,
    tags text[] DEFAULT NULL,
    after bigint DEFAULT NULL,
    stream text DEFAULT NULL,
    any_tags text[] DEFAULT NULL,
    stream_prefix text DEFAULT NULL
) RETURNS en57_query
    AS 'MODULE_PATHNAME', 'en57_query_make' LANGUAGE c IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION en57_query(text[], text[], bigint, text, text[], text) IS
    'a query of one criterion: one of types, all of tags, positions greater than after, in stream, at least one of any_tags, in a stream whose name begins with stream_prefix';

CREATE FUNCTION en57_query_union(en57_query, en57_query) RETURNS en57_query
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR | (
    LEFTARG = en57_query, RIGHTARG = en57_query, FUNCTION = en57_query_union, COMMUTATOR = |
);
COMMENT ON OPERATOR | (en57_query, en57_query) IS 'events that match either query';

CREATE FUNCTION en57_query_eq(en57_query, en57_query) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_ne(en57_query, en57_query) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_lt(en57_query, en57_query) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_le(en57_query, en57_query) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_gt(en57_query, en57_query) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_ge(en57_query, en57_query) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_cmp(en57_query, en57_query) RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_hash(en57_query) RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_query_hash_extended(en57_query, bigint) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR = (
    LEFTARG = en57_query, RIGHTARG = en57_query, FUNCTION = en57_query_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
CREATE OPERATOR <> (
    LEFTARG = en57_query, RIGHTARG = en57_query, FUNCTION = en57_query_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR < (
    LEFTARG = en57_query, RIGHTARG = en57_query, FUNCTION = en57_query_lt,
    COMMUTATOR = >, NEGATOR = >=, RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR <= (
    LEFTARG = en57_query, RIGHTARG = en57_query, FUNCTION = en57_query_le,
    COMMUTATOR = >=, NEGATOR = >, RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR > (
    LEFTARG = en57_query, RIGHTARG = en57_query, FUNCTION = en57_query_gt,
    COMMUTATOR = <, NEGATOR = <=, RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
CREATE OPERATOR >= (
    LEFTARG = en57_query, RIGHTARG = en57_query, FUNCTION = en57_query_ge,
    COMMUTATOR = <=, NEGATOR = <, RESTRICT = scalargesel, JOIN = scalargejoinsel
);
CREATE OPERATOR CLASS en57_query_btree_ops DEFAULT FOR TYPE en57_query USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 en57_query_cmp(en57_query, en57_query);
CREATE OPERATOR CLASS en57_query_hash_ops DEFAULT FOR TYPE en57_query USING hash AS
    OPERATOR 1 =,
    FUNCTION 1 en57_query_hash(en57_query),
    FUNCTION 2 en57_query_hash_extended(en57_query, bigint);

------------------------------------------------------------------------------------------------------
-- Type en57_function: a function, as a caller writes it
------------------------------------------------------------------------------------------------------

-- It is a text. Which function is meant depends on what the function is for, so the code that takes it looks it up. It is not
-- a regprocedure, whose input needs the argument types.
CREATE TYPE en57_function;

CREATE FUNCTION en57_function_in(cstring) RETURNS en57_function
    AS 'textin' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_function_out(en57_function) RETURNS cstring
    AS 'textout' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_function_recv(internal) RETURNS en57_function
    AS 'textrecv' LANGUAGE internal STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION en57_function_send(en57_function) RETURNS bytea
    AS 'textsend' LANGUAGE internal STABLE STRICT PARALLEL SAFE;

CREATE TYPE en57_function (
    INPUT = en57_function_in,
    OUTPUT = en57_function_out,
    RECEIVE = en57_function_recv,
    SEND = en57_function_send,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
COMMENT ON TYPE en57_function IS
    'a function of yours, by its name alone or with its argument types';

CREATE FUNCTION en57_function(regprocedure) RETURNS en57_function
    AS 'MODULE_PATHNAME', 'en57_function_of' LANGUAGE c STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION en57_function(regprocedure) IS 'this function';
CREATE FUNCTION en57_function(regproc) RETURNS en57_function
    AS 'MODULE_PATHNAME', 'en57_function_of' LANGUAGE c STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION en57_function(regproc) IS 'this function';

-- No operator takes this type, so an implicit cast from text cannot change the meaning of an expression.
CREATE CAST (text AS en57_function) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (regprocedure AS en57_function) WITH FUNCTION en57_function(regprocedure) AS IMPLICIT;
CREATE CAST (regproc AS en57_function) WITH FUNCTION en57_function(regproc) AS IMPLICIT;

------------------------------------------------------------------------------------------------------
-- Events and results
------------------------------------------------------------------------------------------------------

CREATE TYPE en57_event AS (
    "position" bigint,
    id uuid,
    type text,
    data jsonb,
    meta jsonb,
    tags text[],
    stream text,
    stream_version bigint,
    schema_version integer,
    occurred_at timestamptz,
    recorded_at timestamptz,
    partition text
);
COMMENT ON TYPE en57_event IS 'an event of the log, what every read returns';

CREATE TYPE en57_outcome AS ENUM ('appended', 'repeated', 'conflict', 'nothing', 'refused');
COMMENT ON TYPE en57_outcome IS 'the outcome of an append; nothing: a decider had nothing to append; refused: by a schema or an invariant';

CREATE TYPE en57_append_result AS (
    outcome en57_outcome,
    "position" bigint,
    first_position bigint,
    stream_version bigint,
    conflicts jsonb,
    ids uuid[],
    faults jsonb
);
COMMENT ON TYPE en57_append_result IS
    'what en57_append returns: the last and first position and the ids of the appended events; or the newest conflict and the conflicting events; or the faults that schemas and invariants have found';

-- The collation is the order in which streams are listed, so that the last name of a page can be passed as "after" for the next.
CREATE TYPE en57_stream_info AS (
    stream text COLLATE "C",
    version bigint,
    first_position bigint,
    last_position bigint,
    first_recorded_at timestamptz,
    last_recorded_at timestamptz
);
COMMENT ON TYPE en57_stream_info IS 'a stream: its version, and its first and last event''s position and time';

CREATE FUNCTION en57_matches(query en57_query, event en57_event) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION en57_matches(en57_query, en57_event) IS 'whether the event matches the query';
CREATE OPERATOR @> (LEFTARG = en57_query, RIGHTARG = en57_event, FUNCTION = en57_matches);
COMMENT ON OPERATOR @> (en57_query, en57_event) IS 'whether the event matches the query';

------------------------------------------------------------------------------------------------------
-- Comments on the functions behind the operators and the types
------------------------------------------------------------------------------------------------------

COMMENT ON FUNCTION en57_function_in(cstring) IS 'input of en57_function';
COMMENT ON FUNCTION en57_function_out(en57_function) IS 'output of en57_function';
COMMENT ON FUNCTION en57_function_recv(internal) IS 'binary input of en57_function: its text';
COMMENT ON FUNCTION en57_function_send(en57_function) IS 'binary output of en57_function: its text';
COMMENT ON FUNCTION en57_query_in(cstring) IS 'input of en57_query';
COMMENT ON FUNCTION en57_query_out(en57_query) IS 'output of en57_query';
COMMENT ON FUNCTION en57_query_recv(internal) IS 'binary input of en57_query: its text';
COMMENT ON FUNCTION en57_query_send(en57_query) IS 'binary output of en57_query: its text';
COMMENT ON FUNCTION en57_query_union(en57_query, en57_query) IS 'implementation of | operator';
COMMENT ON FUNCTION en57_query_eq(en57_query, en57_query) IS 'implementation of = operator';
COMMENT ON FUNCTION en57_query_ne(en57_query, en57_query) IS 'implementation of <> operator';
COMMENT ON FUNCTION en57_query_lt(en57_query, en57_query) IS 'implementation of < operator';
COMMENT ON FUNCTION en57_query_le(en57_query, en57_query) IS 'implementation of <= operator';
COMMENT ON FUNCTION en57_query_gt(en57_query, en57_query) IS 'implementation of > operator';
COMMENT ON FUNCTION en57_query_ge(en57_query, en57_query) IS 'implementation of >= operator';
COMMENT ON FUNCTION en57_query_cmp(en57_query, en57_query) IS 'less-equal-greater';
COMMENT ON FUNCTION en57_query_hash(en57_query) IS 'hash';
COMMENT ON FUNCTION en57_query_hash_extended(en57_query, bigint) IS 'hash with a seed';
COMMENT ON OPERATOR = (en57_query, en57_query) IS 'equal';
COMMENT ON OPERATOR <> (en57_query, en57_query) IS 'not equal';
COMMENT ON OPERATOR < (en57_query, en57_query) IS 'less than';
COMMENT ON OPERATOR <= (en57_query, en57_query) IS 'less than or equal';
COMMENT ON OPERATOR > (en57_query, en57_query) IS 'greater than';
COMMENT ON OPERATOR >= (en57_query, en57_query) IS 'greater than or equal';
------------------------------------------------------------------------------------------------------
-- The key index: an access method over nbtree, one entry for each key of a row
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.keys_handler(internal) RETURNS index_am_handler
    AS 'MODULE_PATHNAME', 'en57_keys_handler' LANGUAGE c STRICT;
COMMENT ON FUNCTION en57.keys_handler(internal) IS 'handler of the access method en57_keys';
CREATE ACCESS METHOD en57_keys TYPE INDEX HANDLER en57.keys_handler;
COMMENT ON ACCESS METHOD en57_keys IS 'nbtree with an entry for each element of a bigint[] key; only en57 reads it';

-- Without operators, so that the planner can never choose such an index.
CREATE OPERATOR CLASS en57.key_array_ops DEFAULT FOR TYPE bigint[] USING en57_keys AS
    FUNCTION 1 (bigint[], bigint[]) pg_catalog.btint8cmp(bigint, bigint), STORAGE bigint;
CREATE OPERATOR CLASS en57.position_ops DEFAULT FOR TYPE bigint USING en57_keys AS
    FUNCTION 1 pg_catalog.btint8cmp(bigint, bigint);

CREATE FUNCTION en57.keys(type text, tags text[], stream text, meta jsonb) RETURNS bigint[]
    AS 'MODULE_PATHNAME', 'en57_keys' LANGUAGE c IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION en57.keys(text, text[], text, jsonb) IS 'the keys under which an event is indexed';
------------------------------------------------------------------------------------------------------
-- The log
------------------------------------------------------------------------------------------------------

-- The library knows the columns' order (src/store/row/event.rs): those of en57_event come first, as there.
CREATE TABLE en57.events (
    "position" bigint NOT NULL,
    id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    data jsonb,
    meta jsonb,
    tags text[] COLLATE "C" NOT NULL,
    stream text COLLATE "C",
    stream_version bigint,
    schema_version integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    partition text COLLATE "C" NOT NULL,
    stable bigint NOT NULL
) PARTITION BY LIST (partition);
COMMENT ON TABLE en57.events IS 'the log: one row for each event; only en57_append and imports write to it';
COMMENT ON COLUMN en57.events."position" IS 'number in the log, unique in the database';
COMMENT ON COLUMN en57.events.id IS 'the event''s id, unique in its partition';
COMMENT ON COLUMN en57.events.type IS 'event type';
COMMENT ON COLUMN en57.events.data IS 'what has happened, as JSON';
COMMENT ON COLUMN en57.events.meta IS 'metadata: correlation_id, causation_id and what the client adds';
COMMENT ON COLUMN en57.events.tags IS 'tags, sorted and without duplicates';
COMMENT ON COLUMN en57.events.stream IS 'name of the stream, if the event is in one';
COMMENT ON COLUMN en57.events.stream_version IS 'number of the event in its stream, from 1';
COMMENT ON COLUMN en57.events.schema_version IS 'version of the event''s schema';
COMMENT ON COLUMN en57.events.occurred_at IS 'when the event happened';
COMMENT ON COLUMN en57.events.recorded_at IS 'when the event was appended';
COMMENT ON COLUMN en57.events.partition IS 'name of the partition';
COMMENT ON COLUMN en57.events.stable IS 'the partition''s frontier when the position was allotted';

-- Only en57_create_partition() creates partitions; privileges.sql creates the default one at its end. Each has a table and
-- indexes of its own (src/store/log/ddl.rs), which are not members of the extension. So a dump has them as the DBA has left them.
-- There are no indexes on the partitioned table: attaching a partition in a restore would create them on the partition, before
-- the dump creates the partition's own.

-- Statistics contain sample values. They would keep what en57_erase() erases, readable for every role that may read the table.
-- en57 does not need them, because it does not use the planner. The partitions have the same setting.
ALTER TABLE en57.events ALTER COLUMN data SET STATISTICS 0, ALTER COLUMN meta SET STATISTICS 0;

CREATE SEQUENCE en57.position_ceiling AS bigint;
COMMENT ON SEQUENCE en57.position_ceiling IS
    'no position above its last value was allotted; after a restart positions begin above it';

SELECT pg_catalog.pg_extension_config_dump('en57.events', '');
SELECT pg_catalog.pg_extension_config_dump('en57.position_ceiling', '');

------------------------------------------------------------------------------------------------------
-- Events are immutable, for every role
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.guard() RETURNS trigger
    AS 'MODULE_PATHNAME', 'en57_guard' LANGUAGE c;
COMMENT ON FUNCTION en57.guard() IS 'refuses statements that would change events';

CREATE TRIGGER en57_guard BEFORE INSERT OR UPDATE OR DELETE ON en57.events
    FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();
CREATE TRIGGER en57_guard_truncate BEFORE TRUNCATE ON en57.events
    FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();
ALTER TABLE en57.events ENABLE ALWAYS TRIGGER en57_guard;
ALTER TABLE en57.events ENABLE ALWAYS TRIGGER en57_guard_truncate;

------------------------------------------------------------------------------------------------------
-- A dump contains a default partition, and CREATE EXTENSION has already created one
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.before_restore() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'en57_before_restore' LANGUAGE c;
COMMENT ON FUNCTION en57.before_restore() IS 'drops the default partition, if it is empty, when a restore creates or attaches its own';

CREATE EVENT TRIGGER en57_before_restore ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE')
    EXECUTE FUNCTION en57.before_restore();
ALTER EVENT TRIGGER en57_before_restore ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER en57_before_restore IS 'lets a restore replace the default partition';
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
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
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
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
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
------------------------------------------------------------------------------------------------------
-- Partitions
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_create_partition(name text, if_not_exists boolean DEFAULT false) RETURNS regclass
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_create_partition(text, boolean) IS 'creates a partition; returns its table';

CREATE FUNCTION en57_drop_partition(name text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_drop_partition(text) IS 'drops a partition with its events';

CREATE FUNCTION en57_detach_partition(name text) RETURNS regclass
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_detach_partition(text) IS
    'takes a partition out of the log; returns its table, which keeps its rows';

CREATE FUNCTION en57_truncate(partition text, restart boolean DEFAULT false) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_truncate(text, boolean) IS
    'empties a partition; with restart, positions begin at 1 again';

CREATE FUNCTION en57_grant(role regrole, what text, partition text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_grant(regrole, text, text) IS
    'makes a role a reader, writer or admin of a partition, or of all present and future ones';

CREATE FUNCTION en57_revoke(role regrole, what text, partition text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_revoke(regrole, text, text) IS 'revokes what en57_grant grants';

CREATE FUNCTION en57.partition_of("table" regclass) RETURNS text
    AS 'MODULE_PATHNAME', 'en57_partition_of' LANGUAGE c STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION en57.partition_of(regclass) IS 'the name of the partition that the table is; NULL for other tables';

CREATE FUNCTION en57.bytes_now("table" regclass) RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_bytes_now' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.bytes_now(regclass) IS 'the size of a table with its indexes, on disk; NULL while another transaction keeps one of them locked';

CREATE FUNCTION en57.head_now(query en57_query, partition text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_head_now' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.head_now(en57_query, text) IS
    'the frontier of a query at this moment; NULL if the caller may not read it, while another transaction keeps the partition locked, on a standby, and if logical replication fills the partition';

CREATE VIEW en57_partitions AS
SELECT p.name,
       p.oid::pg_catalog.regclass AS "table",
       pg_catalog.pg_get_userbyid(p.relowner) AS owner,
       GREATEST(p.reltuples::bigint, pg_catalog.pg_stat_get_live_tuples(p.oid)) AS events,
       en57.bytes_now(p.oid::pg_catalog.regclass) AS bytes,
       en57.head_now(NULL, p.name) AS head
  FROM (SELECT c.oid, c.relowner, c.reltuples, en57.partition_of(c.oid) AS name
          FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'en57.events'::pg_catalog.regclass) p;
COMMENT ON VIEW en57_partitions IS 'the partitions of the log';
COMMENT ON COLUMN en57_partitions.name IS 'its name; NULL if the table was attached by hand with another kind of bound';
COMMENT ON COLUMN en57_partitions."table" IS 'the table that holds its events';
COMMENT ON COLUMN en57_partitions.owner IS 'the table''s owner';
COMMENT ON COLUMN en57_partitions.events IS 'about how many events it holds, an estimate';
COMMENT ON COLUMN en57_partitions.bytes IS 'its size on disk, with its indexes; NULL while another transaction keeps it locked';
COMMENT ON COLUMN en57_partitions.head IS 'its frontier at this moment; NULL without the SELECT privilege, while another transaction keeps it locked, on a standby, and if logical replication fills it';
------------------------------------------------------------------------------------------------------
-- Event types: JSON Schemas that data and meta of new events must fit
------------------------------------------------------------------------------------------------------

-- The library knows the columns' order (src/event_type/registry.rs).
CREATE TABLE en57.event_types (
    type text COLLATE "C" NOT NULL CHECK (type OPERATOR(pg_catalog.<>) ''),
    schema_version integer NOT NULL CHECK (schema_version OPERATOR(pg_catalog.>=) 0),
    data_schema jsonb,
    meta_schema jsonb,
    registered_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (type, schema_version),
    CONSTRAINT event_types_version
        CHECK ((schema_version OPERATOR(pg_catalog.>) 0) OPERATOR(pg_catalog.=) (type OPERATOR(pg_catalog.<>) '*')),
    CONSTRAINT event_types_of_all
        CHECK (type OPERATOR(pg_catalog.<>) '*' OR (data_schema IS NULL AND meta_schema IS NOT NULL))
);
COMMENT ON TABLE en57.event_types IS 'event types with the JSON Schemas that new events of them must fit';
COMMENT ON COLUMN en57.event_types.type IS 'the type; * means all types';
COMMENT ON COLUMN en57.event_types.schema_version IS 'the version of the type; 0 for *';
COMMENT ON COLUMN en57.event_types.data_schema IS 'the JSON Schema that data must fit; NULL: none';
COMMENT ON COLUMN en57.event_types.meta_schema IS 'the JSON Schema that meta must fit, in addition to that of *; NULL: none';
COMMENT ON COLUMN en57.event_types.registered_at IS 'when it was registered, or last changed';

SELECT pg_catalog.pg_extension_config_dump('en57.event_types', '');

-- Backends cache definitions. This trigger invalidates their caches when definitions change.
CREATE FUNCTION en57.definitions_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'en57_projections_changed' LANGUAGE c;
COMMENT ON FUNCTION en57.definitions_changed() IS 'tells every backend that event types or upcasters have changed';
CREATE TRIGGER en57_definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON en57.event_types
    FOR EACH STATEMENT EXECUTE FUNCTION en57.definitions_changed();
ALTER TABLE en57.event_types ENABLE ALWAYS TRIGGER en57_definitions_changed;

CREATE FUNCTION en57_register_type(
    type text,
    schema_version integer DEFAULT NULL,
    json_schema jsonb DEFAULT NULL,
    meta_schema jsonb DEFAULT NULL,
    if_not_exists boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_register_type(text, integer, jsonb, jsonb, boolean) IS
    'registers a version of an event type, or changes the JSON Schemas that data and meta of its new events must fit';

CREATE FUNCTION en57_unregister_type(type text, schema_version integer DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_unregister_type(text, integer) IS
    'unregisters a version of an event type, or all its versions; returns how many';

CREATE FUNCTION en57_check_type(
    type text,
    schema_version integer DEFAULT NULL,
    json_schema jsonb DEFAULT NULL,
    meta_schema jsonb DEFAULT NULL,
    partition text DEFAULT '*',
    max_count bigint DEFAULT 100
) RETURNS TABLE ("position" bigint, partition_name text, version integer, faults text)
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION en57_check_type(text, integer, jsonb, jsonb, text, bigint) IS
    'the stored events of a type that would not fit its schemas, or those that are given, if they were appended now';

CREATE VIEW en57_event_types AS
SELECT t.type, t.schema_version, t.data_schema AS json_schema, t.meta_schema, t.registered_at
FROM en57.event_types t;
COMMENT ON VIEW en57_event_types IS 'event types with the JSON Schemas that new events of them must fit';
COMMENT ON COLUMN en57_event_types.type IS 'the type; * means all types';
COMMENT ON COLUMN en57_event_types.schema_version IS 'the version of the type; 0 for *';
COMMENT ON COLUMN en57_event_types.json_schema IS 'the JSON Schema that data must fit; NULL: none';
COMMENT ON COLUMN en57_event_types.meta_schema IS 'the JSON Schema that meta must fit, in addition to that of *; NULL: none';
COMMENT ON COLUMN en57_event_types.registered_at IS 'when it was registered, or last changed';
------------------------------------------------------------------------------------------------------
-- Upcasters: functions that convert old events when they are read
------------------------------------------------------------------------------------------------------

-- The library knows the columns' order (src/upcast/definitions.rs).
CREATE TABLE en57.upcasters (
    type text COLLATE "C" NOT NULL,
    from_version integer NOT NULL,
    to_type text COLLATE "C" NOT NULL,
    to_version integer NOT NULL,
    function text NOT NULL,
    search_path text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (type, from_version)
);
COMMENT ON TABLE en57.upcasters IS 'functions that convert old events into newer ones when they are read';
COMMENT ON COLUMN en57.upcasters.type IS 'the type of the events that it converts';
COMMENT ON COLUMN en57.upcasters.from_version IS 'their version';
COMMENT ON COLUMN en57.upcasters.to_type IS 'the type that they become';
COMMENT ON COLUMN en57.upcasters.to_version IS 'the version that they become';
COMMENT ON COLUMN en57.upcasters.function IS 'the function, with its schema and argument types';
COMMENT ON COLUMN en57.upcasters.search_path IS 'the search path of the function';
COMMENT ON COLUMN en57.upcasters.registered_at IS 'when it was registered';

SELECT pg_catalog.pg_extension_config_dump('en57.upcasters', '');

CREATE TRIGGER en57_definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON en57.upcasters
    FOR EACH STATEMENT EXECUTE FUNCTION en57.definitions_changed();
ALTER TABLE en57.upcasters ENABLE ALWAYS TRIGGER en57_definitions_changed;

CREATE FUNCTION en57_register_upcaster(
    type text,
    from_version integer,
    upcaster en57_function,
    to_type text DEFAULT NULL,
    to_version integer DEFAULT NULL,
    if_not_exists boolean DEFAULT false
) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_register_upcaster(text, integer, en57_function, text, integer, boolean) IS
    'lets events of a type and version be read as another one: by default the next version';

CREATE FUNCTION en57_drop_upcaster(type text, from_version integer) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_drop_upcaster(text, integer) IS
    'lets events of a type and version be read as they are stored, as before';

CREATE VIEW en57_upcasters AS
SELECT u.type, u.from_version, u.to_type, u.to_version, u.function AS upcaster, u.search_path, u.registered_at
FROM en57.upcasters u;
COMMENT ON VIEW en57_upcasters IS 'upcasters: which type and version is converted to which, and by which function';
COMMENT ON COLUMN en57_upcasters.type IS 'the type of the events that it converts';
COMMENT ON COLUMN en57_upcasters.from_version IS 'their version';
COMMENT ON COLUMN en57_upcasters.to_type IS 'the type that they become';
COMMENT ON COLUMN en57_upcasters.to_version IS 'the version that they become';
COMMENT ON COLUMN en57_upcasters.upcaster IS 'the function, with its schema and argument types';
COMMENT ON COLUMN en57_upcasters.search_path IS 'the search path of the function';
COMMENT ON COLUMN en57_upcasters.registered_at IS 'when it was registered';
------------------------------------------------------------------------------------------------------
-- Import: events that were recorded elsewhere, with their ids, times and versions
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_import(
    events jsonb, partition text DEFAULT NULL, keep_positions boolean DEFAULT false, check_types boolean DEFAULT true
)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_import(jsonb, text, boolean, boolean) IS
    'stores an array of events that were recorded elsewhere, with their ids, times, streams and versions; returns how many';

CREATE FUNCTION en57.import_rows(events en57_event[], partition text, keep_positions boolean, check_types boolean)
    RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_import_rows' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.import_rows(en57_event[], text, boolean, boolean) IS 'en57_import of rows';

CREATE TABLE en57.imports (
    name text COLLATE "C" PRIMARY KEY,
    source text NOT NULL,
    partition text COLLATE "C" NOT NULL,
    "position" bigint,
    events bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished boolean NOT NULL DEFAULT false,
    skipped bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE en57.imports IS 'imports in batches, with their progress';
COMMENT ON COLUMN en57.imports.name IS 'its name';
COMMENT ON COLUMN en57.imports.source IS 'the table, view or foreign table that it reads';
COMMENT ON COLUMN en57.imports.partition IS 'the partition that it fills';
COMMENT ON COLUMN en57.imports."position" IS 'the last position of the source that was taken; NULL: none';
COMMENT ON COLUMN en57.imports.events IS 'how many events were taken';
COMMENT ON COLUMN en57.imports.started_at IS 'when it began';
COMMENT ON COLUMN en57.imports.updated_at IS 'when its last batch was committed';
COMMENT ON COLUMN en57.imports.finished IS 'whether it has reached the end of the source';
COMMENT ON COLUMN en57.imports.skipped IS 'how many rows of the source were left out';
SELECT pg_catalog.pg_extension_config_dump('en57.imports', '');

CREATE TABLE en57.import_errors (
    import text COLLATE "C" NOT NULL,
    "position" bigint NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL,
    detail text,
    skipped_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX import_errors_import ON en57.import_errors (import, "position");
COMMENT ON TABLE en57.import_errors IS 'rows of sources that imports have left out';
COMMENT ON COLUMN en57.import_errors.import IS 'the import''s name';
COMMENT ON COLUMN en57.import_errors."position" IS 'the row''s position in the source';
COMMENT ON COLUMN en57.import_errors.sqlstate IS 'why: the SQLSTATE';
COMMENT ON COLUMN en57.import_errors.message IS 'why';
COMMENT ON COLUMN en57.import_errors.detail IS 'why: DETAIL of the error';
COMMENT ON COLUMN en57.import_errors.skipped_at IS 'when';
SELECT pg_catalog.pg_extension_config_dump('en57.import_errors', '');

CREATE VIEW en57_import_errors AS
    SELECT import, "position", sqlstate, message, detail, skipped_at FROM en57.import_errors;
COMMENT ON VIEW en57_import_errors IS 'rows of sources that imports with on_error => ''skip'' have left out, and why';
COMMENT ON COLUMN en57_import_errors.import IS 'the import''s name';
COMMENT ON COLUMN en57_import_errors."position" IS 'the row''s position in the source';
COMMENT ON COLUMN en57_import_errors.sqlstate IS 'why: the SQLSTATE';
COMMENT ON COLUMN en57_import_errors.message IS 'why';
COMMENT ON COLUMN en57_import_errors.detail IS 'why: DETAIL of the error';
COMMENT ON COLUMN en57_import_errors.skipped_at IS 'when';

CREATE VIEW en57_imports AS
    SELECT name, source, partition, "position", events,
           round(events / greatest(extract(epoch FROM updated_at - started_at), 0.001)) AS events_per_second,
           started_at, updated_at, finished, skipped
      FROM en57.imports;
COMMENT ON VIEW en57_imports IS 'imports in batches: the last position of the source that was taken, and the speed';
COMMENT ON COLUMN en57_imports.name IS 'its name';
COMMENT ON COLUMN en57_imports.source IS 'the table, view or foreign table that it reads';
COMMENT ON COLUMN en57_imports.partition IS 'the partition that it fills';
COMMENT ON COLUMN en57_imports."position" IS 'the last position of the source that was taken; NULL: none';
COMMENT ON COLUMN en57_imports.events IS 'how many events were taken';
COMMENT ON COLUMN en57_imports.events_per_second IS 'events a second, including pauses';
COMMENT ON COLUMN en57_imports.started_at IS 'when it began';
COMMENT ON COLUMN en57_imports.updated_at IS 'when its last batch was committed';
COMMENT ON COLUMN en57_imports.finished IS 'whether it has reached the end of the source';
COMMENT ON COLUMN en57_imports.skipped IS 'how many rows of the source were left out: see en57_import_errors';

-- Those columns of a source that an event has, as the fields of an en57_event, each cast to its type.
CREATE FUNCTION en57.import_columns(source regclass) RETURNS text
    LANGUAGE en57_plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    fields text;
    unknown text;
BEGIN
    IF source IS NULL THEN
        RAISE EXCEPTION 'source must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    SELECT string_agg(CASE WHEN s.attname IS NULL THEN format('NULL::%s', format_type(e.atttypid, e.atttypmod))
                           ELSE format('s.%I::%s', e.attname, format_type(e.atttypid, e.atttypmod)) END, ', ' ORDER BY e.attnum)
      INTO fields
      FROM pg_attribute AS e
      LEFT JOIN pg_attribute AS s ON s.attrelid = source AND s.attname = e.attname AND s.attnum > 0 AND NOT s.attisdropped
     WHERE e.attrelid = (SELECT typrelid FROM pg_type WHERE oid = '@extschema@.en57_event'::regtype);
    SELECT string_agg(format('%I', s.attname), ', ' ORDER BY s.attnum)
      INTO unknown
      FROM pg_attribute AS s
     WHERE s.attrelid = source AND s.attnum > 0 AND NOT s.attisdropped
       AND s.attname NOT IN (SELECT e.attname FROM pg_attribute AS e
                              WHERE e.attrelid = (SELECT typrelid FROM pg_type WHERE oid = '@extschema@.en57_event'::regtype));
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'source % has columns that no event has: %', source, unknown
            USING ERRCODE = 'undefined_column', HINT = 'Make a view of it with the columns of en57_event.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = source AND attname = 'position' AND atttypid = 'bigint'::regtype AND NOT attisdropped) THEN
        RAISE EXCEPTION 'source % has no column "position" of type bigint', source
            USING ERRCODE = 'undefined_column', HINT = 'It gives the order, and says where a resumed import goes on.';
    END IF;
    RETURN fields;
END
$$;
COMMENT ON FUNCTION en57.import_columns(regclass) IS 'the columns of a source as the fields of an en57_event';

-- The position of the first row after a position that cannot be converted to an event; NULL if no row with a position fails.
-- It reads smaller and smaller ranges of the source until it has found the row: the source's own columns can fail, too, and
-- the source can return its rows in any order.
CREATE FUNCTION en57.import_refused(source regclass, after bigint) RETURNS bigint
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    good numeric;
    bad numeric;
    middle numeric;
    has_failed boolean := false;
    look text := format('SELECT count(ROW(%s)) FROM %s AS s WHERE s."position" > $1 AND s."position" <= $2', en57.import_columns(source), source);
BEGIN
    EXECUTE format('SELECT coalesce($1, min("position")::numeric - 1), max("position") FROM %s', source) INTO good, bad USING after;
    middle := bad;
    WHILE middle > good LOOP
        BEGIN
            EXECUTE look USING greatest(good, -9223372036854775808)::bigint, middle::bigint;
            EXIT WHEN NOT has_failed AND middle = bad;
            good := middle;
        EXCEPTION WHEN data_exception THEN
            has_failed := true;
            bad := middle;
        END;
        middle := floor((good + bad) / 2);
    END LOOP;
    RETURN CASE WHEN has_failed THEN bad END;
END
$$;
COMMENT ON FUNCTION en57.import_refused(regclass, bigint) IS 'the position of the first row of a source that cannot be made an event';

-- Records that a row is left out, if the import skips rows and the row is known.
CREATE FUNCTION en57.import_skip(import text, "position" bigint, state text, message text, detail text) RETURNS boolean
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF import IS NULL OR "position" IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO en57.import_errors (import, "position", sqlstate, message, detail)
    VALUES (import_skip.import, import_skip."position", state, import_skip.message, nullif(import_skip.detail, ''));
    RETURN true;
END
$$;
COMMENT ON FUNCTION en57.import_skip(text, bigint, text, text, text) IS 'records that an import leaves a row out';

-- Stores events. If that fails in an import that skips rows, it stores them in halves, again and again, until it has found the
-- event that is refused.
CREATE FUNCTION en57.import_some(
    events en57_event[], partition text, keep_positions boolean, check_types boolean, import text, OUT taken bigint, OUT skipped bigint
)
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    half integer := cardinality(events) / 2;
    state text;
    message text;
    detail text;
    first record;
    second record;
BEGIN
    skipped := 0;
    IF import IS NULL THEN
        taken := en57.import_rows(events, partition, keep_positions, check_types);
        RETURN;
    END IF;
    BEGIN
        taken := en57.import_rows(events, partition, keep_positions, check_types);
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
        -- This error is not about the row: the same row could succeed the next time.
        IF state !~ '^(22|23)' AND state NOT IN ('54000', 'N5703', 'N5704') THEN
            RAISE;
        END IF;
        IF half = 0 THEN
            IF NOT en57.import_skip(import, events[1]."position", state, message, detail) THEN
                RAISE;
            END IF;
            taken := 0;
            skipped := 1;
            RETURN;
        END IF;
    END;
    first := en57.import_some(events[:half], partition, keep_positions, check_types, import);
    second := en57.import_some(events[half + 1:], partition, keep_positions, check_types, import);
    taken := first.taken + second.taken;
    skipped := first.skipped + second.skipped;
END
$$;
COMMENT ON FUNCTION en57.import_some(en57_event[], text, boolean, boolean, text) IS
    'stores events; an import that skips leaves out those that are refused';

-- Stores the next events of a source: this many (NULL for all), and all others with the position of the last one. It returns how
-- many there were, and the last position. With the name of an import, rows that are refused are left out.
CREATE FUNCTION en57.import_batch(
    source regclass, after bigint, batch_size integer, partition text, keep_positions boolean, check_types boolean, import text,
    OUT events bigint, OUT "position" bigint, OUT skipped bigint
)
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    event @extschema@.en57_event;
    batch @extschema@.en57_event[] := '{}';
    bytes bigint := 0;
    more boolean := true;
    room bigint := coalesce(batch_size, 9223372036854775807);
    fields text := en57.import_columns(source);
    source_rows refcursor;
    state text;
    message text;
    detail text;
    hint text;
    refused bigint;
    is_shared boolean;
    part record;
BEGIN
    events := 0;
    skipped := 0;
    import_batch."position" := after;
    WHILE more AND (room > 0 OR refused IS NOT NULL) LOOP
        IF source_rows IS NULL THEN
            -- Read the source once, in order, whether or not it has an index.
            OPEN source_rows NO SCROLL FOR EXECUTE
                format('SELECT %s FROM (SELECT * FROM %s AS source
                                         WHERE ($1 IS NULL OR "position" > $1 OR "position" IS NULL) AND ($3 IS NULL OR "position" < $3)
                                         ORDER BY "position" FETCH FIRST $2 ROWS WITH TIES) AS s', fields, source)
                USING import_batch."position", greatest(room, 1), refused;
        END IF;
        BEGIN
            LOOP
                FETCH source_rows INTO event;
                more := FOUND;
                EXIT WHEN NOT more;
                batch := batch || event;
                bytes := bytes + pg_column_size(event.data) + pg_column_size(event.meta);
                -- At most this many are in memory at a time, fewer if they are large.
                EXIT WHEN cardinality(batch) = 5000 OR bytes > 4000000;
            END LOOP;
        EXCEPTION WHEN data_exception THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            refused := en57.import_refused(source, coalesce((batch[cardinality(batch)])."position", import_batch."position"));
            EXECUTE format('SELECT count(*) > 1 FROM %s WHERE "position" = $1', source) INTO is_shared USING refused;
            IF is_shared OR NOT en57.import_skip(import, refused, state, message, detail) THEN
                detail := concat_ws(' ', nullif(detail, ''), format('Its position in the source is %s.', coalesce(refused::text, 'not known')));
                IF hint = '' THEN
                    RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail;
                END IF;
                RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail, HINT = hint;
            END IF;
            -- Rows with lower positions may not have been read yet, because a sort reads the whole source first.
            source_rows := NULL;
            skipped := skipped + 1;
            room := room - 1;
        END;
        IF batch_size IS NOT NULL AND cardinality(batch) > 0 AND (batch[cardinality(batch)])."position" IS NULL THEN
            RAISE EXCEPTION 'a row of source % has no position', source
                USING ERRCODE = 'null_value_not_allowed', HINT = 'It says where a resumed import goes on.';
        END IF;
        part := en57.import_some(batch, partition, keep_positions, check_types, import);
        events := events + part.taken;
        skipped := skipped + part.skipped;
        room := room - cardinality(batch);
        import_batch."position" := coalesce((batch[cardinality(batch)])."position", import_batch."position");
        batch := '{}';
        bytes := 0;
        IF refused IS NOT NULL AND NOT more THEN
            import_batch."position" := refused;
            refused := NULL;
            source_rows := NULL;
            more := true;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION en57.import_batch(regclass, bigint, integer, text, boolean, boolean, text) IS 'stores the next events of a source';

CREATE FUNCTION en57_import_from(
    source regclass, partition text DEFAULT NULL, keep_positions boolean DEFAULT false, check_types boolean DEFAULT true
)
    RETURNS bigint
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (en57.import_batch(source, NULL, NULL, partition, keep_positions, check_types, NULL)).events;
END
$$;
COMMENT ON FUNCTION en57_import_from(regclass, text, boolean, boolean) IS
    'imports the rows of a table or view that has columns of en57_event, in one transaction; returns how many';

CREATE PROCEDURE en57_import_in_batches(
    name text,
    source regclass,
    partition text DEFAULT NULL,
    keep_positions boolean DEFAULT false,
    batch_size integer DEFAULT 10000,
    check_types boolean DEFAULT true,
    on_error text DEFAULT 'stop'
)
    LANGUAGE en57_plpgsql
    AS $$
DECLARE
    taken record;
    known en57.imports;
    target text := coalesce(partition, nullif(pg_catalog.current_setting('en57.partition', true), ''), 'default');
BEGIN
    IF en57_import_in_batches.name IS NULL OR source IS NULL OR coalesce(batch_size, 0) NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'an import needs a name, a source, and a batch_size from 1 to 100000'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF on_error IS NULL OR on_error NOT IN ('stop', 'skip') THEN
        RAISE EXCEPTION 'on_error must be ''stop'' or ''skip''' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO en57.imports (name, source, partition)
    VALUES (en57_import_in_batches.name, source::text, target)
    ON CONFLICT DO NOTHING;
    COMMIT;
    LOOP
        -- Another session that runs the same import waits here for this batch.
        SELECT * INTO STRICT known FROM en57.imports AS i WHERE i.name = en57_import_in_batches.name FOR UPDATE;
        IF (known.source, known.partition) IS DISTINCT FROM (source::text, target) THEN
            RAISE EXCEPTION 'import % takes % into partition %', known.name, known.source, known.partition
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Choose another name, or delete its row from en57.imports.';
        END IF;
        taken := en57.import_batch(source, known."position", batch_size, target, keep_positions, check_types,
                                   CASE on_error WHEN 'skip' THEN known.name END);
        UPDATE en57.imports AS i
           SET "position" = coalesce(taken."position", i."position"), events = i.events + taken.events,
               updated_at = pg_catalog.clock_timestamp(), finished = taken.events + taken.skipped = 0,
               skipped = i.skipped + taken.skipped
         WHERE i.name = known.name;
        COMMIT;
        EXIT WHEN taken.events + taken.skipped = 0;
        RAISE NOTICE 'import %: % events%', known.name, known.events + taken.events,
            CASE WHEN known.skipped + taken.skipped > 0 THEN pg_catalog.format(', %s rows left out', known.skipped + taken.skipped) ELSE '' END;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE en57_import_in_batches(text, regclass, text, boolean, integer, boolean, text) IS
    'imports like en57_import_from, with a commit after each batch; called again it continues where it stopped';
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
------------------------------------------------------------------------------------------------------
-- What the Ruby gem En57 calls
------------------------------------------------------------------------------------------------------

CREATE TYPE en57.event AS (id uuid, type text, data jsonb, meta jsonb, tags text[]);
COMMENT ON TYPE en57.event IS 'an event as the Ruby gem En57 sends it';
CREATE TYPE en57.append_result AS ("position" bigint, conflicting_events jsonb);
COMMENT ON TYPE en57.append_result IS 'what en57.append_events returns';

CREATE FUNCTION en57.append_events(
    new_events en57.event[],
    append_condition jsonb DEFAULT '{}'
) RETURNS en57.append_result
    AS 'MODULE_PATHNAME', 'en57_gem_append_events' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.append_events(en57.event[], jsonb) IS 'appends events; called by the Ruby gem En57';

CREATE FUNCTION en57.read_events(
    criteria jsonb[],
    batch_size integer DEFAULT NULL,
    after_position bigint DEFAULT NULL
) RETURNS TABLE ("position" bigint, id uuid, type text, data jsonb, meta jsonb, tags text[])
    AS 'MODULE_PATHNAME', 'en57_gem_read_events' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57.read_events(jsonb[], integer, bigint) IS 'reads events; called by the Ruby gem En57';
------------------------------------------------------------------------------------------------------
-- Statistics
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.stat(
    OUT appends bigint,
    OUT repeated bigint,
    OUT conflicts bigint,
    OUT events bigint,
    OUT bytes bigint,
    OUT lock_waits bigint,
    OUT reads bigint,
    OUT events_read bigint,
    OUT stats_reset timestamptz
) RETURNS record
    AS 'MODULE_PATHNAME', 'en57_stat_counters' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.stat() IS 'what was appended to and read from this database''s log';

CREATE VIEW en57_stat AS SELECT * FROM en57.stat();
COMMENT ON VIEW en57_stat IS 'what was appended to and read from this database''s log since stats_reset';
COMMENT ON COLUMN en57_stat.appends IS 'appends that stored their events, including rolled-back ones';
COMMENT ON COLUMN en57_stat.repeated IS 'appends that were answered as repeated';
COMMENT ON COLUMN en57_stat.conflicts IS 'appends whose condition failed';
COMMENT ON COLUMN en57_stat.events IS 'events that were written, including imported and rolled-back ones';
COMMENT ON COLUMN en57_stat.bytes IS 'bytes of their rows, before compression';
COMMENT ON COLUMN en57_stat.lock_waits IS 'locks that an append or en57_lock had to wait for';
COMMENT ON COLUMN en57_stat.reads IS 'calls of functions that read events';
COMMENT ON COLUMN en57_stat.events_read IS 'events that these returned or counted';
COMMENT ON COLUMN en57_stat.stats_reset IS 'since when this is counted';

CREATE FUNCTION en57_stat_reset() RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION en57_stat_reset() IS 'sets the counters of en57_stat to zero';

------------------------------------------------------------------------------------------------------
-- What is wrong with the partitions' tables, according to the catalogs: no table is locked or read
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.table_faults(OUT fact text, OUT "table" oid, OUT severity text, OUT object text, OUT problem text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
WITH log AS MATERIALIZED (
    SELECT c.oid, c.relpersistence, c.relreplident, c.relnamespace, format('%I.%I', c.relnamespace::regnamespace::name, c.relname) AS name
      FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'en57.events'::regclass
), guards (name, against) AS (
    VALUES ('en57_guard', 'INSERT OR UPDATE OR DELETE'), ('en57_guard_truncate', 'TRUNCATE')
), publications AS MATERIALIZED (
    SELECT l.oid, p.pubname, p.pubupdate, p.pubtruncate, p.pubviaroot,
           -- Updates by en57_erase() fail with a row filter or column list that does not fit the replica identity, the position.
           EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid = l.oid
                      AND (r.prqual::text ~ ':varattno ([2-9]|1[0-9])' OR NOT 1 = ANY (r.prattrs))) AS is_too_narrow
      FROM log AS l, pg_publication AS p
     WHERE p.puballtables
        OR EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid IN (l.oid, 'en57.events'::regclass))
        OR EXISTS (SELECT FROM pg_publication_namespace AS n WHERE n.pnpubid = p.oid AND n.pnnspid IN (l.relnamespace, 'en57'::regnamespace))
), faults (n, fact, oid, severity, object, problem, hint) AS (
    SELECT 1, 'durable', oid, 'error', 'table ' || name,
           'it is UNLOGGED: a crash of the server empties it, and standbys do not have it',
           format('Run ALTER TABLE %s SET LOGGED.', name)
      FROM log WHERE relpersistence <> 'p'
    UNION ALL
    SELECT 2, 'guards', l.oid, 'warning', 'table ' || l.name,
           format('trigger %s is %s, so events can be changed', g.name, CASE WHEN t.oid IS NULL THEN 'missing' ELSE 'not in force' END),
           CASE WHEN t.oid IS NULL
                THEN format('Run CREATE TRIGGER %1$s BEFORE %2$s ON %3$s FOR EACH STATEMENT EXECUTE FUNCTION en57.guard(); ALTER TABLE %3$s ENABLE ALWAYS TRIGGER %1$s;', g.name, g.against, l.name)
                ELSE format('Run ALTER TABLE %s ENABLE ALWAYS TRIGGER %s.', l.name, g.name) END
      FROM log AS l CROSS JOIN guards AS g LEFT JOIN pg_trigger AS t ON t.tgrelid = l.oid AND t.tgname = g.name
     WHERE t.tgenabled IS DISTINCT FROM 'A'
    UNION ALL
    SELECT 3, 'columns', l.oid, 'error', 'table ' || l.name, 'it has other columns than en57 made: en57 does not append or read there',
           format('Call en57_check(): it says what to do.')
      FROM log AS l
     WHERE EXISTS (
        SELECT FROM (VALUES (1, 'position', 'bigint'::regtype), (2, 'id', 'uuid'), (3, 'type', 'text'), (4, 'data', 'jsonb'), (5, 'meta', 'jsonb'),
                            (6, 'tags', 'text[]'), (7, 'stream', 'text'), (8, 'stream_version', 'bigint'), (9, 'schema_version', 'integer'),
                            (10, 'occurred_at', 'timestamptz'), (11, 'recorded_at', 'timestamptz'), (12, 'partition', 'text'), (13, 'stable', 'bigint')
                    ) AS made (n, name, type)
          FULL JOIN (SELECT * FROM pg_attribute WHERE attrelid = l.oid AND attnum > 0 AND NOT (attisdropped AND attnum > 13)) AS a ON a.attnum = made.n
         WHERE (made.name, made.type::oid, '') IS DISTINCT FROM (a.attname::text, a.atttypid, a.attgenerated::text))
    UNION ALL
    SELECT 4, 'replica_identity', l.oid, 'warning', 'table ' || l.name,
           'it has no replica identity: en57_erase() fails as soon as a publication has its updates',
           coalesce((SELECT format('Run ALTER TABLE %s REPLICA IDENTITY USING INDEX %I.', l.name, x.relname)
                       FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                      WHERE i.indrelid = l.oid AND i.indisunique AND i.indkey::text = '1' AND i.indpred IS NULL AND i.indisvalid LIMIT 1),
                    'Make a unique index on position first.')
      FROM log AS l
     WHERE l.relreplident <> 'f'
       AND NOT EXISTS (SELECT FROM pg_index AS i
                        WHERE i.indrelid = l.oid
                          AND CASE l.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary ELSE false END)
    UNION ALL
    SELECT 5, 'publications', l.oid, 'warning', 'table ' || l.name,
           CASE WHEN NOT p.pubupdate THEN format('publication %I does not have its updates: subscribers keep what en57_erase() takes away', p.pubname)
                WHEN NOT p.pubtruncate THEN format('publication %I does not have TRUNCATE: subscribers keep what en57_truncate() takes away, and stop where positions begin again', p.pubname)
                WHEN p.is_too_narrow THEN format('publication %I has a row filter on other columns than position, or a list of columns without it: en57_erase() fails', p.pubname)
                ELSE format('publication %I has publish_via_partition_root: subscribers stop at what en57_erase() does', p.pubname) END,
           CASE WHEN p.is_too_narrow THEN format('Run ALTER PUBLICATION %I SET TABLE .. without them.', p.pubname)
                WHEN NOT (p.pubupdate AND p.pubtruncate)
                THEN format($h$Run ALTER PUBLICATION %I SET (publish = 'insert, update, truncate').$h$, p.pubname)
                ELSE format('Run ALTER PUBLICATION %I SET (publish_via_partition_root = false), and refresh the subscriptions.', p.pubname) END
      FROM log AS l JOIN publications AS p ON p.oid = l.oid
     WHERE NOT (p.pubupdate AND p.pubtruncate AND NOT p.pubviaroot) OR p.is_too_narrow
    UNION ALL
    SELECT 6, 'replicas', l.oid, 'warning', 'table ' || l.name,
           format('subscription %I fills it: events with lower positions may come after others, so en57 does not read or append there', s.subname),
           format('Read the table with plain SQL, or run DROP SUBSCRIPTION %I.', s.subname)
      FROM log AS l JOIN pg_subscription_rel AS r ON r.srrelid IN (l.oid, 'en57.events'::regclass) JOIN pg_subscription AS s ON s.oid = r.srsubid
    UNION ALL
    SELECT 7, 'replicas', 'en57.events'::regclass, 'warning', format('table en57.%I', c.relname),
           format('subscription %I fills it: it tells of another database', s.subname),
           format('Let the publication have en57.events alone, and run ALTER SUBSCRIPTION %I REFRESH PUBLICATION.', s.subname)
      FROM pg_subscription_rel AS r JOIN pg_class AS c ON c.oid = r.srrelid JOIN pg_subscription AS s ON s.oid = r.srsubid
     WHERE c.relnamespace = 'en57'::regnamespace AND c.oid <> 'en57.events'::regclass AND c.oid NOT IN (SELECT oid FROM log)
    UNION ALL
    -- The table is a member of the extension, so pg_dump does not dump its indexes. But it dumps those of the partitions, and
    -- commands that attach them to the missing index.
    SELECT 8, 'dumps', i.indrelid, 'warning', 'table en57.events',
           format('index %s is on the log as a whole: a dump does not have it, and the restore fails where it is to be attached to', i.indexrelid::regclass),
           format('Run DROP INDEX %s, and make it on the tables of the partitions.', i.indexrelid::regclass)
      FROM pg_index AS i WHERE i.indrelid = 'en57.events'::regclass
    UNION ALL
    SELECT 9, 'dumps', c.conrelid, 'warning', 'table en57.events',
           format('constraint %I is on the log as a whole: a dump has it on the partitions alone', c.conname),
           format('Run ALTER TABLE en57.events DROP CONSTRAINT %I, and add it to the tables of the partitions.', c.conname)
      FROM pg_constraint AS c WHERE c.conrelid = 'en57.events'::regclass AND c.contype = 'c'
    UNION ALL
    -- The default partition's table was a member before the first release.
    SELECT 10, 'dumps', l.oid, 'warning', 'table ' || l.name,
           format('it is a member of the extension %I: a dump does not have what was changed in it', e.extname),
           format('Run ALTER EXTENSION %I DROP TABLE %s: the table stays.', e.extname, l.name)
      FROM log AS l JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = l.oid AND d.deptype = 'e' JOIN pg_extension AS e ON e.oid = d.refobjid
)
SELECT fact, oid, severity, object, problem, hint FROM faults ORDER BY n, object COLLATE "C", problem COLLATE "C"
$$;
COMMENT ON FUNCTION en57.table_faults() IS 'what is wrong with the partitions'' tables, according to the catalogs';

------------------------------------------------------------------------------------------------------
-- Status
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.shared_state(
    OUT library_version text,
    OUT shared_memory text,
    OUT processes integer,
    OUT next_position bigint,
    OUT head bigint,
    OUT ceiling bigint,
    OUT problem text
) RETURNS record
    AS 'MODULE_PATHNAME', 'en57_shared_state' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.shared_state() IS 'the shared memory of this database''s log, or the problem that makes it unavailable';

CREATE FUNCTION en57.in_flight(OUT pid integer, OUT from_position bigint, OUT partition oid) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'en57_in_flight' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION en57.in_flight() IS 'the transactions that have appended and not ended';

CREATE FUNCTION en57_status(OUT name text, OUT value text, OUT warning text) RETURNS SETOF record
    LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 22
    SET search_path = pg_catalog, pg_temp
    AS $$
WITH state AS MATERIALIZED (
    SELECT s.*,
           e.extversion AS schema_version,
           a.default_version AS available_version,
           -- of 0.10.2-beta the numbers
           string_to_array(substring(s.library_version FROM '^[0-9.]*[0-9]'), '.')::int[] AS library_numbers,
           string_to_array(substring(e.extversion FROM '^[0-9.]*[0-9]'), '.')::int[] AS schema_numbers
      FROM en57.shared_state() AS s,
           pg_extension AS e LEFT JOIN pg_available_extensions AS a ON a.name = e.extname
     WHERE e.extname = 'en57'
), flight AS MATERIALIZED (
    SELECT f.pid, f.from_position, a.state, to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SSOF') AS since,
           -- this is as long as a reader of its own append would wait
           a.xact_start < clock_timestamp() - coalesce(nullif(current_setting('en57.wait_timeout')::interval, '0'), '5s') AS is_old
      FROM state, en57.in_flight() AS f LEFT JOIN pg_stat_activity AS a ON a.pid = f.pid
     WHERE state.problem IS NULL
), oldest AS (
    SELECT *, CASE WHEN state LIKE 'idle%' THEN 'is idle in its transaction since' ELSE 'has been running since' END AS does
      FROM flight ORDER BY from_position LIMIT 1
), warnings AS (
    SELECT fact, 'see warning' AS value,
           string_agg(format('%s: %s. %s', upper(left(object, 1)) || substr(object, 2), problem, hint), ' ' ORDER BY n) FILTER (WHERE n <= 3)
               || CASE WHEN count(*) > 3 THEN format(' And %s more: call en57_check().', count(*) - 3) ELSE '' END AS warning
      FROM (SELECT *, row_number() OVER (PARTITION BY fact ORDER BY object COLLATE "C", problem COLLATE "C") AS n FROM en57.table_faults()) AS f
     GROUP BY fact
), facts (n, name, value, warning) AS (
    SELECT 1, 'library_version', library_version,
           CASE WHEN available_version IS NULL THEN 'The files of the extension are missing on this server: install them again.'
                WHEN available_version <> library_version
                THEN format('Version %s is installed, but this session runs another one: connect anew; with en57 in shared_preload_libraries, restart the server.', available_version)
           END
      FROM state
    UNION ALL
    SELECT 2, 'schema_version', schema_version,
           CASE WHEN schema_numbers < library_numbers THEN format('Run ALTER EXTENSION en57 UPDATE: the library has version %s.', library_version)
                WHEN schema_version <> library_version
                THEN format('The schema is newer than the library, which has version %s: install the library of version %s.', library_version, schema_version)
           END
      FROM state
    UNION ALL
    SELECT 3, 'update_available', CASE WHEN available_version <> schema_version THEN available_version ELSE 'no' END, NULL
      FROM state
    UNION ALL
    SELECT 4, 'shared_memory', coalesce(shared_memory || format(', with room for %s processes', processes), 'none'), NULL
      FROM state
    UNION ALL
    SELECT 5, 'partitions', count(*)::text, NULL
      FROM pg_inherits WHERE inhparent = 'en57.events'::regclass
    UNION ALL
    SELECT 6, 'next_position', next_position::text, problem FROM state
    UNION ALL
    SELECT 7, 'head', head::text, NULL FROM state
    UNION ALL
    SELECT 8, 'durable_ceiling', ceiling::text, NULL FROM state
    UNION ALL
    SELECT 9, 'in_flight', CASE WHEN problem IS NULL THEN (SELECT count(*) FROM flight)::text END, NULL FROM state
    UNION ALL
    SELECT 10, 'oldest_in_flight',
           (SELECT format('process %s, %s, since %s, from position %s', pid, state, since, from_position) FROM oldest),
           (SELECT format('Process %s %s %s and keeps back readers of what it has appended, from position %s on. Let it end, call pg_terminate_backend(%s), or set idle_in_transaction_session_timeout.',
                          pid, does, since, from_position, pid)
              FROM oldest WHERE is_old AND pid <> pg_backend_pid())
    UNION ALL
    SELECT 11, 'settings',
           coalesce((SELECT string_agg(s.name || ' = ' || current_setting(s.name), ', ' ORDER BY s.name COLLATE "C")
                       FROM pg_settings AS s WHERE s.name LIKE 'en57.%' AND s.setting <> coalesce(s.boot_val, '')), 'defaults'),
           CASE WHEN current_setting('en57.max_key_locks')::int > current_setting('max_locks_per_transaction')::int
                THEN format('en57.max_key_locks is greater than max_locks_per_transaction (%s): raise that, or the lock table can become full.', current_setting('max_locks_per_transaction'))
           END
    UNION ALL
    SELECT 12, 'durability',
           format('fsync = %s, full_page_writes = %s, synchronous_commit = %s', current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')),
           CASE WHEN current_setting('fsync') = 'off' THEN 'fsync is off: a crash of the machine can destroy the database.'
                WHEN current_setting('full_page_writes') = 'off' THEN 'full_page_writes is off: a crash of the machine can damage the database.'
           END
    UNION ALL
    SELECT 13, 'autovacuum', current_setting('autovacuum'),
           CASE WHEN current_setting('autovacuum') = 'off' THEN 'autovacuum is off: what rolled-back appends leave is never taken away, and old transactions'' ids will run out.' END
    UNION ALL
    SELECT 14, 'worker', concat_ws('; ', coalesce('running, process ' || en57.worker_pid(), 'not running'),
               (SELECT format('%s events wait for async projections', sum(p.lag)) FROM @extschema@.en57_projections p
                 WHERE p.mode = 'async' AND p.status = 'running' HAVING sum(p.lag) > 0)), NULL
    UNION ALL
    -- The number is from the statistics that autovacuum uses, which every role may read.
    SELECT 15, 'snapshots', format('about %s, %s on disk', pg_stat_get_live_tuples('en57.snapshots'::regclass), coalesce(pg_size_pretty(en57.bytes_now('en57.snapshots'::regclass)), 'locked')), NULL
    UNION ALL
    -- The next en57_check() would find this too, but at a higher cost.
    SELECT 15 + k.n, k.name, coalesce(f.value, k.good), f.warning
      FROM (VALUES (1, 'durable', 'all tables'), (2, 'guards', 'in force on all tables'), (3, 'columns', 'as en57 made them'),
                   (4, 'replica_identity', 'on all tables'), (5, 'dumps', 'have the tables as they are')) AS k (n, name, good)
      LEFT JOIN warnings AS f ON f.fact = k.name
    UNION ALL
    SELECT 21, 'publications',
           coalesce((SELECT string_agg(quote_ident(p.pubname), ', ' ORDER BY p.pubname)
                       FROM pg_publication AS p
                      WHERE p.puballtables
                         OR EXISTS (SELECT FROM pg_publication_namespace AS n WHERE n.pnpubid = p.oid AND n.pnnspid = 'en57'::regnamespace)
                         OR EXISTS (SELECT FROM pg_publication_rel AS r
                                     WHERE r.prpubid = p.oid AND (r.prrelid = 'en57.events'::regclass
                                           OR r.prrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'en57.events'::regclass)))), 'none'),
           (SELECT warning FROM warnings WHERE fact = 'publications')
    UNION ALL
    SELECT 22, 'replicas', coalesce((SELECT value FROM warnings WHERE fact = 'replicas'), 'none'), (SELECT warning FROM warnings WHERE fact = 'replicas')
)
SELECT name, value, warning FROM facts ORDER BY n
$$;
COMMENT ON FUNCTION en57_status() IS 'the state of the event store, one fact a row, with a warning if something should be done';

------------------------------------------------------------------------------------------------------
-- Checking
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_check(
    partition text DEFAULT NULL,
    OUT severity text,
    OUT object text,
    OUT problem text,
    OUT hint text
) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 COST 1000000;
COMMENT ON FUNCTION en57_check(text) IS 'compares tables, indexes and shared memory; returns what is wrong, and no row if all is well';

------------------------------------------------------------------------------------------------------
-- Who may call them
------------------------------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION en57.stat(), en57_stat_reset(), en57.shared_state(), en57.in_flight(), en57.table_faults(), en57_status(), en57_check(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION en57.stat(), en57.shared_state(), en57.in_flight(), en57.table_faults(), en57_status(), en57_check(text) TO pg_monitor;
REVOKE ALL ON en57_stat FROM PUBLIC;
GRANT SELECT ON en57_stat TO pg_monitor;
------------------------------------------------------------------------------------------------------
-- Subscriptions: their tables
------------------------------------------------------------------------------------------------------

CREATE SEQUENCE en57.subscription_ids AS integer;
COMMENT ON SEQUENCE en57.subscription_ids IS 'ids of subscriptions';

CREATE TABLE en57.subscriptions (
    id integer PRIMARY KEY DEFAULT pg_catalog.nextval('en57.subscription_ids'),
    name text COLLATE "C" NOT NULL UNIQUE,
    owner text COLLATE "C" NOT NULL,
    partition text COLLATE "C" NOT NULL,
    query en57_query NOT NULL,
    max_attempts integer,
    hold_key boolean NOT NULL,
    shards integer,
    drain_to bigint,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE en57.subscriptions IS 'subscriptions; only functions change them';
COMMENT ON COLUMN en57.subscriptions.id IS 'the id by which its shards and dead letters refer to it';
COMMENT ON COLUMN en57.subscriptions.name IS 'its name';
COMMENT ON COLUMN en57.subscriptions.partition IS 'the partition of its events';
COMMENT ON COLUMN en57.subscriptions.query IS 'which events';
COMMENT ON COLUMN en57.subscriptions.created_at IS 'when it was created';
COMMENT ON COLUMN en57.subscriptions.owner IS 'the role that created it: a name, because a dump can be restored where roles have other oids';
COMMENT ON COLUMN en57.subscriptions.max_attempts IS 'after this many failed attempts an event becomes a dead letter; NULL: never';
COMMENT ON COLUMN en57.subscriptions.hold_key IS 'whether a dead letter holds back later events of its key';
COMMENT ON COLUMN en57.subscriptions.shards IS 'number of shards; NULL until it is decided, at creation or by the first call that changes a shard';
COMMENT ON COLUMN en57.subscriptions.drain_to IS 'while the number of shards is to change: the position that all of them must reach';

-- The tables have no foreign keys to each other. A parallel pg_restore can fill a table before the one that it refers to, and the
-- keys of an extension's members exist before any rows are restored. docs/architecture/subscriptions.md says what keeps shards
-- and dead letters consistent with their subscription; en57_check() verifies it.
-- Every acknowledgement updates a row, so pages keep free space for the next version of their rows.
CREATE TABLE en57.subscription_shards (
    subscription integer,
    shard integer,
    "position" bigint NOT NULL,
    delivered bigint NOT NULL,
    token bigint NOT NULL DEFAULT 1,
    holder text,
    lease interval,
    lease_until timestamptz,
    failed_position bigint,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (subscription, shard)
) WITH (fillfactor = 50);
-- Statistics would keep what en57_erase() erases.
ALTER TABLE en57.subscription_shards ALTER COLUMN last_error SET STATISTICS 0;
COMMENT ON TABLE en57.subscription_shards IS 'the position of each shard of a subscription, and its holder';
COMMENT ON COLUMN en57.subscription_shards.subscription IS 'the subscription';
COMMENT ON COLUMN en57.subscription_shards.shard IS 'the number of the shard, from 0';
COMMENT ON COLUMN en57.subscription_shards.holder IS 'the holder of the lease: a session, or the given name';
COMMENT ON COLUMN en57.subscription_shards.lease_until IS 'when the lease ends';
COMMENT ON COLUMN en57.subscription_shards.failed_position IS 'the event at which an attempt has failed, while it is not acknowledged';
COMMENT ON COLUMN en57.subscription_shards.attempts IS 'how many attempts to handle it have failed';
COMMENT ON COLUMN en57.subscription_shards.last_error IS 'the error of the last attempt';
COMMENT ON COLUMN en57.subscription_shards.updated_at IS 'when the position was last moved, or an attempt failed';
COMMENT ON COLUMN en57.subscription_shards."position" IS 'all events of the shard up to here are acknowledged, or dead letters';
COMMENT ON COLUMN en57.subscription_shards.delivered IS 'events up to here were given out under the lease';
COMMENT ON COLUMN en57.subscription_shards.token IS 'number of the lease; it grows whenever the shard is taken over';
COMMENT ON COLUMN en57.subscription_shards.lease IS 'length of a lease that en57_lease has given; NULL: the lease ends when all events are acknowledged';

CREATE TABLE en57.dead_letters (
    subscription integer,
    "position" bigint,
    shard integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('parked', 'replay', 'delivered')),
    held boolean NOT NULL,
    attempts integer NOT NULL,
    error text,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (subscription, "position")
);
ALTER TABLE en57.dead_letters ALTER COLUMN error SET STATISTICS 0;
COMMENT ON TABLE en57.dead_letters IS 'dead letters of subscriptions';
COMMENT ON COLUMN en57.dead_letters.subscription IS 'the subscription';
COMMENT ON COLUMN en57.dead_letters."position" IS 'the event';
COMMENT ON COLUMN en57.dead_letters.shard IS 'its shard';
COMMENT ON COLUMN en57.dead_letters.key IS 'its key: events of one key are in one shard';
COMMENT ON COLUMN en57.dead_letters.attempts IS 'how many attempts have failed';
COMMENT ON COLUMN en57.dead_letters.error IS 'the error of the last attempt';
COMMENT ON COLUMN en57.dead_letters.at IS 'when it became a dead letter, or last failed';
COMMENT ON COLUMN en57.dead_letters.state IS 'parked: a dead letter; replay: to be given out again; delivered: given out again, not yet acknowledged';
COMMENT ON COLUMN en57.dead_letters.held IS 'whether it is held back by an earlier dead letter of its key, and has not failed itself';
CREATE INDEX dead_letters_due ON en57.dead_letters (subscription, shard, "position") WHERE state <> 'parked';

SELECT pg_catalog.pg_extension_config_dump('en57.subscription_ids', '');
SELECT pg_catalog.pg_extension_config_dump('en57.subscriptions', '');
SELECT pg_catalog.pg_extension_config_dump('en57.subscription_shards', '');
SELECT pg_catalog.pg_extension_config_dump('en57.dead_letters', '');

------------------------------------------------------------------------------------------------------
-- Functions of the library
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.settled(query en57_query, partition text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_settled' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.settled(en57_query, text) IS 'the frontier of a query at this moment, without waiting';

CREATE FUNCTION en57.read_shard(
    query en57_query, after bigint, upto bigint, max_count bigint, shard integer, shards integer, partition text
) RETURNS SETOF en57_event
    AS 'MODULE_PATHNAME', 'en57_read_shard' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57.read_shard(en57_query, bigint, bigint, bigint, integer, integer, text) IS
    'the settled events of a shard';

CREATE FUNCTION en57.event_key(event en57_event) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN (event).stream IS NOT NULL THEN 'stream:' || (event).stream
        WHEN pg_catalog.cardinality((event).tags) > 0 THEN 'tag:' || (event).tags[1]
        ELSE 'type:' || (event).type
    END;
COMMENT ON FUNCTION en57.event_key(en57_event) IS 'the key that decides an event''s shard: its stream, or first tag, or type';

CREATE FUNCTION en57.shard_of(key text, shards integer) RETURNS integer
    AS 'MODULE_PATHNAME', 'en57_shard_of' LANGUAGE c IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION en57.shard_of(text, integer) IS 'the shard of a key';

CREATE FUNCTION en57.lock_subscription(id integer, exclusive boolean, wait boolean) RETURNS boolean
    AS 'MODULE_PATHNAME', 'en57_lock_subscription' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.lock_subscription(integer, boolean, boolean) IS 'locks a subscription until the transaction ends';

CREATE FUNCTION en57.unlock_subscription(id integer) RETURNS void
    AS 'MODULE_PATHNAME', 'en57_unlock_subscription' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.unlock_subscription(integer) IS 'releases an exclusive lock under which nothing was changed';

CREATE FUNCTION en57.lock_shard(id integer, shard integer, wait boolean) RETURNS boolean
    AS 'MODULE_PATHNAME', 'en57_lock_shard' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.lock_shard(integer, integer, boolean) IS 'locks a shard until the transaction ends';

CREATE FUNCTION en57.note_polled(id integer, shard integer, "position" bigint) RETURNS void
    AS 'MODULE_PATHNAME', 'en57_note_polled' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.note_polled(integer, integer, bigint) IS 'records up to which position the transaction was given a shard''s events';

CREATE FUNCTION en57.polled(id integer, shard integer) RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_polled' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.polled(integer, integer) IS 'up to which position the transaction, which holds the shard''s lock, was given its events; or NULL';

CREATE FUNCTION en57.note_empty_handed(name text, shard integer, is_empty boolean) RETURNS void
    AS 'MODULE_PATHNAME', 'en57_note_empty_handed' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.note_empty_handed(text, integer, boolean) IS 'records whether the session''s last poll of a shard has returned nothing';

CREATE FUNCTION en57.is_empty_handed(name text, shard integer) RETURNS boolean
    AS 'MODULE_PATHNAME', 'en57_is_empty_handed' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.is_empty_handed(text, integer) IS 'whether the session''s last poll of a shard has returned nothing';

CREATE FUNCTION en57.moved() RETURNS void
    AS 'MODULE_PATHNAME', 'en57_moved' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.moved() IS 'wakes sessions that wait for a subscription, when the transaction commits';

CREATE FUNCTION en57.complete_to() RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_complete_to' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.complete_to() IS 'the position up to which the last read of a shard was complete';

CREATE FUNCTION en57.last_read() RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_last_read' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.last_read() IS 'the last position that en57.read_shard has returned';

CREATE FUNCTION en57.ticket() RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_ticket' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.ticket() IS 'a number that stands for the current role and can be used once';

CREATE FUNCTION en57.redeem(ticket bigint) RETURNS oid
    AS 'MODULE_PATHNAME', 'en57_redeem' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.redeem(bigint) IS 'the role that a ticket stands for';

CREATE FUNCTION en57.session() RETURNS text
    AS 'MODULE_PATHNAME', 'en57_session' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.session() IS 'the session as a holder of leases';

------------------------------------------------------------------------------------------------------
-- Ownership. The functions that change the tables run with their owner's rights; events are read with the caller's rights. A
-- ticket tells the former which role has called.
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.is_owner(role oid, owner text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_has_role(role, (SELECT relowner FROM pg_class WHERE oid = 'en57.subscriptions'::regclass), 'USAGE')
        OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = owner AND pg_has_role(role, r.oid, 'USAGE'))
$$;
COMMENT ON FUNCTION en57.is_owner(oid, text) IS 'whether a role has the rights of an owner, or of the extension''s owner';

CREATE FUNCTION en57.owned(ticket bigint, name text) RETURNS en57.subscriptions
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    role oid := en57.redeem(ticket);
    s en57.subscriptions;
BEGIN
    IF name IS NULL THEN
        RAISE 'name must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    SELECT t.* INTO s FROM en57.subscriptions t WHERE t.name = owned.name;
    IF NOT FOUND THEN
        PERFORM en57.missing('subscription', name);
    END IF;
    IF pg_get_userbyid(role) <> s.owner AND NOT en57.is_owner(role, s.owner) THEN
        RAISE 'permission denied for subscription "%"', name USING ERRCODE = 'insufficient_privilege',
            HINT = format('It belongs to %s: this is for members of that role.', s.owner);
    END IF;
    RETURN s;
END
$$;
COMMENT ON FUNCTION en57.owned(bigint, text) IS 'the subscription, if the ticket''s role may use it';

CREATE FUNCTION en57.describe(ticket bigint, name text, OUT query en57_query, OUT partition text,
    OUT max_attempts integer, OUT hold_key boolean, OUT shards integer, OUT "position" bigint)
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s en57.subscriptions := en57.owned(ticket, name);
BEGIN
    query := s.query;
    partition := s.partition;
    max_attempts := s.max_attempts;
    hold_key := s.hold_key;
    shards := s.shards;
    "position" := (SELECT min(t."position") FROM en57.subscription_shards t WHERE t.subscription = s.id);
END
$$;
COMMENT ON FUNCTION en57.describe(bigint, text) IS 'the definition of a subscription, and the position of its last shard';

-- The administering functions begin with this: it waits until nobody polls, and keeps pollers out.
CREATE FUNCTION en57.owned_alone(ticket bigint, name text) RETURNS en57.subscriptions
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s en57.subscriptions := en57.owned(ticket, name);
BEGIN
    PERFORM en57.lock_subscription(s.id, true, true);
    SELECT t.* INTO s FROM en57.subscriptions t WHERE t.id = s.id;
    IF NOT FOUND THEN
        PERFORM en57.missing('subscription', name);
    END IF;
    RETURN s;
END
$$;
COMMENT ON FUNCTION en57.owned_alone(bigint, text) IS 'the subscription, locked exclusively, if the ticket''s role may use it';

-- en57 itself never loses shards. They can be missing after a failed restore, or a DELETE by hand.
CREATE FUNCTION en57.demand_shards(s en57.subscriptions) RETURNS void
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    there integer := (SELECT count(*) FROM en57.subscription_shards t
                       WHERE t.subscription = s.id AND t.shard < coalesce(s.shards, 1));
BEGIN
    IF there <> coalesce(s.shards, 1) THEN
        RAISE 'subscription "%" has lost its position', s.name USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = format('Of %s shards en57.subscription_shards has %s.', coalesce(s.shards, 1), there),
            HINT = 'Restore that table from the dump. Or drop the subscription and create it again, with the position from which to go on as start.';
    END IF;
END
$$;
COMMENT ON FUNCTION en57.demand_shards(en57.subscriptions) IS 'raises an error if shards of a subscription are missing';

------------------------------------------------------------------------------------------------------
-- Creating, dropping, resetting
------------------------------------------------------------------------------------------------------

-- If two sessions create the same name at once, the second one waits here.
CREATE FUNCTION en57.add_subscription(
    ticket bigint, name text, query en57_query, "position" bigint, max_attempts integer, partition text, hold_key boolean, shards integer
) RETURNS boolean
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    owner text := pg_get_userbyid(en57.redeem(ticket));
    new en57.subscriptions;
BEGIN
    INSERT INTO en57.subscriptions (name, owner, partition, query, max_attempts, hold_key)
    VALUES (name, owner, partition, query, max_attempts, hold_key)
    ON CONFLICT DO NOTHING
    RETURNING * INTO new;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO en57.subscription_shards (subscription, shard, "position", delivered)
    VALUES (new.id, 0, "position", "position");
    IF shards IS NOT NULL THEN
        PERFORM en57.decide_shards(new, shards);
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION en57.add_subscription(bigint, text, en57_query, bigint, integer, text, boolean, integer) IS
    'stores a new subscription, unless one of the name exists; returns whether it has';

CREATE FUNCTION en57.is_to_change(
    kind text, name text, differs_in text[], is_elsewhere boolean, if_not_exists boolean, or_replace boolean
) RETURNS boolean
    AS 'MODULE_PATHNAME', 'en57_is_to_change' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.is_to_change(text, text, text[], boolean, boolean, boolean) IS
    'whether an existing object is to be changed to what is asked for; NULL if it is not known to exist, after the last two arguments were checked';

CREATE FUNCTION en57_create_subscription(
    name text,
    query en57_query DEFAULT NULL,
    start text DEFAULT 'beginning',
    max_attempts integer DEFAULT 10,
    partition text DEFAULT NULL,
    hold_key boolean DEFAULT false,
    shards integer DEFAULT NULL,
    if_not_exists boolean DEFAULT false,
    or_replace boolean DEFAULT false
) RETURNS bigint
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    place text := coalesce(partition, nullif(current_setting('en57.partition', true), ''), 'default');
    head bigint;
    "from" bigint;
    was record;
    differs_in text[];
BEGIN
    PERFORM en57.is_to_change('subscription', name, NULL, NULL, if_not_exists, or_replace);
    IF name IS NULL OR start IS NULL OR hold_key IS NULL THEN
        RAISE 'name, start and hold_key must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    ELSIF name = '' THEN
        RAISE 'the name must not be empty' USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(name) > 255 THEN
        RAISE 'the name must not be longer than 255 bytes' USING ERRCODE = 'program_limit_exceeded';
    ELSIF max_attempts < 1 THEN
        RAISE 'max_attempts must be positive, or NULL for no limit' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM en57.check_shard(0, coalesce(shards, 1));
    head := en57.settled(query, place);
    "from" := CASE
        WHEN start = 'beginning' THEN 0
        WHEN start = 'end' THEN head
        WHEN start ~ '^[0-9]{1,18}$' THEN start::bigint
    END;
    IF "from" IS NULL THEN
        RAISE 'start must be beginning, end or a position' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'en57_position_at() tells the position of a time.';
    ELSIF "from" > head THEN
        RAISE 'position % is beyond the head, %', "from", head USING ERRCODE = 'invalid_parameter_value';
    END IF;
    query := coalesce(query, '{}');
    LOOP
        IF en57.add_subscription(en57.ticket(), name, query, "from", max_attempts, place, hold_key, shards) THEN
            RETURN "from";
        END IF;
        IF NOT if_not_exists AND NOT or_replace THEN
            -- This is refused, whoever owns the subscription.
            PERFORM en57.is_to_change('subscription', name, '{}', false, false, false);
        END IF;
        BEGIN
            SELECT * INTO was FROM en57.describe(en57.ticket(), name);
            EXIT;
        EXCEPTION WHEN undefined_object THEN
            NULL; -- The subscription was dropped meanwhile.
        END;
    END LOOP;
    IF was.partition <> place THEN
        differs_in := '{partition}';
    ELSE
        differs_in := array_remove(ARRAY[
            CASE WHEN query OPERATOR(@extschema@.<>) was.query THEN 'query' END,
            CASE WHEN max_attempts IS DISTINCT FROM was.max_attempts THEN 'max_attempts' END,
            CASE WHEN hold_key <> was.hold_key THEN 'hold_key' END,
            CASE WHEN shards IS NOT NULL AND shards IS DISTINCT FROM was.shards THEN 'shards' END], NULL);
    END IF;
    IF en57.is_to_change('subscription', name, differs_in, was.partition <> place, if_not_exists, or_replace) THEN
        PERFORM @extschema@.en57_alter_subscription(name, query, max_attempts, hold_key, shards);
    END IF;
    RETURN was."position";
END
$$;
COMMENT ON FUNCTION en57_create_subscription(text, en57_query, text, integer, text, boolean, integer, boolean, boolean) IS
    'creates a subscription of the matching events; returns the position after which it starts';

CREATE FUNCTION en57.change_subscription(
    ticket bigint, name text, query en57_query, max_attempts integer, hold_key boolean, shards integer
) RETURNS void
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned_alone(ticket, name);
BEGIN
    PERFORM en57.demand_shards(s);
    IF query OPERATOR(@extschema@.<>) s.query THEN
        -- The old query has chosen the events that are given out. Acknowledging them would skip events of the new query.
        UPDATE en57.subscription_shards t
           SET delivered = t."position", token = t.token + 1, holder = NULL, lease = NULL, lease_until = NULL,
               failed_position = NULL, attempts = 0, last_error = NULL
         WHERE t.subscription = s.id;
        PERFORM en57.note_polled(s.id, t.shard, t."position") FROM en57.subscription_shards t
          WHERE t.subscription = s.id AND en57.polled(s.id, t.shard) IS NOT NULL;
        UPDATE en57.subscriptions t SET query = change_subscription.query WHERE t.id = s.id;
        PERFORM en57.moved();
    END IF;
    IF max_attempts = -1 THEN
        max_attempts := s.max_attempts;
    END IF;
    UPDATE en57.subscriptions t
       SET max_attempts = change_subscription.max_attempts, hold_key = coalesce(change_subscription.hold_key, t.hold_key)
     WHERE t.id = s.id AND (t.max_attempts IS DISTINCT FROM change_subscription.max_attempts OR t.hold_key <> change_subscription.hold_key);
    IF shards IS NOT NULL THEN
        PERFORM en57.decide_shards(s, shards);
    END IF;
END
$$;
COMMENT ON FUNCTION en57.change_subscription(bigint, text, en57_query, integer, boolean, integer) IS
    'changes a subscription while nobody polls it, except a number of shards that is already decided';

CREATE FUNCTION en57_alter_subscription(
    name text,
    query en57_query DEFAULT NULL,
    max_attempts integer DEFAULT -1,
    hold_key boolean DEFAULT NULL,
    shards integer DEFAULT NULL
) RETURNS boolean
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s record;
BEGIN
    IF max_attempts < 1 AND max_attempts <> -1 THEN
        RAISE 'max_attempts must be positive, or NULL for no limit' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM en57.check_shard(0, coalesce(shards, 1));
    SELECT * INTO s FROM en57.describe(en57.ticket(), name);
    IF query IS NOT NULL THEN
        -- Choosing other events needs the right to read them, as creating a subscription does.
        PERFORM en57.settled(query, s.partition);
    END IF;
    PERFORM en57.change_subscription(en57.ticket(), name, query, max_attempts, hold_key, shards);
    RETURN shards IS NULL OR @extschema@.en57_reshard(name, shards);
END
$$;
COMMENT ON FUNCTION en57_alter_subscription(text, en57_query, integer, boolean, integer) IS
    'changes a subscription, whose position stays; false: the number of shards changes when all shards have reached one position';

CREATE FUNCTION en57.remove_subscription(ticket bigint, name text) RETURNS void
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s en57.subscriptions := en57.owned_alone(ticket, name);
BEGIN
    -- Shards are deleted first, because adding a dead letter changes its shard: if this transaction does not see the letter, it
    -- fails at the shard.
    DELETE FROM en57.subscription_shards t WHERE t.subscription = s.id;
    DELETE FROM en57.dead_letters t WHERE t.subscription = s.id;
    DELETE FROM en57.subscriptions t WHERE t.id = s.id;
    PERFORM en57.moved();
END
$$;
COMMENT ON FUNCTION en57.remove_subscription(bigint, text) IS 'removes a subscription';

CREATE FUNCTION en57_drop_subscription(name text) RETURNS void
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM en57.remove_subscription(en57.ticket(), name);
END
$$;
COMMENT ON FUNCTION en57_drop_subscription(text) IS
    'drops a subscription with its positions and dead letters; waits until nobody is polling';

CREATE FUNCTION en57.move_subscription(ticket bigint, name text, "position" bigint) RETURNS void
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned_alone(ticket, name);
BEGIN
    PERFORM en57.demand_shards(s);
    UPDATE en57.subscriptions t SET drain_to = NULL WHERE t.id = s.id AND t.drain_to IS NOT NULL;
    UPDATE en57.subscription_shards t
       SET "position" = move_subscription."position", delivered = move_subscription."position", token = t.token + 1, holder = NULL, lease = NULL,
           lease_until = NULL, failed_position = NULL, attempts = 0, last_error = NULL, updated_at = clock_timestamp()
     WHERE t.subscription = s.id;
    -- These events are given out again, so they are no longer dead letters.
    DELETE FROM en57.dead_letters t WHERE t.subscription = s.id AND t."position" > move_subscription."position";
    PERFORM en57.moved();
END
$$;
COMMENT ON FUNCTION en57.move_subscription(bigint, text, bigint) IS 'sets all shards of a subscription to a position';

CREATE FUNCTION en57_reset_subscription(name text, "position" bigint) RETURNS void
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s record;
    head bigint;
BEGIN
    SELECT * INTO s FROM en57.describe(en57.ticket(), name);
    IF "position" IS NULL THEN
        RAISE 'position must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    ELSIF "position" < 0 THEN
        RAISE 'position must not be negative' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    head := en57.settled(s.query, s.partition);
    IF "position" > head THEN
        RAISE 'position % is beyond the head, %', "position", head USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM en57.move_subscription(en57.ticket(), name, "position");
END
$$;
COMMENT ON FUNCTION en57_reset_subscription(text, bigint) IS
    'moves all shards of a subscription to a position, and ends their leases';

CREATE FUNCTION en57_wait_subscription(
    name text,
    "position" bigint DEFAULT NULL,
    timeout interval DEFAULT '30s'
) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_wait_subscription(text, bigint, interval) IS
    'sleeps until all events of a subscription up to a position (by default: all that exist) are acknowledged or dead letters, or the time is over; returns whether they are';
------------------------------------------------------------------------------------------------------
-- The number of shards
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.split_subscription(id integer, shards integer, "position" bigint) RETURNS void
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    last_token bigint;
BEGIN
    UPDATE en57.subscriptions t SET shards = split_subscription.shards, drain_to = NULL WHERE t.id = split_subscription.id;
    -- Tokens continue to grow, so that a token of a former shard is never valid for a new one.
    SELECT max(t.token) + 1 INTO last_token FROM en57.subscription_shards t WHERE t.subscription = id;
    DELETE FROM en57.subscription_shards t WHERE t.subscription = id;
    INSERT INTO en57.subscription_shards (subscription, shard, "position", delivered, token)
    SELECT id, n, "position", "position", last_token FROM generate_series(0, shards - 1) n;
    UPDATE en57.dead_letters t SET shard = en57.shard_of(t.key, shards),
           state = CASE t.state WHEN 'delivered' THEN 'replay' ELSE t.state END
     WHERE t.subscription = id;
END
$$;
COMMENT ON FUNCTION en57.split_subscription(integer, integer, bigint) IS 'gives a subscription this number of shards, all at one position';

-- The first call that changes a shard decides the number of shards. Until then there is one shard, at the start. A poll for the
-- only shard decides nothing: the lock of the shard keeps other pollers out, as always. A poll for one of several shards stores
-- them when it is given events, and then holds the whole subscription until its transaction ends. Other polls find it held,
-- and wait no longer than they ask for.
CREATE FUNCTION en57.decide_shards(s en57.subscriptions, shards integer) RETURNS void
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF s.shards IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM en57.demand_shards(s);
    IF shards = 1 THEN
        UPDATE en57.subscriptions t SET shards = 1 WHERE t.id = s.id AND t.shards IS NULL;
    ELSE
        PERFORM en57.split_subscription(s.id, shards, r."position") FROM en57.subscription_shards r WHERE r.subscription = s.id;
    END IF;
END
$$;
COMMENT ON FUNCTION en57.decide_shards(en57.subscriptions, integer) IS
    'gives a subscription its number of shards, if it has none; the caller has called en57.join_shard';

CREATE FUNCTION en57.join_shard(id integer, name text, shard integer, shards integer, wait boolean) RETURNS en57.subscriptions
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions;
    alone boolean;
BEGIN
    LOOP
        SELECT t.* INTO s FROM en57.subscriptions t WHERE t.id = join_shard.id;
        alone := s.shards IS NULL AND shards > 1;
        IF NOT en57.lock_subscription(id, alone, wait) THEN
            RETURN NULL;
        END IF;
        -- Read it again, now that nobody can change it.
        SELECT t.* INTO s FROM en57.subscriptions t WHERE t.id = join_shard.id;
        IF NOT FOUND THEN
            PERFORM en57.missing('subscription', name);
        END IF;
        EXIT WHEN NOT alone OR s.shards IS NULL;
        -- Another session has decided it meanwhile, so nobody needs to be kept out.
        PERFORM en57.unlock_subscription(id);
    END LOOP;
    PERFORM en57.check_shards(s, shards);
    IF NOT en57.lock_shard(id, shard, wait) THEN
        RETURN NULL;
    END IF;
    RETURN s;
END
$$;
COMMENT ON FUNCTION en57.join_shard(integer, text, integer, integer, boolean) IS
    'locks a shard until the transaction ends; NULL if another transaction holds it. Locks all shards if their number is to be decided';

CREATE FUNCTION en57.begin_reshard(ticket bigint, name text, shards integer, OUT drain_to bigint, OUT was integer, OUT positions bigint[])
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned_alone(ticket, name);
BEGIN
    PERFORM en57.demand_shards(s);
    -- Events that are given out under a lease can still be acknowledged.
    SELECT coalesce(s.drain_to, max(greatest(t."position", CASE WHEN t.holder IS NOT NULL THEN t.delivered END))),
           array_agg(t."position" ORDER BY t.shard)
      INTO drain_to, positions FROM en57.subscription_shards t WHERE t.subscription = s.id;
    was := coalesce(s.shards, 1);
    IF was = shards THEN
        drain_to := NULL; -- the change is cancelled
    END IF;
    UPDATE en57.subscriptions t SET drain_to = begin_reshard.drain_to
     WHERE t.id = s.id AND t.drain_to IS DISTINCT FROM begin_reshard.drain_to;
END
$$;
COMMENT ON FUNCTION en57.begin_reshard(bigint, text, integer) IS 'limits polls to the position that all shards must reach';

CREATE FUNCTION en57.finish_reshard(ticket bigint, name text, shards integer) RETURNS void
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned_alone(ticket, name);
BEGIN
    PERFORM en57.split_subscription(s.id, shards, s.drain_to);
END
$$;
COMMENT ON FUNCTION en57.finish_reshard(bigint, text, integer) IS 'changes the number of shards, after all of them have reached one position';

CREATE FUNCTION en57_reshard(name text, shards integer) RETURNS boolean
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s record;
    r record;
BEGIN
    PERFORM en57.check_shard(0, shards);
    SELECT * INTO r FROM en57.begin_reshard(en57.ticket(), name, shards);
    IF r.was = shards THEN
        RETURN true;
    END IF;
    -- Read it again, now that nobody can change it.
    SELECT * INTO s FROM en57.describe(en57.ticket(), name);
    FOR n IN 1 .. r.was LOOP
        IF r.positions[n] < r.drain_to AND EXISTS (
            SELECT FROM en57.read_shard(s.query, r.positions[n], r.drain_to, 1, n - 1, r.was, s.partition))
        THEN
            RETURN false;
        END IF;
    END LOOP;
    PERFORM en57.finish_reshard(en57.ticket(), name, shards);
    RETURN true;
END
$$;
COMMENT ON FUNCTION en57_reshard(text, integer) IS
    'changes the number of shards, if all of them are at one position; otherwise polls return no events beyond the farthest one until all have reached it';

CREATE FUNCTION en57.check_shard(shard integer, shards integer) RETURNS void
    LANGUAGE en57_plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF shard IS NULL OR shards IS NULL THEN
        RAISE 'shard and shards must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    ELSIF shards NOT BETWEEN 1 AND 1024 THEN
        RAISE 'shards must be from 1 to 1024' USING ERRCODE = 'invalid_parameter_value';
    ELSIF shard NOT BETWEEN 0 AND shards - 1 THEN
        RAISE 'shard % does not exist', shard USING ERRCODE = 'invalid_parameter_value',
            DETAIL = format('Of %s shards the first is 0 and the last %s.', shards, shards - 1);
    END IF;
END
$$;
COMMENT ON FUNCTION en57.check_shard(integer, integer) IS 'raises an error if a shard''s number is not valid';

CREATE FUNCTION en57.check_shards(s en57.subscriptions, shards integer) RETURNS void
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- NULL if the number is not decided: then any number is accepted.
    IF s.shards <> shards THEN
        RAISE 'subscription "%" has % shards, not %', s.name, s.shards, shards
            USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Call en57_reshard to change their number.';
    END IF;
END
$$;
COMMENT ON FUNCTION en57.check_shards(en57.subscriptions, integer) IS 'raises an error if the number of shards is not that of the subscription';
------------------------------------------------------------------------------------------------------
-- Polling
------------------------------------------------------------------------------------------------------

-- Locks the shard, if it is free, or becomes free within the patience, and returns what to read.
-- outcome: 'mine'; 'held' by another transaction; 'leased' by another holder, "until" a time. fresh: the number of shards is
-- not decided yet; this poll decides it if there are events.
CREATE FUNCTION en57.hold_shard(
    ticket bigint, name text, shard integer, shards integer, patience interval, token bigint,
    OUT outcome text, OUT id integer, OUT query en57_query, OUT partition text, OUT "position" bigint, OUT drain_to bigint,
    OUT hold_key boolean, OUT careful boolean, OUT "until" timestamptz, OUT renew_at timestamptz, OUT fresh boolean
)
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned(ticket, name);
    r en57.subscription_shards;
    mine text := en57.session();
BEGIN
    id := s.id;
    s := en57.join_shard(id, name, shard, shards, false);
    IF s.id IS NULL THEN
        outcome := 'held';
        IF patience <= '0' THEN
            RETURN;
        END IF;
        PERFORM set_config('lock_timeout',
            least(ceil(extract(epoch FROM patience) * 1000), 2147483647)::bigint::text, true);
        BEGIN
            s := en57.join_shard(id, name, shard, shards, true);
        EXCEPTION WHEN lock_not_available THEN
            RETURN;
        END;
    END IF;
    fresh := s.shards IS NULL AND shards > 1;
    SELECT t.* INTO r FROM en57.subscription_shards t
     WHERE t.subscription = s.id AND t.shard = CASE WHEN fresh THEN 0 ELSE hold_shard.shard END;
    IF NOT FOUND THEN
        PERFORM en57.demand_shards(s);
    END IF;
    IF token IS NOT NULL THEN
        PERFORM en57.check_token(name, shard, r.token, token);
    ELSIF r.holder <> mine AND r.lease_until > clock_timestamp() THEN
        outcome := 'leased';
        "until" := r.lease_until;
        RETURN;
    END IF;
    outcome := 'mine';
    query := s.query;
    partition := s.partition;
    "position" := r."position";
    drain_to := s.drain_to;
    hold_key := s.hold_key;
    IF r.lease IS NOT NULL AND (token IS NOT NULL OR r.holder = mine) THEN
        renew_at := r.lease_until - r.lease / 2;
    END IF;
    careful := EXISTS (
        SELECT FROM en57.dead_letters d
         WHERE d.subscription = s.id AND d.shard = hold_shard.shard
           AND (d.state <> 'parked' OR s.hold_key OR d."position" > r."position"));
END
$$;
COMMENT ON FUNCTION en57.hold_shard(bigint, text, integer, integer, interval, bigint) IS
    'locks a shard until the transaction ends, unless another holder has it';

CREATE FUNCTION en57.check_token(name text, shard integer, current_token bigint, token bigint) RETURNS void
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF token IS DISTINCT FROM current_token OR token < 1 THEN
        RAISE 'the lease on shard % of subscription "%" is lost', shard, name USING ERRCODE = 'N5705',
            DETAIL = 'It was taken over, or ended, after this one was given.',
            HINT = 'Take the shard again: what was not acknowledged is given out again.';
    END IF;
END
$$;
COMMENT ON FUNCTION en57.check_token(text, integer, bigint, bigint) IS 'raises an error if the lease was taken over';

-- After a poll that has found events: records what was given out, for this transaction or under the lease.
CREATE FUNCTION en57.give_out(
    ticket bigint, name text, shard integer, shards integer, upto bigint, leased boolean, lease interval, token bigint, replayed bigint[]
) RETURNS void
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned(ticket, name);
    mine text := en57.session();
BEGIN
    IF replayed <> '{}' THEN
        UPDATE en57.dead_letters t SET state = 'delivered'
         WHERE t.subscription = s.id AND t."position" = ANY (replayed) AND t.state = 'replay';
    END IF;
    IF leased OR shards > 1 THEN
        PERFORM en57.decide_shards(s, shards);
    END IF;
    IF NOT leased THEN
        PERFORM en57.note_polled(s.id, shard, upto);
        RETURN;
    END IF;
    PERFORM en57.lock_shard(s.id, shard, true);
    UPDATE en57.subscription_shards t
       SET token = t.token + CASE WHEN give_out.token IS NULL AND t.holder IS DISTINCT FROM mine THEN 1 ELSE 0 END,
           holder = CASE WHEN give_out.token IS NULL THEN mine ELSE coalesce(t.holder, mine) END,
           lease = CASE WHEN give_out.token IS NOT NULL OR t.holder = mine THEN t.lease END,
           lease_until = clock_timestamp() + coalesce(give_out.lease, t.lease, '0'),
           delivered = upto
     WHERE t.subscription = s.id AND t.shard = give_out.shard;
END
$$;
COMMENT ON FUNCTION en57.give_out(bigint, text, integer, integer, bigint, boolean, interval, bigint, bigint[]) IS
    'records the position up to which a shard''s events were given out';

-- Sometimes after a poll that has found no events: stores where the next poll can begin, and renews the lease.
CREATE FUNCTION en57.move_on(
    ticket bigint, name text, shard integer, shards integer, "from" bigint, upto bigint, token bigint, query en57_query
) RETURNS void
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned(ticket, name);
BEGIN
    IF en57.lock_subscription(s.id, false, false) AND en57.lock_shard(s.id, shard, false) THEN
        -- This range has no events for this shard, but can have some for another number of shards, or for another query.
        SELECT t.* INTO s FROM en57.subscriptions t WHERE t.id = s.id;
        IF s.shards <> shards OR s.query OPERATOR(@extschema@.<>) query THEN
            RETURN;
        END IF;
        UPDATE en57.subscription_shards t
           SET "position" = greatest(t."position", upto), delivered = greatest(t.delivered, upto), updated_at = clock_timestamp(),
               lease_until = CASE WHEN t.lease IS NOT NULL AND (move_on.token IS NOT NULL OR t.holder = en57.session())
                              THEN clock_timestamp() + t.lease ELSE t.lease_until END
         WHERE t.subscription = s.id AND t.shard = move_on.shard AND t."position" = "from"
           AND CASE WHEN move_on.token IS NOT NULL THEN t.token = move_on.token
                    ELSE t.holder IS NULL OR t.holder = en57.session() OR t.lease_until <= clock_timestamp() END;
    END IF;
END
$$;
COMMENT ON FUNCTION en57.move_on(bigint, text, integer, integer, bigint, bigint, bigint, en57_query) IS
    'moves a shard''s position beyond events that do not belong to it';

-- The next events of a shard with dead letters that a poll must consider: those to be given out again and new ones, by position;
-- and the events that a dead letter of their key holds back.
CREATE FUNCTION en57.due(ticket bigint, name text, shard integer, "position" bigint,
    OUT replay bigint[], OUT known bigint[], OUT parked text[])
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s en57.subscriptions := en57.owned(ticket, name);
BEGIN
    SELECT coalesce(array_agg(t."position" ORDER BY t."position") FILTER (WHERE t.state <> 'parked'), '{}'),
           coalesce(array_agg(t."position") FILTER (WHERE t."position" > due."position"), '{}'),
           coalesce(array_agg(DISTINCT t.key) FILTER (WHERE t.state = 'parked' AND s.hold_key), '{}')
      INTO replay, known, parked
      FROM en57.dead_letters t WHERE t.subscription = s.id AND t.shard = due.shard;
END
$$;
COMMENT ON FUNCTION en57.due(bigint, text, integer, bigint) IS 'the dead letters that a poll must consider';

CREATE FUNCTION en57.sift(
    name text, query en57_query, partition text, "position" bigint, upto bigint, max_count bigint, shard integer, shards integer,
    OUT events en57_event[], OUT replayed bigint[], OUT held bigint[], OUT keys text[], OUT complete_to bigint
)
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    letters record;
    next integer := 1;
    after bigint := "position";
    chunk bigint := greatest(max_count, 100);
    event record;
    n bigint;
BEGIN
    events := '{}';
    replayed := '{}';
    held := '{}';
    keys := '{}';
    SELECT * INTO letters FROM en57.due(en57.ticket(), name, shard, "position");
    LOOP
        n := 0;
        FOR event IN SELECT e, e."position" AS place FROM en57.read_shard(query, after, upto, chunk, shard, shards, partition) e LOOP
            IF n = 0 THEN
                complete_to := en57.complete_to();
            END IF;
            n := n + 1;
            after := event.place;
            WHILE letters.replay[next] < after AND cardinality(events) < max_count LOOP
                events := events || ARRAY(SELECT en57.read_shard(NULL, letters.replay[next] - 1, letters.replay[next], 1, 0, 1, partition));
                replayed := replayed || letters.replay[next];
                next := next + 1;
            END LOOP;
            IF cardinality(events) >= max_count THEN
                RETURN;
            ELSIF after = ANY (letters.known) THEN
                CONTINUE;
            ELSIF en57.event_key(event.e) = ANY (letters.parked) THEN
                held := held || after;
                keys := keys || en57.event_key(event.e);
            ELSE
                events := events || event.e;
            END IF;
        END LOOP;
        IF n = 0 THEN
            complete_to := en57.complete_to();
        END IF;
        EXIT WHEN n < chunk;
    END LOOP;
    WHILE next <= cardinality(letters.replay) AND cardinality(events) < max_count LOOP
        events := events || ARRAY(SELECT en57.read_shard(NULL, letters.replay[next] - 1, letters.replay[next], 1, 0, 1, partition));
        replayed := replayed || letters.replay[next];
        next := next + 1;
    END LOOP;
END
$$;
COMMENT ON FUNCTION en57.sift(text, en57_query, text, bigint, bigint, bigint, integer, integer) IS
    'the next events of a shard that has dead letters';

CREATE FUNCTION en57.hold_back(ticket bigint, name text, shard integer, positions bigint[], keys text[]) RETURNS void
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned(ticket, name);
BEGIN
    -- This update changes nothing. It makes a conflict with a transaction that drops the subscription without seeing these dead
    -- letters: one of the two fails.
    UPDATE en57.subscription_shards t SET delivered = t.delivered WHERE t.subscription = s.id AND t.shard = hold_back.shard;
    IF NOT FOUND THEN
        RAISE 'shard % of subscription "%" does not exist', shard, name
            USING ERRCODE = 'undefined_object', HINT = 'The view en57_subscriptions shows all that are yours.';
    END IF;
    INSERT INTO en57.dead_letters (subscription, "position", shard, key, state, held, attempts)
    SELECT s.id, h."position", shard, h.key, 'parked', true, 0 FROM unnest(positions, keys) AS h ("position", key)
    ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION en57.hold_back(bigint, text, integer, bigint[], text[]) IS 'turns events into dead letters because an earlier event of their key is one';

CREATE FUNCTION en57_poll(
    name text,
    max_count bigint DEFAULT 100,
    wait interval DEFAULT '0',
    shard integer DEFAULT 0,
    shards integer DEFAULT 1,
    lease interval DEFAULT NULL,
    token bigint DEFAULT NULL
) RETURNS SETOF en57_event
    LANGUAGE en57_plpgsql ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    deadline timestamptz := clock_timestamp() + wait;
    left_over interval;
    h record;
    events @extschema@.en57_event[];
    replayed bigint[];
    held bigint[];
    keys text[];
    upto bigint;
    given bigint;
    n bigint;
BEGIN
    PERFORM en57.check_shard(shard, shards);
    IF max_count IS NULL OR wait IS NULL THEN
        RAISE 'max_count and wait must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    ELSIF max_count < 1 THEN
        RAISE 'max_count must be positive' USING ERRCODE = 'invalid_parameter_value';
    ELSIF wait < '0' THEN
        RAISE 'wait must not be negative' USING ERRCODE = 'invalid_parameter_value';
    ELSIF lease <= '0' THEN
        RAISE 'lease must be positive' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOOP
        n := 0;
        replayed := '{}';
        held := '{}';
        -- A poll that finds nothing is rolled back, so that it leaves no locks and writes nothing, also while it waits.
        BEGIN
            SELECT * INTO h FROM en57.hold_shard(en57.ticket(), name, shard, shards, deadline - clock_timestamp(), token);
            IF h.outcome = 'mine' THEN
                -- One read returns the events and the position up to which they are complete. Two reads could differ, and events
                -- between them would be lost.
                IF h.careful THEN
                    SELECT * INTO events, replayed, held, keys, upto
                      FROM en57.sift(name, h.query, h.partition, h."position", h.drain_to, max_count, shard, shards);
                    IF held <> '{}' THEN
                        PERFORM en57.hold_back(en57.ticket(), name, shard, held, keys);
                    END IF;
                    RETURN QUERY SELECT * FROM unnest(events);
                    n := cardinality(events);
                    given := (events[n])."position";
                ELSE
                    RETURN QUERY SELECT * FROM en57.read_shard(h.query, h."position", h.drain_to, max_count, shard, shards, h.partition);
                    GET DIAGNOSTICS n = ROW_COUNT;
                    given := en57.last_read();
                    upto := en57.complete_to();
                END IF;
            END IF;
            IF n = 0 AND held = '{}' THEN
                RAISE SQLSTATE 'N5799';
            END IF;
        EXCEPTION WHEN SQLSTATE 'N5799' THEN
            NULL;
        END;
        PERFORM en57.note_empty_handed(name, shard, n = 0);
        IF n > 0 THEN
            PERFORM en57.give_out(en57.ticket(), name, shard, shards, given,
                lease IS NOT NULL OR token IS NOT NULL OR h.renew_at IS NOT NULL, lease, token, replayed);
            RETURN;
        END IF;
        -- This is seldom, so it costs almost nothing, and often enough that the next poll has little to skip.
        IF h.outcome = 'mine' AND NOT h.fresh AND (upto - h."position" >= 1000 OR h.renew_at <= clock_timestamp() OR held <> '{}'
                                   OR h.drain_to > h."position") THEN
            PERFORM en57.move_on(en57.ticket(), name, shard, shards, h."position", greatest(upto, h."position"), token, h.query);
            RETURN;
        END IF;
        left_over := deadline - clock_timestamp();
        IF left_over <= '0' THEN
            RETURN;
        ELSIF h.outcome = 'leased' THEN
            PERFORM pg_sleep_for(least(left_over, h."until" - clock_timestamp()));
        ELSIF h.outcome = 'mine' AND h.drain_to IS NOT NULL THEN
            PERFORM pg_sleep_for(left_over);
        ELSIF h.outcome = 'mine' THEN
            PERFORM @extschema@.en57_wait(upto, greatest(least(left_over, h.renew_at - clock_timestamp()), '0'), h.query, h.partition);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION en57_poll(text, bigint, interval, integer, integer, interval, bigint) IS
    'the next events of a subscription''s shard, unless another worker holds it; waits for them if asked to';

------------------------------------------------------------------------------------------------------
-- Leases
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.take_lease(ticket bigint, name text, shard integer, shards integer, lease interval, holder text, token bigint)
    RETURNS bigint
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned(ticket, name);
    r en57.subscription_shards;
    mine text := coalesce(holder, en57.session());
    wait boolean;
    renewed boolean;
BEGIN
    -- The holder waits for a session that is just looking at the shard. No other session waits for the holder.
    wait := token IS NOT NULL OR EXISTS (
        SELECT FROM en57.subscription_shards t WHERE t.subscription = s.id AND t.shard = take_lease.shard AND t.holder = mine);
    s := en57.join_shard(s.id, name, shard, shards, wait);
    IF s.id IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM en57.decide_shards(s, shards);
    SELECT t.* INTO r FROM en57.subscription_shards t WHERE t.subscription = s.id AND t.shard = take_lease.shard;
    IF NOT FOUND THEN
        PERFORM en57.demand_shards(s);
    END IF;
    IF token IS NOT NULL THEN
        PERFORM en57.check_token(name, shard, r.token, token);
        mine := coalesce(holder, r.holder, en57.session());
        renewed := true;
    ELSE
        -- A holder's name is no proof, because two processes can have the same name. A session is unique.
        renewed := coalesce(holder IS NULL AND r.holder = mine, false);
        IF NOT renewed AND (r.lease_until > clock_timestamp() OR lease = '0') THEN
            RETURN NULL;
        END IF;
    END IF;
    IF lease = '0' THEN
        UPDATE en57.subscription_shards t
           SET token = t.token + 1, holder = NULL, lease = NULL, lease_until = NULL
         WHERE t.subscription = s.id AND t.shard = take_lease.shard;
        RETURN NULL;
    END IF;
    UPDATE en57.subscription_shards t
       SET token = CASE WHEN renewed THEN t.token ELSE t.token + 1 END,
           delivered = CASE WHEN renewed THEN t.delivered ELSE t."position" END,
           holder = mine, lease = take_lease.lease, lease_until = clock_timestamp() + take_lease.lease
     WHERE t.subscription = s.id AND t.shard = take_lease.shard
    RETURNING t.token INTO token;
    RETURN token;
END
$$;
COMMENT ON FUNCTION en57.take_lease(bigint, text, integer, integer, interval, text, bigint) IS 'takes, renews or ends a lease';

CREATE FUNCTION en57_lease(
    name text,
    lease interval,
    shard integer DEFAULT 0,
    shards integer DEFAULT 1,
    holder text DEFAULT NULL,
    token bigint DEFAULT NULL
) RETURNS bigint
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM en57.check_shard(shard, shards);
    IF lease IS NULL THEN
        RAISE 'lease must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    ELSIF lease < '0' THEN
        RAISE 'lease must not be negative' USING ERRCODE = 'invalid_parameter_value';
    ELSIF holder = '' OR holder LIKE 'pid %' THEN
        RAISE 'a holder must not be empty, nor begin with "pid "' USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(holder) > 255 THEN
        RAISE 'a holder must not be longer than 255 bytes' USING ERRCODE = 'program_limit_exceeded';
    END IF;
    RETURN en57.take_lease(en57.ticket(), name, shard, shards, lease, holder, token);
END
$$;
COMMENT ON FUNCTION en57_lease(text, interval, integer, integer, text, bigint) IS
    'takes, renews or (with 0) ends a lease on a shard; returns the token, or NULL if another worker holds the shard';

------------------------------------------------------------------------------------------------------
-- Acknowledging
------------------------------------------------------------------------------------------------------

-- Locks the shard for its holder, and raises an error for all others. upto: the last position that the holder was given.
CREATE FUNCTION en57.answering(ticket bigint, name text, shard integer, shards integer, token bigint,
    OUT s en57.subscriptions, OUT r en57.subscription_shards, OUT upto bigint, OUT in_transaction boolean)
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    s := en57.owned(ticket, name);
    s := en57.join_shard(s.id, name, shard, shards, true);
    PERFORM en57.decide_shards(s, shards);
    SELECT t.* INTO r FROM en57.subscription_shards t WHERE t.subscription = s.id AND t.shard = answering.shard;
    IF NOT FOUND THEN
        PERFORM en57.demand_shards(s);
    END IF;
    in_transaction := false;
    IF token IS NOT NULL THEN
        PERFORM en57.check_token(name, shard, r.token, token);
        upto := r.delivered;
        RETURN;
    END IF;
    upto := en57.polled(s.id, shard);
    IF upto IS NOT NULL THEN
        in_transaction := true;
    ELSIF r.holder = en57.session() THEN
        upto := r.delivered;
    ELSE
        RAISE 'shard % of subscription "%" is not held here', shard, name USING ERRCODE = 'N5705',
            DETAIL = 'This transaction has not polled it, and this session has no lease on it, or no more.',
            HINT = 'Acknowledge in the transaction that polls; or poll with a lease; or show the token of en57_lease.';
    END IF;
END
$$;
COMMENT ON FUNCTION en57.answering(bigint, text, integer, integer, bigint) IS 'locks a shard for its holder; raises an error for others';

CREATE FUNCTION en57.acknowledge(ticket bigint, name text, "position" bigint, shard integer, shards integer, token bigint) RETURNS void
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    a record;
    ends boolean;
BEGIN
    SELECT * INTO a FROM en57.answering(ticket, name, shard, shards, token);
    IF "position" > a.upto THEN
        RAISE 'position % was not given out', "position" USING ERRCODE = 'invalid_parameter_value',
            DETAIL = format('The last one given out is %s.', a.upto);
    END IF;
    DELETE FROM en57.dead_letters t
     WHERE t.subscription = (a.s).id AND t.shard = acknowledge.shard AND t.state = 'delivered' AND t."position" <= acknowledge."position";
    ends := a.in_transaction OR ((a.r).lease IS NULL AND "position" >= a.upto);
    UPDATE en57.subscription_shards t
       SET "position" = greatest(t."position", acknowledge."position"), updated_at = clock_timestamp(),
           failed_position = CASE WHEN t.failed_position > acknowledge."position" THEN t.failed_position END,
           attempts = CASE WHEN t.failed_position > acknowledge."position" THEN t.attempts ELSE 0 END,
           last_error = CASE WHEN t.failed_position > acknowledge."position" THEN t.last_error END,
           -- The holder of an expired lease has lost it to this transaction.
           token = t.token + CASE WHEN a.in_transaction AND t.holder IS NOT NULL THEN 1 ELSE 0 END,
           holder = CASE WHEN NOT ends THEN t.holder END,
           lease = CASE WHEN NOT ends THEN t.lease END,
           lease_until = CASE WHEN NOT ends THEN t.lease_until END
     WHERE t.subscription = (a.s).id AND t.shard = acknowledge.shard;
    PERFORM en57.moved();
END
$$;
COMMENT ON FUNCTION en57.acknowledge(bigint, text, bigint, integer, integer, bigint) IS 'records events as acknowledged';

CREATE FUNCTION en57.is_acknowledged(ticket bigint, name text, "position" bigint, shard integer, shards integer) RETURNS boolean
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned(ticket, name);
BEGIN
    PERFORM en57.check_shards(s, shards);
    RETURN "position" IS NULL OR EXISTS (
        SELECT FROM en57.subscription_shards t
         WHERE t.subscription = s.id AND t.shard = CASE WHEN s.shards IS NULL THEN 0 ELSE is_acknowledged.shard END
           AND t."position" >= is_acknowledged."position");
END
$$;
COMMENT ON FUNCTION en57.is_acknowledged(bigint, text, bigint, integer, integer) IS 'whether a shard is at a position, or the position is NULL';

CREATE FUNCTION en57_ack(
    name text,
    "position" bigint,
    shard integer DEFAULT 0,
    shards integer DEFAULT 1,
    token bigint DEFAULT NULL
) RETURNS void
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM en57.check_shard(shard, shards);
    -- A worker need not check whether its poll has found anything: there is nothing to acknowledge, or it was done before.
    IF "position" IS NULL OR (token IS NULL AND en57.is_empty_handed(name, shard)) THEN
        IF en57.is_acknowledged(en57.ticket(), name, "position", shard, shards) THEN
            RETURN;
        END IF;
    END IF;
    PERFORM en57.acknowledge(en57.ticket(), name, "position", shard, shards, token);
END
$$;
COMMENT ON FUNCTION en57_ack(text, bigint, integer, integer, bigint) IS
    'acknowledges the events of the shard up to this position; raises N5705 if the lease was taken over; NULL does nothing';

CREATE FUNCTION en57.hold_to_answer(
    ticket bigint, name text, "position" bigint, shard integer, shards integer, token bigint,
    OUT query en57_query, OUT partition text, OUT "from" bigint
)
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    a record;
BEGIN
    SELECT * INTO a FROM en57.answering(ticket, name, shard, shards, token);
    IF "position" > a.upto THEN
        RAISE 'position % was not given out', "position" USING ERRCODE = 'invalid_parameter_value',
            DETAIL = format('The last one given out is %s.', a.upto);
    END IF;
    query := (a.s).query;
    partition := (a.s).partition;
    "from" := (a.r)."position";
END
$$;
COMMENT ON FUNCTION en57.hold_to_answer(bigint, text, bigint, integer, integer, bigint) IS
    'locks a shard for its holder, and returns what to read';

CREATE FUNCTION en57.reject(
    ticket bigint, name text, "position" bigint, key text, error text, shard integer, shards integer, token bigint
) RETURNS boolean
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    a record;
    tries integer;
    parked boolean;
    is_letter boolean;
    ends boolean;
BEGIN
    SELECT * INTO a FROM en57.answering(ticket, name, shard, shards, token);
    SELECT t.attempts INTO tries FROM en57.dead_letters t
     WHERE t.subscription = (a.s).id AND t."position" = reject."position" AND t.state = 'delivered';
    is_letter := FOUND;
    IF NOT is_letter THEN
        tries := CASE WHEN (a.r).failed_position = "position" THEN (a.r).attempts ELSE 0 END;
    END IF;
    tries := tries + 1;
    parked := coalesce(tries >= (a.s).max_attempts, false);
    IF is_letter THEN
        UPDATE en57.dead_letters t
           SET attempts = tries, error = reject.error, held = false, at = clock_timestamp(), state = CASE WHEN parked THEN 'parked' ELSE t.state END
         WHERE t.subscription = (a.s).id AND t."position" = reject."position";
    ELSIF parked THEN
        INSERT INTO en57.dead_letters (subscription, "position", shard, key, state, held, attempts, error)
        VALUES ((a.s).id, "position", shard, key, 'parked', false, tries, error);
    END IF;
    IF parked AND (a.s).hold_key THEN
        UPDATE en57.dead_letters t SET state = 'parked'
         WHERE t.subscription = (a.s).id AND t.key = reject.key AND t.state <> 'parked';
    END IF;
    -- Later events were given out too early: they must be polled again.
    IF a.in_transaction THEN
        PERFORM en57.note_polled((a.s).id, shard, CASE WHEN parked THEN "position" ELSE "position" - 1 END);
    END IF;
    ends := a.in_transaction OR (a.r).lease IS NULL;
    UPDATE en57.subscription_shards t
       SET "position" = CASE WHEN parked THEN greatest(t."position", reject."position") ELSE t."position" END,
           delivered = CASE WHEN parked THEN reject."position" ELSE reject."position" - 1 END,
           failed_position = CASE WHEN NOT parked AND NOT is_letter THEN reject."position" END,
           attempts = CASE WHEN NOT parked AND NOT is_letter THEN tries ELSE 0 END,
           last_error = coalesce(error, ''), updated_at = clock_timestamp(),
           token = t.token + CASE WHEN a.in_transaction AND t.holder IS NOT NULL THEN 1 ELSE 0 END,
           holder = CASE WHEN NOT ends THEN t.holder END,
           lease = CASE WHEN NOT ends THEN t.lease END,
           lease_until = CASE WHEN NOT ends THEN t.lease_until END
     WHERE t.subscription = (a.s).id AND t.shard = reject.shard;
    IF parked THEN
        PERFORM en57.moved();
    END IF;
    RETURN parked;
END
$$;
COMMENT ON FUNCTION en57.reject(bigint, text, bigint, text, text, integer, integer, bigint) IS 'counts a failed attempt';

CREATE FUNCTION en57_nack(
    name text,
    "position" bigint,
    error text DEFAULT NULL,
    shard integer DEFAULT 0,
    shards integer DEFAULT 1,
    token bigint DEFAULT NULL
) RETURNS boolean
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    h record;
    found record;
    event @extschema@.en57_event;
BEGIN
    PERFORM en57.check_shard(shard, shards);
    IF "position" IS NULL THEN
        RAISE 'position must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    SELECT * INTO h FROM en57.hold_to_answer(en57.ticket(), name, "position", shard, shards, token);
    SELECT * INTO found FROM en57.sift(name, h.query, h.partition, h."from", greatest("position", h."from"), 1, shard, shards);
    event := found.events[1];
    IF event."position" IS DISTINCT FROM "position" THEN
        RAISE 'event % is not the first one that is not acknowledged', "position" USING ERRCODE = 'invalid_parameter_value',
            DETAIL = CASE WHEN event."position" < "position" THEN format('That is %s.', event."position") ELSE 'It is acknowledged.' END,
            HINT = 'Acknowledge what was done with before, up to the event that failed.';
    END IF;
    IF found.held <> '{}' THEN
        PERFORM en57.hold_back(en57.ticket(), name, shard, found.held, found.keys);
    END IF;
    RETURN en57.reject(en57.ticket(), name, "position", en57.event_key(event), error, shard, shards, token);
END
$$;
COMMENT ON FUNCTION en57_nack(text, bigint, text, integer, integer, bigint) IS
    'records that the first event that is not acknowledged could not be handled; returns whether it became a dead letter';
------------------------------------------------------------------------------------------------------
-- Dead letters
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.replay(ticket bigint, name text, "position" bigint) RETURNS bigint
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned_alone(ticket, name);
    letter en57.dead_letters;
    n bigint;
BEGIN
    SELECT t.* INTO letter FROM en57.dead_letters t WHERE t.subscription = s.id AND t."position" = replay."position";
    IF s.hold_key AND EXISTS (
        SELECT FROM en57.dead_letters t
         WHERE t.subscription = s.id AND t.key = letter.key AND t."position" < letter."position" AND t.state = 'parked')
    THEN
        RAISE 'event % is behind another dead letter of its key', "position" USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Replay or drop the first one of the key.';
    END IF;
    UPDATE en57.dead_letters t SET state = 'replay', attempts = 0
     WHERE t.subscription = s.id AND t.state = 'parked'
       AND (replay."position" IS NULL OR t."position" = letter."position" OR (s.hold_key AND t.key = letter.key));
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
COMMENT ON FUNCTION en57.replay(bigint, text, bigint) IS 'lets dead letters be given out again';

CREATE FUNCTION en57_replay_dead_letters(name text, "position" bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN en57.replay(en57.ticket(), name, "position");
END
$$;
COMMENT ON FUNCTION en57_replay_dead_letters(text, bigint) IS
    'gives out again all dead letters of a subscription, or one and those that it holds back; returns how many';

CREATE FUNCTION en57.remove_letters(ticket bigint, name text, "position" bigint) RETURNS bigint
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s en57.subscriptions := en57.owned_alone(ticket, name);
    n bigint;
BEGIN
    -- A dead letter beyond the position stays: without it the event would be given out again. It goes when it is acknowledged.
    DELETE FROM en57.dead_letters t USING en57.subscription_shards r
     WHERE t.subscription = s.id AND (remove_letters."position" IS NULL OR t."position" = remove_letters."position")
       AND r.subscription = t.subscription AND r.shard = t.shard AND t."position" <= r."position";
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
COMMENT ON FUNCTION en57.remove_letters(bigint, text, bigint) IS 'removes dead letters';

CREATE FUNCTION en57_drop_dead_letters(name text, "position" bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN en57.remove_letters(en57.ticket(), name, "position");
END
$$;
COMMENT ON FUNCTION en57_drop_dead_letters(text, bigint) IS
    'drops all dead letters of a subscription, or one, so that they are not given out again; returns how many';

------------------------------------------------------------------------------------------------------
-- Views
------------------------------------------------------------------------------------------------------

-- A view does not wait for a transaction that keeps the partition locked.
CREATE FUNCTION en57.event_at("position" bigint, partition text) RETURNS en57_event
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '1ms' AS $$
#variable_conflict use_variable
BEGIN
    IF en57.head_now(NULL, partition) IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT e FROM en57.read_shard(NULL, "position" - 1, "position", 1, 0, 1, partition) e);
EXCEPTION WHEN insufficient_privilege OR undefined_object OR feature_not_supported OR lock_not_available THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION en57.event_at(bigint, text) IS 'the event at a position, if it exists and the caller may read it';

CREATE FUNCTION en57.locked_by(id integer, shard integer) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'pid ' || l.pid FROM pg_locks l
     WHERE l.locktype = 'advisory' AND l.objsubid = 56 AND l.classid = $1::oid AND l.objid = $2::oid AND l.granted
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
$$;
COMMENT ON FUNCTION en57.locked_by(integer, integer) IS 'the process whose transaction holds a shard';

CREATE VIEW en57_subscriptions WITH (security_barrier) AS
SELECT s.name, r.shard, coalesce(s.shards, 1) AS shards, s.query, s.partition, r."position", l.head, l.lag,
       CASE WHEN r.lease_until > pg_catalog.clock_timestamp() THEN r.holder ELSE en57.locked_by(s.id, r.shard) END AS holder,
       r.lease_until, r.attempts, r.last_error, r.updated_at,
       (SELECT pg_catalog.count(*) FROM en57.dead_letters d WHERE d.subscription = s.id AND d.shard = r.shard) AS dead_letters,
       s.owner, s.max_attempts, s.hold_key, s.drain_to
  FROM en57.subscriptions s
       -- One read for all its shards. A shard that is lost has no position.
 CROSS JOIN LATERAL en57.pending(s.query, s.partition, ARRAY(
           SELECT coalesce(t."position", 9223372036854775807)
             FROM pg_catalog.generate_series(0, coalesce(s.shards, 1) - 1) n
             LEFT JOIN en57.subscription_shards t ON t.subscription = s.id AND t.shard = n
            ORDER BY n)) l
  JOIN en57.subscription_shards r ON r.subscription = s.id AND r.shard = l.shard
 WHERE en57.is_owner(pg_catalog.to_regrole(pg_catalog.quote_ident(current_user)), s.owner)
    OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW en57_subscriptions IS 'subscriptions of the current role, shard by shard: position, head, lag, holder, attempts';
COMMENT ON COLUMN en57_subscriptions.name IS 'the subscription';
COMMENT ON COLUMN en57_subscriptions.shard IS 'the number of the shard, from 0';
COMMENT ON COLUMN en57_subscriptions.shards IS 'the number of its shards';
COMMENT ON COLUMN en57_subscriptions.query IS 'which events';
COMMENT ON COLUMN en57_subscriptions.partition IS 'the partition of its events';
COMMENT ON COLUMN en57_subscriptions."position" IS 'all events of the shard up to here are acknowledged, or dead letters';
COMMENT ON COLUMN en57_subscriptions.head IS 'the query''s frontier; NULL without the SELECT privilege, while another transaction keeps the partition locked, on a standby, and if logical replication fills it';
COMMENT ON COLUMN en57_subscriptions.lag IS 'how many events of the shard are waiting, counted up to 1000; NULL if head is NULL';
COMMENT ON COLUMN en57_subscriptions.holder IS 'the holder of the shard: a session, a name, or the process of a transaction';
COMMENT ON COLUMN en57_subscriptions.lease_until IS 'when the lease ends';
COMMENT ON COLUMN en57_subscriptions.attempts IS 'failed attempts at the first event that is not acknowledged';
COMMENT ON COLUMN en57_subscriptions.last_error IS 'the error of the last attempt';
COMMENT ON COLUMN en57_subscriptions.updated_at IS 'when the position was last moved, or an attempt failed';
COMMENT ON COLUMN en57_subscriptions.dead_letters IS 'how many dead letters the shard has';
COMMENT ON COLUMN en57_subscriptions.owner IS 'the role that created it';
COMMENT ON COLUMN en57_subscriptions.max_attempts IS 'after this many failed attempts an event becomes a dead letter; NULL: never';
COMMENT ON COLUMN en57_subscriptions.hold_key IS 'whether a dead letter holds back later events of its key';
COMMENT ON COLUMN en57_subscriptions.drain_to IS 'while the number of shards is to change: the position that all of them must reach';

CREATE VIEW en57_dead_letters WITH (security_barrier) AS
SELECT s.name AS subscription, d."position", d.shard, d.attempts, d.error, d.at, d.state, d.held, d.key,
       en57.event_at(d."position", s.partition) AS event
  FROM en57.dead_letters d
  JOIN en57.subscriptions s ON s.id = d.subscription
 WHERE en57.is_owner(pg_catalog.to_regrole(pg_catalog.quote_ident(current_user)), s.owner);
COMMENT ON VIEW en57_dead_letters IS 'dead letters of the current role''s subscriptions';
COMMENT ON COLUMN en57_dead_letters.subscription IS 'the subscription';
COMMENT ON COLUMN en57_dead_letters."position" IS 'the event''s position';
COMMENT ON COLUMN en57_dead_letters.shard IS 'its shard';
COMMENT ON COLUMN en57_dead_letters.attempts IS 'how many attempts have failed';
COMMENT ON COLUMN en57_dead_letters.error IS 'the error of the last attempt';
COMMENT ON COLUMN en57_dead_letters.at IS 'when it became a dead letter, or last failed';
COMMENT ON COLUMN en57_dead_letters.state IS 'parked: a dead letter; replay: to be given out again; delivered: given out again, not yet acknowledged';
COMMENT ON COLUMN en57_dead_letters.held IS 'whether it is held back by an earlier dead letter of its key, and has not failed itself';
COMMENT ON COLUMN en57_dead_letters.key IS 'its key: events of one key are in one shard';
COMMENT ON COLUMN en57_dead_letters.event IS 'the event; NULL without the SELECT privilege, while another transaction keeps the partition locked, on a standby, and if logical replication fills it';

------------------------------------------------------------------------------------------------------
-- Dead letters of projections
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_replay_projection_dead_letters(name text, "position" bigint DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_replay_projection_dead_letters(text, bigint) IS
    'lets a projection handle its dead letters, or one of them; returns how many it has handled';

CREATE VIEW en57_projection_dead_letters WITH (security_barrier) AS
SELECT p.name AS projection, d."position", d.attempts, d.error, d.put_aside_at AS at, en57.event_at(d."position", p.partition) AS event
  FROM en57.projection_dead_letters d
  JOIN en57.projections p ON p.name OPERATOR(pg_catalog.=) d.projection
 WHERE en57.is_readable(p.partition);
COMMENT ON VIEW en57_projection_dead_letters IS 'dead letters of projections whose events the caller may read';
COMMENT ON COLUMN en57_projection_dead_letters.projection IS 'the projection';
COMMENT ON COLUMN en57_projection_dead_letters."position" IS 'the event''s position';
COMMENT ON COLUMN en57_projection_dead_letters.attempts IS 'how many attempts have failed';
COMMENT ON COLUMN en57_projection_dead_letters.error IS 'the error of the last attempt: sqlstate, message, detail, hint, context';
COMMENT ON COLUMN en57_projection_dead_letters.at IS 'when it became a dead letter, or last failed';
COMMENT ON COLUMN en57_projection_dead_letters.event IS 'the event; NULL while another transaction keeps the partition locked, and on a standby';
GRANT SELECT ON en57_projection_dead_letters TO PUBLIC;

------------------------------------------------------------------------------------------------------
-- Privileges
------------------------------------------------------------------------------------------------------

REVOKE ALL ON en57.subscriptions, en57.subscription_shards, en57.dead_letters FROM PUBLIC;
GRANT SELECT ON en57_subscriptions, en57_dead_letters TO PUBLIC;
-- Functions without a ticket are only called by functions with one.
REVOKE EXECUTE ON FUNCTION
    en57.lock_subscription(integer, boolean, boolean), en57.unlock_subscription(integer), en57.lock_shard(integer, integer, boolean),
    en57.join_shard(integer, text, integer, integer, boolean), en57.decide_shards(en57.subscriptions, integer),
    en57.note_polled(integer, integer, bigint), en57.polled(integer, integer), en57.redeem(bigint),
    en57.owned(bigint, text), en57.owned_alone(bigint, text), en57.split_subscription(integer, integer, bigint),
    en57.check_shards(en57.subscriptions, integer), en57.demand_shards(en57.subscriptions), en57.check_token(text, integer, bigint, bigint),
    en57.answering(bigint, text, integer, integer, bigint)
    FROM PUBLIC;
------------------------------------------------------------------------------------------------------
-- Taking another log into this one
------------------------------------------------------------------------------------------------------

CREATE TABLE en57.tracked (
    source text COLLATE "C" PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    "position" bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE en57.tracked IS 'the positions up to which other logs were taken into this one';
COMMENT ON COLUMN en57.tracked.source IS 'the name of the other log, as the caller has given it';
COMMENT ON COLUMN en57.tracked.owner IS 'the role that tracks it: a name, because a dump can be restored where roles have other oids';
COMMENT ON COLUMN en57.tracked."position" IS 'all events of the other log up to here were taken';
COMMENT ON COLUMN en57.tracked.updated_at IS 'when the position was last moved';

SELECT pg_catalog.pg_extension_config_dump('en57.tracked', '');
REVOKE ALL ON en57.tracked FROM PUBLIC;

CREATE FUNCTION en57.track(ticket bigint, source text, "position" bigint) RETURNS void
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    role oid := en57.redeem(ticket);
    t en57.tracked;
BEGIN
    -- A role that may append may track, because tracking is part of an append.
    IF NOT EXISTS (SELECT FROM pg_inherits i
                    WHERE i.inhparent = 'en57.events'::regclass AND has_table_privilege(role, i.inhrelid, 'INSERT')) THEN
        RAISE 'permission denied to track "%"', source USING ERRCODE = 'insufficient_privilege',
            HINT = 'This is for roles that may append.';
    END IF;
    LOOP
        INSERT INTO en57.tracked (source, owner, "position") VALUES (source, pg_get_userbyid(role), "position")
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            RETURN;
        END IF;
        -- This waits for a session that is tracking it. If the source was forgotten meanwhile, no row is found.
        SELECT x.* INTO t FROM en57.tracked x WHERE x.source = track.source FOR UPDATE;
        EXIT WHEN FOUND;
    END LOOP;
    IF NOT en57.is_owner(role, t.owner) THEN
        RAISE 'permission denied to track "%"', source USING ERRCODE = 'insufficient_privilege',
            HINT = format('It belongs to %s: this is for members of that role.', t.owner);
    ELSIF "position" <= t."position" THEN
        RAISE 'position % of "%" was taken already', "position", source USING ERRCODE = 'N5707',
            DETAIL = format('It is taken up to %s.', t."position");
    END IF;
    UPDATE en57.tracked x SET "position" = track."position", updated_at = clock_timestamp() WHERE x.source = track.source;
END
$$;
COMMENT ON FUNCTION en57.track(bigint, text, bigint) IS 'stores the position up to which another log was taken';

CREATE FUNCTION en57_track(source text, "position" bigint) RETURNS void
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF source IS NULL OR "position" IS NULL THEN
        RAISE 'source and position must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    ELSIF source = '' THEN
        RAISE 'the source must not be empty' USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(source) > 255 THEN
        RAISE 'the source must not be longer than 255 bytes' USING ERRCODE = 'program_limit_exceeded';
    ELSIF "position" < 0 THEN
        RAISE 'position must not be negative' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM en57.track(en57.ticket(), source, "position");
END
$$;
COMMENT ON FUNCTION en57_track(text, bigint) IS
    'says which event of the source this transaction appends; raises N5707 if it was already taken';

CREATE FUNCTION en57.position_of_source(ticket bigint, source text) RETURNS bigint
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    role oid := en57.redeem(ticket);
BEGIN
    RETURN (SELECT t."position" FROM en57.tracked t WHERE t.source = position_of_source.source AND en57.is_owner(role, t.owner));
END
$$;
COMMENT ON FUNCTION en57.position_of_source(bigint, text) IS 'the position up to which another log was taken';

CREATE FUNCTION en57_tracked(source text) RETURNS bigint
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN en57.position_of_source(en57.ticket(), source);
END
$$;
COMMENT ON FUNCTION en57_tracked(text) IS 'the position up to which a source was taken; NULL if it never was';

CREATE FUNCTION en57.reset_source(ticket bigint, source text, "position" bigint) RETURNS bigint
    LANGUAGE en57_plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    role oid := en57.redeem(ticket);
    t en57.tracked;
BEGIN
    -- This waits for a session that is tracking it: its event is taken before the reset, or not at all.
    SELECT x.* INTO t FROM en57.tracked x WHERE x.source = reset_source.source FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM en57.missing('source', source);
    ELSIF NOT en57.is_owner(role, t.owner) THEN
        RAISE 'permission denied to reset "%"', source USING ERRCODE = 'insufficient_privilege',
            HINT = format('It belongs to %s: this is for members of that role.', t.owner);
    END IF;
    IF "position" IS NULL THEN
        DELETE FROM en57.tracked x WHERE x.source = reset_source.source;
    ELSE
        UPDATE en57.tracked x SET "position" = reset_source."position", updated_at = clock_timestamp()
         WHERE x.source = reset_source.source;
    END IF;
    RETURN t."position";
END
$$;
COMMENT ON FUNCTION en57.reset_source(bigint, text, bigint) IS 'moves or deletes the position up to which another log was taken';

CREATE FUNCTION en57_reset_source(source text, "position" bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF source IS NULL THEN
        RAISE 'source must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    ELSIF "position" < 0 THEN
        RAISE 'position must not be negative' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Leave it out to forget the source: then every position can be taken.';
    END IF;
    RETURN en57.reset_source(en57.ticket(), source, "position");
END
$$;
COMMENT ON FUNCTION en57_reset_source(text, bigint) IS
    'lets a source be taken again after a position, or forgets the source; returns the position up to which it was taken';

CREATE VIEW en57_sources WITH (security_barrier) AS
SELECT t.source, t."position", t.owner, t.updated_at
  FROM en57.tracked t
 WHERE en57.is_owner(pg_catalog.to_regrole(pg_catalog.quote_ident(current_user)), t.owner);
COMMENT ON VIEW en57_sources IS 'other logs that the current role takes into this one, with the positions';
COMMENT ON COLUMN en57_sources.source IS 'the name of the other log, as the caller has given it';
COMMENT ON COLUMN en57_sources."position" IS 'all events of the other log up to here were taken';
COMMENT ON COLUMN en57_sources.owner IS 'the role that was first to track it';
COMMENT ON COLUMN en57_sources.updated_at IS 'when the position was last moved';
GRANT SELECT ON en57_sources TO PUBLIC;
------------------------------------------------------------------------------------------------------
-- Code for the registered event types
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.generate(language text, types jsonb, module text) RETURNS text
    AS 'MODULE_PATHNAME', 'en57_generate_text' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION en57.generate(text, jsonb, text) IS 'a source file with types and serialisers for the event types';

-- This runs with the caller's rights: a role that may read en57_event_types may generate code for them.
CREATE FUNCTION en57_generate(language text, types text[] DEFAULT NULL, module text DEFAULT NULL) RETURNS text
    LANGUAGE en57_plpgsql STABLE PARALLEL SAFE COST 10000
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    unknown text;
BEGIN
    SELECT t INTO unknown
      FROM unnest(types) AS t
     WHERE t IS NULL OR t = '*' OR NOT EXISTS (SELECT FROM @extschema@.en57_event_types AS e WHERE e.type = t)
     ORDER BY t COLLATE "C" LIMIT 1;
    IF unknown = '*' THEN
        RAISE EXCEPTION '"*" is not an event type'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The code for each type contains what is registered for all types.';
    ELSIF unknown IS NOT NULL THEN
        PERFORM en57.missing('type', unknown);
    ELSIF FOUND THEN
        RAISE EXCEPTION 'types must not contain NULL'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Leave out types to get code for all of them.';
    END IF;
    RETURN en57.generate(language, coalesce((
        SELECT jsonb_agg(jsonb_build_object('type', e.type, 'schema_version', e.schema_version, 'data', e.json_schema, 'meta', e.meta_schema))
          FROM @extschema@.en57_event_types AS e
         WHERE types IS NULL OR e.type = ANY (types) OR e.type = '*'), '[]'), module);
END
$$;
COMMENT ON FUNCTION en57_generate(text, text[], text) IS
    'a source file with types and serialisers for the registered event types, in typescript, python, ruby, go or rust';
------------------------------------------------------------------------------------------------------
-- Privileges: functions check those of the partition's table, so everybody may call them
------------------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA en57 TO PUBLIC;
REVOKE ALL ON en57.events FROM PUBLIC;
GRANT SELECT ON en57_streams TO PUBLIC;
-- An import decides when events were recorded, and which versions they have, so it is for administrators.
REVOKE ALL ON FUNCTION en57_import(jsonb, text, boolean, boolean), en57.import_rows(en57_event[], text, boolean, boolean),
    en57_import_from(regclass, text, boolean, boolean), en57.import_batch(regclass, bigint, integer, text, boolean, boolean, text),
    en57.import_refused(regclass, bigint), en57.import_skip(text, bigint, text, text, text),
    en57.import_some(en57_event[], text, boolean, boolean, text) FROM PUBLIC;
REVOKE ALL ON PROCEDURE en57_import_in_batches(text, regclass, text, boolean, integer, boolean, text) FROM PUBLIC;
GRANT SELECT ON en57_partitions TO PUBLIC;

-- en57_grant() gives admins EXECUTE on these. They check the caller's privileges on the partition.
REVOKE EXECUTE ON FUNCTION
    en57_create_partition(text, boolean), en57_drop_partition(text), en57_detach_partition(text), en57_truncate(text, boolean),
    en57_erase(en57_query, text, text),
    en57_grant(regrole, text, text), en57_revoke(regrole, text, text)
    FROM PUBLIC;
REVOKE ALL ON en57.event_types, en57.upcasters FROM PUBLIC;
-- They hold for all partitions, so the extension's owner decides who may call them.
REVOKE EXECUTE ON FUNCTION
    en57_register_type(text, integer, jsonb, jsonb, boolean), en57_unregister_type(text, integer),
    en57_register_upcaster(text, integer, en57_function, text, integer, boolean), en57_drop_upcaster(text, integer)
    FROM PUBLIC;
GRANT SELECT ON en57_event_types, en57_upcasters TO PUBLIC;
REVOKE ALL ON en57.projections, en57.projection_dead_letters,
    en57.rebuilds, en57.rebuild_documents, en57.rebuild_dead_letters FROM PUBLIC;
-- These views only show projections of partitions that the caller may read.
GRANT SELECT ON en57_projections, en57_stat_progress_rebuild TO PUBLIC;
REVOKE ALL ON en57.folds, en57.snapshots FROM PUBLIC;
REVOKE ALL ON SEQUENCE en57.fold_number FROM PUBLIC;
GRANT SELECT ON en57_folds, en57_deciders, en57_snapshots TO PUBLIC;
-- en57_grant() gives admins EXECUTE on these, too. They check who owns the functions that they are given.
REVOKE EXECUTE ON FUNCTION
    en57_create_fold(text, en57_function, jsonb, integer, boolean, boolean), en57_drop_fold(text), en57_drop_snapshots(text),
    en57_create_decider(text, en57_function, en57_function, en57_function, jsonb, jsonb, integer, boolean, boolean), en57_drop_decider(text)
    FROM PUBLIC;
REVOKE ALL ON en57.invariants, en57.invariant_states FROM PUBLIC;
-- This view only shows invariants of partitions that the caller may read.
GRANT SELECT ON en57_invariants TO PUBLIC;
REVOKE ALL ON en57.erasures FROM PUBLIC;
REVOKE ALL ON SEQUENCE en57.erasure_number FROM PUBLIC;
-- This view only shows erasures of partitions that the caller may read.
GRANT SELECT ON en57_erasures TO PUBLIC;

------------------------------------------------------------------------------------------------------
-- The default partition, created as all others are
------------------------------------------------------------------------------------------------------

SELECT en57_create_partition('default');
