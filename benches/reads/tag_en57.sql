-- The 10 events of a tag.
\set customer random(0, 99999)
SELECT position, id, type, data, tags, recorded_at FROM en57_read(en57_query(tags => ARRAY['customer:' || :customer]));
