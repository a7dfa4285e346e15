-- Event types: JSON Schemas that new events must fit.
\set VERBOSITY verbose
\set SHOW_CONTEXT never
SELECT en57_register_type('sale', 1, '{
    "type": "object", "required": ["item", "quantity"], "additionalProperties": false,
    "properties": {
        "item": {"type": "string", "minLength": 1, "pattern": "^[a-z]+$"},
        "quantity": {"type": "integer", "minimum": 1, "maximum": 12345678901234567890},
        "price": {"type": "number", "multipleOf": 0.01},
        "at": {"type": "string", "format": "date-time"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "uniqueItems": true}
    },
    "$defs": {"line": {"type": "object", "required": ["sku"]}}
}');
SELECT type, schema_version, json_schema -> 'required' AS required, meta_schema FROM en57_event_types;

-- what fits is stored
SELECT outcome, position FROM en57_append('{"type": "sale", "data": {"item": "tea", "quantity": 1, "price": 0.29, "lines": [{"sku": 1}, {"sku": 2}]}}');
-- numbers are exact
SELECT outcome FROM en57_append('{"type": "sale", "data": {"item": "tea", "quantity": 12345678901234567890}}');
\set VERBOSITY default
SELECT en57_append('{"type": "sale", "data": {"item": "tea", "quantity": 12345678901234567891}}');
SELECT en57_append('{"type": "sale", "data": {"item": "tea", "quantity": 1, "price": 0.291}}');
-- all faults of an event at once, without its values
SELECT en57_append('[{"type": "other"}, {"type": "sale", "data": {"item": "SECRET", "quantity": 0.5, "at": "yesterday", "lines": [{"sku": 1}, {}, {"sku": 1.0}], "more": 1}}]');
\echo :SQLSTATE
-- never more than twenty, and none without end
SELECT en57_register_type('list', 1, '{"items": {"type": "string"}}');
SELECT en57_append(jsonb_build_object('type', 'list', 'data', (SELECT jsonb_agg(i) FROM generate_series(1, 1000) i)));
SELECT en57_append(jsonb_build_object('type', 'sale', 'data', jsonb_build_object('item', 'a', 'quantity', 1, repeat('x', 5000), 1)));
-- absent data is checked as null, absent meta as an empty object
SELECT en57_append('{"type": "sale"}');
SELECT en57_append('{"type": "sale", "data": null}');
SELECT en57_append('{"type": "sale", "data": "tea"}');
SELECT en57_append('{"type": "sale", "data": [{"item": "tea", "quantity": 1}]}');
SELECT en57_register_type('note', 1, '{"type": ["null", "string", "boolean", "number"]}');
SELECT position FROM en57_append('[{"type": "note"}, {"type": "note", "data": null}, {"type": "note", "data": "x"}, {"type": "note", "data": true}, {"type": "note", "data": 1.5}]');
-- nested too deep to be checked
SELECT en57_register_type('deep', 1, '{"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}');
SELECT outcome FROM en57_append(jsonb_build_object('type', 'deep', 'data', (repeat('[', 400) || repeat(']', 400))::jsonb));
SELECT en57_append(jsonb_build_object('type', 'deep', 'data', (repeat('[', 600) || repeat(']', 600))::jsonb));

-- a version that is not registered while the type is
SELECT en57_append('{"type": "sale", "schema_version": 2, "data": {"item": "tea", "quantity": 1}}');
SELECT en57_register_type('sale', 2, '{"required": ["sku"]}');
SELECT outcome FROM en57_append('{"type": "sale", "schema_version": 2, "data": {"sku": 7}}');
SELECT en57_append('{"type": "sale", "schema_version": 3, "data": {"sku": 7}}');
-- other types are free, unless types are strict
SELECT outcome FROM en57_append('{"type": "sael", "schema_version": 9}');
SET en57.strict_types = on;
SELECT en57_append('{"type": "sael"}');
SELECT en57_append('{"type": "completely different"}');
SELECT en57_append('{"type": "*"}');
SELECT en57_register_type('plain');
SELECT outcome FROM en57_append('{"type": "plain", "data": {"any": "thing"}}');
RESET en57.strict_types;

