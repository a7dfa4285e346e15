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

-- tables.sql: who may create triggers on a table of the log may not replace its guards.
-- With the TRIGGER privilege, which admins of partitions have, CREATE OR REPLACE TRIGGER puts another trigger in a guard's place.
-- PostgreSQL asks for no more, so this asks for the owner's rights. It looks at the trigger that was made, not at the names in
-- the statement: those could be others' by now. (FOR EACH ROW on en57.events makes triggers of the same name on all partitions.)
CREATE FUNCTION en57.keep_guards() RETURNS event_trigger
    LANGUAGE en57_plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
BEGIN
    SELECT t.tgname AS guard, c.relname AS name INTO found
      FROM pg_event_trigger_ddl_commands() AS made
           JOIN pg_trigger AS t ON t.oid = made.objid AND made.classid = 'pg_trigger'::regclass
           JOIN pg_class AS c ON c.oid = t.tgrelid
     WHERE t.tgname IN ('en57_guard', 'en57_guard_truncate')
       AND NOT pg_has_role(c.relowner, 'USAGE')
       AND EXISTS (SELECT FROM pg_class AS e JOIN pg_namespace AS n ON n.oid = e.relnamespace
                    WHERE n.nspname = 'en57' AND e.relname = 'events'
                      AND (e.oid = c.oid OR EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid AND i.inhparent = e.oid)));
    IF found.guard IS NOT NULL THEN
        RAISE 'must be owner of table %', found.name
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = format('Triggers of the name %s guard its events.', found.guard),
                  HINT = 'Give your trigger another name.';
    END IF;
END
$$;
COMMENT ON FUNCTION en57.keep_guards() IS 'refuses triggers in the place of those that guard events';

CREATE EVENT TRIGGER en57_keep_guards ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION en57.keep_guards();
ALTER EVENT TRIGGER en57_keep_guards ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER en57_keep_guards IS 'keeps the triggers that guard events';

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

-- partitions.sql: en57_revoke() takes the functions of admins from nobody else than those to whom en57_grant() has given them.
CREATE FUNCTION en57.had_functions_before() RETURNS void
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS 'SELECT';
COMMENT ON FUNCTION en57.had_functions_before() IS 'does nothing: EXECUTE on it marks roles that were granted functions of admins before en57_grant() made them admins';
REVOKE EXECUTE ON FUNCTION en57.had_functions_before() FROM PUBLIC;

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

