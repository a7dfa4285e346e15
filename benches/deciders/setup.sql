-- One decision, made by the server or by the client: count what was sold under a tag, sell one more. The state is kept as
-- snapshots by both.
CREATE FUNCTION sale_query(command jsonb) RETURNS en57_query LANGUAGE sql IMMUTABLE AS $$
    SELECT en57_query(tags => ARRAY['course:' || (command->>'course')]) $$;
CREATE FUNCTION count_sold(state jsonb, event en57_event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN to_jsonb((state#>>'{}')::int + 1); END $$;
CREATE FUNCTION sell_seat(command jsonb, state jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN jsonb_build_object('type', 'seat sold', 'tags', ARRAY['course:' || (command->>'course')],
                              'data', jsonb_build_object('number', (state#>>'{}')::int + 1));
END $$;
SELECT en57_create_decider('sell seat', 'sale_query(jsonb)', 'count_sold(jsonb,en57_event)', 'sell_seat(jsonb,jsonb)',
    initial => '0', snapshot_every => 100);
SELECT en57_create_fold('sold', 'count_sold(jsonb,en57_event)', '0', snapshot_every => 100);
