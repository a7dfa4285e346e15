-- (2) The same row, and its tags into a table of tags.
\set customer random(1, 100000)
\set order random(1, 1000000000)
WITH event AS (
    INSERT INTO tagged (type, data, tags) VALUES (
        'order placed',
        ('{"order": ' || :order || ', "customer": ' || :customer || ', "currency": "EUR", "total": 129.90, "items": 3, "note": "leave it at the door"}')::jsonb,
        ARRAY['customer:' || :customer, 'order:' || :order])
    RETURNING position, tags)
INSERT INTO tagged_tags (tag, position) SELECT unnest(tags), position FROM event;
