-- en57: locks first, so nobody is refused.
\set course random(1, 10)
SELECT (en57_append(
    ('{"type": "seat sold", "tags": ["course:' || :course || '"], "data": {"price": 129.90, "currency": "EUR"}}')::jsonb,
    fail_if => en57_query(tags => ARRAY['course:' || :course],
                          after => en57_lock(en57_query(tags => ARRAY['course:' || :course]))))).position;
