-- The server decides.
\set course random(1, :courses)
SELECT outcome FROM en57_decide('sell seat', ('{"course": ' || :course || '}')::jsonb);
