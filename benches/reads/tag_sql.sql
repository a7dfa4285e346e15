-- The 10 events of a tag, over (2).
\set customer random(0, 99999)
SELECT position, id, type, data, tags, recorded_at FROM tagged JOIN tagged_tags USING (position)
 WHERE tag = 'customer:' || :customer ORDER BY position;
