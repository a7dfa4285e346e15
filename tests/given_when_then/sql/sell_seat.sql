-- Given these events, when this command, then those events. Nothing of it is stored.
CREATE FUNCTION seats(state jsonb, event en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE event.type
        WHEN 'course defined' THEN jsonb_build_object('free', event.data->'seats')
        WHEN 'seat sold'      THEN jsonb_build_object('free', (state->>'free')::int - 1)
        ELSE state
    END
$$;
CREATE FUNCTION sale_depends_on(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
    SELECT en57_query(tags => ARRAY['course:' || (command->>'course')])
$$;
CREATE FUNCTION sell_seat(command jsonb, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF state IS NULL OR (state->>'free')::int < 1 THEN
        RAISE EXCEPTION 'no seat is left' USING ERRCODE = 'CS001';
    END IF;
    RETURN jsonb_build_object('type', 'seat sold',
        'tags', ARRAY['course:' || (command->>'course'), 'student:' || (command->>'student')]);
END
$$;
SELECT en57_create_decider('sell seat', 'sale_depends_on(jsonb)', 'seats(jsonb,en57_event)', 'sell_seat(jsonb,jsonb)');

-- A course with two seats: one is sold.
SELECT en57_try('sell seat', command => '{"course": "sql", "student": "bob"}', given => '[
    {"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}},
    {"type": "seat sold", "tags": ["course:sql", "student:ada"]}]');
-- Both are sold: the third student is refused.
SELECT en57_try('sell seat', command => '{"course": "sql", "student": "eve"}', given => '[
    {"type": "course defined", "tags": ["course:sql"], "data": {"seats": 2}},
    {"type": "seat sold", "tags": ["course:sql", "student:ada"]},
    {"type": "seat sold", "tags": ["course:sql", "student:bob"]}]');
-- What was sold of another course does not matter.
SELECT en57_try('sell seat', command => '{"course": "sql", "student": "eve"}', given => '[
    {"type": "course defined", "tags": ["course:sql"], "data": {"seats": 1}},
    {"type": "seat sold", "tags": ["course:art", "student:ada"]}]');
SELECT en57_count();
