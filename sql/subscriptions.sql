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
CREATE INDEX dead_letters_due ON en57.dead_letters (subscription, shard, "position") WHERE state OPERATOR(pg_catalog.<>) 'parked';

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
        WHEN (event).stream IS NOT NULL THEN 'stream:' OPERATOR(pg_catalog.||) (event).stream
        WHEN pg_catalog.cardinality((event).tags) OPERATOR(pg_catalog.>) 0 THEN 'tag:' OPERATOR(pg_catalog.||) (event).tags[1]
        ELSE 'type:' OPERATOR(pg_catalog.||) (event).type
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
