-- The next 1,000 events, from (1).
\set after random(0, 999000)
SELECT position, id, type, data, tags, recorded_at FROM plain WHERE position > :after ORDER BY position LIMIT 1000;