-- metadata of one type, and of all
SELECT en57_register_type('signed', meta_schema => '{"required": ["user"]}');
SELECT en57_register_type('*', meta_schema => '{"properties": {"user": {"type": "string"}}, "required": ["correlation_id"]}');
SELECT en57_append('{"type": "signed"}');
SELECT en57_append('{"type": "anything", "meta": {"user": 1}}');
SELECT outcome FROM en57_append('{"type": "signed", "meta": {"user": "ada"}, "correlation_id": "c"}');
-- that of the session counts
SET en57.meta = '{"user": "ada", "correlation_id": "c"}';
SELECT outcome FROM en57_append('{"type": "signed"}');
RESET en57.meta;
SELECT en57_unregister_type('*');

-- on every path that appends
SELECT en57.append_events(ARRAY[ROW(NULL, 'sale', '{"item": 1}', NULL, '{}')::en57.event]);
SELECT en57_import('[{"type": "sale", "schema_version": 1, "data": {"item": 1}}]');
SELECT en57_import('[{"type": "sale", "schema_version": 1, "data": {"item": 1}, "tags": ["old"]}]', check_types => false);
CREATE TABLE source AS SELECT * FROM en57_read('{"tags": ["old"]}');
SELECT en57_import_from('source');
UPDATE source SET id = gen_random_uuid();
SELECT en57_import_from('source', check_types => false);
UPDATE source SET id = gen_random_uuid();
CALL en57_import_in_batches('again', 'source', check_types => false);
CREATE FUNCTION follow(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT en57_append('{"type": "sale", "schema_version": 1, "data": 0}') $$;
SELECT en57_create_projection('follow', '{"types": ["leader"]}', 'follow(en57_event)');
SELECT en57_append('{"type": "leader"}');
SELECT en57_drop_projection('follow');
-- conflicts and repeated sends: what cannot be stored is told first, unless it is stored
SELECT en57_append('{"type": "sale", "schema_version": 1, "data": 1}', fail_if => '{}');
SELECT outcome FROM en57_append('{"id": "00000000-0000-0000-0000-000000000001", "type": "later", "data": 1}');
SELECT en57_register_type('later', 1, 'false');
SELECT outcome FROM en57_append('{"id": "00000000-0000-0000-0000-000000000001", "type": "later", "data": 1}');
SELECT en57_append('{"id": "00000000-0000-0000-0000-000000000002", "type": "later", "data": 1}');
SELECT en57_append('{"id": "00000000-0000-0000-0000-000000000001", "type": "later", "data": 2}');

-- changing a schema: new events alone are checked; registering the same again changes nothing
SELECT registered_at AS before FROM en57_event_types WHERE type = 'sale' AND schema_version = 2 \gset
SELECT en57_register_type('sale', 2, '{"required": ["sku"]}');
SELECT registered_at = :'before' AS unchanged FROM en57_event_types WHERE type = 'sale' AND schema_version = 2;
SELECT en57_register_type('sale', 2, '{"required": ["sku", "price"]}');
SELECT registered_at > :'before' AS changed FROM en57_event_types WHERE type = 'sale' AND schema_version = 2;
SELECT en57_append('{"type": "sale", "schema_version": 2, "data": {"sku": 7}}');
-- which stored ones would not fit
SELECT * FROM en57_check_type('sale');
SELECT position, version FROM en57_check_type('sale', 1, max_count => 1);
SELECT position, version, faults FROM en57_check_type('sale', 2, json_schema => '{"properties": {"sku": {"type": "string"}}}');
SELECT * FROM en57_check_type('sale', 2, json_schema => '{"required": ["sku"]}');
SELECT en57_check_type('sael');
SELECT en57_check_type(NULL);
SELECT en57_check_type('sale', max_count => -1);

-- what is undone holds no more
BEGIN;
SELECT en57_register_type('sale', 2, '{}');
SELECT outcome FROM en57_append('{"type": "sale", "schema_version": 2, "data": {}}');
SAVEPOINT a;
SELECT en57_register_type('sale', 2, 'false');
SELECT en57_append('{"type": "sale", "schema_version": 2, "data": {}}');
ROLLBACK TO a;
SELECT outcome FROM en57_append('{"type": "sale", "schema_version": 2, "data": {}}');
ROLLBACK;
SELECT en57_append('{"type": "sale", "schema_version": 2, "data": {}}');
-- unregistered
SELECT en57_unregister_type('sale', 2);
SELECT en57_append('{"type": "sale", "schema_version": 2, "data": {}}');
SELECT en57_unregister_type('sale', 2);
SELECT en57_unregister_type('sael');
SELECT en57_unregister_type('zzzzzzzzzzzzzz');
SELECT en57_unregister_type('sale');
SELECT outcome FROM en57_append('{"type": "sale", "schema_version": 2, "data": {}}');

-- schemas that are none
SELECT en57_register_type('x', 1, '{"type": "strin"}');
SELECT en57_register_type('x', 1, '{"properties": {"a": {"minimum": "1"}}}');
SELECT en57_register_type('x', 1, 'null');
SELECT en57_register_type('x', 1, '[]');
SELECT en57_register_type('x', 1, '{}', '{"required": "user"}');
SELECT en57_register_type('x', 1, '{"$schema": "https://example.com/none"}');
SELECT en57_register_type('x', 1, '{"$ref": "https://example.com/other.json"}');
SELECT en57_register_type('x', 1, '{"$ref": "file:///etc/passwd"}');
SELECT en57_register_type('x', 1, '{"$ref": "other.json"}');
SELECT en57_register_type('x', 1, '{"$ref": "#/$defs/none"}');
SELECT en57_register_type('x', 1, '{"pattern": "("}');
SELECT en57_register_type('x', 1, '{"pattern": "(?=a)b"}');
SELECT en57_register_type('x', 1, '{"pattern": "(a{1,1000}){1,1000}"}');
SELECT en57_register_type('x', 1, jsonb_build_object('title', repeat('x', 1024 * 1024)));
SELECT en57_register_type('x', 1, (repeat('{"not": ', 200) || 'true' || repeat('}', 200))::jsonb);
-- older drafts
SELECT en57_register_type('x', 4, '{"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": true}');
SELECT en57_append('{"type": "x", "schema_version": 4, "data": 3}');
SELECT en57_register_type('x', 7, '{"$schema": "http://json-schema.org/draft-07/schema#", "exclusiveMinimum": 3}');
SELECT en57_append('{"type": "x", "schema_version": 7, "data": 3}');
-- a pattern on which others take ages
SELECT en57_register_type('x', 8, '{"pattern": "^(a+)+$"}');
SELECT en57_append(jsonb_build_object('type', 'x', 'schema_version', 8, 'data', repeat('a', 50000) || '!'));
-- names and versions that are none
SELECT en57_register_type(NULL);
SELECT en57_register_type('');
SELECT en57_register_type(repeat('x', 256));
SELECT en57_register_type('x', 0);
SELECT en57_register_type('x', -1);
SELECT en57_register_type('*', 1, NULL, '{}');
SELECT en57_register_type('*', 0, '{}', '{}');
SELECT en57_register_type('*');
SELECT en57_unregister_type(NULL);

-- admins alone
CREATE ROLE en57_types_writer;
SELECT en57_grant('en57_types_writer', 'writer', 'default');
SET ROLE en57_types_writer;
SELECT en57_register_type('sale');
SELECT en57_unregister_type('x');
SELECT count(*) > 0 AS sees FROM en57_event_types;
SELECT count(*) FROM en57.event_types;
SET en57.strict_types = on;
SELECT en57_append('{"type": "x", "schema_version": 7, "data": 3}');
RESET ROLE;
-- unless they are told so
GRANT EXECUTE ON FUNCTION en57_register_type(text, integer, jsonb, jsonb, boolean) TO en57_types_writer;
SET ROLE en57_types_writer;
SELECT en57_register_type('sale', 1, 'false');
SELECT en57_append('{"type": "sale"}');
RESET ROLE;
DROP OWNED BY en57_types_writer;
DROP ROLE en57_types_writer;
