-- Microseconds from an event's recorded_at, which is before its insert and its commit, to the statement after en57_wait.
SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY us)), round(percentile_cont(0.99) WITHIN GROUP (ORDER BY us)), count(*)
  FROM (SELECT extract(epoch FROM w.at - e.recorded_at) * 1e6 AS us FROM woken w JOIN en57.events_default e USING (position)) AS t;
