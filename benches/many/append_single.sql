-- One request at a time, each in a transaction of its own.
\set n random(1, 100)
\set call random(1, 1000000000000)
SELECT (en57_append((r.request->0), fail_if => (r.request->1)::en57_query)).position
  FROM (SELECT replace(single, '@', :call::text)::jsonb AS request FROM requests WHERE n = :n) AS r;
