-- After the update: each line says of something that before.sql has written whether it is there, and goes on. The setting
-- upgrade.label says in which database; the variable "worker" whether the worker runs there, "updated" whether it is
-- updated, "restored" whether it comes from a dump.
\set QUIET on
\pset tuples_only on
\pset format unaligned
SET client_min_messages = warning;
SET search_path = shop, public;

CREATE FUNCTION pg_temp.test(what text, holds boolean, shown anyelement DEFAULT NULL::text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT CASE WHEN holds THEN 'ok' ELSE 'not ok' END || ' upgrade ' || current_setting('upgrade.label') || ': ' || what;
    IF holds IS NOT TRUE AND shown IS NOT NULL THEN
        RETURN NEXT '# ' || shown::text;
    END IF;
END $$;
-- The SQLSTATE of a statement, or what it returns.
CREATE FUNCTION pg_temp.told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE call INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END $$;
CREATE FUNCTION pg_temp.told_to(role text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    answer := pg_temp.told(call);
    RESET ROLE;
    RETURN answer;
END $$;

-- What was written.
SELECT pg_temp.test('events', array_agg(type ORDER BY position) = '{opened,opened,paid,paid,paid,paid,visited,seat sold}', array_agg(type ORDER BY position)) FROM en57_read();
SELECT pg_temp.test('events of another partition', count(*) = 2 AND max(stream_version) = 2, count(*)) FROM en57_read_stream('till', partition => 'branch');
SELECT pg_temp.test('events of all partitions', count(*) = 10, count(*)) FROM en57_read(partition => '*');
SELECT pg_temp.test('a stream', array_agg(data ->> 'cents') = '{500,70}', array_agg(data)) FROM en57_read_stream('account-1');
SELECT pg_temp.test('an event as it is stored', data = '{"euros": 5}', data) FROM en57_read('{"types": ["paid"]}', max_count => 1, upcast => false);
SELECT pg_temp.test('an erased event', bool_and(data IS NULL AND meta IS NULL) AND count(*) = 1) FROM en57_read('{"tags": ["person:ada"]}');
SELECT pg_temp.test('the erasure', count(*) = 1) FROM en57_erasures WHERE reason = 'she asked for it' AND events = 1;
SELECT pg_temp.test('the inline projection', array_agg(cents ORDER BY position) = '{500,70,200,1}', array_agg(cents)) FROM noted WHERE projection = 'noted';
SELECT pg_temp.test('the async projection', array_agg(cents ORDER BY position) = '{500,70,200}', array_agg(cents)) FROM noted WHERE projection = 'noted later';
SELECT pg_temp.test('its dead letter', count(*) = 1) FROM en57_projection_dead_letters WHERE projection = 'noted later';
SELECT pg_temp.test('inline documents', array_agg(doc ORDER BY id) = '{570,201}', array_agg(doc)) FROM accounts;
SELECT pg_temp.test('async documents', array_agg(doc ORDER BY id) = '{570,201}', array_agg(doc)) FROM accounts_later;
SELECT pg_temp.test('documents of another partition', array_agg(doc) = '{2}', array_agg(doc)) FROM branch_counts;
SELECT pg_temp.test('a dead letter of a subscription', count(*) = 1 AND max(error) = 'out of paper', max(error)) FROM en57_dead_letters WHERE subscription = 'strict';
SELECT pg_temp.test('a snapshot of a fold, which no dump has', count(*) = CASE WHEN :'restored' THEN 0 ELSE 1 END, count(*)) FROM en57_snapshots;
SELECT pg_temp.test('a source that is tracked', en57_tracked('elsewhere') = 42);

-- It goes on.
SELECT pg_temp.test('an append', outcome = 'appended' AND stream_version = 3, outcome::text || coalesce(stream_version, 0))
  FROM en57_append('{"type": "paid", "tags": ["account:1"], "data": {"cents": 30}}', stream => 'account-1', expected_version => 2);
SELECT pg_temp.test('an append of a known id', outcome = 'repeated', outcome) FROM en57_append('[{"type": "opened", "tags": ["account:1"], "id": "00000000-0000-4000-8000-000000000001"}]');
SELECT pg_temp.test('positions go on', min(position) > 8 AND count(DISTINCT position) = count(*)) FROM en57_read('{"types": ["paid"]}', max_count => 1, backwards => true);
SELECT pg_temp.test('a condition that an old event matches', outcome = 'conflict', outcome) FROM en57_append('{"type": "paid", "data": {"cents": 1}}', fail_if => '{"tags": ["account:2"]}');
SELECT pg_temp.test('a version of a stream that is not it', outcome = 'conflict', outcome) FROM en57_append('{"type": "paid", "data": {"cents": 1}}', stream => 'account-1', expected_version => 2);
SELECT pg_temp.test('a condition that none matches', outcome = 'appended', outcome) FROM en57_append('{"type": "counted"}', fail_if => '{"tags": ["none"]}', stream => 'till', partition => 'branch');
SELECT pg_temp.test('an event type', pg_temp.told($$SELECT outcome FROM en57_append('{"type": "paid", "data": {"cents": "many"}}')$$) = 'N5704');
SELECT pg_temp.test('an invariant', pg_temp.told($$SELECT outcome FROM en57_append('{"type": "paid", "tags": ["account:2"], "data": {"cents": -202}}')$$) = 'N5703');
SELECT pg_temp.test('a decider', outcome = 'appended', outcome) FROM en57_decide('sell seat', '{"show": "hamlet"}');
SELECT pg_temp.test('a decider by its old events', pg_temp.told($$SELECT outcome FROM en57_decide('sell seat', '{"show": "hamlet"}')$$) = 'P0001');
SELECT pg_temp.test('a fold from its snapshot', state = '600', state) FROM en57_state('turnover', '{"tags": ["account:1"]}');
SELECT pg_temp.test('inline documents go on', doc = '600', doc) FROM accounts WHERE id = '1';
SELECT pg_temp.test('documents of the other partition go on', doc = '3', doc) FROM branch_counts;
SELECT pg_temp.test('an upcaster can be dropped and registered', pg_temp.told($$SELECT en57_drop_upcaster('paid', 1), en57_register_upcaster('paid', 1, 'in_cents')$$) IS DISTINCT FROM '42704');
\if :worker
SELECT pg_temp.test('the worker goes on', en57_wait_projection('noted later') AND en57_wait_projection('accounts_later'));
\else
SELECT en57_run('noted later'), en57_run('accounts_later') \g /dev/null
\endif
SELECT pg_temp.test('the async projection goes on', array_agg(cents ORDER BY position) = '{500,70,200,30}', array_agg(cents)) FROM noted WHERE projection = 'noted later';
SELECT pg_temp.test('async documents go on', doc = '600', doc) FROM accounts_later WHERE id = '1';
BEGIN;
SELECT pg_temp.test('a subscription at its position', array_agg(data ->> 'cents' ORDER BY position) = '{200,1,30}', array_agg(data)) FROM en57_poll('payments');
SELECT en57_ack('payments', (SELECT max(position) FROM en57_read('{"types": ["paid"]}'))) \g /dev/null
COMMIT;
SELECT pg_temp.test('and moves on', count(*) = 0, count(*)) FROM en57_poll('payments');
SELECT pg_temp.test('a subscription of all partitions at its position', array_agg(type ORDER BY position) = '{paid,counted,"seat sold"}', array_agg(type)) FROM en57_poll('everything');
SELECT pg_temp.test('dead letters can be replayed', en57_replay_dead_letters('strict') = 1);
BEGIN;
SELECT pg_temp.test('and come first', min(position) = 3, min(position)) FROM en57_poll('strict', 1);
COMMIT;
CALL en57_rebuild('accounts');
CALL en57_rebuild('accounts_later');
SELECT pg_temp.test('rebuilt documents', array_agg(doc ORDER BY id) = '{600,201}', array_agg(doc)) FROM accounts;
SELECT pg_temp.test('rebuilt async documents', array_agg(doc ORDER BY id) = '{600,201}', array_agg(doc)) FROM accounts_later;
SELECT pg_temp.test('erasing', en57_erase('{"types": ["visited"]}', 'again') IS NOT NULL);
SELECT pg_temp.test('a new partition', en57_create_partition('after') IS NOT NULL);

-- Roles may what they might.
SELECT pg_temp.test('a writer appends', pg_temp.told_to('upgrade_writer', $$SELECT outcome FROM en57_append('{"type": "note"}')$$) = 'appended');
SELECT pg_temp.test('a writer of one partition is none of another', pg_temp.told_to('upgrade_writer', $$SELECT outcome FROM en57_append('{"type": "note"}', partition => 'branch')$$) = '42501');
SELECT pg_temp.test('a reader reads', pg_temp.told_to('upgrade_reader', $$SELECT count(*) FROM en57_read(partition => 'branch')$$) = '3');
SELECT pg_temp.test('a reader does not append', pg_temp.told_to('upgrade_reader', $$SELECT outcome FROM en57_append('{"type": "note"}', partition => 'branch')$$) = '42501');
SELECT pg_temp.test('an admin administers', pg_temp.told_to('upgrade_admin', $$SELECT en57_create_partition('theirs')$$) = 'en57.events_theirs');
SELECT pg_temp.test('each role has the functions that it had', bool_and(a.allowed), string_agg(f.function, ', ') FILTER (WHERE NOT a.allowed))
  FROM shop.functions_before AS f, LATERAL (SELECT EXISTS (SELECT FROM pg_proc AS p WHERE p.proname = f.function AND has_function_privilege(f.role, p.oid, 'EXECUTE'))) AS a (allowed)
 WHERE EXISTS (SELECT FROM pg_proc AS p WHERE p.proname = f.function);
SELECT pg_temp.test('rights that users gave are none of the extension''s own', count(*) = 0, string_agg(pg_describe_object(classoid, objoid, objsubid), ', '))
  FROM pg_init_privs, aclexplode(initprivs) AS a WHERE a.grantee IN (SELECT oid FROM pg_roles WHERE rolname LIKE 'upgrade\_%' AND NOT rolsuper);

SELECT pg_temp.test('en57_check finds nothing', count(*) = 0, string_agg(concat_ws(' ', severity, object, problem), '; ')) FROM en57_check('*');
SELECT pg_temp.test('en57_status says what is to be done, and nothing else is new', coalesce(array_agg(s.name), '{}') = CASE WHEN :'updated' THEN '{}'::text[] ELSE '{schema_version}' END,
                    string_agg(concat_ws(' ', s.name, s.warning), '; '))
  FROM en57_status() AS s WHERE s.warning IS NOT NULL AND s.name NOT IN (SELECT name FROM shop.warnings_before);
