-- Who may call what: every function of the extension, as the catalogs list them, called by roles with different rights, on
-- their own partition and on another one. A cell says what a call with valid arguments does:
--   ok      it succeeds, and changes nothing that is stored
--   empty   so it does, and tells nothing: no row, NULL, or false
--   writes  it succeeds, and changes something
--   42501   it is refused with this SQLSTATE; with "!" behind it if something has changed all the same
-- Each call is undone. The first columns: everything, all of all partitions, all of one; the last: no rights but pg_monitor's.
-- Fails when a function has no call here, when one is lent to a role without the right, when a refused call leaves something,
-- or when a table or view is opened to somebody.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;

------------------------------------------------------------------------------------------------------
-- Roles, partitions, and of everything one
------------------------------------------------------------------------------------------------------
CREATE TABLE roles (n serial, role text, kind text);
INSERT INTO roles (role, kind) VALUES ('regress_en57_super', 'superuser'), ('regress_en57_all', 'admin_all'), ('regress_en57_admin', 'admin'),
    ('regress_en57_writer', 'writer'), ('regress_en57_reader', 'reader'), ('regress_en57_insert', 'insert'), ('regress_en57_nobody', 'nobody'),
    ('regress_en57_monitor', 'monitor');
SELECT format('CREATE ROLE %I %s', role, CASE kind WHEN 'superuser' THEN 'SUPERUSER' ELSE '' END) FROM roles ORDER BY n \gexec
CREATE ROLE regress_en57_other;
GRANT pg_monitor TO regress_en57_monitor;
SELECT en57_create_partition('mine'), en57_create_partition('theirs'), en57_create_partition('empty');
SELECT en57_grant('regress_en57_all', 'admin'), en57_grant('regress_en57_admin', 'admin', 'mine'), en57_grant('regress_en57_writer', 'writer', 'mine'),
    en57_grant('regress_en57_reader', 'reader', 'mine'), en57_grant('regress_en57_other', 'admin', 'theirs');
GRANT INSERT ON en57.events_mine TO regress_en57_insert;
-- Functions of each role, in a schema of its name.
SELECT format('CREATE SCHEMA %1$I AUTHORIZATION %1$I', role) FROM roles UNION ALL SELECT 'CREATE SCHEMA regress_en57_other AUTHORIZATION regress_en57_other' \gexec
SELECT format(f, role) FROM (SELECT n, role FROM roles UNION ALL SELECT 9, 'regress_en57_other') r, unnest(ARRAY[
    'SET ROLE %I', 'SET search_path = %I, public',
    'CREATE FUNCTION evolve(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS ''SELECT e.data''',
    'CREATE FUNCTION sound(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS ''SELECT NULL::text''',
    'CREATE FUNCTION keys(e en57_event) RETURNS text[] LANGUAGE sql IMMUTABLE AS ''SELECT e.tags''',
    'CREATE FUNCTION handle(e en57_event) RETURNS void LANGUAGE sql AS ''SELECT''',
    'CREATE FUNCTION fails(e en57_event) RETURNS void LANGUAGE plpgsql AS ''BEGIN RAISE ''''no''''; END''',
    'CREATE FUNCTION asks(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS ''SELECT en57_query(tags => ARRAY[''''t''''])''',
    'CREATE FUNCTION decide(command jsonb, state jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS ''SELECT command''',
    'CREATE FUNCTION upcast(event en57_event) RETURNS en57_event LANGUAGE sql IMMUTABLE AS ''SELECT event''',
    'RESET search_path', 'RESET ROLE']) WITH ORDINALITY AS u (f, m) ORDER BY n, m \gexec
SELECT format('GRANT USAGE ON SCHEMA %I TO PUBLIC', role) FROM (SELECT role FROM roles UNION ALL SELECT 'regress_en57_other') r \gexec
-- A trigger of the extension's, on a table of one's own.
SELECT format('CREATE TABLE %1$I.own (); ALTER TABLE %1$I.own OWNER TO %1$I', role) FROM roles ORDER BY n \gexec
-- Definitions, subscriptions and sources: of "mine" they are the admin's, of "theirs" those of its admin.
SELECT format(f, p, owner) FROM (VALUES (1, 'mine', 'regress_en57_admin'), (2, 'theirs', 'regress_en57_other')) v (n, p, owner), unnest(ARRAY[
    'SET ROLE %2$I', 'SET search_path = %2$I, public', 'SET en57.partition = %1$I',
    'SELECT en57_create_document_projection(''%1$s documents'', ''{}'', ''tag:t'', ''evolve'')',
    'SELECT en57_create_document_projection(''%1$s later'', ''{}'', ''tag:t'', ''evolve'', mode => ''async'')',
    'SELECT en57_create_projection(''%1$s fails'', ''{}'', ''fails'', mode => ''async'', on_error => ''skip'')',
    'SELECT en57_create_invariant(''%1$s rule'', ''{}'', ''tag:t'', ''evolve'', ''sound'', key_required => false)',
    'SELECT outcome FROM en57_append(''[{"type": "a", "tags": ["t"], "data": {"n": 1}}, {"type": "b", "tags": ["t"], "data": {"n": 2}}]'', stream => ''s'')',
    'SELECT en57_run(''%1$s fails'')',
    'SELECT en57_create_fold(''%1$s fold'', ''evolve'', snapshot_every => 1)',
    'SELECT en57_create_decider(''%1$s decider'', ''asks'', ''evolve'', ''decide'')',
    'RESET search_path', 'RESET en57.partition', 'RESET ROLE']) WITH ORDINALITY AS u (f, m) ORDER BY n, m \gexec
