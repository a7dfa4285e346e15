-- A hundred requests in one call.
\set n random(1, 100)
\set call random(1, 1000000000000)
SELECT count((result).position)
  FROM en57_append_many((SELECT replace(gathered, '@', :call::text)::jsonb FROM requests WHERE n = :n));
