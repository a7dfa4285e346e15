-- Events without schema_version are of the newest version that is known of their type.
-- Fails when such an event is stored as version 1 and then upcast from what it is not.
CREATE FUNCTION one_more(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    e.data := jsonb_build_object('n', coalesce((e.data ->> 'n')::integer, 0) + 1);
    RETURN e;
END $$;
CREATE FUNCTION all_events(c jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT '{}'::en57_query $$;
CREATE FUNCTION same_state(s jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT s $$;
CREATE FUNCTION as_commanded(c jsonb, s jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT c $$;
SELECT en57_create_decider('d', 'all_events(jsonb)', 'same_state(jsonb,en57_event)', 'as_commanded(jsonb,jsonb)');
SELECT en57_register_upcaster('a', 1, 'one_more(en57_event)');
SELECT en57_register_upcaster('old', 1, 'one_more(en57_event)', to_type => 'new', to_version => 3);
SELECT en57_register_type('registered', 4);
-- what upcasters lead to, what is registered, and 1 of what is not known
SELECT outcome FROM en57_append('[{"type": "a", "data": {"n": 0}}, {"type": "new", "data": {"n": 0}}, {"type": "registered"}, {"type": "unknown"}]');
SELECT outcome FROM en57_append('{"type": "a", "schema_version": 1, "data": {"n": 0}}');
SELECT outcome FROM en57_append('{"type": "old", "schema_version": 1, "data": {"n": 0}}');
-- deciders, the gem, and imports alike
SELECT outcome FROM en57_decide('d', '{"type": "a", "data": {"n": 0}}');
SELECT conflicting_events FROM en57.append_events(ARRAY[ROW(NULL, 'a', '{"n": 0}', NULL, '{}')::en57.event]);
SELECT type, data, schema_version FROM en57_read();
SELECT type, data, schema_version FROM en57_read(upcast => false) WHERE type IN ('a', 'old');
-- upcasters take it, and nothing says what it is by now
SELECT en57_append('[{"type": "unknown"}, {"type": "old"}]');
SELECT en57_decide('d', '{"type": "old"}');
SELECT en57_try('d', '[]', '{"type": "old"}');
SELECT en57.append_events(ARRAY[ROW(NULL, 'old', '{}', NULL, '{}')::en57.event]);
SELECT en57_import('[{"type": "old"}]');
CREATE TABLE source (position bigint, type text, data jsonb, schema_version integer);
INSERT INTO source VALUES (1, 'old', NULL, NULL);
SELECT en57_import_from('source');
SELECT en57_import('[{"type": "a", "data": {"n": 0}}, {"type": "new", "data": {"n": 0}}]');
UPDATE source SET type = 'a', data = '{"n": 0}';
SELECT en57_import_from('source');
UPDATE source SET schema_version = 1;
SELECT en57_import_from('source');
UPDATE source SET schema_version = 0;
SELECT en57_import_from('source');
SELECT type, data, schema_version FROM en57_read(upcast => false, after => 8);
-- a state of events that are given
SELECT en57_try('d', '[{"type": "old"}]', '{"type": "a"}');
-- what was stored before is answered as it was, whatever has become of its type
SELECT outcome, position FROM en57_append('{"id": "00000000-0000-0000-0000-000000000001", "type": "renamed later"}');
SELECT en57_register_upcaster('renamed later', 1, 'one_more(en57_event)', to_type => 'new', to_version => 3);
SELECT outcome, position FROM en57_append('{"id": "00000000-0000-0000-0000-000000000001", "type": "renamed later"}');
SELECT outcome, position FROM en57_append('{"id": "00000000-0000-0000-0000-000000000002", "type": "renamed later"}');
