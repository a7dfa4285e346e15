-- Projections beside streams, partitions, truncation and imports.
-- Fails when a projection takes events of another partition, when an import goes round inline projections, or when a partition that is emptied leaves documents behind.
CREATE FUNCTION types(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(doc, '[]') || to_jsonb(e.type || coalesce(' ' || e.stream_version, '')) $$;
CREATE TABLE seen (type text, partition text);
CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO seen VALUES (e.type, e.partition) $$;
-- one document for each stream
SELECT en57_create_document_projection('streams', '{}', 'stream', 'types(jsonb,en57_event)');
SELECT en57_create_document_projection('one stream', '{"stream": "course sql"}', 'stream', 'types(jsonb,en57_event)');
CREATE FUNCTION stream_of(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT e.stream $$;
SELECT en57_create_document_projection('by function', '{}', 'stream_of(en57_event)'::regprocedure, 'types(jsonb,en57_event)');
SELECT outcome FROM en57_append('[{"type": "a"}, {"type": "b"}]', stream => 'course sql', expected_version => 0);
SELECT outcome FROM en57_append('{"type": "c"}', stream => 'course art');
SELECT outcome FROM en57_append('{"type": "d"}', stream => 'course sql', expected_version => 0);
SELECT outcome FROM en57_append('{"type": "none"}');
SELECT id, doc, version, position FROM streams ORDER BY id;
SELECT id, doc FROM "one stream";
SELECT id, doc FROM "by function" ORDER BY id;

-- a projection is of one partition
SELECT en57_create_partition('acme');
SELECT en57_create_document_projection('acme', '{}', 'tag:d:', 'types(jsonb,en57_event)', partition => 'acme');
SET en57.partition = 'acme';
SELECT en57_create_projection('notes', '{}', 'note(en57_event)');
SELECT en57_create_projection('later', '{}', 'note(en57_event)', mode => 'async');
RESET en57.partition;
SELECT outcome FROM en57_append('{"type": "in default", "tags": ["d:1"]}');
SELECT outcome FROM en57_append('{"type": "in acme", "tags": ["d:1"]}', partition => 'acme');
SELECT id, doc FROM acme;
SELECT * FROM seen;
SELECT en57_run('later');
SELECT * FROM seen;
SELECT name, partition, mode FROM en57_projections ORDER BY name;
SELECT en57_create_projection('all', '{}', 'note(en57_event)', partition => '*');
-- an import runs the inline ones
SELECT en57_import('[{"type": "imported", "tags": ["d:1"], "recorded_at": "2001-01-01"}, {"type": "imported", "tags": ["d:2"]}]', partition => 'acme');
SELECT id, doc FROM acme ORDER BY id;
SELECT * FROM seen WHERE type = 'imported';
SELECT name, lag > 0 AS lags FROM en57_projections WHERE partition = 'acme' ORDER BY name;
-- a partition with projections stays
SELECT en57_drop_partition('acme');
SELECT en57_detach_partition('acme');
-- emptied, its projections begin anew
SELECT en57_pause('later');
SELECT en57_truncate('acme');
SELECT count(*) FROM acme;
SELECT count(*) > 0 AS others_are_as_before FROM streams;
SELECT name, status, position FROM en57_projections WHERE name = 'later';
SELECT en57_resume('later');
SELECT outcome FROM en57_append('{"type": "anew", "tags": ["d:1"]}', partition => 'acme');
SELECT id, doc, version FROM acme;
SELECT en57_run('later');
SELECT en57_drop_projection(name) FROM en57_projections WHERE partition = 'acme' ORDER BY name;
SELECT en57_drop_partition('acme');
SELECT en57_truncate('default', restart => true);
SELECT outcome FROM en57_append('{"type": "first"}', stream => 'course sql', expected_version => 0);
SELECT id, doc, position FROM streams;

-- admins of a partition may create projections of it, and of no other
CREATE ROLE regress_en57_padmin;
SELECT en57_create_partition('mine');
SELECT en57_grant('regress_en57_padmin', 'admin', 'mine');
CREATE SCHEMA AUTHORIZATION regress_en57_padmin;
SET ROLE regress_en57_padmin;
SET search_path = regress_en57_padmin, public;
CREATE FUNCTION own(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT en57_create_projection('of mine', '{}', 'own(en57_event)', partition => 'mine');
SELECT en57_create_projection('of default', '{}', 'own(en57_event)');
SELECT name, partition FROM en57_projections;
SELECT en57_drop_projection('of mine');
RESET search_path;
RESET ROLE;
SELECT en57_revoke('regress_en57_padmin', 'admin', 'mine');
SELECT en57_drop_partition('mine');
DROP OWNED BY regress_en57_padmin CASCADE;
DROP ROLE regress_en57_padmin;
