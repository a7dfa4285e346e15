-- What every database of the measurement starts from.
CREATE EXTENSION en57;

-- (1) The floor: position, row, primary key, no other index.
CREATE TABLE plain (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    type text NOT NULL,
    data jsonb,
    tags text[] NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- (2) The same, and its tags in a table that can be searched.
CREATE TABLE tagged (LIKE plain INCLUDING ALL);
CREATE TABLE tagged_tags (
    tag text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (tag, position)
);

-- Data of an event, as every measurement here stores it.
CREATE FUNCTION data(customer int, nr bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('order', nr, 'customer', customer, 'currency', 'EUR', 'total', 129.90,
                              'items', 3, 'note', 'leave it at the door')
$$;
