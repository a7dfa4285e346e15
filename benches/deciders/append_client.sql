-- The client decides: it reads the state, and appends unless something has come in since. Who comes too late is refused, and
-- the next call is its next try.
\set course random(1, :courses)
SELECT state, position FROM en57_state('sold', ('{"tags": ["course:' || :course || '"]}')::jsonb) \gset
SELECT outcome FROM en57_append(
    ('{"type": "seat sold", "tags": ["course:' || :course || '"], "data": {"number": ' || :state + 1 || '}}')::jsonb,
    fail_if => en57_query(tags => ARRAY['course:' || :course], after => :position));
