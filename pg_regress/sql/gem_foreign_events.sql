-- What the Ruby gem En57 meets beside what it wrote itself: events and schemas of others.
-- Fails when metadata reaches the gem without "serializer", which it looks for in every object, when a repeated id has another SQLSTATE
-- than the gem expects, or when CREATE EXTENSION refuses an empty schema en57, or takes one that is not empty.
\pset null NULL
\set SHOW_CONTEXT never
-- metadata: that of others, of the session beside the gem's events, and the gem's own
SELECT outcome FROM en57_append('{"type": "foreign", "tags": ["f"], "data": "text", "meta": {"source": "import"}}');
SELECT outcome FROM en57_append('{"type": "strange", "tags": ["f"], "meta": {"serializer": 5, "a": 1}}');
SELECT outcome FROM en57_append('{"type": "empty", "tags": ["f"], "meta": {}}');
SELECT outcome FROM en57_append('{"type": "none", "tags": ["f"]}');
SET en57.meta = '{"correlation_id": "c"}';
SELECT position FROM en57.append_events(ARRAY[(NULL, 'strings', '{"a": "b"}', NULL, '{f}'), (NULL, 'symbols', '{"a": "b"}', '{"serializer": {"a": {"k": "Symbol"}}}', '{f}')]::en57.event[]);
RESET en57.meta;
SELECT type, data, meta FROM en57.read_events('{}');
SELECT t AS type, (a.conflicting_events->0)->'meta' AS meta, (a.conflicting_events->0)->'data' AS data
    FROM unnest(ARRAY['foreign', 'strange', 'empty', 'none', 'strings', 'symbols']) t,
    LATERAL en57.append_events(ARRAY[(NULL, 'never', NULL, NULL, NULL)]::en57.event[], jsonb_build_object('fail_if_events_match', jsonb_build_array(jsonb_build_object('types', jsonb_build_array(t))))) a;
-- en57_read shows what is stored
SELECT type, meta FROM en57_read('{"types": ["foreign", "strings"]}');

-- an id twice in one call; en57_append has its own SQLSTATE for it
SELECT * FROM en57.append_events(ARRAY[('00000000-0000-0000-0000-000000000009', 'a', NULL, NULL, NULL), ('00000000-0000-0000-0000-000000000009', 'b', NULL, NULL, NULL)]::en57.event[]);
\echo :SQLSTATE
SELECT en57_append('[{"type": "a", "id": "00000000-0000-0000-0000-000000000009"}, {"type": "a", "id": "00000000-0000-0000-0000-000000000009"}]');
\echo :SQLSTATE
-- every event is after a number below 0, for the gem's functions alone
SELECT count(*) FROM en57.read_events(ARRAY['{"types": ["foreign", "none"], "after": -1}']::jsonb[], NULL, -5);
SELECT a.position, a.conflicting_events->0->>'type' AS type FROM en57.append_events(ARRAY[(NULL, 'never', NULL, NULL, NULL)]::en57.event[], '{"fail_if_events_match": [{"types": ["none"], "after": -7}]}') a;
SELECT en57.read_events(ARRAY['{"after": "-1"}']::jsonb[]);
SELECT en57_count('{"after": -1}');

-- an older release calls it in a select list, looks at no answer, and waits for an error of RAISE
SELECT en57.append_events(ARRAY[(NULL, 'never', NULL, NULL, NULL)]::en57.event[], '{"fail_if_events_match": [{"types": ["none"]}]}');
\echo :SQLSTATE
-- one that asks for a column that is not there fails before it stores
SELECT status FROM en57.append_events(ARRAY[(NULL, 'never', NULL, NULL, NULL)]::en57.event[], '{}');
\echo :SQLSTATE
SELECT en57_exists('{"types": ["never"]}');
SELECT (en57.append_events(ARRAY[(NULL, 'fine', NULL, NULL, NULL)]::en57.event[], '{"fail_if_events_match": [{"types": ["never"]}]}')).position;

-- Rails' schema.rb makes the schema first
DROP EXTENSION en57;
CREATE SCHEMA "en57";
CREATE EXTENSION IF NOT EXISTS "en57" CASCADE;
SELECT outcome FROM en57_append('{"type": "t"}');
SELECT pg_describe_object(classid, objid, 0) FROM pg_depend WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'en57') AND classid = 'pg_namespace'::regclass;
-- an empty one of somebody else does not stay his
DROP EXTENSION en57;
CREATE ROLE gem_owner;
CREATE SCHEMA en57 AUTHORIZATION gem_owner;
CREATE EXTENSION en57;
SELECT nspowner::regrole = current_user::regrole AS ours FROM pg_namespace WHERE nspname = 'en57';
DROP EXTENSION en57;
DROP ROLE gem_owner;
-- one that holds something is refused, and stays
CREATE SCHEMA en57;
CREATE FUNCTION en57.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION en57;
\echo :SQLSTATE
SELECT en57.mine();
DROP FUNCTION en57.mine();
CREATE TABLE en57.events (position bigint GENERATED ALWAYS AS IDENTITY, id uuid PRIMARY KEY, type text NOT NULL, data jsonb, meta jsonb);
CREATE TABLE en57.tags (event_id uuid NOT NULL REFERENCES en57.events (id) ON DELETE CASCADE, value text NOT NULL, PRIMARY KEY (event_id, value));
CREATE EXTENSION en57;
DROP SCHEMA en57 CASCADE;
CREATE EXTENSION en57;
