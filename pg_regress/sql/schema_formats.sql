-- JSON Schema's formats, by draft, and as annotations; words that are misspelt; drafts that are not known.
-- Fails when a format that is listed as checked is not, or en57.check_formats does not count.
CREATE FUNCTION faults(format text, value text, draft text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    schema jsonb := jsonb_strip_nulls(jsonb_build_object('$schema', draft, 'format', format));
    said text;
BEGIN
    PERFORM en57_register_type('f', 1, schema);
    BEGIN
        PERFORM en57_append(jsonb_build_object('type', 'f', 'data', value));
        said := 'fits';
    EXCEPTION WHEN SQLSTATE 'N5704' THEN
        said := 'does not';
    END;
    RETURN said;
END $$;
CREATE TABLE formats (format text, good text, bad text);
INSERT INTO formats VALUES
    ('date', '2026-02-28', '2026-02-30'), ('date-time', '2026-02-28T10:00:00Z', '2026-02-28 10:00'), ('time', '10:00:00Z', '25:00:00Z'),
    ('duration', 'P1D', '1 day'), ('email', 'a@b.example', 'a b'), ('idn-email', 'ä@b.example', 'a b'), ('hostname', 'a.example', '-a-'),
    ('idn-hostname', 'ä.example', '-a-'), ('ipv4', '127.0.0.1', '127.0.0.256'), ('ipv6', '::1', '::g'), ('uri', 'http://a.example/', 'a b'),
    ('uri-reference', '/a', 'a b\'), ('uri-template', '/{a}', '/{a'), ('iri', 'http://ä.example/', 'a b'), ('iri-reference', '/ä', 'a b\'),
    ('uuid', '00000000-0000-4000-8000-000000000000', '0'), ('json-pointer', '/a', 'a'), ('relative-json-pointer', '1/a', '/a'),
    ('regex', 'a+', '['), ('unknown', 'x', 'y');
-- without $schema, and by draft: what a bad value is told
SELECT format, faults(format, good) AS good, faults(format, bad) AS bad,
    faults(format, bad, 'http://json-schema.org/draft-04/schema#') AS draft_4, faults(format, bad, 'http://json-schema.org/draft-06/schema#') AS draft_6,
    faults(format, bad, 'http://json-schema.org/draft-07/schema#') AS draft_7, faults(format, bad, 'https://json-schema.org/draft/2019-09/schema') AS draft_2019,
    faults(format, bad, 'https://json-schema.org/draft/2020-12/schema') AS draft_2020
FROM formats;
-- annotations, as the standard has them; also for what is compiled already
SELECT en57_register_type('mail', 1, '{"format": "email"}');
SELECT en57_append('{"type": "mail", "data": "none"}');
SET en57.check_formats = off;
SELECT outcome FROM en57_append('{"type": "mail", "data": "none"}');
SELECT count(*) FROM en57_check_type('mail');
RESET en57.check_formats;
SELECT count(*) FROM en57_check_type('mail');
SELECT en57_append('{"type": "mail", "data": "none"}');
CREATE ROLE en57_formats;
SET ROLE en57_formats;
SET en57.check_formats = off;
RESET ROLE;
DROP ROLE en57_formats;
-- words
SELECT en57_register_type('m', 1, '{"requierd": ["a"], "properties": {"a": {"tpye": "string", "minLenght": 1}, "requierd": {"x-tpye": 1}, "a/b~c": {"Type": 1}}, "items": [{"enmu": []}],
    "if": {"$defs": {"d": {"maxlength": 2}}}, "example": 1, "discriminator": {"requierd": 1}, "foo": 1, "default": {"tpye": 1}}'::jsonb - 'items');
CREATE FUNCTION everything(c jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$ SELECT '{}'::en57_query $$;
CREATE FUNCTION same_state(s jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT s $$;
CREATE FUNCTION as_commanded(c jsonb, s jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT c $$;
SELECT en57_create_decider('d', 'everything', 'same_state', 'as_commanded', command_schema => '{"propertys": {}}');
-- drafts
SELECT en57_register_type('m', 1, '{"$schema": "https://json-schema.org/draft/2020-21/schema"}');
SELECT en57_register_type('m', 1, '{"$schema": "http://json-schema.org/schema#"}');
SELECT en57_register_type('m', 1, '{"$schema": "http://json-schema.org/draft-07/schema"}');
