-- A million events in (1), in (2) and in en57. Every customer has 10; the tags north and web have 100,000
-- each, at random places, and share 10; one event in a hundred is a refund.
SELECT setseed(0.57);
CREATE UNLOGGED TABLE source AS
SELECT n, CASE WHEN n % 100 = 0 THEN 'order refunded' ELSE 'order placed' END AS type,
       data(n % 100000, n) AS data,
       ARRAY['customer:' || n % 100000, 'order:' || n]
       || CASE WHEN place <= 100000 THEN ARRAY['north'] ELSE '{}' END
       || CASE WHEN place BETWEEN 99991 AND 199990 THEN ARRAY['web'] ELSE '{}' END AS tags
  FROM (SELECT n, row_number() OVER (ORDER BY random()) AS place FROM generate_series(1, 1000000) AS n) AS r
 ORDER BY n;
CREATE UNIQUE INDEX ON source (n);
ANALYZE source;

INSERT INTO plain (type, data, tags) SELECT type, data, tags FROM source ORDER BY n;
WITH event AS (
    INSERT INTO tagged (type, data, tags) SELECT type, data, tags FROM source ORDER BY n RETURNING position, tags)
INSERT INTO tagged_tags (tag, position) SELECT unnest(tags), position FROM event;
SELECT (en57_append(events)).outcome
  FROM (SELECT jsonb_agg(jsonb_build_object('type', type, 'data', data, 'tags', tags) ORDER BY n) AS events
          FROM source GROUP BY (n - 1) / 10000 ORDER BY (n - 1) / 10000) AS batch;
DROP TABLE source;
VACUUM ANALYZE plain, tagged, tagged_tags, en57.events_default;
