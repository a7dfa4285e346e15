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
