-- A transaction sees its own appends at once; what it rolls back is gone at once.
-- Fails when the condition's probe uses the statement's snapshot, or reads stop at the frontier without the own rows.
\pset null NULL

-- two appends in a transaction: the second one's condition sees the first one's events
BEGIN;
SELECT outcome, position FROM en57_append('{"type": "registered", "tags": ["name:ann"]}', fail_if => '{"tags": ["name:ann"]}');
SELECT position, type, tags FROM en57_read();
SELECT en57_exists('{"tags": ["name:ann"]}'), en57_count(), (en57_last()).type;
SELECT outcome, position, conflicts->0->>'type' AS type
FROM en57_append('{"type": "registered", "tags": ["name:ann"]}', fail_if => '{"tags": ["name:ann"]}');
-- after its own position it does not
SELECT outcome, position FROM en57_append('{"type": "renamed", "tags": ["name:ann"]}', fail_if => '{"tags": ["name:ann"], "after": 1}');
SELECT position, type FROM en57_read();
COMMIT;
SELECT position, type FROM en57_read();

-- two calls in one statement
SELECT a.outcome AS first, b.outcome AS second, b.position - a.position AS distance
FROM en57_append('{"type": "x", "tags": ["both"]}', fail_if => '{"tags": ["both"]}') a,
    en57_append('{"type": "x", "tags": ["both"]}', fail_if => '{"tags": ["both"], "types": ["y"]}') b;
SELECT (en57_append('{"type": "once", "tags": ["once"]}', fail_if => '{"tags": ["once"]}')).outcome FROM generate_series(1, 3);
-- append and read in one statement: the read is called after the append
SELECT e.type FROM en57_append('{"type": "read back"}') a, LATERAL en57_read(after => a.position - 1) e;

-- in a function
CREATE FUNCTION claim(name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    tag jsonb := jsonb_build_array('claim:' || name);
    first en57_append_result;
    second en57_append_result;
BEGIN
    first := en57_append(jsonb_build_object('type', 'claimed', 'tags', tag), fail_if => jsonb_build_object('tags', tag));
    second := en57_append(jsonb_build_object('type', 'claimed', 'tags', tag), fail_if => jsonb_build_object('tags', tag));
    RETURN format('%s, then %s by an event at the same position: %s, of %s', first.outcome, second.outcome,
        second.position = first.position, (SELECT count(*) FROM en57_read(jsonb_build_object('tags', tag))));
END $$;
SELECT claim('ann');
SELECT claim('ann');
-- in a function that catches an error, what was appended in the block is gone
CREATE FUNCTION undo() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM en57_append('{"type": "undone", "tags": ["undone"]}');
        RAISE EXCEPTION 'undo';
    EXCEPTION WHEN raise_exception THEN
        NULL;
    END;
    RETURN en57_exists('{"tags": ["undone"]}');
END $$;
SELECT undo();

-- ROLLBACK TO leaves nothing, for conditions and reads
BEGIN;
SELECT outcome FROM en57_append('{"type": "kept", "tags": ["kept"]}');
SAVEPOINT s;
SELECT outcome FROM en57_append('{"type": "dropped", "tags": ["dropped"]}', fail_if => '{"tags": ["dropped"]}');
SELECT type FROM en57_read('[{"tags": ["kept"]}, {"tags": ["dropped"]}]');
ROLLBACK TO s;
SELECT type FROM en57_read('[{"tags": ["kept"]}, {"tags": ["dropped"]}]');
SELECT outcome FROM en57_append('{"type": "kept", "tags": ["dropped"]}', fail_if => '{"tags": ["dropped"]}');
SAVEPOINT t;
SELECT outcome FROM en57_append('{"type": "released", "tags": ["kept"]}');
RELEASE t;
COMMIT;
SELECT type, tags FROM en57_read('[{"tags": ["kept"]}, {"tags": ["dropped"]}]');
-- nested: the outer one takes the inner one's with it
BEGIN;
SAVEPOINT o;
SAVEPOINT i;
SELECT outcome FROM en57_append('{"type": "nested", "tags": ["nested"]}');
RELEASE i;
ROLLBACK TO o;
SELECT en57_exists('{"tags": ["nested"]}');
COMMIT;
SELECT en57_exists('{"tags": ["nested"]}');

-- at the higher isolation levels, too
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM en57_read('{"tags": ["level"]}');
SELECT outcome FROM en57_append('{"type": "rr", "tags": ["level"]}', fail_if => '{"tags": ["level"]}');
SELECT type FROM en57_read('{"tags": ["level"]}');
SELECT outcome FROM en57_append('{"type": "rr", "tags": ["level"]}', fail_if => '{"tags": ["level"]}');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM en57_read('{"tags": ["level"]}');
SELECT outcome FROM en57_append('{"type": "ser", "tags": ["level2"]}', fail_if => '{"tags": ["level2"]}');
SELECT type FROM en57_read('{"tags": ["level2"]}');
SAVEPOINT s;
SELECT outcome FROM en57_append('{"type": "gone", "tags": ["level2"]}');
ROLLBACK TO s;
SELECT type FROM en57_read('{"tags": ["level2"]}');
SELECT outcome FROM en57_append('{"type": "ser", "tags": ["level2"]}', fail_if => '{"tags": ["level2"]}');
COMMIT;
SELECT type FROM en57_read('[{"tags": ["level"]}, {"tags": ["level2"]}]');
-- context, head, get and last of own rows
BEGIN;
SELECT a.position - en57_head() AS head_is_behind_own FROM en57_append('{"type": "own", "id": "00000000-0000-0000-0000-00000000000a", "tags": ["own"]}') a;
SELECT (en57_get('00000000-0000-0000-0000-00000000000a')).type;
SELECT array_length(events, 1) FROM en57_context('{"tags": ["own"]}');
SELECT type FROM en57_read(backwards => true, max_count => 1);
ROLLBACK;
SELECT (en57_get('00000000-0000-0000-0000-00000000000a')).type;
