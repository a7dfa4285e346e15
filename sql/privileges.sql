------------------------------------------------------------------------------------------------------
-- Privileges: functions check those of the partition's table, so calling them is free
------------------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA en57 TO PUBLIC;
REVOKE ALL ON en57.events, en57.events_default FROM PUBLIC;
GRANT SELECT ON en57_streams TO PUBLIC;
