-- Who may do what: every function, as reader, writer and admin of one partition, of all, and as a stranger. '+' is allowed, all else the SQLSTATE.
-- Fails when a right is not asked for, or that of another partition; and where en57_revoke takes functions of admins from whom the owner has given them by hand.
SET client_min_messages = warning;
SELECT en57_create_partition('acme'), en57_create_partition('zeta');
CREATE FUNCTION role(name text) RETURNS text LANGUAGE sql AS $$ SELECT 'regress_en57_' || name $$;
CREATE TABLE roles (n serial, name text);
INSERT INTO roles (name) VALUES ('stranger'), ('reader'), ('writer'), ('admin'), ('other'), ('all_reader'), ('all_writer'), ('all_admin');
SELECT format('CREATE ROLE %I', role(name)) FROM roles ORDER BY n \gexec
-- of acme
SELECT en57_grant('regress_en57_reader', 'reader', 'acme'), en57_grant('regress_en57_writer', 'writer', 'acme'), en57_grant('regress_en57_admin', 'admin', 'acme');
-- of default, by name
SELECT en57_grant('regress_en57_other', 'writer', 'default');
-- of the log
SELECT en57_grant('regress_en57_all_reader', 'reader'), en57_grant('regress_en57_all_writer', 'writer'), en57_grant('regress_en57_all_admin', 'admin', NULL);
-- they are ordinary rights, the owner's
CREATE VIEW rights AS SELECT c.relname, a.grantee::regrole, a.grantor = c.relowner AS by_owner, string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type) AS rights FROM pg_class c, aclexplode(c.relacl) a
    WHERE relnamespace = 'en57'::regnamespace AND relkind IN ('r', 'p') AND a.grantee <> c.relowner GROUP BY 1, 2, 3;
SELECT * FROM rights ORDER BY relname, grantee::text;
SELECT position FROM en57_append('{"type": "secret", "tags": ["s"], "id": "00000000-0000-0000-0000-000000000001"}', partition => 'acme');
SELECT position FROM en57_append('{"type": "secret", "tags": ["s"], "id": "00000000-0000-0000-0000-000000000001"}');

-- does a call as a role, and undoes it
CREATE FUNCTION try(role text, call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role(role));
    EXECUTE call;
    RAISE 'undone' USING ERRCODE = 'P5757';
EXCEPTION
    WHEN SQLSTATE 'P5757' THEN RETURN '+';
    WHEN OTHERS THEN RETURN sqlstate;
