-- Folds, projections and invariants on given events: what they would make of them, and nothing is stored. The same as they make of stored ones.
CREATE EXTENSION IF NOT EXISTS en57;
CREATE FUNCTION told(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; hint text; detail text; context text;
BEGIN
    EXECUTE call INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
    RETURN concat(SQLSTATE, ' ', SQLERRM, E'\n   DETAIL ' || nullif(detail, ''), E'\n   HINT ' || nullif(hint, ''), E'\n   CONTEXT ' || (regexp_match(context, '(?:evolve|check|key) [^\n]*'))[1]);
END $$;
CREATE FUNCTION balance(state jsonb, e en57_event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = 'closed' THEN RETURN NULL; END IF;
    IF e.data = '"x"' THEN RAISE 'no number'; END IF;
    RETURN to_jsonb(coalesce((state #>> '{}')::int, 0) + (e.data #>> '{}')::int);
END $$;
CREATE FUNCTION overdrawn(state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN state::int < -100 THEN '' WHEN state::int < 0 THEN 'overdrawn: ' || (state #>> '{}') END $$;
CREATE FUNCTION accounts(e en57_event) RETURNS text[] LANGUAGE sql AS $$ SELECT array_remove(e.tags || e.stream, NULL) $$;
CREATE FUNCTION up(e en57_event) RETURNS en57_event LANGUAGE plpgsql STABLE AS $$ BEGIN e.data := to_jsonb(2 * (e.data #>> '{}')::int); e.type := 'paid'; RETURN e; END $$;
\pset null NULL
SELECT en57_create_partition('acme');
SELECT en57_create_fold('balance', 'balance');
SELECT en57_create_document_projection('accounts', '{"types": ["paid", "closed"]}', 'tag:account:', 'balance', initial => '1', partition => 'acme');
SELECT en57_create_document_projection('streams', '{}', 'stream', 'balance');
SELECT en57_create_document_projection('by function', '{}', 'accounts', 'balance');
SELECT en57_create_invariant('covered', '{"types": ["paid", "closed"]}', 'tag:account:', 'balance', 'overdrawn');
SELECT en57_register_upcaster('paid twice', 1, 'up', to_type => 'paid');

\set given '[{"type": "paid", "data": 5, "tags": ["account:1"]}, {"type": "paid", "data": -7, "tags": ["account:2", "account:1"], "stream": "s"}, {"type": "seen", "data": 9, "tags": ["account:1"]}, {"type": "paid twice", "data": 10, "schema_version": 1, "tags": ["account:3"]}, {"type": "paid", "data": 1, "tags": ["account:4"]}, {"type": "closed", "tags": ["account:4"]}]'
SELECT en57_try_fold('balance', :'given', '{"types": ["paid"]}'), en57_try_fold('balance', :'given', '{"tags": ["account:1"]}'), en57_try_fold('balance', '[]'), en57_try_fold('balance', '{"type": "paid", "data": 3}');
SELECT * FROM en57_try_projection('accounts', :'given');
SELECT * FROM en57_try_projection('streams', :'given');
SELECT * FROM en57_try_projection('by function', '[{"type": "paid", "data": 1, "tags": ["a", "b"]}, {"type": "paid", "data": 2, "tags": ["b"], "position": 7}]');
SELECT * FROM en57_try_projection('accounts', '[]');
SELECT * FROM en57_try_invariant('covered', :'given');
SELECT * FROM en57_try_invariant('covered', '[{"type": "paid", "data": 1}, {"type": "paid", "data": -101, "tags": ["account:9"]}]');
-- nothing was stored
SELECT count(*) FROM en57_read(partition => '*');
SELECT count(*) FROM accounts;

-- stored, they make the same: fails when a trial does not upcast
SELECT outcome FROM en57_append(:'given', partition => 'acme');
SELECT id, doc, version, position FROM accounts EXCEPT SELECT * FROM en57_try_projection('accounts', :'given');
SELECT state = en57_try_fold('balance', :'given', '{"types": ["paid"]}') AS same FROM en57_state('balance', '{"types": ["paid"]}', partition => 'acme');
-- what a read has shown can be given
SELECT count(*) FROM (SELECT id, doc, version, position FROM accounts EXCEPT
    SELECT t.* FROM (SELECT jsonb_agg(to_jsonb(e)) AS given FROM en57_read(partition => 'acme') e) r, en57_try_projection('accounts', r.given) t) d;

-- what does not fit
\pset tuples_only on
SELECT told($$SELECT en57_try_fold('none', '[]')$$);
SELECT told($$SELECT en57_try_fold('balance', NULL)$$);
SELECT told($$SELECT en57_try_fold('balance', '1')$$);
SELECT told($$SELECT en57_try_fold('balance', '[{"type": ""}]')$$);
SELECT told($$SELECT en57_try_fold('balance', '[{"type": "paid", "data": "x"}]')$$);
SELECT told($$SELECT * FROM en57_try_projection('none', '[]')$$);
SELECT told($$SELECT * FROM en57_try_projection('accounts', '[{"type": "paid", "data": 1, "tags": ["account:1"]}, {"type": "paid", "data": "x", "tags": ["account:1"]}]')$$);
CREATE FUNCTION hear(e en57_event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT en57_create_projection('handler', '{}', 'hear');
SELECT told($$SELECT * FROM en57_try_projection('handler', '[]')$$);
SELECT told($$SELECT * FROM en57_try_invariant('none', '[]')$$);
SELECT told($$SELECT * FROM en57_try_invariant('covered', '[{"type": "paid", "data": "x", "tags": ["account:1"]}]')$$);
CREATE FUNCTION appends(state jsonb, e en57_event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(en57_append('{"type": "more"}')) $$;
SELECT en57_create_fold('appends', 'appends');
SELECT told($$SELECT en57_try_fold('appends', '[{"type": "a"}]')$$);
-- whose they are: SELECT on the partition, EXECUTE on the functions
CREATE ROLE regress_en57_tries;
SET ROLE regress_en57_tries;
SELECT told($$SELECT en57_try_fold('balance', '[]')$$);
SELECT told($$SELECT * FROM en57_try_projection('accounts', '[]')$$);
SELECT told($$SELECT * FROM en57_try_invariant('covered', '[]')$$);
RESET ROLE;
SELECT en57_grant('regress_en57_tries', 'reader');
REVOKE EXECUTE ON FUNCTION balance, overdrawn, accounts FROM PUBLIC;
SET ROLE regress_en57_tries;
SELECT told($$SELECT en57_try_fold('balance', '[]')$$);
SELECT told($$SELECT * FROM en57_try_projection('accounts', '[]')$$);
SELECT told($$SELECT * FROM en57_try_projection('by function', '[]')$$);
SELECT told($$SELECT * FROM en57_try_invariant('covered', '[]')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION balance TO regress_en57_tries;
SET ROLE regress_en57_tries;
SELECT told($$SELECT en57_try_fold('balance', '[{"type": "paid", "data": 3}]')$$);
SELECT told($$SELECT * FROM en57_try_projection('by function', '[]')$$);
SELECT told($$SELECT * FROM en57_try_invariant('covered', '[]')$$);
RESET ROLE;
DROP EXTENSION en57 CASCADE;
DROP TABLE accounts, streams, "by function";
DROP OWNED BY regress_en57_tries;
DROP ROLE regress_en57_tries;
