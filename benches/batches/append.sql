-- (3) in batches.
\set batch random(0, 200000 / :size - 1)
SELECT (en57_append(events)).position FROM batches WHERE size = :size AND batch = :batch;
