-- Requests of a hundred clients that a gateway has gathered: each is an event under two tags, on the condition that no event
-- has both. They are ready texts; '@' becomes a number of the call, so that each call has orders of its own.
CREATE TABLE requests (n int PRIMARY KEY, gathered text, single text);
ALTER TABLE requests ALTER gathered SET STORAGE EXTERNAL;
INSERT INTO requests
SELECT n, '[' || string_agg(format('{"events": %s, "fail_if": %s}', event, fail_if), ',') || ']', '[' || min(event) || ',' || min(fail_if) || ']'
  FROM generate_series(1, 100) AS n, generate_series(1, 100) AS i,
       LATERAL (SELECT format('["customer:%s", "order:@-%s"]', (n * 7919 + i * 104729) % 100000, i) AS tags) AS t,
       LATERAL (SELECT format('{"type": "order placed", "tags": %s, "data": {"order": 4711, "customer": 42, "currency": "EUR", "total": 129.90, "items": 3, "note": "leave it at the door"}}', tags) AS event,
                       format('{"tags": %s}', tags) AS fail_if) AS e
 GROUP BY n;
VACUUM ANALYZE requests;
