--
-- PostgreSQL database dump
--



SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: en57; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS en57 WITH SCHEMA public;


--
-- Name: EXTENSION en57; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION en57 IS 'event store with dynamic consistency boundaries';


--
-- Name: shop; Type: SCHEMA; Schema: -; Owner: postgres
--

CREATE SCHEMA shop;


ALTER SCHEMA shop OWNER TO postgres;

--
-- Name: balance(jsonb, public.en57_event); Type: FUNCTION; Schema: shop; Owner: postgres
--

CREATE FUNCTION shop.balance(state jsonb, e public.en57_event) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT to_jsonb(coalesce((state #>> '{}')::bigint, 0) + coalesce((e.data ->> 'cents')::bigint, 0)) $$;


ALTER FUNCTION shop.balance(state jsonb, e public.en57_event) OWNER TO postgres;

--
-- Name: counted(jsonb, public.en57_event); Type: FUNCTION; Schema: shop; Owner: postgres
--

CREATE FUNCTION shop.counted(state jsonb, e public.en57_event) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT to_jsonb(coalesce((state #>> '{}')::bigint, 0) + 1) $$;


ALTER FUNCTION shop.counted(state jsonb, e public.en57_event) OWNER TO postgres;

--
-- Name: in_cents(public.en57_event); Type: FUNCTION; Schema: shop; Owner: postgres
--

CREATE FUNCTION shop.in_cents(e public.en57_event) RETURNS public.en57_event
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
    e.data := jsonb_build_object('cents', 100 * (e.data ->> 'euros')::bigint);
    RETURN e;
END $$;


ALTER FUNCTION shop.in_cents(e public.en57_event) OWNER TO postgres;

--
-- Name: not_negative(jsonb); Type: FUNCTION; Schema: shop; Owner: postgres
--

CREATE FUNCTION shop.not_negative(state jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE WHEN (state #>> '{}')::bigint < 0 THEN 'the account is overdrawn' END $$;


ALTER FUNCTION shop.not_negative(state jsonb) OWNER TO postgres;

--
-- Name: note(public.en57_event); Type: FUNCTION; Schema: shop; Owner: postgres
--

CREATE FUNCTION shop.note(e public.en57_event) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO shop.noted VALUES ('noted', e.position, (e.data ->> 'cents')::bigint) $$;


ALTER FUNCTION shop.note(e public.en57_event) OWNER TO postgres;

--
-- Name: note_later(public.en57_event); Type: FUNCTION; Schema: shop; Owner: postgres
--

CREATE FUNCTION shop.note_later(e public.en57_event) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF 'poison' = ANY (e.tags) THEN
        RAISE 'no handler for poison';
    END IF;
    INSERT INTO shop.noted VALUES ('noted later', e.position, (e.data ->> 'cents')::bigint);
END $$;


ALTER FUNCTION shop.note_later(e public.en57_event) OWNER TO postgres;

--
-- Name: of_seats(jsonb); Type: FUNCTION; Schema: shop; Owner: postgres
--

CREATE FUNCTION shop.of_seats(command jsonb) RETURNS public.en57_query
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT en57_query(tags => ARRAY['show:' || (command ->> 'show')]) $$;


ALTER FUNCTION shop.of_seats(command jsonb) OWNER TO postgres;

--
-- Name: sell_seat(jsonb, jsonb); Type: FUNCTION; Schema: shop; Owner: postgres
--

CREATE FUNCTION shop.sell_seat(command jsonb, state jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
    IF coalesce((state #>> '{}')::bigint, 0) >= 2 THEN
        RAISE 'no seat is left';
    END IF;
    RETURN jsonb_build_object('type', 'seat sold', 'tags', jsonb_build_array('show:' || (command ->> 'show')));
END $$;


ALTER FUNCTION shop.sell_seat(command jsonb, state jsonb) OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: events_branch; Type: TABLE; Schema: en57; Owner: postgres
--

CREATE TABLE en57.events_branch (
    "position" bigint NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    data jsonb,
    meta jsonb,
    tags text[] NOT NULL COLLATE pg_catalog."C",
    stream text COLLATE pg_catalog."C",
    stream_version bigint,
    schema_version integer NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    partition text NOT NULL COLLATE pg_catalog."C",
    stable bigint NOT NULL
)
WITH (autovacuum_vacuum_insert_scale_factor='0.1');
ALTER TABLE ONLY en57.events_branch ALTER COLUMN data SET STATISTICS 0;
ALTER TABLE ONLY en57.events_branch ALTER COLUMN meta SET STATISTICS 0;


ALTER TABLE en57.events_branch OWNER TO postgres;

--
-- Name: TABLE events_branch; Type: COMMENT; Schema: en57; Owner: postgres
--

COMMENT ON TABLE en57.events_branch IS 'events of the partition branch';


--
-- Name: events_default; Type: TABLE; Schema: en57; Owner: postgres
--

CREATE TABLE en57.events_default (
    "position" bigint NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    data jsonb,
    meta jsonb,
    tags text[] NOT NULL COLLATE pg_catalog."C",
    stream text COLLATE pg_catalog."C",
    stream_version bigint,
    schema_version integer NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    partition text NOT NULL COLLATE pg_catalog."C",
    stable bigint NOT NULL
)
WITH (autovacuum_vacuum_insert_scale_factor='0.1');
ALTER TABLE ONLY en57.events_default ALTER COLUMN data SET STATISTICS 0;
ALTER TABLE ONLY en57.events_default ALTER COLUMN meta SET STATISTICS 0;


ALTER TABLE en57.events_default OWNER TO postgres;

--
-- Name: TABLE events_default; Type: COMMENT; Schema: en57; Owner: postgres
--

COMMENT ON TABLE en57.events_default IS 'events of the partition default';


--
-- Name: accounts; Type: TABLE; Schema: shop; Owner: postgres
--

CREATE TABLE shop.accounts (
    id text NOT NULL COLLATE pg_catalog."C",
    doc jsonb NOT NULL,
    version bigint NOT NULL,
    "position" bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY shop.accounts ALTER COLUMN doc SET STATISTICS 0;


ALTER TABLE shop.accounts OWNER TO postgres;

--
-- Name: accounts_later; Type: TABLE; Schema: shop; Owner: postgres
--

CREATE TABLE shop.accounts_later (
    id text NOT NULL COLLATE pg_catalog."C",
    doc jsonb NOT NULL,
    version bigint NOT NULL,
    "position" bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY shop.accounts_later ALTER COLUMN doc SET STATISTICS 0;


ALTER TABLE shop.accounts_later OWNER TO postgres;

--
-- Name: branch_counts; Type: TABLE; Schema: shop; Owner: postgres
--

CREATE TABLE shop.branch_counts (
    id text NOT NULL COLLATE pg_catalog."C",
    doc jsonb NOT NULL,
    version bigint NOT NULL,
    "position" bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY shop.branch_counts ALTER COLUMN doc SET STATISTICS 0;


ALTER TABLE shop.branch_counts OWNER TO postgres;

--
-- Name: functions_before; Type: TABLE; Schema: shop; Owner: postgres
--

CREATE TABLE shop.functions_before (
    role text COLLATE pg_catalog."C",
    function text COLLATE pg_catalog."C"
);


ALTER TABLE shop.functions_before OWNER TO postgres;

--
-- Name: noted; Type: TABLE; Schema: shop; Owner: postgres
--

CREATE TABLE shop.noted (
    projection text,
    "position" bigint,
    cents bigint
);


ALTER TABLE shop.noted OWNER TO postgres;

--
-- Name: warnings_before; Type: TABLE; Schema: shop; Owner: postgres
--

CREATE TABLE shop.warnings_before (
    name text
);


ALTER TABLE shop.warnings_before OWNER TO postgres;

--
-- Name: events_branch; Type: TABLE ATTACH; Schema: en57; Owner: postgres
--

ALTER TABLE ONLY en57.events ATTACH PARTITION en57.events_branch FOR VALUES IN ('branch');


--
-- Name: events_default; Type: TABLE ATTACH; Schema: en57; Owner: postgres
--

ALTER TABLE ONLY en57.events ATTACH PARTITION en57.events_default FOR VALUES IN ('default');


--
-- Data for Name: dead_letters; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.dead_letters (subscription, "position", shard, key, state, held, attempts, error, at) FROM stdin;
2	3	0	stream:account-1	parked	f	1	out of paper	2026-11-29 13:03:25.242744+00
\.


--
-- Data for Name: erasures; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.erasures (number, partition, query, reason, erased_by, erased_at, events, documents, positions) FROM stdin;
1	default	{"tags": ["person:ada"]}	she asked for it	postgres	2026-11-29 13:03:25.170683+00	1	0	{[7,8)}
\.


--
-- Data for Name: event_types; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.event_types (type, schema_version, data_schema, meta_schema, registered_at) FROM stdin;
paid	2	{"type": "object", "required": ["cents"], "properties": {"cents": {"type": "integer"}}}	\N	2026-11-29 13:03:25.106446+00
\.


--
-- Data for Name: events_branch; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.events_branch ("position", id, type, data, meta, tags, stream, stream_version, schema_version, occurred_at, recorded_at, partition, stable) FROM stdin;
9	01a22767-35e6-7cec-a1d9-21ddc237617b	counted	\N	\N	{}	till	1	1	2026-11-29 13:03:25.158675+00	2026-11-29 13:03:25.158675+00	branch	8
10	01a22767-35e6-7087-812c-485edcc06f64	counted	\N	\N	{}	till	2	1	2026-11-29 13:03:25.158675+00	2026-11-29 13:03:25.158675+00	branch	8
\.


--
-- Data for Name: events_default; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.events_default ("position", id, type, data, meta, tags, stream, stream_version, schema_version, occurred_at, recorded_at, partition, stable) FROM stdin;
1	00000000-0000-4000-8000-000000000001	opened	\N	\N	{account:1}	\N	\N	1	2026-11-29 13:03:25.105033+00	2026-11-29 13:03:25.105033+00	default	0
2	01a22767-35b1-7a39-9e77-9546e60f6506	opened	\N	\N	{account:2}	\N	\N	1	2026-11-29 13:03:25.105033+00	2026-11-29 13:03:25.105033+00	default	0
3	01a22767-35b2-7032-ab52-88b33c4a1676	paid	{"euros": 5}	\N	{account:1}	account-1	1	1	2026-11-29 13:03:25.106123+00	2026-11-29 13:03:25.106123+00	default	2
4	01a22767-35e1-7466-9dfd-7f685889b8f5	paid	{"cents": 70}	\N	{account:1}	account-1	2	2	2026-11-29 13:03:25.153619+00	2026-11-29 13:03:25.153619+00	default	3
5	01a22767-35e3-7d63-b60d-d5b4fd918b16	paid	{"cents": 200}	\N	{account:2}	\N	\N	2	2026-11-29 13:03:25.155673+00	2026-11-29 13:03:25.155673+00	default	4
6	01a22767-35e4-7c62-89cd-b541764bd615	paid	{"cents": 1}	\N	{account:2,poison}	\N	\N	2	2026-11-29 13:03:25.156685+00	2026-11-29 13:03:25.156685+00	default	5
11	01a22767-35e9-7b10-8db3-9b08311a1122	seat sold	\N	\N	{show:hamlet}	\N	\N	1	2026-11-29 13:03:25.161212+00	2026-11-29 13:03:25.161212+00	default	10
7	01a22767-35e5-7c4d-9e24-88c6744cebd5	visited	\N	\N	{person:ada}	\N	\N	1	2026-11-29 13:03:25.157674+00	2026-11-29 13:03:25.157674+00	default	6
\.


--
-- Data for Name: folds; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.folds (name, number, evolve, initial, snapshot_every, query_function, decide, command_schema, search_path, created_at, updated_at) FROM stdin;
sell seat	1	shop.counted(pg_catalog.jsonb,public.en57_event)	\N	\N	shop.of_seats(pg_catalog.jsonb)	shop.sell_seat(pg_catalog.jsonb,pg_catalog.jsonb)	\N	shop, public, pg_temp	2026-11-29 13:03:25.149614+00	2026-11-29 13:03:25.149614+00
turnover	2	shop.balance(pg_catalog.jsonb,public.en57_event)	\N	1	\N	\N	\N	shop, public, pg_temp	2026-11-29 13:03:25.151368+00	2026-11-29 13:03:25.151368+00
\.


--
-- Data for Name: import_errors; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.import_errors (import, "position", sqlstate, message, detail, skipped_at) FROM stdin;
\.


--
-- Data for Name: imports; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.imports (name, source, partition, "position", events, started_at, updated_at, finished, skipped) FROM stdin;
\.


--
-- Data for Name: invariants; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.invariants (name, number, partition, query, key, evolve, check_function, initial, search_path, is_enabled, key_required, created_at) FROM stdin;
covered	1	default	{"types": ["paid"]}	tag:account:	shop.balance(pg_catalog.jsonb,public.en57_event)	shop.not_negative(pg_catalog.jsonb)	\N	shop, public, pg_temp	t	f	2026-11-29 13:03:25.14665+00
\.


--
-- Data for Name: projection_dead_letters; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.projection_dead_letters (projection, "position", error, put_aside_at, attempts) FROM stdin;
noted later	6	{"context": "PL/pgSQL function note_later(en57_event) line 4 at RAISE\\nhandler shop.note_later(public.en57_event) of projection \\"noted later\\", event at position 6", "message": "no handler for poison", "sqlstate": "P0001"}	2026-11-29 13:03:25.259558+00	1
\.


--
-- Data for Name: projections; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.projections (name, number, mode, partition, query, handler, key, key_function, initial, document_table, on_error, batch_size, search_path, status, "position", failed_position, last_error, created_at, updated_at, start_position, truncate_function) FROM stdin;
noted	1	inline	default	{"types": ["paid"]}	shop.note(public.en57_event)	\N	\N	\N	\N	stop	500	shop, public, pg_temp	running	3	\N	\N	2026-11-29 13:03:25.121986+00	2026-11-29 13:03:25.125729+00	0	\N
branch_counts	5	inline	branch	{}	shop.counted(pg_catalog.jsonb,public.en57_event)	stream	\N	\N	shop.branch_counts	stop	500	shop, public, pg_temp	running	3	\N	\N	2026-11-29 13:03:25.140005+00	2026-11-29 13:03:25.146145+00	0	\N
noted later	2	async	default	{"types": ["paid"]}	shop.note_later(public.en57_event)	\N	\N	\N	\N	skip	500	shop, public, pg_temp	running	11	\N	\N	2026-11-29 13:03:25.126216+00	2026-11-29 13:03:25.262003+00	0	\N
accounts_later	4	async	default	{"types": ["paid"]}	shop.balance(pg_catalog.jsonb,public.en57_event)	tag:account:	\N	\N	shop.accounts_later	stop	500	shop, public, pg_temp	running	11	\N	\N	2026-11-29 13:03:25.135307+00	2026-11-29 13:03:25.267676+00	0	\N
accounts	3	inline	default	{"types": ["paid"]}	shop.balance(pg_catalog.jsonb,public.en57_event)	tag:account:	\N	\N	shop.accounts	stop	500	shop, public, pg_temp	running	11	\N	\N	2026-11-29 13:03:25.127161+00	2026-11-29 13:03:25.298232+00	0	\N
\.


--
-- Data for Name: rebuild_dead_letters; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.rebuild_dead_letters (rebuild, "position", error) FROM stdin;
\.


--
-- Data for Name: rebuild_documents; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.rebuild_documents (rebuild, id, doc, version, "position", updated_at, bytes) FROM stdin;
\.


--
-- Data for Name: rebuilds; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.rebuilds (number, projection, handler, key, key_function, initial, search_path, query, mode, functions, phase, start_position, "position", events, work, failed_position, last_error, started_at, updated_at) FROM stdin;
\.


--
-- Data for Name: subscription_shards; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.subscription_shards (subscription, shard, "position", delivered, token, holder, lease, lease_until, failed_position, attempts, last_error, updated_at) FROM stdin;
1	0	4	0	1	\N	\N	\N	\N	0	\N	2026-11-29 13:03:25.216667+00
2	0	3	3	2	\N	\N	\N	\N	0	out of paper	2026-11-29 13:03:25.248071+00
3	0	11	0	1	\N	\N	\N	\N	0	\N	2026-11-29 13:03:25.258858+00
\.


--
-- Data for Name: subscriptions; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.subscriptions (id, name, owner, partition, query, max_attempts, hold_key, shards, drain_to, created_at) FROM stdin;
2	strict	postgres	default	{"types": ["paid"]}	1	f	1	\N	2026-11-29 13:03:25.18841+00
1	payments	postgres	default	{"types": ["paid"]}	10	f	1	\N	2026-11-29 13:03:25.179082+00
3	everything	postgres	*	{}	10	f	1	\N	2026-11-29 13:03:25.195028+00
\.


--
-- Data for Name: tracked; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.tracked (source, owner, "position", updated_at) FROM stdin;
elsewhere	postgres	42	2026-11-29 13:03:25.173765+00
\.


--
-- Data for Name: upcasters; Type: TABLE DATA; Schema: en57; Owner: postgres
--

COPY en57.upcasters (type, from_version, to_type, to_version, function, search_path, registered_at) FROM stdin;
paid	1	paid	2	shop.in_cents(public.en57_event)	shop, public, pg_temp	2026-11-29 13:03:25.120113+00
\.


--
-- Data for Name: accounts; Type: TABLE DATA; Schema: shop; Owner: postgres
--

COPY shop.accounts (id, doc, version, "position", updated_at) FROM stdin;
1	570	2	4	2026-11-29 13:03:25.153619+00
2	201	2	6	2026-11-29 13:03:25.156685+00
\.


--
-- Data for Name: accounts_later; Type: TABLE DATA; Schema: shop; Owner: postgres
--

COPY shop.accounts_later (id, doc, version, "position", updated_at) FROM stdin;
1	570	2	4	2026-11-29 13:03:25.153619+00
2	201	2	6	2026-11-29 13:03:25.156685+00
\.


--
-- Data for Name: branch_counts; Type: TABLE DATA; Schema: shop; Owner: postgres
--

COPY shop.branch_counts (id, doc, version, "position", updated_at) FROM stdin;
till	2	2	10	2026-11-29 13:03:25.158675+00
\.


--
-- Data for Name: functions_before; Type: TABLE DATA; Schema: shop; Owner: postgres
--

COPY shop.functions_before (role, function) FROM stdin;
upgrade_admin	en57_ack
upgrade_admin	en57_alter_subscription
upgrade_admin	en57_append
upgrade_admin	en57_cancel_rebuild
upgrade_admin	en57_check_type
upgrade_admin	en57_context
upgrade_admin	en57_count
upgrade_admin	en57_create_decider
upgrade_admin	en57_create_document_projection
upgrade_admin	en57_create_fold
upgrade_admin	en57_create_invariant
upgrade_admin	en57_create_partition
upgrade_admin	en57_create_projection
upgrade_admin	en57_create_subscription
upgrade_admin	en57_decide
upgrade_admin	en57_detach_partition
upgrade_admin	en57_disable_invariant
upgrade_admin	en57_drop_dead_letters
upgrade_admin	en57_drop_decider
upgrade_admin	en57_drop_fold
upgrade_admin	en57_drop_invariant
upgrade_admin	en57_drop_partition
upgrade_admin	en57_drop_projection
upgrade_admin	en57_drop_snapshots
upgrade_admin	en57_drop_subscription
upgrade_admin	en57_enable_invariant
upgrade_admin	en57_erase
upgrade_admin	en57_exists
upgrade_admin	en57_fold
upgrade_admin	en57_function
upgrade_admin	en57_function_in
upgrade_admin	en57_function_out
upgrade_admin	en57_function_recv
upgrade_admin	en57_function_send
upgrade_admin	en57_generate
upgrade_admin	en57_get
upgrade_admin	en57_grant
upgrade_admin	en57_head
upgrade_admin	en57_last
upgrade_admin	en57_lease
upgrade_admin	en57_lock
upgrade_admin	en57_matches
upgrade_admin	en57_nack
upgrade_admin	en57_pause
upgrade_admin	en57_poll
upgrade_admin	en57_position_at
upgrade_admin	en57_query
upgrade_admin	en57_query_cmp
upgrade_admin	en57_query_eq
upgrade_admin	en57_query_ge
upgrade_admin	en57_query_gt
upgrade_admin	en57_query_hash
upgrade_admin	en57_query_hash_extended
upgrade_admin	en57_query_in
upgrade_admin	en57_query_le
upgrade_admin	en57_query_lt
upgrade_admin	en57_query_ne
upgrade_admin	en57_query_out
upgrade_admin	en57_query_recv
upgrade_admin	en57_query_send
upgrade_admin	en57_query_to_jsonb
upgrade_admin	en57_query_union
upgrade_admin	en57_read
upgrade_admin	en57_read_stream
upgrade_admin	en57_rebuild
upgrade_admin	en57_replay_dead_letters
upgrade_admin	en57_replay_projection_dead_letters
upgrade_admin	en57_reset_projection
upgrade_admin	en57_reset_source
upgrade_admin	en57_reset_subscription
upgrade_admin	en57_reshard
upgrade_admin	en57_resume
upgrade_admin	en57_revoke
upgrade_admin	en57_run
upgrade_admin	en57_state
upgrade_admin	en57_stream
upgrade_admin	en57_streams
upgrade_admin	en57_tags
upgrade_admin	en57_trace
upgrade_admin	en57_trace_text
upgrade_admin	en57_track
upgrade_admin	en57_tracked
upgrade_admin	en57_truncate
upgrade_admin	en57_try
upgrade_admin	en57_try_fold
upgrade_admin	en57_try_invariant
upgrade_admin	en57_try_projection
upgrade_admin	en57_types
upgrade_admin	en57_validate
upgrade_admin	en57_wait
upgrade_admin	en57_wait_projection
upgrade_admin	en57_wait_subscription
upgrade_dba	en57_ack
upgrade_dba	en57_alter_subscription
upgrade_dba	en57_append
upgrade_dba	en57_cancel_rebuild
upgrade_dba	en57_check
upgrade_dba	en57_check_type
upgrade_dba	en57_context
upgrade_dba	en57_count
upgrade_dba	en57_create_decider
upgrade_dba	en57_create_document_projection
upgrade_dba	en57_create_fold
upgrade_dba	en57_create_invariant
upgrade_dba	en57_create_partition
upgrade_dba	en57_create_projection
upgrade_dba	en57_create_subscription
upgrade_dba	en57_decide
upgrade_dba	en57_detach_partition
upgrade_dba	en57_disable_invariant
upgrade_dba	en57_drop_dead_letters
upgrade_dba	en57_drop_decider
upgrade_dba	en57_drop_fold
upgrade_dba	en57_drop_invariant
upgrade_dba	en57_drop_partition
upgrade_dba	en57_drop_projection
upgrade_dba	en57_drop_snapshots
upgrade_dba	en57_drop_subscription
upgrade_dba	en57_drop_upcaster
upgrade_dba	en57_enable_invariant
upgrade_dba	en57_erase
upgrade_dba	en57_exists
upgrade_dba	en57_fold
upgrade_dba	en57_function
upgrade_dba	en57_function_in
upgrade_dba	en57_function_out
upgrade_dba	en57_function_recv
upgrade_dba	en57_function_send
upgrade_dba	en57_generate
upgrade_dba	en57_get
upgrade_dba	en57_grant
upgrade_dba	en57_head
upgrade_dba	en57_import
upgrade_dba	en57_import_from
upgrade_dba	en57_import_in_batches
upgrade_dba	en57_last
upgrade_dba	en57_lease
upgrade_dba	en57_lock
upgrade_dba	en57_matches
upgrade_dba	en57_nack
upgrade_dba	en57_pause
upgrade_dba	en57_poll
upgrade_dba	en57_position_at
upgrade_dba	en57_query
upgrade_dba	en57_query_cmp
upgrade_dba	en57_query_eq
upgrade_dba	en57_query_ge
upgrade_dba	en57_query_gt
upgrade_dba	en57_query_hash
upgrade_dba	en57_query_hash_extended
upgrade_dba	en57_query_in
upgrade_dba	en57_query_le
upgrade_dba	en57_query_lt
upgrade_dba	en57_query_ne
upgrade_dba	en57_query_out
upgrade_dba	en57_query_recv
upgrade_dba	en57_query_send
upgrade_dba	en57_query_to_jsonb
upgrade_dba	en57_query_union
upgrade_dba	en57_read
upgrade_dba	en57_read_stream
upgrade_dba	en57_rebuild
upgrade_dba	en57_register_type
upgrade_dba	en57_register_upcaster
upgrade_dba	en57_replay_dead_letters
upgrade_dba	en57_replay_projection_dead_letters
upgrade_dba	en57_reset_projection
upgrade_dba	en57_reset_source
upgrade_dba	en57_reset_subscription
upgrade_dba	en57_reshard
upgrade_dba	en57_resume
upgrade_dba	en57_revoke
upgrade_dba	en57_run
upgrade_dba	en57_stat_reset
upgrade_dba	en57_state
upgrade_dba	en57_status
upgrade_dba	en57_stream
upgrade_dba	en57_streams
upgrade_dba	en57_tags
upgrade_dba	en57_trace
upgrade_dba	en57_trace_text
upgrade_dba	en57_track
upgrade_dba	en57_tracked
upgrade_dba	en57_truncate
upgrade_dba	en57_try
upgrade_dba	en57_try_fold
upgrade_dba	en57_try_invariant
upgrade_dba	en57_try_projection
upgrade_dba	en57_types
upgrade_dba	en57_unregister_type
upgrade_dba	en57_validate
upgrade_dba	en57_wait
upgrade_dba	en57_wait_projection
upgrade_dba	en57_wait_subscription
upgrade_dba	en57_worker_start
upgrade_dba	en57_worker_stop
upgrade_reader	en57_ack
upgrade_reader	en57_alter_subscription
upgrade_reader	en57_append
upgrade_reader	en57_cancel_rebuild
upgrade_reader	en57_check_type
upgrade_reader	en57_context
upgrade_reader	en57_count
upgrade_reader	en57_create_document_projection
upgrade_reader	en57_create_invariant
upgrade_reader	en57_create_projection
upgrade_reader	en57_create_subscription
upgrade_reader	en57_decide
upgrade_reader	en57_disable_invariant
upgrade_reader	en57_drop_dead_letters
upgrade_reader	en57_drop_invariant
upgrade_reader	en57_drop_projection
upgrade_reader	en57_drop_subscription
upgrade_reader	en57_enable_invariant
upgrade_reader	en57_exists
upgrade_reader	en57_fold
upgrade_reader	en57_function
upgrade_reader	en57_function_in
upgrade_reader	en57_function_out
upgrade_reader	en57_function_recv
upgrade_reader	en57_function_send
upgrade_reader	en57_generate
upgrade_reader	en57_get
upgrade_reader	en57_head
upgrade_reader	en57_last
upgrade_reader	en57_lease
upgrade_reader	en57_lock
upgrade_reader	en57_matches
upgrade_reader	en57_nack
upgrade_reader	en57_pause
upgrade_reader	en57_poll
upgrade_reader	en57_position_at
upgrade_reader	en57_query
upgrade_reader	en57_query_cmp
upgrade_reader	en57_query_eq
upgrade_reader	en57_query_ge
upgrade_reader	en57_query_gt
upgrade_reader	en57_query_hash
upgrade_reader	en57_query_hash_extended
upgrade_reader	en57_query_in
upgrade_reader	en57_query_le
upgrade_reader	en57_query_lt
upgrade_reader	en57_query_ne
upgrade_reader	en57_query_out
upgrade_reader	en57_query_recv
upgrade_reader	en57_query_send
upgrade_reader	en57_query_to_jsonb
upgrade_reader	en57_query_union
upgrade_reader	en57_read
upgrade_reader	en57_read_stream
upgrade_reader	en57_rebuild
upgrade_reader	en57_replay_dead_letters
upgrade_reader	en57_replay_projection_dead_letters
upgrade_reader	en57_reset_projection
upgrade_reader	en57_reset_source
upgrade_reader	en57_reset_subscription
upgrade_reader	en57_reshard
upgrade_reader	en57_resume
upgrade_reader	en57_run
upgrade_reader	en57_state
upgrade_reader	en57_stream
upgrade_reader	en57_streams
upgrade_reader	en57_tags
upgrade_reader	en57_trace
upgrade_reader	en57_trace_text
upgrade_reader	en57_track
upgrade_reader	en57_tracked
upgrade_reader	en57_try
upgrade_reader	en57_try_fold
upgrade_reader	en57_try_invariant
upgrade_reader	en57_try_projection
upgrade_reader	en57_types
upgrade_reader	en57_validate
upgrade_reader	en57_wait
upgrade_reader	en57_wait_projection
upgrade_reader	en57_wait_subscription
upgrade_writer	en57_ack
upgrade_writer	en57_alter_subscription
upgrade_writer	en57_append
upgrade_writer	en57_cancel_rebuild
upgrade_writer	en57_check_type
upgrade_writer	en57_context
upgrade_writer	en57_count
upgrade_writer	en57_create_document_projection
upgrade_writer	en57_create_invariant
upgrade_writer	en57_create_projection
upgrade_writer	en57_create_subscription
upgrade_writer	en57_decide
upgrade_writer	en57_disable_invariant
upgrade_writer	en57_drop_dead_letters
upgrade_writer	en57_drop_invariant
upgrade_writer	en57_drop_projection
upgrade_writer	en57_drop_subscription
upgrade_writer	en57_enable_invariant
upgrade_writer	en57_exists
upgrade_writer	en57_fold
upgrade_writer	en57_function
upgrade_writer	en57_function_in
upgrade_writer	en57_function_out
upgrade_writer	en57_function_recv
upgrade_writer	en57_function_send
upgrade_writer	en57_generate
upgrade_writer	en57_get
upgrade_writer	en57_head
upgrade_writer	en57_last
upgrade_writer	en57_lease
upgrade_writer	en57_lock
upgrade_writer	en57_matches
upgrade_writer	en57_nack
upgrade_writer	en57_pause
upgrade_writer	en57_poll
upgrade_writer	en57_position_at
upgrade_writer	en57_query
upgrade_writer	en57_query_cmp
upgrade_writer	en57_query_eq
upgrade_writer	en57_query_ge
upgrade_writer	en57_query_gt
upgrade_writer	en57_query_hash
upgrade_writer	en57_query_hash_extended
upgrade_writer	en57_query_in
upgrade_writer	en57_query_le
upgrade_writer	en57_query_lt
upgrade_writer	en57_query_ne
upgrade_writer	en57_query_out
upgrade_writer	en57_query_recv
upgrade_writer	en57_query_send
upgrade_writer	en57_query_to_jsonb
upgrade_writer	en57_query_union
upgrade_writer	en57_read
upgrade_writer	en57_read_stream
upgrade_writer	en57_rebuild
upgrade_writer	en57_replay_dead_letters
upgrade_writer	en57_replay_projection_dead_letters
upgrade_writer	en57_reset_projection
upgrade_writer	en57_reset_source
upgrade_writer	en57_reset_subscription
upgrade_writer	en57_reshard
upgrade_writer	en57_resume
upgrade_writer	en57_run
upgrade_writer	en57_state
upgrade_writer	en57_stream
upgrade_writer	en57_streams
upgrade_writer	en57_tags
upgrade_writer	en57_trace
upgrade_writer	en57_trace_text
upgrade_writer	en57_track
upgrade_writer	en57_tracked
upgrade_writer	en57_try
upgrade_writer	en57_try_fold
upgrade_writer	en57_try_invariant
upgrade_writer	en57_try_projection
upgrade_writer	en57_types
upgrade_writer	en57_validate
upgrade_writer	en57_wait
upgrade_writer	en57_wait_projection
upgrade_writer	en57_wait_subscription
\.


--
-- Data for Name: noted; Type: TABLE DATA; Schema: shop; Owner: postgres
--

COPY shop.noted (projection, "position", cents) FROM stdin;
noted	3	500
noted	4	70
noted	5	200
noted	6	1
noted later	3	500
noted later	4	70
noted later	5	200
\.


--
-- Data for Name: warnings_before; Type: TABLE DATA; Schema: shop; Owner: postgres
--

COPY shop.warnings_before (name) FROM stdin;
durability
\.


--
-- Name: erasure_number; Type: SEQUENCE SET; Schema: en57; Owner: postgres
--

SELECT pg_catalog.setval('en57.erasure_number', 1, true);


--
-- Name: fold_number; Type: SEQUENCE SET; Schema: en57; Owner: postgres
--

SELECT pg_catalog.setval('en57.fold_number', 2, true);


--
-- Name: invariant_number; Type: SEQUENCE SET; Schema: en57; Owner: postgres
--

SELECT pg_catalog.setval('en57.invariant_number', 1, true);


--
-- Name: position_ceiling; Type: SEQUENCE SET; Schema: en57; Owner: postgres
--

SELECT pg_catalog.setval('en57.position_ceiling', 66, true);


--
-- Name: projection_number; Type: SEQUENCE SET; Schema: en57; Owner: postgres
--

SELECT pg_catalog.setval('en57.projection_number', 5, true);


--
-- Name: rebuild_number; Type: SEQUENCE SET; Schema: en57; Owner: postgres
--

SELECT pg_catalog.setval('en57.rebuild_number', 1, true);


--
-- Name: subscription_ids; Type: SEQUENCE SET; Schema: en57; Owner: postgres
--

SELECT pg_catalog.setval('en57.subscription_ids', 3, true);


--
-- Name: accounts_later accounts_later_pkey; Type: CONSTRAINT; Schema: shop; Owner: postgres
--

ALTER TABLE ONLY shop.accounts_later
    ADD CONSTRAINT accounts_later_pkey PRIMARY KEY (id);


--
-- Name: accounts accounts_pkey; Type: CONSTRAINT; Schema: shop; Owner: postgres
--

ALTER TABLE ONLY shop.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);


--
-- Name: branch_counts branch_counts_pkey; Type: CONSTRAINT; Schema: shop; Owner: postgres
--

ALTER TABLE ONLY shop.branch_counts
    ADD CONSTRAINT branch_counts_pkey PRIMARY KEY (id);


--
-- Name: events_branch_id; Type: INDEX; Schema: en57; Owner: postgres
--

CREATE UNIQUE INDEX events_branch_id ON en57.events_branch USING btree (id);


--
-- Name: events_branch_keys; Type: INDEX; Schema: en57; Owner: postgres
--

CREATE INDEX events_branch_keys ON en57.events_branch USING en57_keys (en57.keys(type, tags, stream, meta), "position");


--
-- Name: events_branch_position; Type: INDEX; Schema: en57; Owner: postgres
--

CREATE UNIQUE INDEX events_branch_position ON en57.events_branch USING btree ("position");

ALTER TABLE ONLY en57.events_branch REPLICA IDENTITY USING INDEX events_branch_position;


--
-- Name: events_branch_stream; Type: INDEX; Schema: en57; Owner: postgres
--

CREATE UNIQUE INDEX events_branch_stream ON en57.events_branch USING btree (stream) WHERE (stream_version = 1);


--
-- Name: events_default_id; Type: INDEX; Schema: en57; Owner: postgres
--

CREATE UNIQUE INDEX events_default_id ON en57.events_default USING btree (id);


--
-- Name: events_default_keys; Type: INDEX; Schema: en57; Owner: postgres
--

CREATE INDEX events_default_keys ON en57.events_default USING en57_keys (en57.keys(type, tags, stream, meta), "position");


--
-- Name: events_default_position; Type: INDEX; Schema: en57; Owner: postgres
--

CREATE UNIQUE INDEX events_default_position ON en57.events_default USING btree ("position");

ALTER TABLE ONLY en57.events_default REPLICA IDENTITY USING INDEX events_default_position;


--
-- Name: events_default_stream; Type: INDEX; Schema: en57; Owner: postgres
--

CREATE UNIQUE INDEX events_default_stream ON en57.events_default USING btree (stream) WHERE (stream_version = 1);


--
-- Name: events_branch en57_guard; Type: TRIGGER; Schema: en57; Owner: postgres
--

CREATE TRIGGER en57_guard BEFORE INSERT OR DELETE OR UPDATE ON en57.events_branch FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();

ALTER TABLE en57.events_branch ENABLE ALWAYS TRIGGER en57_guard;


--
-- Name: events_default en57_guard; Type: TRIGGER; Schema: en57; Owner: postgres
--

CREATE TRIGGER en57_guard BEFORE INSERT OR DELETE OR UPDATE ON en57.events_default FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();

ALTER TABLE en57.events_default ENABLE ALWAYS TRIGGER en57_guard;


--
-- Name: events_branch en57_guard_truncate; Type: TRIGGER; Schema: en57; Owner: postgres
--

CREATE TRIGGER en57_guard_truncate BEFORE TRUNCATE ON en57.events_branch FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();

ALTER TABLE en57.events_branch ENABLE ALWAYS TRIGGER en57_guard_truncate;


--
-- Name: events_default en57_guard_truncate; Type: TRIGGER; Schema: en57; Owner: postgres
--

CREATE TRIGGER en57_guard_truncate BEFORE TRUNCATE ON en57.events_default FOR EACH STATEMENT EXECUTE FUNCTION en57.guard();

ALTER TABLE en57.events_default ENABLE ALWAYS TRIGGER en57_guard_truncate;


--
-- Name: SCHEMA shop; Type: ACL; Schema: -; Owner: postgres
--

GRANT USAGE ON SCHEMA shop TO upgrade_writer;
GRANT USAGE ON SCHEMA shop TO upgrade_reader;
GRANT USAGE ON SCHEMA shop TO upgrade_admin;


--
-- Name: FUNCTION en57_create_decider(name text, query_function public.en57_function, evolve public.en57_function, decide public.en57_function, initial jsonb, command_schema jsonb, snapshot_every integer, or_replace boolean, if_not_exists boolean); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_create_decider(name text, query_function public.en57_function, evolve public.en57_function, decide public.en57_function, initial jsonb, command_schema jsonb, snapshot_every integer, or_replace boolean, if_not_exists boolean) TO upgrade_admin;


--
-- Name: FUNCTION en57_create_fold(name text, evolve public.en57_function, initial jsonb, snapshot_every integer, or_replace boolean, if_not_exists boolean); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_create_fold(name text, evolve public.en57_function, initial jsonb, snapshot_every integer, or_replace boolean, if_not_exists boolean) TO upgrade_admin;


--
-- Name: FUNCTION en57_create_partition(name text, if_not_exists boolean); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_create_partition(name text, if_not_exists boolean) TO upgrade_admin;


--
-- Name: FUNCTION en57_detach_partition(name text); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_detach_partition(name text) TO upgrade_admin;


--
-- Name: FUNCTION en57_drop_decider(name text); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_drop_decider(name text) TO upgrade_admin;


--
-- Name: FUNCTION en57_drop_fold(name text); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_drop_fold(name text) TO upgrade_admin;


--
-- Name: FUNCTION en57_drop_partition(name text); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_drop_partition(name text) TO upgrade_admin;


--
-- Name: FUNCTION en57_drop_snapshots(name text); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_drop_snapshots(name text) TO upgrade_admin;


--
-- Name: FUNCTION en57_erase(query public.en57_query, reason text, partition text); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_erase(query public.en57_query, reason text, partition text) TO upgrade_admin;


--
-- Name: FUNCTION en57_grant(role regrole, what text, partition text); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_grant(role regrole, what text, partition text) TO upgrade_admin;


--
-- Name: FUNCTION en57_revoke(role regrole, what text, partition text); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_revoke(role regrole, what text, partition text) TO upgrade_admin;


--
-- Name: FUNCTION en57_truncate(partition text, restart boolean); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.en57_truncate(partition text, restart boolean) TO upgrade_admin;


--
-- Name: TABLE events; Type: ACL; Schema: en57; Owner: postgres
--

GRANT SELECT,INSERT,TRIGGER,TRUNCATE ON TABLE en57.events TO upgrade_admin;


--
-- Name: TABLE events_branch; Type: ACL; Schema: en57; Owner: postgres
--

GRANT SELECT ON TABLE en57.events_branch TO upgrade_reader;
GRANT SELECT,INSERT,TRIGGER,TRUNCATE ON TABLE en57.events_branch TO upgrade_admin;


--
-- Name: TABLE events_default; Type: ACL; Schema: en57; Owner: postgres
--

GRANT SELECT,INSERT ON TABLE en57.events_default TO upgrade_writer;
GRANT SELECT,INSERT,TRIGGER,TRUNCATE ON TABLE en57.events_default TO upgrade_admin;


--
-- Name: TABLE en57_projections; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT ON TABLE public.en57_projections TO upgrade_reader;


--
-- PostgreSQL database dump complete
--


