-- Document projections: one row for each id, folded by a function, in the append's transaction.
-- Fails when a document's version is not the number of its events, when NULL does not delete, or when the document is not what a fold of the log gives.
CREATE FUNCTION count_seats(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE e.type
        WHEN 'defined' THEN jsonb_build_object('seats', e.data->'seats', 'taken', 0)
        WHEN 'subscribed' THEN doc || jsonb_build_object('taken', (doc->>'taken')::int + 1)
        WHEN 'cancelled' THEN NULL
        ELSE doc
    END
$$;
SELECT en57_create_document_projection('courses', '{}', 'tag:course:', 'count_seats(jsonb,en57_event)');
\d courses
SELECT outcome FROM en57_append('[
    {"type": "defined", "tags": ["course:sql"], "data": {"seats": 10}},
    {"type": "defined", "tags": ["course:art", "room:1"], "data": {"seats": 20}},
    {"type": "subscribed", "tags": ["course:sql", "course:art", "student:ada"]},
    {"type": "subscribed", "tags": ["course:sql", "student:bob"]},
    {"type": "registered", "tags": ["student:bob"]},
    {"type": "other"}, {"type": "other", "tags": ["course:"]}]');
SELECT id, doc, version, position FROM courses ORDER BY id;
SELECT outcome FROM en57_append('{"type": "subscribed", "tags": ["course:sql", "student:eve"]}');
SELECT id, doc, version, position FROM courses ORDER BY id;
SELECT bool_and(c.updated_at = e.recorded_at) FROM courses c JOIN en57_read() e USING (position);
-- ordinary JSONB: operators and indexes
CREATE INDEX ON courses ((doc->>'taken'));
CREATE INDEX ON courses USING gin (doc);
SELECT id FROM courses WHERE doc @> '{"taken": 3}';
SELECT id FROM courses WHERE (doc->>'seats')::int > 15;
-- NULL deletes; what follows begins anew
SELECT outcome FROM en57_append('[{"type": "cancelled", "tags": ["course:art"]}]');
SELECT id FROM courses;
SELECT outcome FROM en57_append('[{"type": "cancelled", "tags": ["course:sql"]}, {"type": "defined", "tags": ["course:sql"], "data": {"seats": 5}}, {"type": "subscribed", "tags": ["course:sql"]}]');
SELECT id, doc, version FROM courses;
SELECT outcome FROM en57_append('{"type": "cancelled", "tags": ["course:none"]}');
SELECT id FROM courses;
-- with the transaction
BEGIN;
SELECT outcome FROM en57_append('{"type": "subscribed", "tags": ["course:sql"]}');
SELECT outcome FROM en57_append('{"type": "subscribed", "tags": ["course:sql"]}');
SELECT version FROM courses;
SAVEPOINT s;
SELECT outcome FROM en57_append('{"type": "cancelled", "tags": ["course:sql"]}');
SELECT version FROM courses;
ROLLBACK TO s;
SELECT version FROM courses;
ROLLBACK;
SELECT version FROM courses;

-- at every isolation level a document is what is committed by now
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT outcome FROM en57_append('{"type": "subscribed", "tags": ["course:sql"]}');
COMMIT;
SELECT version FROM courses;

-- an initial document; a function in place of the key, with several ids, with NULL and empty ones
CREATE FUNCTION add_up(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql STRICT AS $$ SELECT to_jsonb((doc#>>'{}')::int + 1) $$;
CREATE FUNCTION students(e en57_event) RETURNS text[] LANGUAGE sql AS $$
    SELECT CASE WHEN e.type = 'subscribed' THEN array_agg(substr(t, 9)) || '{"",again,again}'::text[] END FROM unnest(e.tags) t WHERE t LIKE 'student:%' $$;
CREATE FUNCTION one(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT nullif(e.type, 'other') $$;
SELECT en57_create_document_projection('no initial', '{}', 'stream', 'add_up(jsonb,en57_event)');
SELECT en57_create_document_projection('subscriptions', '{}', 'students(en57_event)'::regprocedure, 'add_up(jsonb,en57_event)', initial => '0');
SELECT en57_create_document_projection('Types "quoted"', '{"types": ["defined", "other", "new"]}', 'one(en57_event)'::regprocedure, 'add_up(jsonb,en57_event)', initial => '0');
SELECT id, doc, version FROM subscriptions ORDER BY id;
SELECT id, doc, version FROM "Types ""quoted""" ORDER BY id;
SELECT outcome FROM en57_append('[{"type": "subscribed", "tags": ["student:ada", "student:eve"]}, {"type": "other"}, {"type": "new"}]');
SELECT id, doc, version FROM subscriptions ORDER BY id;
SELECT id, doc, version FROM "Types ""quoted""" ORDER BY id;
-- jsonb null is a document, not SQL's NULL
CREATE FUNCTION json_null(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT 'null'::jsonb $$;
SELECT en57_create_document_projection('nulls', '{"types": ["new"]}', 'tag:x:', 'json_null(jsonb,en57_event)');
SELECT outcome FROM en57_append('{"type": "new", "tags": ["x:1"]}');
SELECT id, doc, version FROM nulls;
-- large documents
CREATE FUNCTION grow(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(doc, '[]') || to_jsonb(repeat(md5(random()::text), 1000)) $$;
SELECT en57_create_document_projection('large', '{"types": ["grow"]}', 'tag:x:', 'grow(jsonb,en57_event)');
SELECT (en57_append('{"type": "grow", "tags": ["x:1"]}')).outcome FROM generate_series(1, 3);
SELECT jsonb_array_length(doc), version FROM large;

-- more documents than locks: 300 in one append
SELECT outcome FROM en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'defined', 'tags', ARRAY['course:' || n], 'data', '{"seats": 1}'::jsonb)) FROM generate_series(1, 300) n));
SELECT count(*), sum(version) FROM courses WHERE id ~ '^[0-9]';

-- an error says which event
SELECT en57_create_document_projection('failing', '{"types": ["fail"]}', 'tag:course:', 'add_up(jsonb,en57_event)', initial => '"no number"');
SELECT outcome FROM en57_append('{"type": "fail", "tags": ["course:1"]}');
SELECT en57_drop_projection('failing');
-- the table renamed, moved, changed by its owner; dropped
ALTER TABLE nulls RENAME TO renamed;
CREATE SCHEMA elsewhere;
ALTER TABLE renamed SET SCHEMA elsewhere;
ALTER TABLE elsewhere.renamed ADD COLUMN extra text GENERATED ALWAYS AS (id || '!') STORED;
SELECT outcome FROM en57_append('{"type": "new", "tags": ["x:1"]}');
SELECT id, doc, version, extra FROM elsewhere.renamed;
DROP TABLE elsewhere.renamed;
SELECT outcome FROM en57_append('{"type": "new", "tags": ["x:1"]}');
SELECT en57_drop_projection('nulls');
SELECT outcome FROM en57_append('{"type": "new", "tags": ["x:1"]}');
-- dropped with the table, or without it
SELECT en57_drop_projection('large', keep_table => true);
SELECT en57_drop_projection('subscriptions');
SELECT to_regclass('large'), to_regclass('subscriptions');
SELECT en57_create_document_projection('large', '{}', 'stream', 'grow(jsonb,en57_event)');
CREATE VIEW on_courses AS SELECT * FROM courses;
SELECT en57_drop_projection('courses');
SELECT count(*) FROM en57_projections WHERE name = 'courses';

-- what does not fit
\set VERBOSITY terse
SELECT en57_create_document_projection('d', '{}', 'course', 'grow(jsonb,en57_event)');
SELECT en57_create_document_projection('d', '{}', 'tag:', 'grow(jsonb,en57_event)');
SELECT en57_create_document_projection('d', '{}', NULL::text, 'grow(jsonb,en57_event)');
SELECT en57_create_document_projection('d', '{}', NULL::regprocedure, 'grow(jsonb,en57_event)');
SELECT en57_create_document_projection('d', '{}', 'stream', NULL);
SELECT en57_create_document_projection('d', '{}', 'stream', 'one(en57_event)');
SELECT en57_create_document_projection('d', '{}', 'grow(jsonb,en57_event)'::regprocedure, 'grow(jsonb,en57_event)');
CREATE FUNCTION long(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT repeat('x', 1025) $$;
CREATE FUNCTION holes(e en57_event) RETURNS text[] LANGUAGE sql AS $$ SELECT '{a,NULL}'::text[] $$;
BEGIN;
SELECT en57_create_document_projection('d', '{"types": ["k"]}', 'long(en57_event)'::regprocedure, 'grow(jsonb,en57_event)');
SELECT outcome FROM en57_append('{"type": "k"}');
ROLLBACK;
BEGIN;
SELECT en57_create_document_projection('d', '{"types": ["k"]}', 'holes(en57_event)'::regprocedure, 'grow(jsonb,en57_event)');
SELECT outcome FROM en57_append('{"type": "k"}');
ROLLBACK;
SET search_path = nowhere;
SELECT public.en57_create_document_projection('d', '{}', 'stream', 'public.grow(jsonb,public.en57_event)');
RESET search_path;