-- A subscription and a source of each role, on both partitions, as when the right was taken away later; one dead letter each.
SELECT format('SELECT en57_create_subscription(%L, partition => %L); UPDATE en57.subscriptions SET owner = %L WHERE name = %1$L', role || ' ' || p, p, role)
    FROM (SELECT n, role FROM roles UNION ALL SELECT 9, 'regress_en57_other') r, unnest('{mine,theirs}'::text[]) p ORDER BY n, p \gexec
INSERT INTO en57.dead_letters (subscription, "position", shard, key, state, held, attempts, error)
    SELECT s.id, min(e.position), 0, 'stream:s', 'parked', false, 1, 'no' FROM en57.subscriptions s JOIN en57.events e USING (partition) GROUP BY s.id;
UPDATE en57.subscription_shards h SET "position" = d."position" FROM en57.dead_letters d WHERE d.subscription = h.subscription;
INSERT INTO en57.tracked (source, owner, "position") SELECT 'source of ' || role, role, 7 FROM roles UNION ALL SELECT 'source of regress_en57_other', 'regress_en57_other', 7;
SELECT en57_register_type('typed', 1, '{"type": "object"}'), en57_register_type('typed', 2), en57_register_upcaster('typed', 1, 'regress_en57_super.upcast');
CREATE TABLE foreign_events AS SELECT 1::bigint AS "position", 'a' AS type;
GRANT SELECT ON foreign_events TO PUBLIC;

