-- (1) One row into a plain table.
\set customer random(1, 100000)
\set order random(1, 1000000000)
INSERT INTO plain (type, data, tags) VALUES (
    'order placed',
    ('{"order": ' || :order || ', "customer": ' || :customer || ', "currency": "EUR", "total": 129.90, "items": 3, "note": "leave it at the door"}')::jsonb,
    ARRAY['customer:' || :customer, 'order:' || :order]);
