-- (6) The same in en57: the client's own stream, at the exact version that the client has counted.
\set expected :version
\set version :version + 1
\set order random(1, 1000000000)
SELECT (en57_append(
    ('{"type": "item added", "data": {"order": ' || :order || ', "customer": ' || :client_id || ', "currency": "EUR", "total": 129.90, "items": 3, "note": "leave it at the door"}}')::jsonb,
    stream => 'run-' || :after || '-' || :client_id, expected_version => :expected)).position;
