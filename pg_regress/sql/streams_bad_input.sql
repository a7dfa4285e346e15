-- What no stream can be is refused by name, and nothing is stored.
-- Fails when a bad argument is ignored, as by stores that take an expected version without a stream for "any".
\pset null NULL
CREATE FUNCTION told(call text, OUT state text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE call;
    state := 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END $$;
SELECT left(call, 90) AS call, t.* FROM unnest(ARRAY[
    $$SELECT en57_append('{"type": "a"}', expected_version => 0)$$,
    $$SELECT en57_append('{"type": "a"}', expected_version => -1)$$,
    $$SELECT en57_append('{"type": "a"}', stream => NULL, expected_version => 3)$$,
    $$SELECT en57_append('{"type": "a"}', stream => 's', expected_version => -2)$$,
    $$SELECT en57_append('{"type": "a"}', stream => 's', expected_version => -9223372036854775808)$$,
    $$SELECT en57_append('{"type": "a"}', stream => '')$$,
    $$SELECT en57_append('{"type": "a"}', stream => '', expected_version => 0)$$,
    $$SELECT en57_append('{"type": "a"}', stream => repeat('x', 1025))$$,
    $$SELECT en57_append('{"type": "a"}', stream => repeat('é', 513))$$,
    $$SELECT en57_append('[]', stream => 's')$$,
    $$SELECT en57_append(NULL, stream => 's')$$,
    $$SELECT en57_append('{"type": "a", "streams": "s"}')$$,
    $$SELECT en57_append('{"type": "a", "stream_version": 1}', stream => 's')$$,
    $$SELECT en57_append('{"type": "a"}', stream => 's', partition => 'acme')$$,
    $$SELECT en57_append('{"type": "a"}', NULL, 's', 0, 'default', 'maybe')$$,
    $$SELECT en57_append('{"type": "a"}', NULL, 'default', 'return')$$,
    $$SELECT en57_read_stream(NULL)$$,
    $$SELECT en57_read_stream('')$$,
    $$SELECT en57_read_stream(repeat('x', 1025))$$,
    $$SELECT en57_read_stream('s', -1)$$,
    $$SELECT en57_read_stream('s', to_version => -1)$$,
    $$SELECT en57_read_stream('s', max_count => -1)$$,
    $$SELECT en57_read_stream('s', partition => 'acme')$$,
    $$SELECT en57_stream('')$$,
    $$SELECT en57_stream(repeat('x', 1025))$$,
    $$SELECT en57_stream('s', 'acme')$$,
    $$SELECT en57_streams(max_count => -1)$$,
    $$SELECT en57_streams(partition => 'acme')$$,
    $$SELECT en57_streams(repeat('x', 100000), repeat('y', 100000))$$,
    $$SELECT en57_query(stream => '')$$,
    $$SELECT '{"stream": ""}'::en57_query$$,
    $$SELECT en57_lock('{"stream": 1}')$$,
    $$SELECT en57_trace('00000000-0000-0000-0000-000000000000', 'acme')$$]) WITH ORDINALITY AS u (call, n), told(call) t ORDER BY n;
SELECT en57_count();
-- the longest name, and names of every kind
SELECT outcome, stream_version FROM en57_append('{"type": "a"}', stream => repeat('x', 1024), expected_version => 0);
SELECT outcome, stream_version FROM en57_append('{"type": "a"}', stream => repeat('x', 1024), expected_version => 1);
SELECT count(*) FROM unnest(ARRAY[' ', 'null', '*', '%', '"', '''', E'\n', E'\\', '{"a": 1}', '$1', repeat('é', 512), '😀', E'\x01']) n, en57_append('{"type": "a"}', stream => n, expected_version => 0) a WHERE outcome = 'appended';
SELECT count(*) FROM en57_streams s, en57_stream(s.stream) o WHERE s = o;
-- a message with such a name is still one line, and its detail is JSON
SELECT message FROM told($$SELECT en57_append('{"type": "a"}', stream => E'\n', expected_version => 0, on_conflict => 'raise')$$);
SELECT message FROM told($$SELECT en57_append('{"type": "a"}', stream => '"', expected_version => 5, on_conflict => 'raise')$$);
-- in a read-only transaction
BEGIN READ ONLY;
SELECT count(*) FROM en57_streams;
SELECT version FROM en57_stream('*');
SELECT en57_append('{"type": "a"}', stream => '*');
ROLLBACK;
