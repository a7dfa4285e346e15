-- en57 keeps the document: an inline projection.
\set customer random(1, 1000)
\set order random(1, 1000000000)
SELECT (en57_append(
    ('{"type": "order placed", "tags": ["customer:' || :customer || '", "order:' || :order || '"], "data": {"order": ' || :order || ', "customer": ' || :customer || ', "currency": "EUR", "total": 129.90, "items": 3, "note": "leave it at the door"}}')::jsonb)).position;
