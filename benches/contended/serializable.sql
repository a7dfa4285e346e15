-- SQL over (2), SERIALIZABLE: who comes second fails.
\set course random(1, 10)
SELECT append_serializable('course:' || :course, 'seat sold', '{"price": 129.90, "currency": "EUR"}');
