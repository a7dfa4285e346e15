-- (4) in batches: unless an event with two tags came after :after.
\set batch random(0, 200000 / :size - 1)
\set customer random(1, 100000)
\set order random(1, 1000000000)
SELECT (en57_append(events,
    fail_if => ('{"tags": ["customer:' || :customer || '", "order:' || :order || '"], "after": ' || :after || '}')::en57_query)).position
  FROM batches WHERE size = :size AND batch = :batch;
