-- A type of ten fields, as an order has them.
SELECT en57_register_type('order placed', 1, '{
    "type": "object",
    "required": ["order", "customer", "currency", "total", "items"],
    "additionalProperties": false,
    "properties": {
        "order": {"type": "integer", "minimum": 1},
        "customer": {"type": "integer", "minimum": 1},
        "currency": {"enum": ["EUR", "USD", "GBP"]},
        "total": {"type": "number", "minimum": 0, "multipleOf": 0.01},
        "items": {"type": "integer", "minimum": 1, "maximum": 1000},
        "note": {"type": "string", "maxLength": 200},
        "email": {"type": "string", "format": "email"},
        "placed_at": {"type": "string", "format": "date-time"},
        "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "express": {"type": "boolean"}
    }
}');