END $$;
CREATE TABLE calls (n serial, call text);
INSERT INTO calls (call) VALUES ('SELECT count(*) FROM en57_read(partition => %1$L)'), ('SELECT en57_read(partition => %1$L)'), ('SELECT en57_context(NULL, %1$L)'), ('SELECT en57_head(NULL, %1$L)'), ('SELECT en57_head(''{"tags": ["s"]}'', %1$L)'),
    ('SELECT en57_last(NULL, %1$L)'), ('SELECT en57_exists(NULL, %1$L)'), ('SELECT en57_count(NULL, %1$L)'), ('SELECT en57_wait(0, ''1ms'', NULL, %1$L)'), ('SELECT en57_wait(0, ''1ms'', ''{"tags": ["s"]}'', %1$L)'),
    ('SELECT en57_get(''00000000-0000-0000-0000-000000000001'', %1$L)'), ('SELECT en57_lock(''{"tags": ["s"]}'', %1$L)'),
    ('SELECT en57_append(''{"type": "a"}'', partition => %1$L)'), ('SELECT en57_append(''{"type": "a"}'', fail_if => ''{"tags": ["t"]}'', partition => %1$L)'), ('SELECT en57_append(''{"type": "secret", "tags": ["s"], "id": "00000000-0000-0000-0000-000000000001"}'', partition => %1$L)'),
    ('SELECT set_config(''en57.partition'', %1$L, true); SELECT en57.append_events(ARRAY[(NULL, ''a'', NULL, NULL, NULL)]::en57.event[])'), ('SELECT set_config(''en57.partition'', %1$L, true); SELECT count(*) FROM en57.read_events(''{}'')'),
    ('SELECT set_config(''en57.partition'', %1$L, true); SELECT en57_count()'),
    ('SELECT en57_append(''{"type": "a"}'', stream => ''s'', partition => %1$L)'), ('SELECT en57_append(''{"type": "a"}'', stream => ''s'', expected_version => 0, partition => %1$L)'), ('SELECT en57_read_stream(''s'', partition => %1$L)'),
    ('SELECT en57_read_stream(''s'', from_version => 2, partition => %1$L)'), ('SELECT en57_stream(''s'', %1$L)'), ('SELECT en57_streams(partition => %1$L)'), ('SELECT en57_trace(''00000000-0000-0000-0000-000000000001'', %1$L)'), ('SELECT en57_trace_text(''00000000-0000-0000-0000-000000000001'', %1$L)'),
    ('SELECT en57_import(''[{"type": "a"}]'', %1$L)'),
    ('SELECT en57_create_partition(%1$L || ''2'')'), ('SELECT en57_drop_partition(%1$L)'), ('SELECT en57_detach_partition(%1$L)'), ('SELECT en57_truncate(%1$L)'), ('SELECT en57_truncate(%1$L, restart => true)'),
    ('SELECT en57_grant(''regress_en57_stranger'', ''reader'', %1$L)'), ('SELECT en57_grant(''regress_en57_stranger'', ''admin'', %1$L)'), ('SELECT en57_revoke(''regress_en57_writer'', ''writer'', %1$L)'),
    ('SELECT en57_grant(''regress_en57_stranger'', ''reader'', NULL) WHERE %1$L > '''''), ('SELECT count(*) FROM en57_partitions WHERE name = %1$L'),
    ('SELECT count(*) FROM en57.%2$I'), ('INSERT INTO en57.%2$I SELECT 1000, gen_random_uuid(), ''x'', NULL, NULL, ''{}'', NULL, NULL, 1, now(), now(), %1$L, 0'), ('UPDATE en57.%2$I SET type = ''x'''), ('DELETE FROM en57.%2$I'), ('TRUNCATE en57.%2$I'),
    ('DROP TABLE en57.%2$I'), ('ALTER TABLE en57.%2$I DISABLE TRIGGER ALL'), ('ALTER TABLE en57.events DETACH PARTITION en57.%2$I');
CREATE FUNCTION matrix(partition text) RETURNS TABLE (call text, stranger text, reader text, writer text, admin text, other text, all_reader text, all_writer text, all_admin text) LANGUAGE sql AS $$
    SELECT replace(replace(c.call, '%1$L', 'P'), '%2$I', 'T'), max(a) FILTER (WHERE r.name = 'stranger'), max(a) FILTER (WHERE r.name = 'reader'), max(a) FILTER (WHERE r.name = 'writer'), max(a) FILTER (WHERE r.name = 'admin'), max(a) FILTER (WHERE r.name = 'other'),
           max(a) FILTER (WHERE r.name = 'all_reader'), max(a) FILTER (WHERE r.name = 'all_writer'), max(a) FILTER (WHERE r.name = 'all_admin')
      FROM calls c, roles r, LATERAL try(r.name, format(c.call, matrix.partition, 'events_' || matrix.partition)) a GROUP BY c.n, c.call ORDER BY c.n $$;
SELECT * FROM matrix('acme');
-- the rights on acme are none on others
SELECT * FROM matrix('default');
SELECT * FROM matrix('zeta');
-- all together: those that he may read
CREATE FUNCTION seen(role text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role(role));
    SELECT concat_ws(' ', count(*), string_agg(partition, ',' ORDER BY partition), en57_count(partition => '*'), (en57_last(partition => '*')).partition, (SELECT count(*) FROM en57_partitions WHERE head IS NOT NULL)) INTO answer FROM en57_read(partition => '*');
    RESET ROLE;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
SELECT name, seen(name) FROM roles ORDER BY n;

