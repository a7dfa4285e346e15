-- An event that matches an invariant's query must have a key, whoever appends it and however, unless key_required => false: else nothing would be checked of it.
-- Fails when such an event passes; when it is refused before a conflict is told, or as a repeated one; when what is stored is not looked at.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION counted(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(coalesce(state::int, 0) + 1) $$;
CREATE FUNCTION fine(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT NULL::text $$;
CREATE FUNCTION told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; m text; d text; h text;
BEGIN
    EXECUTE call INTO answer;
    RETURN coalesce(answer, 'NULL');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n   ', sqlstate || ' ' || m, 'DETAIL ' || nullif(d, ''), 'HINT ' || nullif(h, ''));
END $$;
SELECT en57_create_invariant('by tag', '{"types": ["a"]}', 'tag:k:', 'counted(jsonb,en57_event)', 'fine(jsonb)');
SELECT en57_create_invariant('by stream', '{"types": ["b"]}', 'stream', 'counted(jsonb,en57_event)', 'fine(jsonb)');
SELECT name, key_required FROM en57_invariants ORDER BY name;

SELECT told($$SELECT outcome FROM en57_append('[{"type": "a", "tags": ["k:1"]}, {"type": "a", "tags": ["kk:1"]}]')$$);
SELECT told($$SELECT outcome FROM en57_append('{"type": "b"}')$$);
SELECT told($$SELECT outcome FROM en57_append('{"type": "b"}', stream => 's')$$);
SELECT en57_count();
-- events that do not match need none
SELECT told($$SELECT outcome FROM en57_append('{"type": "c"}')$$);
-- a conflict is told first; what was stored is answered as repeated
SELECT told($$SELECT outcome FROM en57_append('{"type": "a"}', fail_if => '{}')$$);
-- other ways in
SELECT told($$SELECT en57_import('[{"type": "a"}]')$$);
SELECT told($$SELECT "position" FROM en57.append_events(ARRAY[(NULL, 'a', '{}', '{}', '{}')::en57.event])$$);
-- a rename that makes it match
CREATE FUNCTION up(e en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS 'SELECT e';
SELECT told($$SELECT en57_register_upcaster('old', 1, 'up(en57_event)', to_type => 'a')$$);
SELECT told($$SELECT outcome FROM en57_append('{"type": "old", "schema_version": 1}')$$);
SELECT told($$SELECT outcome FROM en57_append('{"type": "old", "schema_version": 1, "tags": ["k:2"]}')$$);
-- what is stored already
SELECT told($$SELECT en57_create_invariant('stored', '{"types": ["c"]}', 'tag:k:', 'counted(jsonb,en57_event)', 'fine(jsonb)')$$);
SELECT told($$SELECT en57_create_invariant('stored', '{"types": ["c"]}', 'tag:k:', 'counted(jsonb,en57_event)', 'fine(jsonb)', key_required => NULL)$$);
SELECT told($$SELECT en57_create_invariant('stored', '{"types": ["c"]}', 'tag:k:', 'counted(jsonb,en57_event)', 'fine(jsonb)', validate => false)$$);
SELECT told($$SELECT outcome FROM en57_append('{"type": "c"}')$$);
SELECT en57_disable_invariant('stored');
SELECT told($$SELECT outcome FROM en57_append('{"type": "c"}')$$);
SELECT told($$SELECT en57_enable_invariant('stored')$$);
SELECT en57_drop_invariant('stored');
-- not required
SELECT en57_create_invariant('lax', '{"types": ["c"]}', 'tag:k:', 'counted(jsonb,en57_event)', 'fine(jsonb)', key_required => false);
SELECT told($$SELECT outcome FROM en57_append('{"type": "c"}')$$);
SELECT name, key_required FROM en57_invariants ORDER BY name;
