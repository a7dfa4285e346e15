-- The newest 100 of a type, over (2) with an index on (type, position) that is not there while it is written to.
SELECT position, id, type, data, tags, recorded_at FROM tagged WHERE type = 'order refunded' ORDER BY position DESC LIMIT 100;
