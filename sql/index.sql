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
