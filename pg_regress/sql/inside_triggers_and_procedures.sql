-- Appends and reads inside everything that PostgreSQL can run: triggers, procedures that commit, exception blocks, cursors over commits, parallel plans.
-- Fails when state of a transaction outlives it, or when something is kept open between two calls.
\pset null NULL
-- a deferred trigger appends while its transaction commits
CREATE TABLE orders (id int);
CREATE FUNCTION ordered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM en57_append(jsonb_build_object('type', 'ordered', 'data', NEW.id)); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER ordered AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ordered();
BEGIN;
INSERT INTO orders VALUES (1), (2);
SELECT en57_count();
COMMIT;
SELECT position, type, data FROM en57_read();
-- many subtransactions, every second one undone
DO $$
BEGIN
    FOR i IN 1..200 LOOP
        BEGIN
            PERFORM en57_append(jsonb_build_object('type', 'block', 'data', i, 'tags', jsonb_build_array('i:' || i % 10)));
            IF i % 2 = 0 THEN
                RAISE EXCEPTION 'undo';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
END $$;
SELECT count(*), bool_and(data::int % 2 = 1), max(position) - min(position) FROM en57_read('{"types": ["block"]}');
SELECT en57_count('{"tags": ["i:4"]}'), en57_count('{"tags": ["i:3"]}');
-- procedures that end transactions
CREATE PROCEDURE in_steps() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..3 LOOP
        PERFORM en57_append(jsonb_build_object('type', 'step', 'data', i));
        COMMIT;
    END LOOP;
    PERFORM en57_append('{"type": "step"}');
    ROLLBACK;
    PERFORM en57_append('{"type": "step", "data": "last"}', fail_if => '{"types": ["last step"]}');
END $$;
CALL in_steps();
SELECT data FROM en57_read('{"types": ["step"]}');
-- a loop over a read, which commits in its body
CREATE PROCEDURE copy_steps() LANGUAGE plpgsql AS $$
DECLARE
    e en57_event;
BEGIN
    FOR e IN SELECT (r).* FROM (SELECT en57_read('{"types": ["step"]}') AS r) s LOOP
        PERFORM en57_append(jsonb_build_object('type', 'copy', 'data', e.data));
        COMMIT;
    END LOOP;
END $$;
CALL copy_steps();
SELECT data FROM en57_read('{"types": ["copy"]}');
-- one call for each row; none where nothing is evaluated
SELECT outcome, n FROM generate_series(1, 3) n, LATERAL en57_append(jsonb_build_object('type', 'row', 'data', n));
SELECT CASE WHEN false THEN en57_append('{"type": "not evaluated"}') END;
SELECT outcome FROM en57_append('{"type": "not evaluated"}') WHERE false;
SELECT data FROM en57_read('[{"types": ["row"]}, {"types": ["not evaluated"]}]');
-- as source of other statements
CREATE MATERIALIZED VIEW steps AS SELECT data FROM en57_read('{"types": ["step"]}');
REFRESH MATERIALIZED VIEW steps;
SELECT count(*) FROM steps;
COPY (SELECT type, data FROM en57_read('{"types": ["copy"]}')) TO stdout;
INSERT INTO orders SELECT data::int FROM en57_read('{"types": ["row"]}') RETURNING id;
SELECT count(*) FROM en57_read('{"types": ["ordered"]}');
-- nothing runs in a parallel worker that must not, matching may
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT count(*) FROM en57.events WHERE en57_query(types => ARRAY[type]) = '{"types": ["step"]}';
SELECT count(*), en57_count('{"types": ["step"]}') FROM en57.events;
RESET max_parallel_workers_per_gather; RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
-- a wait can be cancelled, and caught; the session goes on
SET statement_timeout = '50ms';
SELECT en57_wait(1000000, '1min');
\echo :SQLSTATE
RESET statement_timeout;
SELECT en57_wait(1000000, '1ms') = en57_head();
-- a session's name for something else does not shadow the function
CREATE TEMP TABLE en57_append (n int);
SELECT outcome FROM en57_append('{"type": "last"}');
-- PREPARE TRANSACTION after an append is refused, whatever max_prepared_transactions says
BEGIN;
SELECT outcome FROM en57_append('{"type": "prepared"}');
PREPARE TRANSACTION 'regress_en57';
\echo :SQLSTATE
SELECT en57_exists('{"types": ["prepared"]}');
SELECT outcome FROM en57_append('{"type": "after prepare"}');
SELECT en57_head() = (en57_last()).position AS at_the_end;
