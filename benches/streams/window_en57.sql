-- Ten events in the midst of a stream.
\set cart random(1, 200)
\set from random(1, 990)
SELECT position, id, type, data, tags, stream, stream_version, recorded_at FROM en57_read_stream('cart-' || :cart, :from, :from + 9);
