-- (2) in batches, from ready rows.
\set first :size * random(0, 200000 / :size - 1)
\set next :first + :size
WITH event AS (
    INSERT INTO tagged (type, data, tags)
    SELECT type, data, tags FROM rows WHERE n >= :first AND n < :next
    RETURNING position, tags)
INSERT INTO tagged_tags (tag, position) SELECT unnest(tags), position FROM event;
