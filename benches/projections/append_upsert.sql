-- The client keeps it: the append and an upsert by hand in one transaction.
\set customer random(1, 1000)
\set order random(1, 1000000000)
BEGIN;
SELECT (en57_append(
    ('{"type": "order placed", "tags": ["customer:' || :customer || '", "order:' || :order || '"], "data": {"order": ' || :order || ', "customer": ' || :customer || ', "currency": "EUR", "total": 129.90, "items": 3, "note": "leave it at the door"}}')::jsonb)).position \gset
INSERT INTO by_hand VALUES (:customer::text, '{"orders": 1, "total": 129.90}', 1, :position, now())
    ON CONFLICT (id) DO UPDATE SET
        doc = jsonb_build_object('orders', (by_hand.doc->>'orders')::int + 1, 'total', (by_hand.doc->>'total')::numeric + 129.90),
        version = by_hand.version + 1, position = excluded.position, updated_at = excluded.updated_at;
COMMIT;