-- a new partition has the rights that there are on the log; not those of PUBLIC
GRANT SELECT ON en57.events TO PUBLIC;
SELECT en57_create_partition('new');
SELECT * FROM rights WHERE relname = 'events_new' ORDER BY grantee::text;
REVOKE SELECT ON en57.events FROM PUBLIC;
-- an admin makes others readers of his partition, and they remain when he goes
SET ROLE regress_en57_admin;
SELECT en57_grant('regress_en57_stranger', 'reader', 'acme');
SELECT en57_truncate('acme');
SELECT en57_grant('regress_en57_stranger', 'reader', 'zeta');
RESET ROLE;
SELECT en57_revoke('regress_en57_admin', 'admin', 'acme');
SET ROLE regress_en57_admin;
SELECT en57_truncate('acme');
SELECT en57_count(partition => 'acme');
RESET ROLE;
-- plain GRANT alone does not make an admin; who is one of another partition keeps the functions
GRANT TRUNCATE ON en57.events_acme TO regress_en57_admin;
SET ROLE regress_en57_admin;
SELECT en57_truncate('acme');
RESET ROLE;
SELECT en57_grant('regress_en57_admin', 'admin', 'zeta'), en57_grant('regress_en57_admin', 'admin', 'acme'), en57_revoke('regress_en57_admin', 'admin', 'acme');
SET ROLE regress_en57_admin;
SELECT en57_truncate('zeta');
SELECT en57_truncate('acme');
RESET ROLE;
SET ROLE regress_en57_stranger;
SELECT en57_count(partition => 'acme');
RESET ROLE;
-- revoke takes what grant of the same name gives
SELECT en57_revoke('regress_en57_writer', 'writer', 'acme'), en57_revoke('regress_en57_stranger', 'reader', 'acme'), en57_revoke('regress_en57_all_reader', 'reader'), en57_revoke('regress_en57_all_writer', 'writer'), en57_revoke('regress_en57_all_admin', 'admin');
SELECT * FROM rights ORDER BY relname, grantee::text;
SELECT p.proname, a.grantee::regrole FROM pg_proc p, aclexplode(p.proacl) a WHERE proname LIKE 'en57\_%' AND a.grantee::regrole::text LIKE 'regress%' ORDER BY 1, 2;

-- en57_revoke takes nothing that en57_grant has not given: what is granted by a plain GRANT, on functions too, is not for admins of some partition
CREATE ROLE regress_en57_by_hand;
CREATE VIEW functions AS SELECT a.grantee::regrole, a.grantor = p.proowner AS by_owner, count(*), bool_or(a.is_grantable) AS grantable FROM pg_proc p, aclexplode(p.proacl) a
    WHERE a.grantee::regrole::text LIKE 'regress%' GROUP BY 1, 2 ORDER BY 1, 2;
GRANT SELECT ON functions TO regress_en57_admin;
GRANT EXECUTE ON FUNCTION en57_create_decider, en57_create_fold, en57_truncate TO regress_en57_by_hand;
SELECT en57_grant('regress_en57_admin', 'admin', 'acme'), en57_grant('regress_en57_admin', 'admin', 'zeta');
SET ROLE regress_en57_admin;
SELECT en57_revoke('regress_en57_by_hand', 'reader', 'acme'), en57_revoke('regress_en57_by_hand', 'admin', 'acme');
SELECT * FROM functions;
-- also not when he was made an admin for a while
SELECT en57_grant('regress_en57_by_hand', 'admin', 'acme'), en57_grant('regress_en57_by_hand', 'admin', 'zeta');
SELECT * FROM functions;
SELECT en57_revoke('regress_en57_by_hand', 'admin', 'acme'), en57_revoke('regress_en57_by_hand', 'admin', 'zeta');
SELECT * FROM functions;
SELECT en57_grant('regress_en57_by_hand', 'admin', 'zeta'), en57_revoke('regress_en57_by_hand', 'admin', 'zeta'), en57_revoke('regress_en57_by_hand', 'admin', 'zeta');
SELECT * FROM functions;
RESET ROLE;
DROP OWNED BY regress_en57_by_hand;
-- nor with grant option, nor where others have given it by that
GRANT EXECUTE ON FUNCTION en57_truncate TO regress_en57_by_hand WITH GRANT OPTION;
GRANT SELECT, TRUNCATE ON en57.events_acme TO regress_en57_by_hand WITH GRANT OPTION;
SET ROLE regress_en57_by_hand;
GRANT EXECUTE ON FUNCTION en57_truncate TO regress_en57_stranger;
GRANT SELECT, TRUNCATE ON en57.events_acme TO regress_en57_stranger;
RESET ROLE;
SELECT en57_grant('regress_en57_stranger', 'admin', 'acme');
SELECT en57_revoke('regress_en57_stranger', 'admin', 'acme');
SELECT * FROM functions;
SELECT * FROM rights WHERE relname = 'events_acme' ORDER BY grantee::text, by_owner;
-- what others have by him is not taken along
SELECT en57_revoke('regress_en57_by_hand', 'reader', 'acme');
REVOKE ALL ON en57.events_acme FROM regress_en57_by_hand CASCADE;
SELECT * FROM rights WHERE relname = 'events_acme' ORDER BY grantee::text, by_owner;
DROP OWNED BY regress_en57_by_hand;
-- the owner of a table has what he has without a grant
ALTER TABLE en57.events_zeta OWNER TO regress_en57_by_hand;
SET ROLE regress_en57_admin;
SELECT en57_revoke('regress_en57_by_hand', 'admin', 'zeta');
RESET ROLE;
SELECT has_table_privilege('regress_en57_by_hand', 'en57.events_zeta', 'TRUNCATE');
ALTER TABLE en57.events_zeta OWNER TO postgres;
SELECT en57_revoke('regress_en57_admin', 'admin', 'acme'), en57_grant('regress_en57_admin', 'admin', 'zeta');
SELECT * FROM functions;
DROP OWNED BY regress_en57_by_hand;
DROP ROLE regress_en57_by_hand;
DROP VIEW functions;