------------------------------------------------------------------------------------------------------
-- The calls. {p} is the partition, {role} the caller, {who} its owner: the caller, or somebody else where the partition is another's.
-- {at} and {id} are the position and id of an event in it. What has no placeholder but {role} is called once.
------------------------------------------------------------------------------------------------------
CREATE TABLE calls (n serial, function text, call text);
INSERT INTO calls (function, call) VALUES
    -- what reads and appends
    ('en57_append(jsonb,en57_query,text,bigint,text,text,text)', $$en57_append('{"type": "new"}', partition => '{p}')$$),
    ('en57_append(jsonb,en57_query,text,bigint,text,text,text)', $$en57_append('{"type": "new"}', fail_if => '{"tags": ["new"]}', partition => '{p}')$$),
    ('en57_append(jsonb,en57_query,text,bigint,text,text,text)', $$en57_append('{"type": "new"}', stream => 'new', expected_version => 0, partition => '{p}')$$),
    ('en57_append(jsonb,en57_query,text,bigint,text,text,text)', $$en57_append('{"type": "a", "tags": ["t"], "id": "{id}"}', stream => 's', partition => '{p}')$$),
    ('en57_append_many(jsonb,text,text,boolean)', $$en57_append_many('[{"events": {"type": "new"}}]', '{p}')$$),
    ('en57_append_many(jsonb,text,text,boolean)', $$en57_append_many('[{"events": {"type": "new"}, "fail_if": {"tags": ["new"]}}]', '{p}')$$),
    ('en57_validate(jsonb,text,text)', $$en57_validate('{"type": "new", "tags": ["t"]}', partition => '{p}')$$),
    ('en57_lock(en57_query,text)', $$en57_lock('{"tags": ["t"]}', '{p}')$$),
    ('en57_read(en57_query,bigint,bigint,bigint,boolean,timestamp with time zone,timestamp with time zone,timestamp with time zone,text,boolean)', $$en57_read(partition => '{p}')$$),
    ('en57_read(en57_query,bigint,bigint,bigint,boolean,timestamp with time zone,timestamp with time zone,timestamp with time zone,text,boolean)', $$en57_read(partition => '*')$$),
    ('en57_context(en57_query,text,bigint,bigint)', $$en57_context(partition => '{p}')$$),
    ('en57_position_at(timestamp with time zone,text)', $$en57_position_at('2001-01-01', '{p}')$$),
    ('en57_head(en57_query,text)', $$en57_head(partition => '{p}')$$),
    ('en57_last(en57_query,text)', $$en57_last(partition => '{p}')$$),
    ('en57_exists(en57_query,text)', $$en57_exists(partition => '{p}')$$),
    ('en57_count(en57_query,text)', $$en57_count(partition => '{p}')$$),
    ('en57_get(uuid,text)', $$en57_get('{id}', '{p}')$$),
    ('en57_read_stream(text,bigint,bigint,bigint,boolean,text)', $$en57_read_stream('s', partition => '{p}')$$),
    ('en57_stream(text,text)', $$en57_stream('s', '{p}')$$),
    ('en57_streams(text,text,bigint,text)', $$en57_streams(partition => '{p}')$$),
    ('en57.streams_now()', $$en57.streams_now()$$),
    ('en57_types(text)', $$en57_types('{p}')$$),
    ('en57_tags(text,text,bigint,text)', $$en57_tags(partition => '{p}')$$),
    ('en57_trace(uuid,text)', $$en57_trace('{id}', '{p}')$$),
    ('en57_trace_text(uuid,text)', $$en57_trace_text('{id}', '{p}')$$),
    ('en57_wait(bigint,interval,en57_query,text)', $$en57_wait(0, '1ms', NULL, '{p}')$$),
    ('en57_fold(en57_query,en57_function,jsonb,bigint,timestamp with time zone,text,timestamp with time zone)', $$en57_fold('{}', '{role}.evolve', partition => '{p}')$$),
    ('en57_state(text,en57_query,text,timestamp with time zone,timestamp with time zone)', $$en57_state('mine fold', '{}', '{p}')$$),
    ('en57_decide(text,jsonb,text,uuid,text,bigint,text)', $$en57_decide('mine decider', '[{"type": "new"}]', '{p}')$$),
    ('en57_decide_many(text,jsonb,text,boolean)', $$en57_decide_many('mine decider', '[{"command": [{"type": "new"}]}]', '{p}')$$),
    ('en57_check_type(text,integer,jsonb,jsonb,text,bigint)', $$en57_check_type('a', NULL, '{"type": "string"}', partition => '{p}')$$),
    ('en57_check_type(text,integer,jsonb,jsonb,text,bigint)', $$en57_check_type('a', NULL, '{"type": "string"}')$$),
    ('en57.append_events(en57.event[],jsonb)', $$en57.append_events(ARRAY[ROW(NULL, 'a', NULL, NULL, NULL)]::en57.event[])$$),
    ('en57.read_events(jsonb[],integer,bigint)', $$en57.read_events('{}')$$),
    ('en57.settled(en57_query,text)', $$en57.settled('{}', '{p}')$$),
    ('en57.read_shard(en57_query,bigint,bigint,bigint,integer,integer,text)', $$en57.read_shard('{}', 0, NULL, 10, 0, 1, '{p}')$$),
    ('en57.sift(text,en57_query,text,bigint,bigint,bigint,integer,integer)', $$en57.sift('{who} {p}', '{}', '{p}', 0, NULL, 10, 0, 1)$$),
    ('en57.event_at(bigint,text)', $$en57.event_at({at}, '{p}')$$),
    ('en57.head_now(en57_query,text)', $$en57.head_now('{}', '{p}')$$),
    ('en57.is_readable(text)', $$en57.is_readable('{p}')$$),
    ('en57.pending(en57_query,text,bigint[])', $$(en57.pending('{}', '{p}', '{0}')).head$$),
    ('en57.partition_of(regclass)', $$en57.partition_of('en57.events_{p}')$$),
    ('en57.bytes_now(regclass)', $$en57.bytes_now('en57.events_{p}')$$),
    -- partitions
    ('en57_create_partition(text,boolean)', $$en57_create_partition('new')$$),
    ('en57_drop_partition(text)', $$en57_drop_partition('empty')$$),
    ('en57_detach_partition(text)', $$en57_detach_partition('empty')$$),
    ('en57_truncate(text,boolean)', $$en57_truncate('{p}')$$),
    ('en57_truncate(text,boolean)', $$en57_truncate('{p}', restart => true)$$),
    ('en57_erase(en57_query,text,text)', $$en57_erase('{}', 'matrix', '{p}')$$),
    ('en57_grant(regrole,text,text)', $$en57_grant('regress_en57_nobody', 'reader', '{p}')$$),
    ('en57_grant(regrole,text,text)', $$en57_grant('regress_en57_nobody', 'reader')$$),
    ('en57_revoke(regrole,text,text)', $$en57_revoke('regress_en57_other', 'reader', '{p}')$$),
    -- event types and upcasters
    ('en57_register_type(text,integer,jsonb,jsonb,boolean)', $$en57_register_type('new')$$),
    ('en57_unregister_type(text,integer)', $$en57_unregister_type('typed', 2)$$),
    ('en57_register_upcaster(text,integer,en57_function,text,integer,boolean)', $$en57_register_upcaster('b', 1, '{role}.upcast', 'c', 1)$$),
    ('en57_drop_upcaster(text,integer)', $$en57_drop_upcaster('typed', 1)$$),
    ('en57_generate(text,text[],text)', $$en57_generate('rust')$$),
    ('en57.generate(text,jsonb,text)', $$en57.generate('rust', '[]', NULL)$$),
    -- imports
    ('en57_import(jsonb,text,boolean,boolean)', $$en57_import('[{"type": "a"}]', '{p}')$$),
    ('en57.import_rows(en57_event[],text,boolean,boolean)', $$en57.import_rows(ARRAY[jsonb_populate_record(NULL::en57_event, '{"type": "a"}')], '{p}', false, true)$$),
    ('en57.import_some(en57_event[],text,boolean,boolean,text)', $$en57.import_some(ARRAY[jsonb_populate_record(NULL::en57_event, '{"type": "a"}')], '{p}', false, true, NULL)$$),
    ('en57.import_batch(regclass,bigint,integer,text,boolean,boolean,text)', $$en57.import_batch('foreign_events', NULL, NULL, '{p}', false, true, NULL)$$),
    ('en57_import_from(regclass,text,boolean,boolean)', $$en57_import_from('foreign_events', '{p}')$$),
    ('en57_import_in_batches(text,regclass,text,boolean,integer,boolean,text)', $$CALL en57_import_in_batches('import', 'foreign_events', '{p}')$$),
    ('en57.import_columns(regclass)', $$en57.import_columns('foreign_events')$$),
    ('en57.import_refused(regclass,bigint)', $$en57.import_refused('foreign_events', NULL)$$),
    ('en57.import_skip(text,bigint,text,text,text)', $$en57.import_skip('import', 1, '22023', 'no', NULL)$$),
    -- projections
    ('en57_create_projection(text,en57_query,en57_function,text,text,integer,text,text,en57_function,boolean,boolean)', $$en57_create_projection('new', '{}', '{role}.handle', partition => '{p}')$$),
    ('en57_create_projection(text,en57_query,en57_function,text,text,integer,text,text,en57_function,boolean,boolean)', $$en57_create_projection('new', '{}', 'regress_en57_other.handle', partition => '{p}')$$),
    ('en57_create_document_projection(text,en57_query,text,en57_function,jsonb,text,text,integer,text,text,boolean,boolean)', $$en57_create_document_projection('new', '{}', 'stream', '{role}.evolve', partition => '{p}')$$),
    ('en57_create_document_projection(text,en57_query,en57_function,en57_function,jsonb,text,text,integer,text,text,boolean,boolean)', $$en57_create_document_projection('new', '{}', '{role}.keys'::en57_function, '{role}.evolve', partition => '{p}')$$),
    ('en57_try_projection(text,jsonb)', $$en57_try_projection('{p} documents', '[{"type": "a", "tags": ["t"]}]')$$),
    ('en57_drop_projection(text,boolean)', $$en57_drop_projection('{p} later')$$),
    ('en57_reset_projection(text,text)', $$en57_reset_projection('{p} documents')$$),
    ('en57_pause(text)', $$en57_pause('{p} documents')$$),
    ('en57_resume(text,boolean)', $$en57_resume('{p} documents')$$),
    ('en57_run(text,bigint)', $$en57_run('{p} later')$$),
    ('en57_wait_projection(text,bigint,interval)', $$en57_wait_projection('{p} later', NULL, '1ms')$$),
    ('en57_rebuild(text,en57_function,jsonb,text,en57_function,text,en57_query,text)', $$CALL en57_rebuild('{p} documents')$$),
    ('en57_cancel_rebuild(text)', $$en57_cancel_rebuild('{p} documents')$$),
    ('en57_replay_projection_dead_letters(text,bigint)', $$en57_replay_projection_dead_letters('{p} fails')$$),
    -- folds, deciders, invariants
    ('en57_create_fold(text,en57_function,jsonb,integer,boolean,boolean)', $$en57_create_fold('new', '{role}.evolve')$$),
    ('en57_create_fold(text,en57_function,jsonb,integer,boolean,boolean)', $$en57_create_fold('{p} fold', '{role}.evolve', or_replace => true, snapshot_every => 2)$$),
    ('en57_try_fold(text,jsonb,en57_query)', $$en57_try_fold('mine fold', '[{"type": "a"}]')$$),
    ('en57_drop_fold(text)', $$en57_drop_fold('{p} fold')$$),
    ('en57_drop_snapshots(text)', $$en57_drop_snapshots('{p} fold')$$),
    ('en57_create_decider(text,en57_function,en57_function,en57_function,jsonb,jsonb,integer,boolean,boolean)', $$en57_create_decider('new', '{role}.asks', '{role}.evolve', '{role}.decide')$$),
    ('en57_drop_decider(text)', $$en57_drop_decider('{p} decider')$$),
    ('en57_try(text,jsonb,jsonb)', $$en57_try('mine decider', '[]', '[{"type": "new"}]')$$),
    ('en57_create_invariant(text,en57_query,text,en57_function,en57_function,jsonb,text,boolean,boolean,boolean,boolean)', $$en57_create_invariant('new', '{}', 'tag:t', '{role}.evolve', '{role}.sound', partition => '{p}')$$),
    ('en57_try_invariant(text,jsonb)', $$en57_try_invariant('{p} rule', '[{"type": "a", "tags": ["t"]}]')$$),
    ('en57_drop_invariant(text)', $$en57_drop_invariant('{p} rule')$$),
    ('en57_disable_invariant(text)', $$en57_disable_invariant('{p} rule')$$),
    ('en57_enable_invariant(text,boolean)', $$en57_enable_invariant('{p} rule')$$),
    -- subscriptions
    ('en57_create_subscription(text,en57_query,text,integer,text,boolean,integer,boolean,boolean)', $$en57_create_subscription('new', partition => '{p}')$$),
    ('en57_alter_subscription(text,en57_query,integer,boolean,integer)', $$en57_alter_subscription('{who} {p}', max_attempts => 3)$$),
    ('en57_drop_subscription(text)', $$en57_drop_subscription('{who} {p}')$$),
    ('en57_reset_subscription(text,bigint)', $$en57_reset_subscription('{who} {p}', 0)$$),
    ('en57_wait_subscription(text,bigint,interval)', $$en57_wait_subscription('{who} {p}', 1000000, '1ms')$$),
    ('en57_reshard(text,integer)', $$en57_reshard('{who} {p}', 4)$$),
    ('en57_poll(text,bigint,interval,integer,integer,interval,bigint)', $$en57_poll('{who} {p}')$$),
    ('en57_poll(text,bigint,interval,integer,integer,interval,bigint)', $$en57_poll('{role} {p}')$$),
    ('en57_poll(text,bigint,interval,integer,integer,interval,bigint)', $$en57_poll('{role} {p}', lease => '1s')$$),
    ('en57_lease(text,interval,integer,integer,text,bigint)', $$en57_lease('{who} {p}', '1s')$$),
    ('en57_ack(text,bigint,integer,integer,bigint)', $$SELECT en57_poll('{who} {p}'); SELECT en57_ack('{who} {p}', {at} + 1)$$),
    ('en57_nack(text,bigint,text,integer,integer,bigint)', $$SELECT en57_poll('{who} {p}'); SELECT en57_nack('{who} {p}', {at} + 1)$$),
    ('en57_replay_dead_letters(text,bigint)', $$en57_replay_dead_letters('{who} {p}')$$),
    ('en57_drop_dead_letters(text,bigint)', $$en57_drop_dead_letters('{who} {p}')$$),
    ('en57.is_to_change(text,text,text[],boolean,boolean,boolean)', $$en57.is_to_change('subscription', 'x', '{}', false, true, false)$$),
    ('en57.check_shard(integer,integer)', $$en57.check_shard(0, 1)$$),
    ('en57.lease_lasts(timestamp with time zone,interval)', $$en57.lease_lasts('infinity', NULL)$$),
    ('en57.shard_of(text,integer)', $$en57.shard_of('tag:x', 4)$$),
    ('en57.event_key(en57_event)', $$en57.event_key(jsonb_populate_record(NULL::en57_event, '{"type": "a"}'))$$),
    ('en57.locked_by(integer,integer)', $$en57.locked_by(1, 0)$$),
    ('en57.note_empty_handed(text,integer,boolean)', $$en57.note_empty_handed('{who} {p}', 0, true)$$),
    ('en57.is_empty_handed(text,integer)', $$en57.is_empty_handed('{who} {p}', 0)$$),
    ('en57.moved()', $$en57.moved()$$), ('en57.complete_to()', $$en57.complete_to()$$), ('en57.last_read()', $$en57.last_read()$$),
    ('en57.session()', $$en57.session()$$), ('en57.ticket()', $$en57.ticket()$$),
    ('en57.is_owner(oid,text)', $$en57.is_owner('{role}'::regrole, '{who}')$$),
    -- with a ticket, which only functions of the extension get: they believe their arguments
    ('en57.describe(bigint,text)', $$en57.describe(en57.ticket(), '{who} {p}')$$),
    ('en57.describe(bigint,text)', $$en57.describe(1, '{who} {p}')$$),
    ('en57.add_subscription(bigint,text,en57_query,bigint,integer,text,boolean,integer)', $$en57.add_subscription(en57.ticket(), 'new', '{}', 0, 1, '{p}', false, 1)$$),
    ('en57.change_subscription(bigint,text,en57_query,integer,boolean,integer)', $$en57.change_subscription(en57.ticket(), '{who} {p}', '{}', 3, true, NULL)$$),
    ('en57.remove_subscription(bigint,text)', $$en57.remove_subscription(en57.ticket(), '{who} {p}')$$),
    ('en57.move_subscription(bigint,text,bigint)', $$en57.move_subscription(en57.ticket(), '{who} {p}', 0)$$),
    ('en57.begin_reshard(bigint,text,integer)', $$en57.begin_reshard(en57.ticket(), '{who} {p}', 4)$$),
    ('en57.finish_reshard(bigint,text,integer)', $$en57.finish_reshard(en57.ticket(), '{who} {p}', 4)$$),
    ('en57.hold_shard(bigint,text,integer,integer,interval,bigint)', $$en57.hold_shard(en57.ticket(), '{who} {p}', 0, 1, '0', NULL)$$),
    ('en57.give_out(bigint,text,integer,integer,bigint,boolean,interval,bigint,bigint[])', $$en57.give_out(en57.ticket(), '{who} {p}', 0, 1, {at} + 1, true, '1s', NULL, '{}')$$),
    ('en57.move_on(bigint,text,integer,integer,bigint,bigint,bigint,en57_query)', $$en57.move_on(en57.ticket(), '{who} {p}', 0, 1, {at}, {at} + 1, NULL, '{}')$$),
    ('en57.due(bigint,text,integer,bigint)', $$en57.due(en57.ticket(), '{who} {p}', 0, 0)$$),
    ('en57.hold_back(bigint,text,integer,bigint[],text[])', $$en57.hold_back(en57.ticket(), '{who} {p}', 0, ARRAY[{at} + 1], ARRAY['x'])$$),
    ('en57.take_lease(bigint,text,integer,integer,interval,text,bigint)', $$en57.take_lease(en57.ticket(), '{who} {p}', 0, 1, '1s', 'x', NULL)$$),
    ('en57.acknowledge(bigint,text,bigint,integer,integer,bigint)', $$SELECT en57_poll('{who} {p}'); SELECT en57.acknowledge(en57.ticket(), '{who} {p}', {at} + 1, 0, 1, NULL)$$),
    ('en57.is_acknowledged(bigint,text,bigint,integer,integer)', $$en57.is_acknowledged(en57.ticket(), '{who} {p}', {at}, 0, 1)$$),
    ('en57.hold_to_answer(bigint,text,bigint,integer,integer,bigint)', $$SELECT en57_poll('{who} {p}'); SELECT en57.hold_to_answer(en57.ticket(), '{who} {p}', {at} + 1, 0, 1, NULL)$$),
    ('en57.reject(bigint,text,bigint,text,text,integer,integer,bigint)', $$SELECT en57_poll('{who} {p}'); SELECT en57.reject(en57.ticket(), '{who} {p}', {at} + 1, 'x', 'no', 0, 1, NULL)$$),
    ('en57.replay(bigint,text,bigint)', $$en57.replay(en57.ticket(), '{who} {p}', NULL)$$),
    ('en57.remove_letters(bigint,text,bigint)', $$en57.remove_letters(en57.ticket(), '{who} {p}', NULL)$$),
    -- for functions with a ticket only
    ('en57.redeem(bigint)', $$en57.redeem(en57.ticket())$$),
    ('en57.owned(bigint,text)', $$en57.owned(en57.ticket(), '{who} {p}')$$),
    ('en57.owned_alone(bigint,text)', $$en57.owned_alone(en57.ticket(), '{who} {p}')$$),
    ('en57.lock_subscription(integer,boolean,boolean)', $$en57.lock_subscription(1, true, false)$$),
    ('en57.unlock_subscription(integer)', $$SELECT en57.lock_subscription(1, true, false); SELECT en57.unlock_subscription(1)$$),
    ('en57.lock_shard(integer,integer,boolean)', $$en57.lock_shard(1, 0, false)$$),
    ('en57.note_polled(integer,integer,bigint)', $$SELECT en57.lock_shard(1, 0, false); SELECT en57.note_polled(1, 0, 1)$$),
    ('en57.polled(integer,integer)', $$en57.polled(1, 0)$$),
    ('en57.demand_shards(en57.subscriptions)', $$en57.demand_shards(en57.owned(en57.ticket(), '{who} {p}'))$$),
    ('en57.split_subscription(integer,integer,bigint)', $$en57.split_subscription(1, 4, 1)$$),
    ('en57.decide_shards(en57.subscriptions,integer)', $$en57.decide_shards(en57.owned(en57.ticket(), '{who} {p}'), 4)$$),
    ('en57.join_shard(integer,text,integer,integer,boolean)', $$en57.join_shard(1, 'x', 0, 1, false)$$),
    ('en57.check_shards(en57.subscriptions,integer)', $$en57.check_shards(en57.owned(en57.ticket(), '{who} {p}'), 1)$$),
    ('en57.check_token(text,integer,bigint,bigint)', $$en57.check_token('x', 0, 1, 1)$$),
    ('en57.answering(bigint,text,integer,integer,bigint)', $$SELECT en57_poll('{who} {p}'); SELECT en57.answering(en57.ticket(), '{who} {p}', 0, 1, NULL)$$),
    -- tracking
    ('en57_track(text,bigint)', $$en57_track('new', 1)$$),
    ('en57_track(text,bigint)', $$en57_track('source of {who}{p:}', 8)$$),
    ('en57_tracked(text)', $$en57_tracked('source of {who}{p:}')$$),
    ('en57_reset_source(text,bigint)', $$en57_reset_source('source of {who}{p:}')$$),
    ('en57.track(bigint,text,bigint)', $$en57.track(en57.ticket(), 'source of {who}{p:}', 8)$$),
    ('en57.position_of_source(bigint,text)', $$en57.position_of_source(en57.ticket(), 'source of {who}{p:}')$$),
    ('en57.reset_source(bigint,text,bigint)', $$en57.reset_source(en57.ticket(), 'source of {who}{p:}', NULL)$$),
    -- state and checks
    ('en57.stat()', $$en57.stat()$$), ('en57_stat_reset()', $$en57_stat_reset()$$), ('en57.table_faults()', $$en57.table_faults()$$),
    ('en57.shared_state()', $$en57.shared_state()$$), ('en57.in_flight()', $$en57.in_flight()$$), ('en57_status()', $$en57_status()$$),
    ('en57.key_locks()', $$en57.key_locks()$$), ('en57.key_lock_use()', $$en57.key_lock_use()$$), ('en57_key(text,text,text)', $$en57_key('a')$$),
    ('en57_check(text)', $$en57_check('{p}')$$), ('en57.worker_pid()', $$en57.worker_pid()$$),
    ('en57_worker_stop()', $$en57_worker_stop()$$),
    -- Only that the right is asked for: a worker that starts does not end with the transaction.
    ('en57_worker_start()', $$SELECT 1 / has_function_privilege('en57_worker_start()', 'EXECUTE')::int$$),
    -- types, casts, operators
    ('en57_query(jsonb)', $$en57_query('{}'::jsonb)$$), ('en57_query(text[],text[],bigint,text,text[],text)', $$en57_query(tags => '{a}')$$),
    ('en57_query_in(cstring)', $$en57_query_in('{}')$$), ('en57_query_out(en57_query)', $$en57_query_out('{}')$$),
    ('en57_query_recv(internal)', $$en57_query_recv()$$), ('en57_query_send(en57_query)', $$en57_query_send('{}')$$),
    ('en57_query_to_jsonb(en57_query)', $$en57_query_to_jsonb('{}')$$), ('en57_query_union(en57_query,en57_query)', $$en57_query_union('{}', '{}')$$),
    ('en57_query_eq(en57_query,en57_query)', $$en57_query_eq('{}', '{}')$$), ('en57_query_ne(en57_query,en57_query)', $$en57_query_ne('{}', '{}')$$),
    ('en57_query_lt(en57_query,en57_query)', $$en57_query_lt('{}', '{}')$$), ('en57_query_le(en57_query,en57_query)', $$en57_query_le('{}', '{}')$$),
    ('en57_query_gt(en57_query,en57_query)', $$en57_query_gt('{}', '{}')$$), ('en57_query_ge(en57_query,en57_query)', $$en57_query_ge('{}', '{}')$$),
    ('en57_query_cmp(en57_query,en57_query)', $$en57_query_cmp('{}', '{}')$$), ('en57_query_hash(en57_query)', $$en57_query_hash('{}')$$),
    ('en57_query_hash_extended(en57_query,bigint)', $$en57_query_hash_extended('{}', 1)$$),
    ('en57_function_in(cstring)', $$en57_function_in('f')$$), ('en57_function_out(en57_function)', $$en57_function_out('f')$$),
    ('en57_function_recv(internal)', $$en57_function_recv()$$), ('en57_function_send(en57_function)', $$en57_function_send('f')$$),
    ('en57_function(regprocedure)', $$en57_function('now()'::regprocedure)$$), ('en57_function(regproc)', $$en57_function('now'::regproc)$$),
    ('en57_matches(en57_query,en57_event)', $$en57_matches('{}', jsonb_populate_record(NULL::en57_event, '{"type": "a", "position": 1}'))$$),
    ('en57.keys(text,text[],text,jsonb)', $$en57.keys('a', '{t}', 's', '{}')$$),
    -- what PostgreSQL calls; and as triggers of one's own tables, in a language of one's own
    ('en57.missing(text,text)', $$en57.missing('subscription', 'x')$$),
    ('en57.before_restore()', $$en57.before_restore()$$),
    ('en57.before_restore()', $$CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION en57.before_restore()$$),
    ('en57.read_rows(internal)', $$en57.read_rows()$$),
    ('en57.read_rows(internal)', $$CREATE FUNCTION {role}.f(int) RETURNS SETOF int LANGUAGE sql SUPPORT en57.read_rows AS 'SELECT $1'$$),
    ('en57.keep_guards()', $$en57.keep_guards()$$),
    ('en57.keep_guards()', $$CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION en57.keep_guards()$$),
    ('en57.had_functions_before()', $$en57.had_functions_before()$$),
    ('en57.keys_handler(internal)', $$en57.keys_handler()$$),
    ('en57.keys_handler(internal)', $$CREATE ACCESS METHOD mine TYPE INDEX HANDLER en57.keys_handler$$),
    ('en57.plpgsql_handler()', $$en57.plpgsql_handler()$$),
    ('en57.plpgsql_handler()', $$CREATE FUNCTION {role}.f() RETURNS void LANGUAGE en57_plpgsql AS 'BEGIN END'$$),
    ('en57.guard()', $$en57.guard()$$),
    ('en57.guard()', $$CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON {role}.own FOR EACH ROW EXECUTE FUNCTION en57.guard(); INSERT INTO {role}.own DEFAULT VALUES$$),
    ('en57.definitions_changed()', $$en57.definitions_changed()$$),
    ('en57.definitions_changed()', $$CREATE TRIGGER t AFTER INSERT ON {role}.own EXECUTE FUNCTION en57.definitions_changed(); INSERT INTO {role}.own DEFAULT VALUES$$),
    ('en57.projections_changed()', $$en57.projections_changed()$$),
    ('en57.projections_changed()', $$CREATE TRIGGER t AFTER INSERT ON {role}.own EXECUTE FUNCTION en57.projections_changed(); INSERT INTO {role}.own DEFAULT VALUES$$),
    ('en57.invariants_changed()', $$en57.invariants_changed()$$),
    ('en57.invariants_changed()', $$CREATE TRIGGER t AFTER INSERT ON {role}.own EXECUTE FUNCTION en57.invariants_changed(); INSERT INTO {role}.own DEFAULT VALUES$$);

