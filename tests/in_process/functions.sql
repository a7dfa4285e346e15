-- The functions that tests/harness/in_process.sh calls. :library is the build of en57 that holds the tests. No user has
-- these functions: make install installs another build, and no script of the extension makes them.
CREATE SCHEMA tests;
CREATE FUNCTION tests.names() RETURNS text[] LANGUAGE c AS :'library', 'en57_in_process_test_names';
CREATE FUNCTION tests.run(name text) RETURNS void LANGUAGE c AS :'library', 'en57_run_in_process_test';

-- The functions of the extension are those of the same build, so that no session has the code of both.
UPDATE pg_catalog.pg_proc SET probin = :'library' WHERE probin = '$libdir/en57';
