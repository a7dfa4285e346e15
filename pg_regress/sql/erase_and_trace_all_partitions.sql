-- partition => '*': what erases and what traces takes all partitions.
CREATE EXTENSION IF NOT EXISTS en57;
CREATE FUNCTION counted(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(doc, '[]') || jsonb_build_array(e.data) $$;
CREATE FUNCTION hear(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT en57_create_partition('acme'), en57_create_partition('zeta');
SELECT en57_create_document_projection('docs_' || p, '{}', 'tag:person:', 'counted', partition => p), en57_create_projection('heard_' || p, '{}', 'hear', partition => p) FROM unnest('{default,acme}'::text[]) p;

-- causes and effects
SELECT outcome FROM en57_append('{"type": "ordered", "id": "00000000-0000-4000-8000-000000000001", "tags": ["person:ada"], "data": "secret 1"}');
SELECT outcome FROM en57_append('{"type": "paid", "id": "00000000-0000-4000-8000-000000000002", "causation_id": "00000000-0000-4000-8000-000000000001", "tags": ["person:ada"], "data": "secret 2"}', partition => 'acme');
SELECT outcome FROM en57_append('{"type": "sent", "id": "00000000-0000-4000-8000-000000000003", "causation_id": "00000000-0000-4000-8000-000000000002", "tags": ["person:bob"], "data": "bob"}');
SELECT depth, (event).type, (event).partition FROM en57_trace('00000000-0000-4000-8000-000000000003', '*');
SELECT depth, (event).type, (event).partition FROM en57_trace('00000000-0000-4000-8000-000000000001');
SELECT count(*) FROM en57_trace('00000000-0000-4000-8000-000000000002');

-- who may not erase everywhere erases nowhere
CREATE ROLE regress_en57_everywhere;
SELECT en57_grant('regress_en57_everywhere', 'admin', 'default'), en57_grant('regress_en57_everywhere', 'admin', 'zeta');
SET ROLE regress_en57_everywhere;
SELECT en57_erase('{"tags": ["person:ada"]}', 'request 1', '*');
RESET ROLE;
SELECT count(*) FROM en57_read('{"tags": ["person:ada"]}', partition => '*') WHERE data IS NOT NULL;
SELECT en57_grant('regress_en57_everywhere', 'admin', 'acme');
SET ROLE regress_en57_everywhere;
SET en57.partition = '*';
SELECT en57_erase('{"tags": ["person:ada"]}', 'request 1');
SELECT en57_erase('{"tags": ["person:ada"]}', 'request 1', '*');
SELECT en57_erase('{"tags": ["person:ada"]}', 'request 1', '*');
RESET en57.partition;
RESET ROLE;
SELECT partition, type, data FROM en57_read(partition => '*');
SELECT partition, reason, events, documents, positions FROM en57_erasures ORDER BY number;
SELECT id, doc FROM docs_default UNION ALL SELECT id, doc FROM docs_acme ORDER BY 1, 2;
-- undone together
BEGIN;
SELECT en57_erase('{}', 'request 2', '*');
ROLLBACK;
SELECT count(*) FROM en57_read(partition => '*') WHERE data IS NOT NULL;
DROP EXTENSION en57 CASCADE;
DROP TABLE docs_default, docs_acme;
DROP OWNED BY regress_en57_everywhere;
DROP ROLE regress_en57_everywhere;
