-- An event of ten fields; whether they are checked depends on the database.
\set customer random(1, 100000)
\set order random(1, 1000000000)
SELECT (en57_append(
    ('{"type": "order placed", "tags": ["customer:' || :customer || '", "order:' || :order || '"], "data": {"order": ' || :order || ', "customer": ' || :customer || ', "currency": "EUR", "total": 129.90, "items": 3, "note": "leave it at the door", "email": "ada@example.org", "placed_at": "2024-05-06T07:08:09Z", "country": "DE", "express": true}}')::jsonb)).position;
