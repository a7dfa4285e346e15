-- Refunds have got another name, and their total in cents. Orders are what they were.
CREATE FUNCTION refund_in_cents(event en57_event) RETURNS en57_event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    event.data := event.data || jsonb_build_object('cents', (event.data->>'total')::numeric * 100);
    RETURN event;
END
$$;
SELECT en57_register_upcaster('order refunded', 1, 'refund_in_cents(en57_event)', to_type => 'refund');
