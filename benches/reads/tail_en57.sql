-- The next 1,000 events.
\set after random(0, 999000)
SELECT position, id, type, data, tags, recorded_at FROM en57_read(after => :after, max_count => 1000);
