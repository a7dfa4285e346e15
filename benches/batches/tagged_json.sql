-- (2) in batches, from the JSON that en57 is given.
\set batch random(0, 200000 / :size - 1)
WITH event AS (
    INSERT INTO tagged (type, data, tags)
    SELECT e.type, e.data, e.tags
      FROM batches, jsonb_to_recordset(events) AS e (type text, data jsonb, tags text[])
     WHERE size = :size AND batch = :batch
    RETURNING position, tags)
INSERT INTO tagged_tags (tag, position) SELECT unnest(tags), position FROM event;
