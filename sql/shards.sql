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
