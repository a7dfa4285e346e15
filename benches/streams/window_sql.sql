-- Ten events in the midst of a stream, over (5).
\set cart random(1, 200)
\set from random(1, 990)
SELECT position, id, type, data, tags, stream, version, recorded_at FROM streamed
 WHERE stream = 'cart-' || :cart AND version BETWEEN :from AND :from + 9 ORDER BY version;
