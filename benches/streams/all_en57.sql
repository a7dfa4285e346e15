-- A stream's 1,000 events.
\set cart random(1, 200)
SELECT position, id, type, data, tags, stream, stream_version, recorded_at FROM en57_read_stream('cart-' || :cart);
