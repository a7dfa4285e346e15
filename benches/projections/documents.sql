SELECT en57_create_document_projection('customers', '{"types": ["order placed"]}', 'tag:customer:', 'add_order(jsonb,en57_event)');
