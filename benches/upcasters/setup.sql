-- 100,000 orders, ten of each customer, and a refund after each tenth.
SELECT (en57_append(events)).outcome
  FROM (SELECT jsonb_agg(jsonb_build_object('type', type, 'data', data(n % 10000, n), 'tags', tags) ORDER BY n, type) AS events
          FROM generate_series(1, 100000) AS n,
               LATERAL (VALUES ('order placed', jsonb_build_array('customer:' || n % 10000)),
                               ('order refunded', jsonb_build_array('refund:' || n))) AS event (type, tags)
         WHERE type = 'order placed' OR n % 10 = 0
         GROUP BY (n - 1) / 5000 ORDER BY (n - 1) / 5000) AS batch;
VACUUM ANALYZE en57.events_default;
