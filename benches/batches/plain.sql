-- (1) in batches, from ready rows.
\set first :size * random(0, 200000 / :size - 1)
\set next :first + :size
INSERT INTO plain (type, data, tags)
SELECT type, data, tags FROM rows WHERE n >= :first AND n < :next;
