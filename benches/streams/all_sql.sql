-- A stream's 1,000 events, over (5).
\set cart random(1, 200)
SELECT position, id, type, data, tags, stream, version, recorded_at FROM streamed WHERE stream = 'cart-' || :cart ORDER BY version;
