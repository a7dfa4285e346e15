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
