-- JSON Schemas and documents that would take stack, time or memory without end.
CREATE ROLE en57_schema_reader;
SELECT en57_grant('en57_schema_reader', 'reader');
SELECT outcome FROM en57_append('{"type": "o", "data": {"a": 1}}');
SET statement_timeout = '60s';

-- schemas that refer along a chain, or in too many ways: refused before they are compiled, by a reader as well
CREATE FUNCTION chain(links int, link text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('$ref', '#/$defs/0', '$defs',
        jsonb_object_agg(i::text, CASE WHEN i < links THEN replace(link, 'NEXT', '#/$defs/' || i + 1)::jsonb ELSE 'true' END))
    FROM generate_series(0, links) i
$$;
SET ROLE en57_schema_reader;
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(3000, '{"unevaluatedProperties": false, "$ref": "NEXT"}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(1000, '{"allOf": [{"$ref": "NEXT"}]}'));
SELECT count(*) FROM en57_check_type('o', 1, meta_schema => chain(60, '{"if": {"$ref": "NEXT"}}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(60, '{"dependentSchemas": {"a": {"$ref": "NEXT"}}}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(90, '{"unevaluatedProperties": false, "$ref": "NEXT"}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(20, '{"allOf": [{"$ref": "NEXT"}, {"$ref": "NEXT"}]}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(200, '{"additionalProperties": {"unevaluatedProperties": false, "$ref": "NEXT"}}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(3000, '{"properties": {"a": {"$ref": "NEXT"}}}'));
-- by anchors, by ids, with percent signs
SELECT count(*) FROM en57_check_type('o', 1, json_schema => (
    SELECT jsonb_build_object('$ref', '#n0', '$defs', jsonb_object_agg(i::text,
        CASE WHEN i < 120 THEN jsonb_build_object('$anchor', 'n' || i, '$ref', '#n' || i + 1) ELSE '{"$anchor": "n120"}' END))
    FROM generate_series(0, 120) i));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => (
    SELECT jsonb_build_object('$ref', 'http://example.com/0', '$defs', jsonb_object_agg(i::text,
        CASE WHEN i < 120 THEN jsonb_build_object('$id', 'http://example.com/' || i, '$ref', (i + 1)::text) ELSE '{"$id": "http://example.com/120"}' END))
    FROM generate_series(0, 120) i));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(120, '{"$ref": "NEXT"}')
    || '{"$ref": "#/%24defs/0"}');
-- each part with an id is compiled once for each way to it
SELECT count(*) FROM en57_check_type('o', 1, json_schema => (
    SELECT jsonb_build_object('$ref', 'http://example.com/0', '$defs', jsonb_object_agg(i::text, jsonb_build_object(
        '$id', 'http://example.com/' || i, 'properties', (
            SELECT jsonb_object_agg(j::text, jsonb_build_object('$ref', j::text)) FROM generate_series(0, 11) j))))
    FROM generate_series(0, 11) i));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => jsonb_build_object('anyOf', (SELECT jsonb_agg('{}'::jsonb) FROM generate_series(1, 6000))));
RESET ROLE;
-- what is below the limits compiles and is checked
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(20, '{"unevaluatedProperties": false, "$ref": "NEXT"}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(95, '{"$ref": "NEXT"}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(99, '{"additionalProperties": {"unevaluatedProperties": false, "$ref": "NEXT"}}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => chain(1600, '{"properties": {"a": {"$ref": "NEXT"}}}'));
SELECT count(*) FROM en57_check_type('o', 1, json_schema => '{"$ref": "#"}');
-- on registration, and where a schema has been stored before there was a limit
SELECT en57_register_type('chain', 1, chain(3000, '{"unevaluatedProperties": false, "$ref": "NEXT"}'));
INSERT INTO en57.event_types (type, schema_version, data_schema)
    VALUES ('stored', 1, chain(3000, '{"unevaluatedProperties": false, "$ref": "NEXT"}'));
SELECT en57_append('{"type": "stored", "data": {}}');
SELECT en57_import('[{"type": "stored", "data": {}}]');
SELECT en57_unregister_type('stored');

-- deep data, and a chain on each level: the stack is looked at
SELECT en57_register_type('deep', 1, chain(95, '{"$ref": "NEXT"}')
    || jsonb_build_object('$defs', chain(95, '{"$ref": "NEXT"}') -> '$defs' || '{"95": {"additionalProperties": {"$ref": "#"}}}'));
CREATE FUNCTION nested(levels int, leaf text DEFAULT '1') RETURNS jsonb LANGUAGE sql AS $$
    SELECT (repeat('{"a":', levels) || leaf || repeat('}', levels))::jsonb
$$;
SELECT outcome FROM en57_append(jsonb_build_object('type', 'deep', 'data', nested(20)));
-- enough for PostgreSQL to read it
SET max_stack_depth = '150kB';
SELECT length(nested(490)::text) > 490 AS is_read;
SELECT en57_append(jsonb_build_object('type', 'deep', 'data', nested(490)));
RESET max_stack_depth;
SELECT en57_unregister_type('deep');

-- quick to check, but with faults without number
SELECT en57_register_type('rule', 1, '{"$defs": {"expr": {"anyOf": [
    {"type": "object", "required": ["op", "arg"], "properties": {"op": {"const": "not"}, "arg": {"$ref": "#/$defs/expr"}}},
    {"type": "object", "required": ["op", "arg"], "properties": {"op": {"const": "exists"}, "arg": {"$ref": "#/$defs/expr"}}},
    {"type": "object", "required": ["op", "arg"], "properties": {"op": {"const": "count"}, "arg": {"$ref": "#/$defs/expr"}}},
    {"type": "string"}]}}, "$ref": "#/$defs/expr"}');
CREATE FUNCTION rule(levels int, leaf text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('type', 'rule', 'data', (repeat('{"op":"not","arg":', levels) || leaf || repeat('}', levels))::jsonb)
$$;
SELECT en57_append(rule(3, '1'));
SELECT en57_append(rule(12, '1'));
SELECT en57_append(rule(200, '1'));
SELECT outcome FROM en57_append(rule(200, '"x"'));
SELECT faults FROM en57_check_type('rule', json_schema => '{"maxProperties": 0}');
-- long to check
SELECT en57_register_type('wide', 1, jsonb_build_object('items', jsonb_build_object('allOf',
    (SELECT jsonb_agg(jsonb_build_object('not', jsonb_build_object('const', 'x' || i))) FROM generate_series(1, 2000) i))));
CREATE FUNCTION wide(elements int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('type', 'wide', 'data', (SELECT jsonb_agg(i) FROM generate_series(1, elements) i))
$$;
SELECT en57_append(wide(50000));
-- and can be interrupted
CREATE TABLE wide AS SELECT wide(300000) AS event;
SET statement_timeout = '300ms';
SELECT en57_append(event) FROM wide;
SET statement_timeout = '60s';
-- many faults, and one far behind
SELECT en57_register_type('many', 1, '{"items": {"type": "string"}}');
SELECT en57_append(jsonb_build_object('type', 'many', 'data', (SELECT jsonb_agg(i) FROM generate_series(1, 500000) i)));
SELECT en57_append(jsonb_build_object('type', 'many', 'data', (SELECT jsonb_agg('x'::text) FROM generate_series(1, 100000)) || '[1]'));

-- patterns share their room
SELECT en57_register_type('p', 1, (SELECT jsonb_build_object('properties',
    jsonb_object_agg('p' || i, jsonb_build_object('pattern', '(\w{100}){25}x' || i))) FROM generate_series(1, 300) i));
SELECT en57_register_type('p', 1, (SELECT jsonb_build_object('patternProperties',
    jsonb_object_agg('(\w{100}){25}x' || i, true)) FROM generate_series(1, 300) i));
SELECT en57_register_type('p', 1, (SELECT jsonb_build_object('properties',
    jsonb_object_agg('p' || i, jsonb_build_object('pattern', '^[\w-]{1,40}@[a-z]+x' || i))) FROM generate_series(1, 300) i));
SELECT en57_register_type('p', 1, '{"properties": {"a": {"pattern": "^(\\w{100}){25}$"}, "b": {"pattern": "("}}}');

-- a decider's schema of commands
CREATE FUNCTION asks(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT '{}'::en57_query $$;
CREATE FUNCTION evolves(state jsonb, event en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT state';
CREATE FUNCTION decides(state jsonb, command jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT '[]'::jsonb $$;
SELECT en57_create_decider('d', 'asks(jsonb)', 'evolves(jsonb,en57_event)', 'decides(jsonb,jsonb)', initial => '{}',
    command_schema => chain(3000, '{"unevaluatedProperties": false, "$ref": "NEXT"}'));
SELECT en57_create_decider('d', 'asks(jsonb)', 'evolves(jsonb,en57_event)', 'decides(jsonb,jsonb)', initial => '{}',
    command_schema => json_schema) FROM en57_event_types WHERE type = 'rule';
SELECT en57_decide('d', rule(12, '1') -> 'data');

-- schemas that refer to the standard's own
SELECT en57_register_type('s', 1, '{"properties": {"schema": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}}');
SELECT en57_append('{"type": "s", "data": {"schema": {"properties": {"a": {"type": "x"}}}}}');
SELECT outcome FROM en57_append('{"type": "s", "data": {"schema": {"properties": {"a": {"type": "string"}}}}}');
SELECT en57_register_type('s', 1, '{"properties": {"schema": {"$ref": "http://json-schema.org/draft-07/schema#"}}}');
SELECT en57_register_type('s', 1, '{"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"schema": {"$ref": "http://json-schema.org/draft-07/schema#"}}}');

-- which stored events fit: of all types
SELECT outcome FROM en57_append('[{"type": "q", "meta": {"user": 1}}, {"type": "r", "meta": {"user": "ada"}}]');
SELECT partition_name, version, faults FROM en57_check_type('*', meta_schema => '{"properties": {"user": {"type": "string"}}}');
SELECT count(*) = (SELECT en57_count()) AS all_of_them FROM en57_check_type('*', meta_schema => 'false', max_count => NULL);
SELECT * FROM en57_check_type('*');
SELECT * FROM en57_check_type('*', json_schema => '{}');
SELECT * FROM en57_check_type('*', 1, meta_schema => '{}');
SELECT en57_register_type('*', meta_schema => '{"maxProperties": 0}');
SELECT count(*), min(faults) FROM en57_check_type('*');
-- what is given stands in its place
SELECT count(*) FROM en57_check_type('*', meta_schema => '{}');
SELECT en57_unregister_type('*');
-- a given schema that is none, and types that nobody knows
SELECT en57_check_type('nosuch', json_schema => '{"type": 7}');
SELECT en57_check_type('o', meta_schema => '{"type": 7}');
SELECT count(*) FROM en57_check_type('nosuch', json_schema => '{"type": "string"}');
SELECT count(*) FROM en57_check_type('rul', json_schema => '{"type": "string"}');
SELECT count(*) FROM en57_check_type('o', 2, json_schema => '{"type": "string"}');
SELECT count(*) FROM en57_check_type('p', json_schema => '{"type": "string"}');
SELECT count(*) FROM en57_check_type('o', json_schema => '{"type": "string"}', max_count => 0);

SELECT en57_revoke('en57_schema_reader', 'reader');
DROP ROLE en57_schema_reader;
