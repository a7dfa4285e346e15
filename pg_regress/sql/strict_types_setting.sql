-- en57.strict_types where the library is not loaded with the server: a client's value must not hide the database's.
SELECT current_database() AS db,
    format('dbname=%s user=%s', current_database(), current_user) AS admin,
    format('dbname=%s user=%s options=''-c en57.strict_types=off''', current_database(), current_user) AS admin_off,
    format('dbname=%s user=en57_clerk', current_database()) AS clerk,
    format('dbname=%s user=en57_clerk options=''-c en57.strict_types=off''', current_database()) AS clerk_off,
    format('dbname=%s user=en57_clerk options=''-c en57.strict_types=on''', current_database()) AS clerk_on \gset
CREATE ROLE en57_clerk LOGIN;
SELECT en57_grant('en57_clerk', 'writer');
ALTER DATABASE :"db" SET en57.strict_types = on;
\connect :"clerk_off"
SELECT en57_append('{"type": "none"}');
SELECT en57_append('{"type": "none"}');
SHOW en57.strict_types;
RESET en57.strict_types;
SET en57.strict_types = on;
SELECT en57_append('{"type": "none"}');
SELECT en57_count();
-- the database's value alone
\connect :"clerk"
SELECT en57_append('{"type": "none"}');
-- a value that is set before the library is loaded, too late to hide anything
\connect :"clerk"
SET en57.strict_types = off;
SELECT en57_append('{"type": "none"}');
-- a superuser may
\connect :"admin_off"
SELECT outcome FROM en57_append('{"type": "none"}');
ALTER DATABASE :"db" RESET en57.strict_types;
\connect :"clerk_on"
SELECT en57_append('{"type": "none"}');
\connect :"clerk"
SELECT outcome FROM en57_append('{"type": "none"}');
\connect :"admin"
SELECT en57_revoke('en57_clerk', 'writer');
DROP ROLE en57_clerk;