CREATE TABLE members AS SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'en57'
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';
\echo
\echo functions without a call, and calls without a function (should be none)
SELECT p.oid::regprocedure FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
    WHERE NOT EXISTS (SELECT FROM calls c WHERE to_regprocedure(c.function) = p.oid) ORDER BY 1;
SELECT c.function FROM calls c WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_proc'::regclass AND m.objid = to_regprocedure(c.function)) ORDER BY n;

------------------------------------------------------------------------------------------------------
-- What is stored, and what a transaction that is undone leaves
------------------------------------------------------------------------------------------------------
-- All tables of the extension, as the catalogs list them, the log, the documents, and who owns and may use what.
SELECT format('CREATE FUNCTION stored() RETURNS text LANGUAGE sql SET search_path = public AS $f$ SELECT md5(concat_ws(''#'', %s)) $f$', string_agg(format('(SELECT string_agg(t::text, ''|'' ORDER BY t::text COLLATE "C") FROM %s t)', source), ', '))
FROM (SELECT c.oid::regclass::text AS source FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind IN ('r', 'p')
    UNION ALL VALUES ('regress_en57_admin."mine documents"'), ('regress_en57_other."theirs documents"'),
        ('(SELECT c.oid, c.relname, c.relowner, c.relacl, c.relkind, c.relhastriggers FROM pg_class c WHERE c.relnamespace IN (''en57''::regnamespace, ''public''::regnamespace) OR c.relname ~ ''documents|later'')'),
        ('(SELECT p.proname, p.proacl, p.proowner FROM pg_proc p JOIN members m ON m.objid = p.oid AND m.classid = ''pg_proc''::regclass)'),
        ('(SELECT n.nspname, n.nspacl FROM pg_namespace n WHERE n.nspname !~ ''^pg_'')'), ('(SELECT a.rolname, a.rolsuper, a.rolcreaterole FROM pg_authid a)'),
        ('pg_auth_members'), ('pg_inherits'), ('(SELECT evtname FROM pg_event_trigger)')) s \gexec
