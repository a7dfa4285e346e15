-- Everything that no caller may change: what it is, and a hash of it.
WITH extension AS (SELECT classid, objid FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'en57' WHERE d.deptype = 'e'),
-- These the admin may grant, with his partition.
lent AS (SELECT oid FROM pg_proc WHERE proacl::text LIKE '%smith_victim%'),
smiths AS (SELECT oid FROM pg_roles WHERE rolname IN ('smith_nobody', 'smith_reader', 'smith_writer', 'smith_admin')),
all_of (what, content) AS (
    SELECT 'events', e::text FROM en57.events e WHERE e.partition <> 'mine'
    UNION ALL SELECT 'documents', d::text FROM smith_victim."their documents" d
    UNION ALL SELECT 'seen', s::text FROM smith_victim.seen s
    UNION ALL SELECT 'projections', p::text FROM en57.projections p WHERE p.partition <> 'mine'
    UNION ALL SELECT 'projection_dead_letters', l::text FROM en57.projection_dead_letters l WHERE l.projection IN (SELECT p.name FROM en57.projections p WHERE p.partition <> 'mine')
    UNION ALL SELECT 'rebuilds', r::text FROM en57.rebuilds r WHERE r.projection IN (SELECT p.name FROM en57.projections p WHERE p.partition <> 'mine')
    UNION ALL SELECT 'invariants', i::text FROM en57.invariants i WHERE i.partition <> 'mine'
    UNION ALL SELECT 'invariant_states', s::text FROM en57.invariant_states s JOIN en57.invariants i ON i.number = s.invariant AND i.partition <> 'mine'
    UNION ALL SELECT 'folds', f::text FROM en57.folds f WHERE f.name IN ('their fold', 'their decider')
    UNION ALL SELECT 'subscriptions', s::text FROM en57.subscriptions s WHERE s.owner = 'smith_victim'
    UNION ALL SELECT 'shards', h::text FROM en57.subscription_shards h JOIN en57.subscriptions s ON s.id = h.subscription AND s.owner = 'smith_victim'
    UNION ALL SELECT 'dead_letters', l::text FROM en57.dead_letters l JOIN en57.subscriptions s ON s.id = l.subscription AND s.owner = 'smith_victim'
    UNION ALL SELECT 'tracked', t::text FROM en57.tracked t WHERE t.owner = 'smith_victim'
    UNION ALL SELECT 'event_types', t::text FROM en57.event_types t
    UNION ALL SELECT 'upcasters', u::text FROM en57.upcasters u
    UNION ALL SELECT 'imports', i::text FROM en57.imports i
    UNION ALL SELECT 'erasures', e::text FROM en57.erasures e WHERE e.partition <> 'mine'
    UNION ALL SELECT 'pg_authid', a::text FROM pg_authid a
    UNION ALL SELECT 'pg_auth_members', m::text FROM pg_auth_members m
    UNION ALL SELECT 'pg_db_role_setting', s::text FROM pg_db_role_setting s
    UNION ALL SELECT 'pg_default_acl', a::text FROM pg_default_acl a
    UNION ALL SELECT 'pg_extension', x::text FROM pg_extension x
    UNION ALL SELECT 'pg_event_trigger', t::text FROM pg_event_trigger t
    UNION ALL SELECT 'pg_language', l::text FROM pg_language l
    UNION ALL SELECT 'pg_database', concat_ws(' ', d.datname, d.datdba, d.datacl::text) FROM pg_database d
    UNION ALL SELECT 'pg_namespace', concat_ws(' ', n.nspname, n.nspowner, n.nspacl::text) FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'members', e::text FROM extension e
    UNION ALL SELECT 'pg_proc', concat_ws(' ', p.oid, p.proname, p.proowner, p.prosecdef, p.proconfig, p.prosrc, p.probin, CASE WHEN p.oid NOT IN (SELECT oid FROM lent) THEN p.proacl END)
        FROM pg_proc p WHERE p.proowner NOT IN (SELECT oid FROM smiths)
    UNION ALL SELECT 'pg_class', concat_ws(' ', c.oid, c.relname, c.relowner, c.relkind, c.relpersistence, c.relrowsecurity, c.relacl::text)
        FROM pg_class c WHERE c.relowner NOT IN (SELECT oid FROM smiths) AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast)?')
            AND c.relname NOT LIKE 'events_mine%'
    UNION ALL SELECT 'pg_trigger', concat_ws(' ', t.tgname, t.tgenabled, t.tgrelid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relowner NOT IN (SELECT oid FROM smiths) AND c.relname NOT LIKE 'events_mine%'
    UNION ALL SELECT 'pg_prepared_xacts', x::text FROM pg_prepared_xacts x
)
SELECT what::text, md5(string_agg(content, '|' ORDER BY content COLLATE "C")) FROM all_of GROUP BY what ORDER BY what
