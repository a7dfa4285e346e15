------------------------------------------------------------------------------------------------------
-- Polling
------------------------------------------------------------------------------------------------------

-- A lease that ends later than after twice its length was given before the clock was set back: it is over.
CREATE FUNCTION en57.lease_lasts("until" timestamptz, lease interval) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT "until" > t AND ("until" <= t + 2 * lease OR lease IS NULL) FROM clock_timestamp() AS t $$;
COMMENT ON FUNCTION en57.lease_lasts(timestamptz, interval) IS 'whether a lease has not ended yet';

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
    ELSIF r.holder <> mine AND en57.lease_lasts(r.lease_until, r.lease) THEN
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
           -- A longer lease of this poll is the length from now on: lease_lasts compares it with the end.
           lease = CASE WHEN t.lease IS NOT NULL AND (give_out.token IS NOT NULL OR t.holder = mine)
                        THEN greatest(t.lease, give_out.lease) END,
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
                    ELSE t.holder IS NULL OR t.holder = en57.session() OR NOT en57.lease_lasts(t.lease_until, t.lease) END;
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
            SELECT * INTO h FROM en57.hold_shard(en57.ticket(), name, shard, shards, least(deadline - clock_timestamp(), wait), token);
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
        IF left_over > wait THEN
            -- The clock was set back.
            deadline := clock_timestamp() + wait;
            left_over := wait;
        END IF;
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
        IF NOT renewed AND (en57.lease_lasts(r.lease_until, r.lease) OR lease = '0') THEN
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