-- bad input
SELECT en57_grant('regress_en57_nobody', 'reader');
SELECT en57_grant('regress_en57_reader', 'raeder');
SELECT en57_grant('regress_en57_reader', 'owner');
SELECT en57_grant('regress_en57_reader', NULL);
SELECT en57_grant(NULL, 'reader');
SELECT en57_grant('-', 'reader');
SELECT en57_grant('regress_en57_reader', 'reader', '*');
SELECT en57_revoke('regress_en57_reader', 'READER');
BEGIN READ ONLY;
SELECT en57_grant('regress_en57_reader', 'reader');
ROLLBACK;
-- a role of any name
CREATE ROLE "regress en57 ""; DROP TABLE x; --";
SELECT en57_grant('"regress en57 ""; DROP TABLE x; --"', 'admin', 'zeta');
SELECT * FROM rights WHERE relname = 'events_zeta' ORDER BY grantee::text;
DROP OWNED BY "regress en57 ""; DROP TABLE x; --";
DROP ROLE "regress en57 ""; DROP TABLE x; --";

-- where somebody else owns the log, partitions are his
CREATE ROLE regress_en57_owner;
GRANT CREATE ON SCHEMA en57 TO regress_en57_owner;
SELECT format('ALTER TABLE %s OWNER TO regress_en57_owner', t) FROM (SELECT 'en57.events' UNION SELECT "table"::text FROM en57_partitions) x(t) ORDER BY t \gexec
GRANT EXECUTE ON FUNCTION en57_create_partition, en57_drop_partition TO regress_en57_owner;
SET ROLE regress_en57_owner;
SELECT en57_create_partition('his');
SELECT outcome FROM en57_append('{"type": "a"}', partition => 'his');
SELECT name, owner FROM en57_partitions WHERE name = 'his';
SELECT en57_drop_partition('his');
RESET ROLE;
-- row-level security in force for the caller: refused
GRANT SELECT ON en57.events_acme, en57.events_default TO regress_en57_reader;
ALTER TABLE en57.events_acme ENABLE ROW LEVEL SECURITY;
SET ROLE regress_en57_reader;
SELECT en57_count(partition => 'acme');
SELECT en57_count(partition => '*');
SELECT en57_count(partition => 'default');
SELECT name, head IS NOT NULL AS has_head FROM en57_partitions ORDER BY name;
RESET ROLE;
DROP EXTENSION en57 CASCADE;
SELECT format('DROP OWNED BY %1$I; DROP ROLE %1$I', role(name)) FROM roles UNION SELECT 'DROP OWNED BY regress_en57_owner; DROP ROLE regress_en57_owner' ORDER BY 1 \gexec
