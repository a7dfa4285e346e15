-- A customer's ten orders.
\set customer random(1, 9999)
SELECT count(*) FROM en57_read(('{"tags": ["customer:' || :customer || '"]}')::en57_query);
