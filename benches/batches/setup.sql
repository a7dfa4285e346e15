-- What the batches are made of: ready rows for SQL, the same as ready jsonb for en57, so that making them costs nothing
-- while it is measured.
SELECT setseed(0.57);
CREATE TABLE rows (n int, type text, data jsonb, tags text[]);
INSERT INTO rows
SELECT n, 'order placed', data(customer, nr), ARRAY['customer:' || customer, 'order:' || nr]
  FROM (SELECT n, 1 + (random() * 99999)::int AS customer, (random() * 1e9)::bigint AS nr
          FROM generate_series(0, 199999) AS n) AS r;
ALTER TABLE rows ADD PRIMARY KEY (n);

CREATE TABLE batches (size int, batch int, events jsonb, PRIMARY KEY (size, batch));
ALTER TABLE batches ALTER events SET STORAGE EXTERNAL;
INSERT INTO batches
SELECT size, n / size, jsonb_agg(jsonb_build_object('type', type, 'data', data, 'tags', tags) ORDER BY n)
  FROM rows, (VALUES (100), (1000)) AS sizes (size)
 GROUP BY 1, 2;
VACUUM ANALYZE rows, batches;
