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