-- admin.sql: a trigger of a guard's name is no guard by its name.
CREATE OR REPLACE FUNCTION en57.table_faults(OUT fact text, OUT "table" oid, OUT severity text, OUT object text, OUT problem text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
WITH log AS MATERIALIZED (
    SELECT c.oid, c.relpersistence, c.relreplident, c.relnamespace, format('%I.%I', c.relnamespace::regnamespace::name, c.relname) AS name
      FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'en57.events'::regclass
), guards (name, against, kind) AS (
    -- kind: BEFORE, and the bits of what it fires for
    VALUES ('en57_guard', 'INSERT OR UPDATE OR DELETE', 2 + 4 + 8 + 16), ('en57_guard_truncate', 'TRUNCATE', 2 + 32)
), publications AS MATERIALIZED (
    SELECT l.oid, p.pubname, p.pubupdate, p.pubtruncate, p.pubviaroot,
           -- Updates by en57_erase() fail with a row filter or column list that does not fit the replica identity, the position.
           EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid = l.oid
                      AND (r.prqual::text ~ ':varattno ([2-9]|1[0-9])' OR NOT 1 = ANY (r.prattrs))) AS is_too_narrow
      FROM log AS l, pg_publication AS p
     WHERE p.puballtables
        OR EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid IN (l.oid, 'en57.events'::regclass))
        OR EXISTS (SELECT FROM pg_publication_namespace AS n WHERE n.pnpubid = p.oid AND n.pnnspid IN (l.relnamespace, 'en57'::regnamespace))
), faults (n, fact, oid, severity, object, problem, hint) AS (
    SELECT 1, 'durable', oid, 'error', 'table ' || name,
           'it is UNLOGGED: a crash of the server empties it, and standbys do not have it',
           format('Run ALTER TABLE %s SET LOGGED.', name)
      FROM log WHERE relpersistence <> 'p'
    UNION ALL
    -- A trigger of a guard's name that does something else, or not each time, is none.
    SELECT 2, 'guards', l.oid, 'warning', 'table ' || l.name,
           format('trigger %s is %s, so events can be changed', g.name,
                  CASE WHEN t.oid IS NULL THEN 'missing' WHEN t.is_guard THEN 'not in force' ELSE 'not the one that en57 makes' END),
           CASE WHEN t.is_guard THEN format('Run ALTER TABLE %s ENABLE ALWAYS TRIGGER %s.', l.name, g.name)
                ELSE format('Run CREATE OR REPLACE TRIGGER %1$s BEFORE %2$s ON %3$s FOR EACH STATEMENT EXECUTE FUNCTION en57.guard(); ALTER TABLE %3$s ENABLE ALWAYS TRIGGER %1$s;', g.name, g.against, l.name) END
      FROM (SELECT oid, name FROM log UNION ALL SELECT 'en57.events'::regclass, 'en57.events') AS l
           CROSS JOIN guards AS g
           LEFT JOIN LATERAL (
               SELECT t.oid, t.tgenabled,
                      t.tgfoid = 'en57.guard()'::regprocedure AND t.tgqual IS NULL AND t.tgattr::text = '' AND t.tgtype & (g.kind | 1) = g.kind AS is_guard
                 FROM pg_trigger AS t WHERE t.tgrelid = l.oid AND t.tgname = g.name) AS t ON true
     WHERE t.tgenabled IS DISTINCT FROM 'A' OR NOT t.is_guard
    UNION ALL
    SELECT 3, 'columns', l.oid, 'error', 'table ' || l.name, 'it has other columns than en57 made: en57 does not append or read there',
           format('Call en57_check(): it says what to do.')
      FROM log AS l
     WHERE EXISTS (
        SELECT FROM (VALUES (1, 'position', 'bigint'::regtype), (2, 'id', 'uuid'), (3, 'type', 'text'), (4, 'data', 'jsonb'), (5, 'meta', 'jsonb'),
                            (6, 'tags', 'text[]'), (7, 'stream', 'text'), (8, 'stream_version', 'bigint'), (9, 'schema_version', 'integer'),
                            (10, 'occurred_at', 'timestamptz'), (11, 'recorded_at', 'timestamptz'), (12, 'partition', 'text'), (13, 'stable', 'bigint')
                    ) AS made (n, name, type)
          FULL JOIN (SELECT * FROM pg_attribute WHERE attrelid = l.oid AND attnum > 0 AND NOT (attisdropped AND attnum > 13)) AS a ON a.attnum = made.n
         WHERE (made.name, made.type::oid, '') IS DISTINCT FROM (a.attname::text, a.atttypid, a.attgenerated::text))
    UNION ALL
    SELECT 4, 'replica_identity', l.oid, 'warning', 'table ' || l.name,
           'it has no replica identity: en57_erase() fails as soon as a publication has its updates',
           coalesce((SELECT format('Run ALTER TABLE %s REPLICA IDENTITY USING INDEX %I.', l.name, x.relname)
                       FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                      WHERE i.indrelid = l.oid AND i.indisunique AND i.indkey::text = '1' AND i.indpred IS NULL AND i.indisvalid LIMIT 1),
                    'Make a unique index on position first.')
      FROM log AS l
     WHERE l.relreplident <> 'f'
       AND NOT EXISTS (SELECT FROM pg_index AS i
                        WHERE i.indrelid = l.oid
                          AND CASE l.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary ELSE false END)
    UNION ALL
    SELECT 5, 'publications', l.oid, 'warning', 'table ' || l.name,
           CASE WHEN NOT p.pubupdate THEN format('publication %I does not have its updates: subscribers keep what en57_erase() takes away', p.pubname)
                WHEN NOT p.pubtruncate THEN format('publication %I does not have TRUNCATE: subscribers keep what en57_truncate() takes away, and stop where positions begin again', p.pubname)
                WHEN p.is_too_narrow THEN format('publication %I has a row filter on other columns than position, or a list of columns without it: en57_erase() fails', p.pubname)
                ELSE format('publication %I has publish_via_partition_root: subscribers stop at what en57_erase() does', p.pubname) END,
           CASE WHEN p.is_too_narrow THEN format('Run ALTER PUBLICATION %I SET TABLE .. without them.', p.pubname)
                WHEN NOT (p.pubupdate AND p.pubtruncate)
                THEN format($h$Run ALTER PUBLICATION %I SET (publish = 'insert, update, truncate').$h$, p.pubname)
                ELSE format('Run ALTER PUBLICATION %I SET (publish_via_partition_root = false), and refresh the subscriptions.', p.pubname) END
      FROM log AS l JOIN publications AS p ON p.oid = l.oid
     WHERE NOT (p.pubupdate AND p.pubtruncate AND NOT p.pubviaroot) OR p.is_too_narrow
    UNION ALL
    SELECT 6, 'replicas', l.oid, 'warning', 'table ' || l.name,
           format('subscription %I fills it: events with lower positions may come after others, so en57 does not read or append there', s.subname),
           format('Read the table with plain SQL, or run DROP SUBSCRIPTION %I.', s.subname)
      FROM log AS l JOIN pg_subscription_rel AS r ON r.srrelid IN (l.oid, 'en57.events'::regclass) JOIN pg_subscription AS s ON s.oid = r.srsubid
    UNION ALL
    SELECT 7, 'replicas', 'en57.events'::regclass, 'warning', format('table en57.%I', c.relname),
           format('subscription %I fills it: it tells of another database', s.subname),
           format('Let the publication have en57.events alone, and run ALTER SUBSCRIPTION %I REFRESH PUBLICATION.', s.subname)
      FROM pg_subscription_rel AS r JOIN pg_class AS c ON c.oid = r.srrelid JOIN pg_subscription AS s ON s.oid = r.srsubid
     WHERE c.relnamespace = 'en57'::regnamespace AND c.oid <> 'en57.events'::regclass AND c.oid NOT IN (SELECT oid FROM log)
    UNION ALL
    -- The table is a member of the extension, so pg_dump does not dump its indexes. But it dumps those of the partitions, and
    -- commands that attach them to the missing index.
    SELECT 8, 'dumps', i.indrelid, 'warning', 'table en57.events',
           format('index %s is on the log as a whole: a dump does not have it, and the restore fails where it is to be attached to', i.indexrelid::regclass),
           format('Run DROP INDEX %s, and make it on the tables of the partitions.', i.indexrelid::regclass)
      FROM pg_index AS i WHERE i.indrelid = 'en57.events'::regclass
    UNION ALL
    SELECT 9, 'dumps', c.conrelid, 'warning', 'table en57.events',
           format('constraint %I is on the log as a whole: a dump has it on the partitions alone', c.conname),
           format('Run ALTER TABLE en57.events DROP CONSTRAINT %I, and add it to the tables of the partitions.', c.conname)
      FROM pg_constraint AS c WHERE c.conrelid = 'en57.events'::regclass AND c.contype = 'c'
    UNION ALL
    -- The default partition's table was a member before the first release.
    SELECT 10, 'dumps', l.oid, 'warning', 'table ' || l.name,
           format('it is a member of the extension %I: a dump does not have what was changed in it', e.extname),
           format('Run ALTER EXTENSION %I DROP TABLE %s: the table stays.', e.extname, l.name)
      FROM log AS l JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = l.oid AND d.deptype = 'e' JOIN pg_extension AS e ON e.oid = d.refobjid
)
SELECT fact, oid, severity, object, problem, hint FROM faults ORDER BY n, object COLLATE "C", problem COLLATE "C"
$$;

