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
