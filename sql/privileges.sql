------------------------------------------------------------------------------------------------------
-- Privileges: functions check those of the partition's table, so everybody may call them
------------------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA en57 TO PUBLIC;
REVOKE ALL ON en57.events FROM PUBLIC;
GRANT SELECT ON en57_streams TO PUBLIC;
-- An import decides when events were recorded, and which versions they have, so it is for administrators.
REVOKE ALL ON FUNCTION en57_import(jsonb, text, boolean, boolean), en57.import_rows(en57_event[], text, boolean, boolean),
    en57_import_from(regclass, text, boolean, boolean), en57.import_batch(regclass, bigint, integer, text, boolean, boolean, text),
    en57.import_refused(regclass, bigint), en57.import_skip(text, bigint, text, text, text),
    en57.import_some(en57_event[], text, boolean, boolean, text) FROM PUBLIC;
REVOKE ALL ON PROCEDURE en57_import_in_batches(text, regclass, text, boolean, integer, boolean, text) FROM PUBLIC;
GRANT SELECT ON en57_partitions TO PUBLIC;

-- en57_grant() gives admins EXECUTE on these. They check the caller's privileges on the partition.
REVOKE EXECUTE ON FUNCTION
    en57_create_partition(text, boolean), en57_drop_partition(text), en57_detach_partition(text), en57_truncate(text, boolean),
    en57_erase(en57_query, text, text),
    en57_grant(regrole, text, text), en57_revoke(regrole, text, text), en57.had_functions_before()
    FROM PUBLIC;
REVOKE ALL ON en57.event_types, en57.upcasters FROM PUBLIC;
-- They hold for all partitions, so the extension's owner decides who may call them.
REVOKE EXECUTE ON FUNCTION
    en57_register_type(text, integer, jsonb, jsonb, boolean), en57_unregister_type(text, integer),
    en57_register_upcaster(text, integer, en57_function, text, integer, boolean), en57_drop_upcaster(text, integer)
    FROM PUBLIC;
GRANT SELECT ON en57_event_types, en57_upcasters TO PUBLIC;
REVOKE ALL ON en57.projections, en57.projection_dead_letters,
    en57.rebuilds, en57.rebuild_documents, en57.rebuild_dead_letters FROM PUBLIC;
-- These views only show projections of partitions that the caller may read.
GRANT SELECT ON en57_projections, en57_stat_progress_rebuild TO PUBLIC;
REVOKE ALL ON en57.folds, en57.snapshots FROM PUBLIC;
REVOKE ALL ON SEQUENCE en57.fold_number FROM PUBLIC;
GRANT SELECT ON en57_folds, en57_deciders, en57_snapshots TO PUBLIC;
-- en57_grant() gives admins EXECUTE on these, too. They check who owns the functions that they are given.
REVOKE EXECUTE ON FUNCTION
    en57_create_fold(text, en57_function, jsonb, integer, boolean, boolean), en57_drop_fold(text), en57_drop_snapshots(text),
    en57_create_decider(text, en57_function, en57_function, en57_function, jsonb, jsonb, integer, boolean, boolean), en57_drop_decider(text)
    FROM PUBLIC;
REVOKE ALL ON en57.invariants, en57.invariant_states FROM PUBLIC;
-- This view only shows invariants of partitions that the caller may read.
GRANT SELECT ON en57_invariants TO PUBLIC;
REVOKE ALL ON en57.erasures FROM PUBLIC;
REVOKE ALL ON SEQUENCE en57.erasure_number FROM PUBLIC;
-- This view only shows erasures of partitions that the caller may read.
GRANT SELECT ON en57_erasures TO PUBLIC;

------------------------------------------------------------------------------------------------------
-- The default partition, created as all others are
------------------------------------------------------------------------------------------------------

-- With all arguments and their types: in a schema where others may create functions, no function of theirs fits better.
SELECT @extschema@.en57_create_partition('default'::pg_catalog.text, false);
