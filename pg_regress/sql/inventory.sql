-- The inventory: types and tags, with how many events have them, the first and the last.
-- Fails when a name is missing that an event has, when rolled-back, unsettled or other partitions' events count, or when the search for names
-- stops at the first event that is gone.
\pset null NULL
SELECT * FROM en57_types();
SELECT * FROM en57_tags();
SELECT count(*) FROM (SELECT en57_append(jsonb_build_object('type', 't' || i % 3, 'correlation_id', 'c' || i, 'tags', ARRAY['all', 'm:' || i % 4, 'one:' || i])) FROM generate_series(1, 400) i OFFSET 0) s;
SELECT outcome FROM en57_append('{"type": "all", "tags": ["t1", "é", "all "]}', stream => 'all');
-- as the events say
CREATE VIEW told AS
    SELECT 'type' AS kind, type AS name, count(*) AS events, min(position) AS first, max(position) AS last, min(recorded_at) AS since, max(recorded_at) AS until FROM en57_read() GROUP BY type
    UNION ALL SELECT 'tag', t, count(*), min(position), max(position), min(recorded_at), max(recorded_at) FROM en57_read(), unnest(tags) t GROUP BY t;
CREATE VIEW inventory AS SELECT 'type' AS kind, type AS name, events, first_position, last_position, first_recorded_at, last_recorded_at FROM en57_types() UNION ALL SELECT 'tag', t.* FROM en57_tags(max_count => 100000) t;
SELECT (SELECT count(*) FROM inventory) AS names, (SELECT count(*) FROM (TABLE told EXCEPT TABLE inventory) d) AS missing, (SELECT count(*) FROM (TABLE inventory EXCEPT TABLE told) d) AS wrong;
SELECT type, events, first_position, last_position, first_recorded_at <= last_recorded_at AS in_order FROM en57_types();
SELECT tag, events, first_position, last_position FROM en57_tags(max_count => 3);
SELECT tag, events, first_position, last_position FROM en57_tags('m:');
SELECT tag, events FROM en57_tags('m:', after => 'm:1', max_count => 1);
SELECT tag, events FROM en57_tags('é');
SELECT count(*), min(tag), max(tag) FROM en57_tags('one:', after => 'one:397');
SELECT count(*), max(tag COLLATE "C") FROM en57_tags('one:1', max_count => 7);
SELECT count(*) AS none FROM en57_tags('m:', max_count => 0);
SELECT count(*) AS none FROM en57_tags('m:', after => 'n');
SELECT count(*) AS null_is_default FROM en57_tags(NULL, NULL, NULL, NULL);
SELECT * FROM en57_tags(max_count => -1);
SELECT count(t) FROM (SELECT en57_types() t) s;
-- rolled back, and then stored: the first entries under a key lead to nothing
BEGIN; SELECT count(*) FROM (SELECT en57_append('{"type": "late", "tags": ["late"]}') FROM generate_series(1, 50) OFFSET 0) s;
SELECT type, events FROM en57_types() WHERE type = 'late' UNION ALL SELECT tag, events FROM en57_tags('late');
ROLLBACK;
SELECT count(*) AS none FROM en57_types() WHERE type = 'late';
SELECT count(*) AS none FROM en57_tags('late');
SELECT outcome FROM en57_append('{"type": "late", "tags": ["late"]}');
SELECT tag, first_position = last_position AS one FROM en57_tags('late');
SELECT type, events, first_position = last_position AS one FROM en57_types() WHERE type = 'late';
BEGIN; SELECT outcome FROM en57_append('{"type": "late", "tags": ["late"]}'); ROLLBACK;
SELECT tag, first_position = last_position AS one FROM en57_tags('late');
-- erased events keep their names
SELECT outcome FROM en57_append('{"type": "secret", "tags": ["secret"], "data": 1}');
SELECT en57_erase('{"tags": ["secret"]}', 'test');
SELECT type, events, first_position = last_position AS one FROM en57_types() WHERE type = 'secret';
SELECT tag, events, first_position = last_position AS one FROM en57_tags('secret');
-- partitions
SELECT en57_create_partition('p');
SELECT outcome FROM en57_append('[{"type": "t1", "tags": ["m:1", "p"]}, {"type": "p"}]', partition => 'p');
SELECT type, events FROM en57_types(partition => 'p');
SELECT tag, events FROM en57_tags(partition => 'p');
SELECT a.events - b.events AS more, a.last_position > b.last_position AS later, a.first_position = b.first_position AS since FROM en57_tags('m:1', partition => '*') a, en57_tags('m:1') b;
SELECT * FROM en57_types(partition => 'nowhere');
CREATE ROLE en57_no_reader;
SET ROLE en57_no_reader;
SELECT * FROM en57_tags();
RESET ROLE;
DROP ROLE en57_no_reader;
-- many
SELECT count(*) FROM (SELECT en57_append((SELECT jsonb_agg(jsonb_build_object('type', 'many', 'data', n, 'tags', CASE WHEN i <= 30 THEN '{often,early}'::text[] ELSE '{often}' END)) FROM generate_series(1, 500) n)) FROM generate_series(1, 60) i OFFSET 0) s;
SELECT type, events, last_position - first_position AS between FROM en57_types() WHERE type = 'many';
SELECT tag, events, last_position - first_position AS between FROM en57_tags('early');
SELECT tag, events, last_position - first_position AS between FROM en57_tags('often');
