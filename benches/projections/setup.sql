-- What both keep: a document for each customer, how many orders and how much.
CREATE FUNCTION add_order(doc jsonb, event en57_event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN jsonb_build_object('orders', coalesce((doc->>'orders')::int, 0) + 1,
                              'total', coalesce((doc->>'total')::numeric, 0) + (event.data->>'total')::numeric);
END
$$;
CREATE TABLE by_hand (id text PRIMARY KEY, doc jsonb NOT NULL, version bigint NOT NULL, position bigint NOT NULL, updated_at timestamptz NOT NULL);
