-- SQL over (2), taking turns by an advisory lock.
\set course random(1, 10)
SELECT append_locked('course:' || :course, 'seat sold', '{"price": 129.90, "currency": "EUR"}');