-- Counters, positions and locks are not undone by PostgreSQL.
SELECT format('CREATE FUNCTION lasting() RETURNS text LANGUAGE sql AS $f$ SELECT concat_ws('' '', (SELECT next_position FROM en57.shared_state()),
    (SELECT count(*) FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = ''advisory''), %s) $f$', string_agg(format('(SELECT last_value || '' '' || is_called FROM %s)', c.oid::regclass), ', '))
FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'S' \gexec

-- What a call does when a role says it, and undoes it. A transaction that has written nothing has no id.
CREATE FUNCTION cell(call text, role text, before text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    told bigint := 1;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    IF call ~ '^(SELECT|CALL|CREATE|INSERT|UPDATE|DELETE|TRUNCATE) ' THEN
        FOREACH statement IN ARRAY string_to_array(call, '; ') LOOP
            EXECUTE statement;
        END LOOP;
    ELSE
        EXECUTE format('SELECT count(nullif(x::text, ''f'')) FROM (SELECT %s AS x) s', call) INTO told;
    END IF;
    SET LOCAL ROLE NONE;
    RAISE EXCEPTION USING ERRCODE = 'UNDO0',
        MESSAGE = CASE WHEN pg_current_xact_id_if_assigned() IS NULL OR stored() = before THEN CASE told WHEN 0 THEN 'empty' ELSE 'ok' END ELSE 'writes' END;
EXCEPTION WHEN OTHERS THEN
    RETURN CASE SQLSTATE WHEN 'UNDO0' THEN SQLERRM ELSE SQLSTATE END;
END $$;
CREATE TABLE matrix (n int, call text, partition text, role text, cell text);
-- Each call in a transaction of its own.
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
DECLARE
    c record;
    before text := stored();
    said text;
    answer text;
    lasted text := lasting();
    lasts text;
BEGIN
    FOR c IN SELECT k.n, k.call, p.partition, k.call ~ '\{(p|p:|who)\}' AS is_of_partition, r.role, r.kind, e.at, e.id
               FROM calls k CROSS JOIN unnest(CASE WHEN k.call ~ '\{(p|p:|who)\}' THEN '{mine,theirs}'::text[] ELSE '{mine}' END) AS p (partition) CROSS JOIN roles r
               JOIN (SELECT DISTINCT ON (partition) partition, position AS at, id FROM en57.events ORDER BY partition, position) e USING (partition)
              ORDER BY k.n, p.partition, r.n LOOP
        said := replace(replace(replace(replace(replace(replace(c.call, '{p:}', ''), '{p}', c.partition), '{role}', c.role), '{at}', c.at::text), '{id}', c.id::text), '{who}',
            CASE c.partition WHEN 'mine' THEN c.role ELSE 'regress_en57_other' END);
        answer := cell(said, c.role, before);
        lasts := lasting();
        IF answer NOT IN ('ok', 'empty', 'writes') AND lasts <> lasted THEN
            answer := answer || '!';
        END IF;
        lasted := lasts;
        INSERT INTO matrix VALUES (c.n, c.call, CASE WHEN c.is_of_partition THEN c.partition ELSE '' END, c.kind, answer);
        COMMIT;
    END LOOP;
    IF stored() <> before THEN
        RAISE 'something was changed after all';
    END IF;
END $$;
CALL fill();

\echo
\echo refused calls that have left something, or all calls together (should be none)
SELECT call, partition, role, cell FROM matrix WHERE cell LIKE '%!' ORDER BY n, partition, role;
SELECT 'something is changed' WHERE EXISTS (SELECT FROM en57.events WHERE type NOT IN ('a', 'b'));
SELECT * FROM en57_check();
\echo
\pset tuples_only off
\pset footer off
\pset format aligned
SELECT regexp_replace(call, '^SELECT (.*; SELECT )', 'after \1') AS call, partition AS "on",
    max(cell) FILTER (WHERE role = 'superuser') AS superuser, max(cell) FILTER (WHERE role = 'admin_all') AS admin_all, max(cell) FILTER (WHERE role = 'admin') AS admin,
    max(cell) FILTER (WHERE role = 'writer') AS writer, max(cell) FILTER (WHERE role = 'reader') AS reader, max(cell) FILTER (WHERE role = 'insert') AS insert,
    max(cell) FILTER (WHERE role = 'nobody') AS nobody, max(cell) FILTER (WHERE role = 'monitor') AS monitor
FROM matrix GROUP BY n, call, partition ORDER BY n, partition;

------------------------------------------------------------------------------------------------------
-- Tables, views, sequences: SELECT, INSERT, UPDATE, DELETE and TRUNCATE as statements. What nobody but superusers may do is left out.
------------------------------------------------------------------------------------------------------
TRUNCATE matrix, calls RESTART IDENTITY;
INSERT INTO calls (call)
SELECT replace(command, '%', c.oid::regclass::text)
FROM pg_class c LEFT JOIN LATERAL (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = 1) a ON true,
    unnest(ARRAY['SELECT FROM % LIMIT 0', 'INSERT INTO % DEFAULT VALUES', format('UPDATE %% SET %I = DEFAULT', a.attname), 'DELETE FROM %', 'TRUNCATE %']) WITH ORDINALITY AS u (command, k)
WHERE c.relkind IN ('r', 'p', 'v', 'S') AND (c.oid IN (SELECT objid FROM members WHERE classid = 'pg_class'::regclass) OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'en57.events'::regclass))
    AND NOT (c.relkind IN ('S', 'v') AND k = 5) AND NOT (c.relkind = 'S' AND k > 1)
