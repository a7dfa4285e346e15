-- 1,000 orders, from anywhere.
\set after random(1, 90000)
SELECT count(*) FROM en57_read('{"types": ["order placed"]}', after => :after, max_count => 1000);
