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
       CASE WHEN r.lease_until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() THEN r.holder ELSE en57.locked_by(s.id, r.shard) END AS holder,
       r.lease_until, r.attempts, r.last_error, r.updated_at,
       (SELECT pg_catalog.count(*) FROM en57.dead_letters d WHERE d.subscription OPERATOR(pg_catalog.=) s.id AND d.shard OPERATOR(pg_catalog.=) r.shard) AS dead_letters,
       s.owner, s.max_attempts, s.hold_key, s.drain_to
  FROM en57.subscriptions s
       -- One read for all its shards. A shard that is lost has no position.
 CROSS JOIN LATERAL en57.pending(s.query, s.partition, ARRAY(
           SELECT coalesce(t."position", 9223372036854775807)
             FROM pg_catalog.generate_series(0, coalesce(s.shards, 1) OPERATOR(pg_catalog.-) 1) n
             LEFT JOIN en57.subscription_shards t ON t.subscription OPERATOR(pg_catalog.=) s.id AND t.shard OPERATOR(pg_catalog.=) n
            ORDER BY n)) l
  JOIN en57.subscription_shards r ON r.subscription OPERATOR(pg_catalog.=) s.id AND r.shard OPERATOR(pg_catalog.=) l.shard
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
  JOIN en57.subscriptions s ON s.id OPERATOR(pg_catalog.=) d.subscription
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
