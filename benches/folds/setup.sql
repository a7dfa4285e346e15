CREATE FUNCTION count_events(state jsonb, event en57_event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN to_jsonb((state#>>'{}')::int + 1); END $$;
SELECT en57_create_fold('counted', 'count_events(jsonb,en57_event)', '0', snapshot_every => 100);
