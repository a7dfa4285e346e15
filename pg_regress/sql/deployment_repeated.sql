-- A script that creates everything can be run again: what is there is left, or becomes what is asked for. Nothing is done where nothing differs.
CREATE EXTENSION IF NOT EXISTS en57;
CREATE FUNCTION told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; hint text; detail text;
BEGIN
    EXECUTE call INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat(SQLSTATE, ' ', SQLERRM, E'\n   DETAIL ' || nullif(detail, ''), E'\n   HINT ' || nullif(hint, ''));
END $$;
CREATE FUNCTION counted(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(coalesce(state::int, 0) + 1) $$;
CREATE FUNCTION named(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(e.type) $$;
CREATE FUNCTION all_of(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT '{"types": ["a"]}'::en57_query $$;
CREATE FUNCTION decided(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT '{"type": "a"}'::jsonb $$;
CREATE FUNCTION same(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS $$ SELECT e $$;
CREATE FUNCTION other(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS $$ SELECT e $$;
\pset tuples_only on

-- partitions
SELECT en57_create_partition('acme', if_not_exists => true);
SELECT en57_create_partition('acme', if_not_exists => true);
SELECT told($$SELECT en57_create_partition('acme')$$);
SELECT told($$SELECT en57_create_partition('acme', NULL)$$);
-- who may not make one is not told of one
CREATE ROLE regress_en57_nobody;
GRANT EXECUTE ON FUNCTION en57_create_partition(text, boolean) TO regress_en57_nobody;
SET ROLE regress_en57_nobody;
SELECT told($$SELECT en57_create_partition('acme', if_not_exists => true)$$);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION en57_create_partition(text, boolean) FROM regress_en57_nobody;
DROP ROLE regress_en57_nobody;

-- folds: what is the same keeps its snapshots
SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "a"}, {"type": "a"}]');
SELECT en57_create_fold('count', 'counted(jsonb,en57_event)', snapshot_every => 2, or_replace => true);
SELECT state FROM en57_state('count', '{"types": ["a"]}');
SELECT en57_create_fold('count', 'counted(jsonb,en57_event)', snapshot_every => 2, or_replace => true);
SELECT en57_create_fold('count', 'counted(jsonb,en57_event)', snapshot_every => 2, if_not_exists => true);
SELECT count(*) FROM en57_snapshots WHERE name = 'count';
SELECT en57_create_fold('count', 'named(jsonb,en57_event)', '"none"', snapshot_every => NULL, if_not_exists => true);
SELECT evolve, snapshot_every FROM en57_folds WHERE name = 'count';
SELECT told($$SELECT en57_create_fold('count', 'named(jsonb,en57_event)')$$);
SELECT en57_create_fold('count', 'named(jsonb,en57_event)', or_replace => true);
SELECT count(*) FROM en57_snapshots WHERE name = 'count';
SELECT state FROM en57_state('count', '{"types": ["a"]}');
SELECT told($$SELECT en57_create_fold('count', 'named(jsonb,en57_event)', if_not_exists => true, or_replace => true)$$);
SELECT told($$SELECT en57_create_fold('count', 'named(jsonb,en57_event)', or_replace => NULL)$$);

-- deciders, which share names with folds
SELECT told($$SELECT en57_create_decider('count', 'all_of(jsonb)', 'counted(jsonb,en57_event)', 'decided(jsonb,jsonb)', if_not_exists => true)$$);
SELECT en57_create_decider('decide', 'all_of(jsonb)', 'counted(jsonb,en57_event)', 'decided(jsonb,jsonb)', command_schema => '{"type": "object"}', if_not_exists => true);
SELECT en57_create_decider('decide', 'all_of(jsonb)', 'counted(jsonb,en57_event)', 'decided(jsonb,jsonb)', command_schema => '{"type": "object"}', if_not_exists => true);
SELECT en57_create_decider('decide', 'all_of(jsonb)', 'named(jsonb,en57_event)', 'decided(jsonb,jsonb)', '1', if_not_exists => true);
SELECT told($$SELECT en57_create_decider('decide', 'all_of(jsonb)', 'named(jsonb,en57_event)', 'decided(jsonb,jsonb)')$$);
SELECT en57_create_decider('decide', 'all_of(jsonb)', 'named(jsonb,en57_event)', 'decided(jsonb,jsonb)', '1', or_replace => true);
SELECT evolve, initial, command_schema FROM en57_deciders;

-- types: to register one is to change the one that there is
SELECT en57_register_type('a', 1, '{"type": "object"}', if_not_exists => true);
SELECT en57_register_type('a', 1, '{"type": "object"}', if_not_exists => true);
SELECT en57_register_type('a', 1, '{"type": "array"}', '{"type": "object"}', if_not_exists => true);
SELECT schema_version, json_schema, meta_schema FROM en57_event_types WHERE type = 'a';
SELECT en57_register_type('a', 1, '{"type": "array"}');
SELECT schema_version, json_schema, meta_schema FROM en57_event_types WHERE type = 'a';
SELECT told($$SELECT en57_register_type('a', 1, if_not_exists => NULL)$$);
SELECT told($$SELECT en57_register_type('a', 1, '{"type": "no type"}', if_not_exists => true)$$) ~ '^22023';
SELECT en57_unregister_type('a');

-- upcasters, too: one that is registered as it is keeps what was made by it
SELECT en57_create_fold('upcast', 'counted(jsonb,en57_event)', snapshot_every => 2, or_replace => true);
SELECT en57_register_upcaster('a', 1, 'same(en57_event)', if_not_exists => true);
SELECT state FROM en57_state('upcast', '{"types": ["a"]}');
SELECT xmin::text AS before FROM en57.upcasters WHERE type = 'a' \gset
SELECT en57_register_upcaster('a', 1, 'same(en57_event)');
SELECT en57_register_upcaster('a', 1, 'same(en57_event)', if_not_exists => true);
SELECT xmin::text = :'before' FROM en57.upcasters WHERE type = 'a';
SELECT en57_register_upcaster('a', 1, 'other(en57_event)', to_type => 'b', if_not_exists => true);
SELECT to_type, to_version, upcaster FROM en57_upcasters WHERE type = 'a';
SELECT en57_register_upcaster('a', 1, 'other(en57_event)');
SELECT upcaster FROM en57_upcasters WHERE type = 'a';
SELECT told($$SELECT en57_register_upcaster('a', 1, 'same(en57_event)', if_not_exists => NULL)$$);

\pset tuples_only off
SELECT en57_drop_upcaster('a', 1);
SELECT en57_drop_fold('count'), en57_drop_fold('upcast'), en57_drop_decider('decide'), en57_drop_partition('acme');
SELECT en57_truncate('default', true);
DROP FUNCTION told, counted, named, all_of, decided, same, other;
