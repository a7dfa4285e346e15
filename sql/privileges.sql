------------------------------------------------------------------------------------------------------
-- Privileges: functions check those of the partition's table, so calling them is free
------------------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA en57 TO PUBLIC;
REVOKE ALL ON en57.events, en57.events_default FROM PUBLIC;
GRANT SELECT ON en57_partitions TO PUBLIC;

-- en57_grant() gives the right to call these to admins; they check what the caller may do with the partition.
REVOKE EXECUTE ON FUNCTION
    en57_create_partition(text), en57_drop_partition(text), en57_detach_partition(text), en57_truncate(text, boolean),
    en57_grant(regrole, text, text), en57_revoke(regrole, text, text)
    FROM PUBLIC;