-- Key locks are in a table of en57's own.
CREATE FUNCTION en57.key_locks(OUT partition oid, OUT key bigint, OUT mode text, OUT pid integer) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'en57_key_locks' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION en57.key_locks() IS 'the keys that transactions hold in this database, and, without a mode, those that one waits for';

CREATE FUNCTION en57.key_lock_use(OUT used integer, OUT room integer, OUT times_full bigint) RETURNS record
    AS 'MODULE_PATHNAME', 'en57_key_lock_use' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.key_lock_use() IS 'how many key locks the server has now, for how many it has room, and how often that was too little since its start';

CREATE VIEW en57_key_locks AS
SELECT en57.partition_of(l.partition) AS partition, l.key, l.mode, l.pid, l.mode IS NULL AS waiting, a.xact_start AS since
  FROM en57.key_locks() AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid;
COMMENT ON VIEW en57_key_locks IS 'the key locks that transactions of this database hold, and who waits for one as the first';
COMMENT ON COLUMN en57_key_locks.partition IS 'the partition';
COMMENT ON COLUMN en57_key_locks.key IS 'the key: en57_key tells that of a tag, a type or a stream';
COMMENT ON COLUMN en57_key_locks.mode IS 'written, checked, or checked and written; NULL: it is waited for';
COMMENT ON COLUMN en57_key_locks.pid IS 'the process';
COMMENT ON COLUMN en57_key_locks.waiting IS 'whether it waits for the key, as the first; those who wait behind it are in pg_locks';
COMMENT ON COLUMN en57_key_locks.since IS 'when its transaction began';

