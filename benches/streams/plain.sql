-- (5) The next event of the client's own stream, its version counted by the client: a unique index is the check.
\set version :version + 1
\set order random(1, 1000000000)
INSERT INTO streamed (type, data, tags, stream, version) VALUES (
    'item added',
    ('{"order": ' || :order || ', "customer": ' || :client_id || ', "currency": "EUR", "total": 129.90, "items": 3, "note": "leave it at the door"}')::jsonb,
    '{}', 'run-' || :after || '-' || :client_id, :version);
