------------------------------------------------------------------------------------------------------
-- Partitions
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_create_partition(name text, if_not_exists boolean DEFAULT false) RETURNS regclass
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_create_partition(text, boolean) IS 'creates a partition; returns its table';

CREATE FUNCTION en57_drop_partition(name text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_drop_partition(text) IS 'drops a partition with its events';

CREATE FUNCTION en57_detach_partition(name text) RETURNS regclass
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_detach_partition(text) IS
    'takes a partition out of the log; returns its table, which keeps its rows';

CREATE FUNCTION en57_truncate(partition text, restart boolean DEFAULT false) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_truncate(text, boolean) IS
    'empties a partition; with restart, positions begin at 1 again';

CREATE FUNCTION en57_grant(role regrole, what text, partition text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_grant(regrole, text, text) IS
    'makes a role a reader, writer or admin of a partition, or of all present and future ones';

CREATE FUNCTION en57_revoke(role regrole, what text, partition text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_revoke(regrole, text, text) IS 'revokes what en57_grant grants';

-- en57_revoke() takes the functions of admins from nobody else than those to whom en57_grant() has given them.
CREATE FUNCTION en57.had_functions_before() RETURNS void
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS 'SELECT';
COMMENT ON FUNCTION en57.had_functions_before() IS 'does nothing: EXECUTE on it marks roles that were granted functions of admins before en57_grant() made them admins';

CREATE FUNCTION en57.partition_of("table" regclass) RETURNS text
    AS 'MODULE_PATHNAME', 'en57_partition_of' LANGUAGE c STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION en57.partition_of(regclass) IS 'the name of the partition that the table is; NULL for other tables';

CREATE FUNCTION en57.bytes_now("table" regclass) RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_bytes_now' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.bytes_now(regclass) IS 'the size of a table with its indexes, on disk; NULL while another transaction keeps one of them locked';

CREATE FUNCTION en57.head_now(query en57_query, partition text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_head_now' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.head_now(en57_query, text) IS
    'the frontier of a query at this moment; NULL if the caller may not read it, while another transaction keeps the partition locked, on a standby, and if logical replication fills the partition';

CREATE VIEW en57_partitions AS
SELECT p.name,
       p.oid::pg_catalog.regclass AS "table",
       pg_catalog.pg_get_userbyid(p.relowner) AS owner,
       GREATEST(p.reltuples::bigint, pg_catalog.pg_stat_get_live_tuples(p.oid)) AS events,
       en57.bytes_now(p.oid::pg_catalog.regclass) AS bytes,
       en57.head_now(NULL, p.name) AS head
  FROM (SELECT c.oid, c.relowner, c.reltuples, en57.partition_of(c.oid) AS name
          FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
         WHERE i.inhparent OPERATOR(pg_catalog.=) 'en57.events'::pg_catalog.regclass) p;
COMMENT ON VIEW en57_partitions IS 'the partitions of the log';
COMMENT ON COLUMN en57_partitions.name IS 'its name; NULL if the table was attached by hand with another kind of bound';
COMMENT ON COLUMN en57_partitions."table" IS 'the table that holds its events';
COMMENT ON COLUMN en57_partitions.owner IS 'the table''s owner';
COMMENT ON COLUMN en57_partitions.events IS 'about how many events it holds, an estimate';
COMMENT ON COLUMN en57_partitions.bytes IS 'its size on disk, with its indexes; NULL while another transaction keeps it locked';
COMMENT ON COLUMN en57_partitions.head IS 'its frontier at this moment; NULL without the SELECT privilege, while another transaction keeps it locked, on a standby, and if logical replication fills it';
