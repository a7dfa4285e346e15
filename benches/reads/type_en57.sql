-- The newest 100 of a type.
SELECT position, id, type, data, tags, recorded_at FROM en57_read('{"types": ["order refunded"]}', backwards => true, max_count => 100);
