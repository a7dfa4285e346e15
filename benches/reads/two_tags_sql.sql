-- The 10 events that two tags of 100,000 share, over (2).
SELECT position, id, type, data, tags, recorded_at
  FROM tagged_tags AS a JOIN tagged_tags AS b USING (position) JOIN tagged USING (position)
 WHERE a.tag = 'north' AND b.tag = 'web' ORDER BY position;
