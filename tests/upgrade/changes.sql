-- What may change from one version to the next, one thing of each kind. The self-test makes a newer version of today's
-- script with all of it, and steps to that: one with all of it, which must be found right, and for each change one that
-- lacks it, which must be found wrong. A change begins with a line that names the catalog that shows it, and the change.
--- pg_proc: a function
CREATE FUNCTION en57.t_function(n integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n';
--- pg_proc: a procedure
CREATE PROCEDURE en57.t_procedure() LANGUAGE sql AS 'SELECT 1';
--- pg_aggregate: an aggregate
CREATE AGGREGATE en57.t_sum(bigint) (SFUNC = pg_catalog.int8pl, STYPE = bigint, INITCOND = '0');
--- pg_proc: the body of a function
CREATE OR REPLACE FUNCTION en57_tracked(source text) RETURNS bigint LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN 1; END $$;
--- pg_proc: a function's C symbol
CREATE OR REPLACE FUNCTION en57.worker_pid() RETURNS integer AS 'MODULE_PATHNAME', 'en57_worker_stop' LANGUAGE c VOLATILE PARALLEL RESTRICTED;
--- pg_proc: how a function is planned
ALTER FUNCTION en57_head(en57_query, text) PARALLEL RESTRICTED COST 7;
--- pg_proc: a function's setting
ALTER FUNCTION en57_tracked(text) SET lock_timeout = '1s';
--- pg_proc: the default of an argument
CREATE OR REPLACE FUNCTION en57_wait_subscription(name text, "position" bigint DEFAULT NULL, timeout interval DEFAULT '31s')
    RETURNS boolean AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
--- pg_class: a view
CREATE VIEW en57.t_view AS SELECT name FROM en57.folds;
--- pg_class: the definition of a view
DO $$ BEGIN EXECUTE format('CREATE OR REPLACE VIEW en57_upcasters AS SELECT * FROM (%s) AS v LIMIT 1000', rtrim(pg_get_viewdef('en57_upcasters'::regclass), ';')); END $$;
--- pg_class: an option of a view
ALTER VIEW en57_folds SET (security_barrier = true);
--- pg_class: a table
CREATE TABLE en57.t_table (n bigint);
--- pg_attribute: a column
ALTER TABLE en57.upcasters ADD COLUMN t_column integer;
--- pg_attribute: the type of a column
ALTER TABLE en57.subscriptions ALTER COLUMN created_at TYPE timestamptz(3);
--- pg_attrdef: the default of a column
ALTER TABLE en57.folds ALTER COLUMN name SET DEFAULT 'none';
--- pg_attribute: NOT NULL
ALTER TABLE en57.folds ALTER COLUMN initial SET NOT NULL;
--- pg_constraint: a constraint
ALTER TABLE en57.folds ADD CONSTRAINT t_check CHECK (name <> 'none');
--- pg_index: an index
CREATE INDEX t_index ON en57.folds (name);
--- pg_attribute: a statistics target
ALTER TABLE en57.folds ALTER COLUMN name SET STATISTICS 17;
--- pg_attribute: how a column is stored
ALTER TABLE en57.folds ALTER COLUMN name SET STORAGE EXTERNAL;
--- pg_class: a storage parameter
ALTER TABLE en57.folds SET (fillfactor = 71);
--- pg_class: a storage parameter of a TOAST table
ALTER TABLE en57.folds SET (toast.autovacuum_enabled = false);
--- pg_statistic_ext: extended statistics
CREATE STATISTICS en57.t_statistics ON name, number FROM en57.folds;
--- pg_class: a replica identity
ALTER TABLE en57.folds REPLICA IDENTITY FULL;
--- pg_trigger: a trigger
CREATE TRIGGER t_trigger AFTER TRUNCATE ON en57.folds FOR EACH STATEMENT EXECUTE FUNCTION en57.definitions_changed();
--- pg_trigger: when a trigger fires
ALTER TABLE en57.events ENABLE REPLICA TRIGGER en57_guard;
--- pg_rewrite: a rule
CREATE RULE t_rule AS ON DELETE TO en57.folds WHERE old.name = 'none' DO ALSO NOTHING;
--- pg_class: row-level security
ALTER TABLE en57.folds ENABLE ROW LEVEL SECURITY;
--- pg_policy: a policy
CREATE POLICY t_policy ON en57.folds USING (name <> 'none');
--- pg_sequence: a sequence
ALTER SEQUENCE en57.projection_number INCREMENT 2;
--- pg_attribute: an attribute of a row type
ALTER TYPE en57.append_result ADD ATTRIBUTE t_attribute integer;
--- pg_enum: a label of an enumeration
ALTER TYPE en57_outcome ADD VALUE 't_label' BEFORE 'appended';
--- pg_type: a domain
CREATE DOMAIN en57.t_domain AS text CHECK (VALUE <> '');
--- pg_range: a range type
CREATE TYPE en57.t_range AS RANGE (SUBTYPE = bigint);
--- pg_operator: an operator
CREATE OPERATOR en57.<<< (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_catalog.int8lt);
--- pg_opclass: an operator class
CREATE OPERATOR CLASS en57.t_ops FOR TYPE bigint USING btree AS OPERATOR 1 pg_catalog.<, FUNCTION 1 pg_catalog.btint8cmp(bigint, bigint);
--- pg_amproc: an operator of an operator family
ALTER OPERATOR FAMILY en57.position_ops USING en57_keys ADD FUNCTION 1 (integer, integer) pg_catalog.btint4cmp(integer, integer);
--- pg_cast: a cast
CREATE CAST (en57_outcome AS jsonb) WITH INOUT;
--- pg_am: an access method
CREATE ACCESS METHOD t_keys TYPE INDEX HANDLER en57.keys_handler;
--- pg_language: a language
CREATE LANGUAGE t_plpgsql HANDLER en57.plpgsql_handler;
--- pg_event_trigger: an event trigger
CREATE EVENT TRIGGER t_event_trigger ON ddl_command_start WHEN TAG IN ('CREATE AGGREGATE') EXECUTE FUNCTION en57.before_restore();
--- pg_publication: a publication
CREATE PUBLICATION t_publication FOR TABLE en57.folds;
--- pg_collation: a collation
CREATE COLLATION en57.t_collation FROM pg_catalog."C";
--- pg_namespace: a schema
CREATE SCHEMA t_schema;
--- pg_description: the comment of a function
COMMENT ON FUNCTION en57_head(en57_query, text) IS 'another one';
--- pg_description: a comment that is gone
COMMENT ON FUNCTION en57.worker_pid() IS NULL;
--- pg_description: the comment of a column
COMMENT ON COLUMN en57_folds.name IS 'another one';
--- pg_proc: a privilege of a function
GRANT EXECUTE ON FUNCTION en57_stat_reset() TO pg_monitor;
--- pg_init_privs: a privilege that is taken
REVOKE EXECUTE ON FUNCTION en57_tracked(text) FROM PUBLIC;
--- pg_class: a privilege of a table
GRANT SELECT ON en57.folds TO pg_monitor;
--- pg_attribute: a privilege of a column
GRANT SELECT (name) ON en57.projections TO PUBLIC;
--- pg_namespace: a privilege of a schema
GRANT CREATE ON SCHEMA en57 TO pg_monitor;
--- pg_type: a privilege of a type
REVOKE USAGE ON TYPE en57_outcome FROM PUBLIC;
--- pg_default_acl: privileges by default
ALTER DEFAULT PRIVILEGES IN SCHEMA en57 GRANT SELECT ON TABLES TO pg_monitor;
--- pg_proc: an owner
ALTER FUNCTION en57.worker_pid() OWNER TO pg_monitor;
--- pg_extension: a table whose rows are dumped
DO $$ BEGIN PERFORM pg_extension_config_dump(objid, '') FROM pg_depend, pg_extension AS e
    WHERE e.extname = 'en57' AND refclassid = 'pg_extension'::regclass AND refobjid = e.oid AND classid = 'pg_class'::regclass
        AND NOT objid = ANY (extconfig) AND (SELECT relkind FROM pg_class WHERE oid = objid) = 'r' AND objid::regclass::text !~ '\.t_' ORDER BY objid LIMIT 1; END $$;
--- pg_extension: which rows of a table are dumped
SELECT pg_extension_config_dump('en57.folds', 'WHERE name <> ''none''');
--- pg_seclabel: a security label
DO $$ BEGIN SET LOCAL allow_system_table_mods = on; INSERT INTO pg_seclabel VALUES ('en57.folds'::regclass, 'pg_class'::regclass, 0, 'none', 'secret'); END $$;
--- pg_depend: a dependency
ALTER FUNCTION en57.worker_pid() DEPENDS ON EXTENSION plpgsql;
--- pg_depend: an object that is no member any more
ALTER EXTENSION en57 DROP FUNCTION en57_wait_subscription(text, bigint, interval);
--- pg_class: a parameter of a partition, which is no member
ALTER TABLE en57.events_default SET (autovacuum_vacuum_cost_limit = 57);
--- pg_index: an index of a partition, which is no member
CREATE INDEX events_default_t ON en57.events_default (recorded_at);
--- pg_class: the name of an index of a partition
ALTER INDEX en57.events_default_id RENAME TO events_default_t_id;
--- pg_db_role_setting: a setting of the database
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = 1000', current_database()); END $$;
