------------------------------------------------------------------------------------------------------
-- Statistics
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.stat(
    OUT appends bigint,
    OUT repeated bigint,
    OUT conflicts bigint,
    OUT events bigint,
    OUT bytes bigint,
    OUT lock_waits bigint,
    OUT reads bigint,
    OUT events_read bigint,
    OUT stats_reset timestamptz
) RETURNS record
    AS 'MODULE_PATHNAME', 'en57_stat_counters' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.stat() IS 'what was appended to and read from this database''s log';

CREATE VIEW en57_stat AS SELECT * FROM en57.stat();
COMMENT ON VIEW en57_stat IS 'what was appended to and read from this database''s log since stats_reset';
COMMENT ON COLUMN en57_stat.appends IS 'appends that stored their events, including rolled-back ones';
COMMENT ON COLUMN en57_stat.repeated IS 'appends that were answered as repeated';
COMMENT ON COLUMN en57_stat.conflicts IS 'appends whose condition failed';
COMMENT ON COLUMN en57_stat.events IS 'events that were written, including imported and rolled-back ones';
COMMENT ON COLUMN en57_stat.bytes IS 'bytes of their rows, before compression';
COMMENT ON COLUMN en57_stat.lock_waits IS 'locks that an append or en57_lock had to wait for';
COMMENT ON COLUMN en57_stat.reads IS 'calls of functions that read events';
COMMENT ON COLUMN en57_stat.events_read IS 'events that these returned or counted';
COMMENT ON COLUMN en57_stat.stats_reset IS 'since when this is counted';

CREATE FUNCTION en57_stat_reset() RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION en57_stat_reset() IS 'sets the counters of en57_stat to zero';

------------------------------------------------------------------------------------------------------
-- What is wrong with the partitions' tables, according to the catalogs: no table is locked or read
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.table_faults(OUT fact text, OUT "table" oid, OUT severity text, OUT object text, OUT problem text, OUT hint text)
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
COMMENT ON FUNCTION en57.table_faults() IS 'what is wrong with the partitions'' tables, according to the catalogs';

------------------------------------------------------------------------------------------------------
-- Status
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57.shared_state(
    OUT library_version text,
    OUT shared_memory text,
    OUT processes integer,
    OUT next_position bigint,
    OUT head bigint,
    OUT ceiling bigint,
    OUT problem text
) RETURNS record
    AS 'MODULE_PATHNAME', 'en57_shared_state' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.shared_state() IS 'the shared memory of this database''s log, or the problem that makes it unavailable';

CREATE FUNCTION en57.in_flight(OUT pid integer, OUT from_position bigint, OUT partition oid) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'en57_in_flight' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION en57.in_flight() IS 'the transactions that have appended and not ended';

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

CREATE FUNCTION en57_status(OUT name text, OUT value text, OUT warning text) RETURNS SETOF record
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
COMMENT ON FUNCTION en57_status() IS 'the state of the event store, one fact a row, with a warning if something should be done';

------------------------------------------------------------------------------------------------------
-- Checking
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_check(
    partition text DEFAULT NULL,
    OUT severity text,
    OUT object text,
    OUT problem text,
    OUT hint text
) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 COST 1000000;
COMMENT ON FUNCTION en57_check(text) IS 'compares tables, indexes and shared memory; returns what is wrong, and no row if all is well';

------------------------------------------------------------------------------------------------------
-- Who may call them
------------------------------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION en57.stat(), en57_stat_reset(), en57.shared_state(), en57.in_flight(), en57.key_locks(), en57.key_lock_use(), en57.table_faults(), en57_status(), en57_check(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION en57.stat(), en57.shared_state(), en57.in_flight(), en57.key_locks(), en57.key_lock_use(), en57.table_faults(), en57_status(), en57_check(text) TO pg_monitor;
REVOKE ALL ON en57_stat, en57_key_locks FROM PUBLIC;
GRANT SELECT ON en57_stat, en57_key_locks TO pg_monitor;
