-- The reference for appends on condition: one call that takes turns by an advisory lock on the tag, looks at the tag's
-- newest event, decides, and stores; every statement of it sees what was committed before it began.
CREATE FUNCTION append_locked(tag text, type text, data jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    newest bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended($1, 0));
    SELECT position INTO newest FROM tagged_tags WHERE tag = $1 ORDER BY position DESC LIMIT 1;
    WITH event AS (
        INSERT INTO tagged (type, data, tags) VALUES ($2, $3, ARRAY[$1]) RETURNING position)
    INSERT INTO tagged_tags SELECT $1, position FROM event RETURNING position INTO newest;
    RETURN newest;
END
$$;

-- The same for SERIALIZABLE, without the lock.
CREATE FUNCTION append_serializable(tag text, type text, data jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    newest bigint;
BEGIN
    SELECT position INTO newest FROM tagged_tags WHERE tag = $1 ORDER BY position DESC LIMIT 1;
    WITH event AS (
        INSERT INTO tagged (type, data, tags) VALUES ($2, $3, ARRAY[$1]) RETURNING position)
    INSERT INTO tagged_tags SELECT $1, position FROM event RETURNING position INTO newest;
    RETURN newest;
END
$$;
