-- Views that show rows by right show nobody else's, also not to a cheap function in WHERE that tells what it is given.
-- Fails when a view is no security barrier: the function then runs before the view's own condition.
CREATE FUNCTION evolve(state jsonb, e en57_event) RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(state::int, 0) + 1) $$;
CREATE FUNCTION fine(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
CREATE ROLE regress_en57_leaker;
SELECT en57_create_partition('open'), en57_create_partition('secret');
SELECT en57_grant('regress_en57_leaker', 'reader', 'open');
SELECT en57_create_fold('f', 'evolve(jsonb,en57_event)', snapshot_every => 1);
DO $$
DECLARE
    p text;
BEGIN
    FOREACH p IN ARRAY '{open,secret}'::text[] LOOP
        PERFORM en57_append('[{"type": "t", "tags": ["k:1"]}, {"type": "t", "tags": ["k:1"]}, {"type": "gone", "data": {"a": 1}}]', partition => p);
        PERFORM en57_create_document_projection('docs ' || p, '{"types": ["t"]}', 'tag:k:', 'evolve(jsonb,en57_event)', partition => p);
        PERFORM en57_create_invariant('inv ' || p, '{"types": ["t"]}', 'tag:k:', 'evolve(jsonb,en57_event)', 'fine(jsonb)', partition => p);
        PERFORM en57_erase('{"types": ["gone"]}', 'why ' || p, p);
        INSERT INTO en57.rebuilds (projection, handler, search_path, start_position, "position") VALUES ('docs ' || p, 'evolve', '', 0, 0);
        PERFORM en57_create_subscription('sub ' || p, '{"types": ["t"]}', max_attempts => 1, partition => p);
        PERFORM en57_poll('sub ' || p, 1, lease => '1 hour');
        PERFORM en57_nack('sub ' || p, "position", 'no') FROM en57_read('{"types": ["t"]}', max_count => 1, partition => p);
        INSERT INTO en57.projection_dead_letters (projection, position, error) VALUES ('docs ' || p, 1, '{}');
        INSERT INTO en57.tracked (source, owner, position) VALUES (p, CASE p WHEN 'open' THEN 'regress_en57_leaker' ELSE current_user END, 1);
    END LOOP;
    UPDATE en57.subscriptions SET owner = 'regress_en57_leaker' WHERE partition = 'open';
END
$$;

SELECT (en57_state('f', '{"types": ["t"]}', partition => p)).state FROM unnest('{open,secret}'::text[]) p;

-- All of them are there for who may see them.
CREATE FUNCTION leak(view text, VARIADIC shown text[]) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
    RAISE NOTICE '% shows %', view, shown;
    RETURN true;
END
$$;
CREATE VIEW looks AS SELECT * FROM (VALUES
    ('en57_erasures', 'partition, reason'),
    ('en57_snapshots', 'partition'),
    ('en57_invariants', 'name, partition'),
    ('en57_projections', 'name, partition'),
    ('en57_stat_progress_rebuild', 'name'),
    ('en57_subscriptions', 'name, partition'),
    ('en57_dead_letters', 'subscription, error'),
    ('en57_projection_dead_letters', 'projection'),
    ('en57_sources', 'source')) l (view, columns);
GRANT SELECT ON looks TO PUBLIC;
CREATE FUNCTION look() RETURNS TABLE (view text, rows bigint) LANGUAGE plpgsql AS $$
DECLARE
    columns text;
BEGIN
    FOR view, columns IN SELECT * FROM looks LOOP
        EXECUTE format('SELECT count(*) FROM %I WHERE leak(%L, %s)', view, view, columns) INTO rows;
        RETURN NEXT;
    END LOOP;
END
$$;
SET client_min_messages = warning;
SELECT * FROM look();
RESET client_min_messages;
-- The other partition's, and the other's subscription, are not.
SET ROLE regress_en57_leaker;
SELECT * FROM look();
RESET ROLE;

-- Every view of the extension that asks for rights which rows to show is one of those above, and a barrier.
SELECT c.relname, c.reloptions
  FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relkind = 'v'
   AND pg_get_viewdef(c.oid) ~ 'WHERE.*(is_readable|is_owner|pg_has_role|_privilege)'
   AND (NOT coalesce('security_barrier=true' = ANY (c.reloptions) OR 'security_barrier' = ANY (c.reloptions), false)
        OR c.relname NOT IN (SELECT view FROM looks));
SELECT en57_drop_subscription('sub open'), en57_drop_subscription('sub secret');
DELETE FROM en57.tracked;
SELECT en57_revoke('regress_en57_leaker', 'reader', 'open');
DROP ROLE regress_en57_leaker;
