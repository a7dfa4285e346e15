-- 200 streams of 1,000 events in SQL and in en57, ten events of each stream in turn, as if they had grown together.
CREATE TABLE streamed (LIKE plain INCLUDING ALL, stream text COLLATE "C" NOT NULL, version bigint NOT NULL, UNIQUE (stream, version));
INSERT INTO streamed (type, data, tags, stream, version)
SELECT 'item added', data(s, v), '{}', 'cart-' || s, v
  FROM generate_series(0, 99) AS turn, generate_series(1, 200) AS s, generate_series(turn * 10 + 1, turn * 10 + 10) AS v
 ORDER BY turn, s, v;
SELECT count(*)
  FROM generate_series(0, 99) AS turn, generate_series(1, 200) AS s,
       en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'item added', 'data', data(s, v)) ORDER BY v)
                      FROM generate_series(turn * 10 + 1, turn * 10 + 10) AS v),
                   stream => 'cart-' || s, expected_version => turn * 10);
VACUUM ANALYZE streamed, en57.events_default;
