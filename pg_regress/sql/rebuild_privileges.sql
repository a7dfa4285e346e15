-- Who may rebuild with another definition: who could create the projection as it will be, with the table that it has.
-- Fails when ownership of the new function is enough: a partition's admin then writes what he likes into the table of the DBA, or has the DBA's functions run with a search path of his own.
CREATE ROLE regress_en57_keeper;
CREATE ROLE regress_en57_other;
SELECT en57_grant('regress_en57_keeper', 'admin', 'default'), en57_grant('regress_en57_other', 'admin', 'default');
CREATE SCHEMA kept AUTHORIZATION regress_en57_keeper;
CREATE SCHEMA t AUTHORIZATION regress_en57_other;
GRANT USAGE ON SCHEMA kept TO PUBLIC;
SET ROLE regress_en57_keeper;
SET search_path = kept, public;
CREATE FUNCTION doc(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(doc::int, 0) + 1) $$;
CREATE FUNCTION key(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT e.type $$;
SELECT en57_create_document_projection('d', '{}', 'kept.key(en57_event)'::regprocedure, 'kept.doc(jsonb,en57_event)');
SELECT outcome FROM en57_append('{"type": "a", "tags": ["k:1"]}');
RESET ROLE;

SET ROLE regress_en57_other;
SET search_path = t, public;
CREATE FUNCTION doc(doc jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"forged"'::jsonb $$;
CREATE FUNCTION key(e en57_event) RETURNS text LANGUAGE sql AS $$ SELECT 'forged' $$;
CALL en57_rebuild('d', evolve => 't.doc(jsonb,en57_event)');
CALL en57_rebuild('d', key_function => 't.key(en57_event)');
CALL en57_rebuild('d', key => 'tag:k:');
CALL en57_rebuild('d', initial => '41');
CALL en57_rebuild('d', evolve => 't.doc(jsonb,en57_event)', swap => 'files');
-- as it is, he may
CALL en57_rebuild('d');
SELECT name, phase FROM en57_stat_progress_rebuild;
RESET ROLE;
SELECT id, doc FROM kept.d;
SELECT handler, key_function, search_path FROM en57.projections;

-- the table is his, the functions are not: he may replace them, and needs those that stay
ALTER TABLE kept.d OWNER TO regress_en57_other;
SET ROLE regress_en57_other;
CALL en57_rebuild('d', key => 'tag:k:');
CALL en57_rebuild('d', initial => '41');
CALL en57_rebuild('d', evolve => 't.doc(jsonb,en57_event)');
CALL en57_rebuild('d', evolve => 't.doc(jsonb,en57_event)', key_function => 't.key(en57_event)');
SELECT id, doc FROM kept.d;
-- who has the functions is not yet who has the table
RESET ROLE;
SET ROLE regress_en57_keeper;
CALL en57_rebuild('d', evolve => 'kept.doc(jsonb,en57_event)', key => 'tag:k:');
RESET ROLE;
GRANT regress_en57_other TO regress_en57_keeper;
SET ROLE regress_en57_keeper;
CALL en57_rebuild('d', evolve => 'kept.doc(jsonb,en57_event)', key => 'tag:k:');
SELECT id, doc FROM kept.d;
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_en57_keeper, regress_en57_other CASCADE;
DROP ROLE regress_en57_keeper, regress_en57_other;