ORDER BY c.oid::regclass::text COLLATE "C", k;
CALL fill();
SELECT call,
    max(cell) FILTER (WHERE role = 'superuser') AS superuser, max(cell) FILTER (WHERE role = 'admin_all') AS admin_all, max(cell) FILTER (WHERE role = 'admin') AS admin,
    max(cell) FILTER (WHERE role = 'writer') AS writer, max(cell) FILTER (WHERE role = 'reader') AS reader, max(cell) FILTER (WHERE role = 'insert') AS insert,
    max(cell) FILTER (WHERE role = 'nobody') AS nobody, max(cell) FILTER (WHERE role = 'monitor') AS monitor
FROM matrix GROUP BY n, call HAVING bool_or(cell <> '42501') FILTER (WHERE role <> 'superuser') ORDER BY n;
SELECT count(DISTINCT call) AS "commands that are refused to all but superusers" FROM (SELECT call FROM matrix GROUP BY call HAVING NOT bool_or(cell <> '42501') FILTER (WHERE role <> 'superuser')) x;

-- Types: everybody may use them, as any type.
SELECT count(*) FILTER (WHERE NOT has_type_privilege('regress_en57_nobody', t.oid, 'USAGE')) AS "types that nobody may use" FROM members m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid;

\set VERBOSITY terse

DROP EXTENSION en57 CASCADE;
DROP TABLE roles, calls, matrix, foreign_events;
SELECT format('DROP OWNED BY %1$I CASCADE; DROP ROLE %1$I', role) FROM (VALUES ('regress_en57_super'), ('regress_en57_all'), ('regress_en57_admin'), ('regress_en57_writer'), ('regress_en57_reader'),
    ('regress_en57_insert'), ('regress_en57_nobody'), ('regress_en57_monitor'), ('regress_en57_other')) v (role) \gexec
