-- Written before the update, by functions that 0.1.0 has: a log in two partitions, and something of all that en57 keeps
-- beside it. after.sql goes on with it. With the variable "worker" the background worker runs the async projections.
\set QUIET on
\set ON_ERROR_STOP on
SET client_min_messages = warning;

-- What users have of their own.
CREATE SCHEMA shop;
SET search_path = shop, public;
CREATE FUNCTION counted(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT to_jsonb(coalesce((state #>> '{}')::bigint, 0) + 1) $$;
CREATE FUNCTION balance(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT to_jsonb(coalesce((state #>> '{}')::bigint, 0) + coalesce((e.data ->> 'cents')::bigint, 0)) $$;
CREATE FUNCTION not_negative(state jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN (state #>> '{}')::bigint < 0 THEN 'the account is overdrawn' END $$;
CREATE FUNCTION in_cents(e en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    e.data := jsonb_build_object('cents', 100 * (e.data ->> 'euros')::bigint);
    RETURN e;
END $$;
CREATE TABLE noted (projection text, "position" bigint, cents bigint);
CREATE FUNCTION note(e en57_event) RETURNS void LANGUAGE sql AS $$
    INSERT INTO shop.noted VALUES ('noted', e.position, (e.data ->> 'cents')::bigint) $$;
CREATE FUNCTION note_later(e en57_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF 'poison' = ANY (e.tags) THEN
        RAISE 'no handler for poison';
    END IF;
    INSERT INTO shop.noted VALUES ('noted later', e.position, (e.data ->> 'cents')::bigint);
END $$;
CREATE FUNCTION of_seats(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
    SELECT en57_query(tags => ARRAY['show:' || (command ->> 'show')]) $$;
CREATE FUNCTION sell_seat(command jsonb, state jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF coalesce((state #>> '{}')::bigint, 0) >= 2 THEN
        RAISE 'no seat is left';
    END IF;
    RETURN jsonb_build_object('type', 'seat sold', 'tags', jsonb_build_array('show:' || (command ->> 'show')));
END $$;

SELECT en57_create_partition('branch') \g /dev/null
SELECT en57_grant('upgrade_writer', 'writer', 'default'), en57_grant('upgrade_reader', 'reader', 'branch'),
       en57_grant('upgrade_admin', 'admin') \g /dev/null
GRANT USAGE ON SCHEMA shop TO upgrade_writer, upgrade_reader, upgrade_admin;
GRANT SELECT ON en57_projections TO upgrade_reader;

-- Events from before there was a type.
SELECT en57_append('[{"type": "opened", "tags": ["account:1"], "id": "00000000-0000-4000-8000-000000000001"}, {"type": "opened", "tags": ["account:2"]}]') \g /dev/null
SELECT en57_append('{"type": "paid", "schema_version": 1, "tags": ["account:1"], "data": {"euros": 5}}', stream => 'account-1') \g /dev/null

-- Types, upcasters, projections, an invariant, a decider, a fold.
SELECT en57_register_type('paid', 2, '{"type": "object", "required": ["cents"], "properties": {"cents": {"type": "integer"}}}') \g /dev/null
SELECT en57_register_upcaster('paid', 1, 'in_cents') \g /dev/null
SELECT en57_create_projection('noted', '{"types": ["paid"]}', 'note') \g /dev/null
SELECT en57_create_projection('noted later', '{"types": ["paid"]}', 'note_later', mode => 'async', on_error => 'skip') \g /dev/null
SELECT en57_create_document_projection('accounts', '{"types": ["paid"]}', 'tag:account:', 'balance') \g /dev/null
SELECT en57_create_document_projection('accounts_later', '{"types": ["paid"]}', 'tag:account:', 'balance', mode => 'async') \g /dev/null
SELECT en57_create_document_projection('branch_counts', '{}', 'stream', 'counted', partition => 'branch') \g /dev/null
SELECT en57_create_invariant('covered', '{"types": ["paid"]}', 'tag:account:', 'balance', 'not_negative', key_required => false) \g /dev/null
SELECT en57_create_decider('sell seat', 'of_seats', 'counted', 'sell_seat') \g /dev/null
SELECT en57_create_fold('turnover', 'balance', snapshot_every => 1) \g /dev/null

-- Events: of streams, with tags, on condition, in both partitions, and one that is rolled back.
SELECT en57_append('{"type": "paid", "tags": ["account:1"], "data": {"cents": 70}}', stream => 'account-1', expected_version => 1) \g /dev/null
SELECT en57_append('{"type": "paid", "tags": ["account:2"], "data": {"cents": 200}}', fail_if => '{"tags": ["account:2"], "types": ["paid"]}') \g /dev/null
SELECT en57_append('{"type": "paid", "tags": ["account:2", "poison"], "data": {"cents": 1}}') \g /dev/null
SELECT en57_append('{"type": "visited", "tags": ["person:ada"], "data": {"name": "Ada"}, "meta": {"who": "Ada"}}') \g /dev/null
BEGIN;
SELECT en57_append('{"type": "undone", "tags": ["account:1"]}') \g /dev/null
ROLLBACK;
SELECT en57_append('[{"type": "counted"}, {"type": "counted"}]', stream => 'till', partition => 'branch') \g /dev/null
SELECT en57_decide('sell seat', '{"show": "hamlet"}') \g /dev/null
SELECT en57_erase('{"tags": ["person:ada"]}', 'she asked for it') \g /dev/null
SELECT en57_track('elsewhere', 42) \g /dev/null

-- Subscriptions: one in the middle, one with a dead letter, one of all partitions.
SELECT en57_create_subscription('payments', '{"types": ["paid"]}') \g /dev/null
SELECT en57_create_subscription('strict', '{"types": ["paid"]}', max_attempts => 1, shards => 1) \g /dev/null
SELECT en57_create_subscription('everything', partition => '*') \g /dev/null
BEGIN;
SELECT max(position) AS second FROM en57_poll('payments', 2) \gset
SELECT en57_ack('payments', :second) \g /dev/null
COMMIT;
SELECT min(position) AS first FROM en57_poll('strict', 1, lease => '1 hour') \gset
SELECT en57_nack('strict', :first, 'out of paper') \g /dev/null
BEGIN;
SELECT max(position) AS all_of_them FROM en57_poll('everything') \gset
SELECT en57_ack('everything', :all_of_them) \g /dev/null
COMMIT;

-- Documents and states as of now, with a dead letter of a projection.
\if :worker
SELECT en57_wait_projection('noted later'), en57_wait_projection('accounts_later') \g /dev/null
\else
SELECT en57_run('noted later'), en57_run('accounts_later') \g /dev/null
\endif
SELECT en57_state('turnover', '{"tags": ["account:1"]}') \g /dev/null
CALL en57_rebuild('accounts');

-- What must not be less afterwards, and what not more.
CREATE TABLE functions_before AS
    SELECT DISTINCT r.rolname::text AS role, p.proname::text AS function
      FROM pg_roles AS r, pg_proc AS p
     WHERE r.rolname LIKE 'upgrade\_%' AND p.proname ~ '^en57_' AND has_function_privilege(r.oid, p.oid, 'EXECUTE');
CREATE TABLE warnings_before AS SELECT name FROM en57_status() WHERE warning IS NOT NULL AND name NOT LIKE '%\_version';