CREATE FUNCTION en57_key(tag text DEFAULT NULL, type text DEFAULT NULL, stream text DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c STABLE PARALLEL SAFE;
COMMENT ON FUNCTION en57_key(text, text, text) IS 'the key under which events of a tag, a type or a stream are stored and locked';

CREATE OR REPLACE FUNCTION en57_status(OUT name text, OUT value text, OUT warning text) RETURNS SETOF record
    LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 23
    SET search_path = pg_catalog, pg_temp
    AS $$
WITH state AS MATERIALIZED (
    SELECT s.*,
           e.extversion AS schema_version,
           a.default_version AS available_version,
           -- of 0.10.2-beta the numbers
           string_to_array(substring(s.library_version FROM '^[0-9.]*[0-9]'), '.')::int[] AS library_numbers,
           string_to_array(substring(e.extversion FROM '^[0-9.]*[0-9]'), '.')::int[] AS schema_numbers
      FROM en57.shared_state() AS s,
           pg_extension AS e LEFT JOIN pg_available_extensions AS a ON a.name = e.extname
     WHERE e.extname = 'en57'
), flight AS MATERIALIZED (
    SELECT f.pid, f.from_position, a.state, to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SSOF') AS since,
           -- this is as long as a reader of its own append would wait
           a.xact_start < clock_timestamp() - coalesce(nullif(current_setting('en57.wait_timeout')::interval, '0'), '5s') AS is_old
      FROM state, en57.in_flight() AS f LEFT JOIN pg_stat_activity AS a ON a.pid = f.pid
     WHERE state.problem IS NULL
), oldest AS (
    SELECT *, CASE WHEN state LIKE 'idle%' THEN 'is idle in its transaction since' ELSE 'has been running since' END AS does
      FROM flight ORDER BY from_position LIMIT 1
), warnings AS (
    SELECT fact, 'see warning' AS value,
           string_agg(format('%s: %s. %s', upper(left(object, 1)) || substr(object, 2), problem, hint), ' ' ORDER BY n) FILTER (WHERE n <= 3)
               || CASE WHEN count(*) > 3 THEN format(' And %s more: call en57_check().', count(*) - 3) ELSE '' END AS warning
      FROM (SELECT *, row_number() OVER (PARTITION BY fact ORDER BY object COLLATE "C", problem COLLATE "C") AS n FROM en57.table_faults()) AS f
     GROUP BY fact
), facts (n, name, value, warning) AS (
    SELECT 1, 'library_version', library_version,
           CASE WHEN available_version IS NULL THEN 'The files of the extension are missing on this server: install them again.'
                WHEN available_version <> library_version
                THEN format('Version %s is installed, but this session runs another one: connect anew; with en57 in shared_preload_libraries, restart the server.', available_version)
           END
      FROM state
    UNION ALL
    SELECT 2, 'schema_version', schema_version,
           CASE WHEN schema_numbers < library_numbers THEN format('Run ALTER EXTENSION en57 UPDATE: the library has version %s.', library_version)
                WHEN schema_version <> library_version
                THEN format('The schema is newer than the library, which has version %s: install the library of version %s.', library_version, schema_version)
           END
      FROM state
    UNION ALL
    SELECT 3, 'update_available', CASE WHEN available_version <> schema_version THEN available_version ELSE 'no' END, NULL
      FROM state
    UNION ALL
    SELECT 4, 'shared_memory', coalesce(shared_memory || format(', with room for %s processes', processes), 'none'), NULL
      FROM state
    UNION ALL
    SELECT 5, 'partitions', count(*)::text, NULL
      FROM pg_inherits WHERE inhparent = 'en57.events'::regclass
    UNION ALL
    SELECT 6, 'next_position', next_position::text, problem FROM state
    UNION ALL
    SELECT 7, 'head', head::text, NULL FROM state
    UNION ALL
    SELECT 8, 'durable_ceiling', ceiling::text, NULL FROM state
    UNION ALL
    SELECT 9, 'in_flight', CASE WHEN problem IS NULL THEN (SELECT count(*) FROM flight)::text END, NULL FROM state
    UNION ALL
    SELECT 10, 'oldest_in_flight',
           (SELECT format('process %s, %s, since %s, from position %s', pid, state, since, from_position) FROM oldest),
           (SELECT format('Process %s %s %s and keeps back readers of what it has appended, from position %s on. Let it end, call pg_terminate_backend(%s), or set idle_in_transaction_session_timeout.',
                          pid, does, since, from_position, pid)
              FROM oldest WHERE is_old AND pid <> pg_backend_pid())
    UNION ALL
    SELECT 11, 'settings',
           coalesce((SELECT string_agg(s.name || ' = ' || current_setting(s.name), ', ' ORDER BY s.name COLLATE "C")
                       FROM pg_settings AS s WHERE s.name LIKE 'en57.%' AND s.setting <> coalesce(s.boot_val, '')), 'defaults'),
           NULL
    UNION ALL
    SELECT 12, 'durability',
           format('fsync = %s, full_page_writes = %s, synchronous_commit = %s', current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')),
           CASE WHEN current_setting('fsync') = 'off' THEN 'fsync is off: a crash of the machine can destroy the database.'
                WHEN current_setting('full_page_writes') = 'off' THEN 'full_page_writes is off: a crash of the machine can damage the database.'
           END
    UNION ALL
    SELECT 13, 'autovacuum', current_setting('autovacuum'),
           CASE WHEN current_setting('autovacuum') = 'off' THEN 'autovacuum is off: what rolled-back appends leave is never taken away, and old transactions'' ids will run out.' END
    UNION ALL
    SELECT 14, 'worker', concat_ws('; ', coalesce('running, process ' || en57.worker_pid(), 'not running'),
               (SELECT format('%s events wait for async projections', sum(p.lag)) FROM @extschema@.en57_projections p
                 WHERE p.mode = 'async' AND p.status = 'running' HAVING sum(p.lag) > 0)), NULL
    UNION ALL
    -- The number is from the statistics that autovacuum uses, which every role may read.
    SELECT 15, 'snapshots', format('about %s, %s on disk', pg_stat_get_live_tuples('en57.snapshots'::regclass), coalesce(pg_size_pretty(en57.bytes_now('en57.snapshots'::regclass)), 'locked')), NULL
    UNION ALL
    -- The next en57_check() would find this too, but at a higher cost.
    SELECT 15 + k.n, k.name, coalesce(f.value, k.good), f.warning
      FROM (VALUES (1, 'durable', 'all tables'), (2, 'guards', 'in force on all tables'), (3, 'columns', 'as en57 made them'),
                   (4, 'replica_identity', 'on all tables'), (5, 'dumps', 'have the tables as they are')) AS k (n, name, good)
      LEFT JOIN warnings AS f ON f.fact = k.name
    UNION ALL
    SELECT 21, 'publications',
           coalesce((SELECT string_agg(quote_ident(p.pubname), ', ' ORDER BY p.pubname)
                       FROM pg_publication AS p
                      WHERE p.puballtables
                         OR EXISTS (SELECT FROM pg_publication_namespace AS n WHERE n.pnpubid = p.oid AND n.pnnspid = 'en57'::regnamespace)
                         OR EXISTS (SELECT FROM pg_publication_rel AS r
                                     WHERE r.prpubid = p.oid AND (r.prrelid = 'en57.events'::regclass
                                           OR r.prrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'en57.events'::regclass)))), 'none'),
           (SELECT warning FROM warnings WHERE fact = 'publications')
    UNION ALL
    SELECT 22, 'replicas', coalesce((SELECT value FROM warnings WHERE fact = 'replicas'), 'none'), (SELECT warning FROM warnings WHERE fact = 'replicas')
    UNION ALL
    SELECT 23, 'key_locks', format('%s, with room for %s', used, room),
           CASE WHEN times_full > 0
                THEN format('There was no room for key locks %s times since the server''s start: transactions have locked their partitions instead. Raise max_locks_per_transaction (%s).', times_full, current_setting('max_locks_per_transaction'))
                WHEN used > room / 4 * 3
                THEN format('There is little room left: transactions will lock their partitions instead. Raise max_locks_per_transaction (%s).', current_setting('max_locks_per_transaction'))
           END
      FROM en57.key_lock_use()
)
SELECT name, value, warning FROM facts ORDER BY n
$$;

REVOKE ALL ON FUNCTION en57.key_locks(), en57.key_lock_use() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION en57.key_locks(), en57.key_lock_use() TO pg_monitor;
REVOKE ALL ON en57_key_locks FROM PUBLIC;
GRANT SELECT ON en57_key_locks TO pg_monitor;

-- At the end: a worker that waits for this version looks again. The trigger tells it, though no row changes.
UPDATE en57.projections SET status = status WHERE false;
