-- en57: from version 0.1.0 to 0.2.0.
\echo Use "ALTER EXTENSION en57 UPDATE" to load this file. \quit

-- What is created here belongs to the owner of the extension, whoever runs the update.
DO $$
BEGIN
    EXECUTE pg_catalog.format('SET LOCAL ROLE %I',
        (SELECT pg_catalog.pg_get_userbyid(extowner) FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'en57'));
END
$$;

-- The changes, in the order of the parts of the script (SQL_PARTS in Makefile).

-- polling.sql: the clock may be set back.
CREATE FUNCTION en57.lease_lasts("until" timestamptz, lease interval) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT "until" > t AND ("until" <= t + 2 * lease OR lease IS NULL) FROM clock_timestamp() AS t $$;
COMMENT ON FUNCTION en57.lease_lasts(timestamptz, interval) IS 'whether a lease has not ended yet';

CREATE OR REPLACE FUNCTION en57.hold_shard(
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

CREATE OR REPLACE FUNCTION en57.give_out(
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

CREATE OR REPLACE FUNCTION en57.move_on(
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

CREATE OR REPLACE FUNCTION en57_poll(
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

CREATE OR REPLACE FUNCTION en57.take_lease(ticket bigint, name text, shard integer, shards integer, lease interval, holder text, token bigint)
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
-- Their operators were found by the search path: where others can create operators in the schema of the extension, one of
-- theirs may be in the views.
CREATE OR REPLACE VIEW en57_partitions AS
SELECT p.name,
       p.oid::pg_catalog.regclass AS "table",
       pg_catalog.pg_get_userbyid(p.relowner) AS owner,
       GREATEST(p.reltuples::bigint, pg_catalog.pg_stat_get_live_tuples(p.oid)) AS events,
       en57.bytes_now(p.oid::pg_catalog.regclass) AS bytes,
       en57.head_now(NULL, p.name) AS head
  FROM (SELECT c.oid, c.relowner, c.reltuples, en57.partition_of(c.oid) AS name
          FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
         WHERE i.inhparent OPERATOR(pg_catalog.=) 'en57.events'::pg_catalog.regclass) p;
CREATE OR REPLACE VIEW en57_imports AS
    SELECT name, source, partition, "position", events,
           pg_catalog.round(events OPERATOR(pg_catalog./) greatest(extract(epoch FROM updated_at OPERATOR(pg_catalog.-) started_at), 0.001)) AS events_per_second,
           started_at, updated_at, finished, skipped
      FROM en57.imports;
-- Many requests in one call.
CREATE FUNCTION en57_append_many(
    requests jsonb,
    partition text DEFAULT NULL,
    on_conflict text DEFAULT NULL,
    all_or_nothing boolean DEFAULT false
) RETURNS TABLE (n integer, result en57_append_result, error jsonb)
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57_append_many(jsonb, text, text, boolean) IS
    'many appends in one call, each with its own condition, in order; one that is not stored does not disturb the others';
CREATE FUNCTION en57_decide_many(
    name text,
    commands jsonb,
    partition text DEFAULT NULL,
    all_or_nothing boolean DEFAULT false
) RETURNS TABLE (n integer, result en57_append_result, error jsonb)
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57_decide_many(text, jsonb, text, boolean) IS
    'many commands in one call, decided in order; one that fails does not disturb the others';

-- Scans of functions in FROM.
CREATE FUNCTION en57.read_rows(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'en57_read_rows' LANGUAGE c STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION en57.read_rows(internal) IS 'tells the planner about how many events a call returns';
ALTER FUNCTION en57_read(en57_query, bigint, bigint, bigint, boolean, timestamptz, timestamptz, timestamptz, text, boolean) SUPPORT en57.read_rows;
ALTER FUNCTION en57_read_stream(text, bigint, bigint, bigint, boolean, text) SUPPORT en57.read_rows;

-- At the end: a worker that waits for this version looks again. The trigger tells it, though no row changes.
UPDATE en57.projections SET status = status WHERE false;
