-- The 10 events that two tags of 100,000 share.
SELECT position, id, type, data, tags, recorded_at FROM en57_read('{"tags": ["north", "web"]}');
