-- From which types a value becomes a query by itself.
-- Fails when json needs a cast, when text compares with jsonb as if both were queries, or when a comparison of strings becomes one of queries.
SELECT outcome FROM en57_append('[{"type": "a", "tags": ["x"]}, {"type": "b", "tags": ["x"]}]');
SELECT position FROM en57_read('{"types": ["b"]}'::json);
SELECT en57_count(json_build_object('tags', json_build_array('x')));
SELECT outcome FROM en57_append('{"type": "c"}', fail_if => '{"types": ["a"]}'::json);
SELECT en57_query('{"tags": ["x"]}'::json) = '{"tags": ["x"]}'::jsonb AS same;
SELECT en57_count('{"tag": ["x"]}'::json);
SELECT en57_count(NULL::json);
-- text needs a cast
SELECT en57_count('{"types": ["b"]}'::text);
SELECT en57_count(('{"types": ["b"]}'::text)::en57_query), en57_count(('{"types": ["b"]}'::text)::jsonb);
SELECT '{"types": ["b"]}'::text = '{"types": ["b"]}'::jsonb;
SELECT 'a'::varchar = 'a'::text AS texts, 'a'::name < 'b'::varchar AS names, 'a'::text || '{}'::json AS joined;
