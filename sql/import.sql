------------------------------------------------------------------------------------------------------
-- Import: events that were recorded elsewhere, with their ids, times and versions
------------------------------------------------------------------------------------------------------

CREATE FUNCTION en57_import(
    events jsonb, partition text DEFAULT NULL, keep_positions boolean DEFAULT false, check_types boolean DEFAULT true
)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57_import(jsonb, text, boolean, boolean) IS
    'stores an array of events that were recorded elsewhere, with their ids, times, streams and versions; returns how many';

CREATE FUNCTION en57.import_rows(events en57_event[], partition text, keep_positions boolean, check_types boolean)
    RETURNS bigint
    AS 'MODULE_PATHNAME', 'en57_import_rows' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION en57.import_rows(en57_event[], text, boolean, boolean) IS 'en57_import of rows';

CREATE TABLE en57.imports (
    name text COLLATE "C" PRIMARY KEY,
    source text NOT NULL,
    partition text COLLATE "C" NOT NULL,
    "position" bigint,
    events bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished boolean NOT NULL DEFAULT false,
    skipped bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE en57.imports IS 'imports in batches, with their progress';
COMMENT ON COLUMN en57.imports.name IS 'its name';
COMMENT ON COLUMN en57.imports.source IS 'the table, view or foreign table that it reads';
COMMENT ON COLUMN en57.imports.partition IS 'the partition that it fills';
COMMENT ON COLUMN en57.imports."position" IS 'the last position of the source that was taken; NULL: none';
COMMENT ON COLUMN en57.imports.events IS 'how many events were taken';
COMMENT ON COLUMN en57.imports.started_at IS 'when it began';
COMMENT ON COLUMN en57.imports.updated_at IS 'when its last batch was committed';
COMMENT ON COLUMN en57.imports.finished IS 'whether it has reached the end of the source';
COMMENT ON COLUMN en57.imports.skipped IS 'how many rows of the source were left out';
SELECT pg_catalog.pg_extension_config_dump('en57.imports', '');

CREATE TABLE en57.import_errors (
    import text COLLATE "C" NOT NULL,
    "position" bigint NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL,
    detail text,
    skipped_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX import_errors_import ON en57.import_errors (import, "position");
COMMENT ON TABLE en57.import_errors IS 'rows of sources that imports have left out';
COMMENT ON COLUMN en57.import_errors.import IS 'the import''s name';
COMMENT ON COLUMN en57.import_errors."position" IS 'the row''s position in the source';
COMMENT ON COLUMN en57.import_errors.sqlstate IS 'why: the SQLSTATE';
COMMENT ON COLUMN en57.import_errors.message IS 'why';
COMMENT ON COLUMN en57.import_errors.detail IS 'why: DETAIL of the error';
COMMENT ON COLUMN en57.import_errors.skipped_at IS 'when';
SELECT pg_catalog.pg_extension_config_dump('en57.import_errors', '');

CREATE VIEW en57_import_errors AS
    SELECT import, "position", sqlstate, message, detail, skipped_at FROM en57.import_errors;
COMMENT ON VIEW en57_import_errors IS 'rows of sources that imports with on_error => ''skip'' have left out, and why';
COMMENT ON COLUMN en57_import_errors.import IS 'the import''s name';
COMMENT ON COLUMN en57_import_errors."position" IS 'the row''s position in the source';
COMMENT ON COLUMN en57_import_errors.sqlstate IS 'why: the SQLSTATE';
COMMENT ON COLUMN en57_import_errors.message IS 'why';
COMMENT ON COLUMN en57_import_errors.detail IS 'why: DETAIL of the error';
COMMENT ON COLUMN en57_import_errors.skipped_at IS 'when';

CREATE VIEW en57_imports AS
    SELECT name, source, partition, "position", events,
           pg_catalog.round(events OPERATOR(pg_catalog./) greatest(extract(epoch FROM updated_at OPERATOR(pg_catalog.-) started_at), 0.001)) AS events_per_second,
           started_at, updated_at, finished, skipped
      FROM en57.imports;
COMMENT ON VIEW en57_imports IS 'imports in batches: the last position of the source that was taken, and the speed';
COMMENT ON COLUMN en57_imports.name IS 'its name';
COMMENT ON COLUMN en57_imports.source IS 'the table, view or foreign table that it reads';
COMMENT ON COLUMN en57_imports.partition IS 'the partition that it fills';
COMMENT ON COLUMN en57_imports."position" IS 'the last position of the source that was taken; NULL: none';
COMMENT ON COLUMN en57_imports.events IS 'how many events were taken';
COMMENT ON COLUMN en57_imports.events_per_second IS 'events a second, including pauses';
COMMENT ON COLUMN en57_imports.started_at IS 'when it began';
COMMENT ON COLUMN en57_imports.updated_at IS 'when its last batch was committed';
COMMENT ON COLUMN en57_imports.finished IS 'whether it has reached the end of the source';
COMMENT ON COLUMN en57_imports.skipped IS 'how many rows of the source were left out: see en57_import_errors';

-- Those columns of a source that an event has, as the fields of an en57_event, each cast to its type.
CREATE FUNCTION en57.import_columns(source regclass) RETURNS text
    LANGUAGE en57_plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    fields text;
    unknown text;
BEGIN
    IF source IS NULL THEN
        RAISE EXCEPTION 'source must not be NULL' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    SELECT string_agg(CASE WHEN s.attname IS NULL THEN format('NULL::%s', format_type(e.atttypid, e.atttypmod))
                           ELSE format('s.%I::%s', e.attname, format_type(e.atttypid, e.atttypmod)) END, ', ' ORDER BY e.attnum)
      INTO fields
      FROM pg_attribute AS e
      LEFT JOIN pg_attribute AS s ON s.attrelid = source AND s.attname = e.attname AND s.attnum > 0 AND NOT s.attisdropped
     WHERE e.attrelid = (SELECT typrelid FROM pg_type WHERE oid = '@extschema@.en57_event'::regtype);
    SELECT string_agg(format('%I', s.attname), ', ' ORDER BY s.attnum)
      INTO unknown
      FROM pg_attribute AS s
     WHERE s.attrelid = source AND s.attnum > 0 AND NOT s.attisdropped
       AND s.attname NOT IN (SELECT e.attname FROM pg_attribute AS e
                              WHERE e.attrelid = (SELECT typrelid FROM pg_type WHERE oid = '@extschema@.en57_event'::regtype));
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'source % has columns that no event has: %', source, unknown
            USING ERRCODE = 'undefined_column', HINT = 'Make a view of it with the columns of en57_event.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = source AND attname = 'position' AND atttypid = 'bigint'::regtype AND NOT attisdropped) THEN
        RAISE EXCEPTION 'source % has no column "position" of type bigint', source
            USING ERRCODE = 'undefined_column', HINT = 'It gives the order, and says where a resumed import goes on.';
    END IF;
    RETURN fields;
END
$$;
COMMENT ON FUNCTION en57.import_columns(regclass) IS 'the columns of a source as the fields of an en57_event';

-- The position of the first row after a position that cannot be converted to an event; NULL if no row with a position fails.
-- It reads smaller and smaller ranges of the source until it has found the row: the source's own columns can fail, too, and
-- the source can return its rows in any order.
CREATE FUNCTION en57.import_refused(source regclass, after bigint) RETURNS bigint
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    good numeric;
    bad numeric;
    middle numeric;
    has_failed boolean := false;
    look text := format('SELECT count(ROW(%s)) FROM %s AS s WHERE s."position" > $1 AND s."position" <= $2', en57.import_columns(source), source);
BEGIN
    EXECUTE format('SELECT coalesce($1, min("position")::numeric - 1), max("position") FROM %s', source) INTO good, bad USING after;
    middle := bad;
    WHILE middle > good LOOP
        BEGIN
            EXECUTE look USING greatest(good, -9223372036854775808)::bigint, middle::bigint;
            EXIT WHEN NOT has_failed AND middle = bad;
            good := middle;
        EXCEPTION WHEN data_exception THEN
            has_failed := true;
            bad := middle;
        END;
        middle := floor((good + bad) / 2);
    END LOOP;
    RETURN CASE WHEN has_failed THEN bad END;
END
$$;
COMMENT ON FUNCTION en57.import_refused(regclass, bigint) IS 'the position of the first row of a source that cannot be made an event';

-- Records that a row is left out, if the import skips rows and the row is known.
CREATE FUNCTION en57.import_skip(import text, "position" bigint, state text, message text, detail text) RETURNS boolean
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF import IS NULL OR "position" IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO en57.import_errors (import, "position", sqlstate, message, detail)
    VALUES (import_skip.import, import_skip."position", state, import_skip.message, nullif(import_skip.detail, ''));
    RETURN true;
END
$$;
COMMENT ON FUNCTION en57.import_skip(text, bigint, text, text, text) IS 'records that an import leaves a row out';

-- Stores events. If that fails in an import that skips rows, it stores them in halves, again and again, until it has found the
-- event that is refused.
CREATE FUNCTION en57.import_some(
    events en57_event[], partition text, keep_positions boolean, check_types boolean, import text, OUT taken bigint, OUT skipped bigint
)
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    half integer := cardinality(events) / 2;
    state text;
    message text;
    detail text;
    first record;
    second record;
BEGIN
    skipped := 0;
    IF import IS NULL THEN
        taken := en57.import_rows(events, partition, keep_positions, check_types);
        RETURN;
    END IF;
    BEGIN
        taken := en57.import_rows(events, partition, keep_positions, check_types);
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
        -- This error is not about the row: the same row could succeed the next time.
        IF state !~ '^(22|23)' AND state NOT IN ('54000', 'N5703', 'N5704') THEN
            RAISE;
        END IF;
        IF half = 0 THEN
            IF NOT en57.import_skip(import, events[1]."position", state, message, detail) THEN
                RAISE;
            END IF;
            taken := 0;
            skipped := 1;
            RETURN;
        END IF;
    END;
    first := en57.import_some(events[:half], partition, keep_positions, check_types, import);
    second := en57.import_some(events[half + 1:], partition, keep_positions, check_types, import);
    taken := first.taken + second.taken;
    skipped := first.skipped + second.skipped;
END
$$;
COMMENT ON FUNCTION en57.import_some(en57_event[], text, boolean, boolean, text) IS
    'stores events; an import that skips leaves out those that are refused';

-- Stores the next events of a source: this many (NULL for all), and all others with the position of the last one. It returns how
-- many there were, and the last position. With the name of an import, rows that are refused are left out.
CREATE FUNCTION en57.import_batch(
    source regclass, after bigint, batch_size integer, partition text, keep_positions boolean, check_types boolean, import text,
    OUT events bigint, OUT "position" bigint, OUT skipped bigint
)
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    event @extschema@.en57_event;
    batch @extschema@.en57_event[] := '{}';
    bytes bigint := 0;
    more boolean := true;
    room bigint := coalesce(batch_size, 9223372036854775807);
    fields text := en57.import_columns(source);
    source_rows refcursor;
    state text;
    message text;
    detail text;
    hint text;
    refused bigint;
    is_shared boolean;
    part record;
BEGIN
    events := 0;
    skipped := 0;
    import_batch."position" := after;
    WHILE more AND (room > 0 OR refused IS NOT NULL) LOOP
        IF source_rows IS NULL THEN
            -- Read the source once, in order, whether or not it has an index.
            OPEN source_rows NO SCROLL FOR EXECUTE
                format('SELECT %s FROM (SELECT * FROM %s AS source
                                         WHERE ($1 IS NULL OR "position" > $1 OR "position" IS NULL) AND ($3 IS NULL OR "position" < $3)
                                         ORDER BY "position" FETCH FIRST $2 ROWS WITH TIES) AS s', fields, source)
                USING import_batch."position", greatest(room, 1), refused;
        END IF;
        BEGIN
            LOOP
                FETCH source_rows INTO event;
                more := FOUND;
                EXIT WHEN NOT more;
                batch := batch || event;
                bytes := bytes + pg_column_size(event.data) + pg_column_size(event.meta);
                -- At most this many are in memory at a time, fewer if they are large.
                EXIT WHEN cardinality(batch) = 5000 OR bytes > 4000000;
            END LOOP;
        EXCEPTION WHEN data_exception THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            refused := en57.import_refused(source, coalesce((batch[cardinality(batch)])."position", import_batch."position"));
            EXECUTE format('SELECT count(*) > 1 FROM %s WHERE "position" = $1', source) INTO is_shared USING refused;
            IF is_shared OR NOT en57.import_skip(import, refused, state, message, detail) THEN
                detail := concat_ws(' ', nullif(detail, ''), format('Its position in the source is %s.', coalesce(refused::text, 'not known')));
                IF hint = '' THEN
                    RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail;
                END IF;
                RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail, HINT = hint;
            END IF;
            -- Rows with lower positions may not have been read yet, because a sort reads the whole source first.
            source_rows := NULL;
            skipped := skipped + 1;
            room := room - 1;
        END;
        IF batch_size IS NOT NULL AND cardinality(batch) > 0 AND (batch[cardinality(batch)])."position" IS NULL THEN
            RAISE EXCEPTION 'a row of source % has no position', source
                USING ERRCODE = 'null_value_not_allowed', HINT = 'It says where a resumed import goes on.';
        END IF;
        part := en57.import_some(batch, partition, keep_positions, check_types, import);
        events := events + part.taken;
        skipped := skipped + part.skipped;
        room := room - cardinality(batch);
        import_batch."position" := coalesce((batch[cardinality(batch)])."position", import_batch."position");
        batch := '{}';
        bytes := 0;
        IF refused IS NOT NULL AND NOT more THEN
            import_batch."position" := refused;
            refused := NULL;
            source_rows := NULL;
            more := true;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION en57.import_batch(regclass, bigint, integer, text, boolean, boolean, text) IS 'stores the next events of a source';

CREATE FUNCTION en57_import_from(
    source regclass, partition text DEFAULT NULL, keep_positions boolean DEFAULT false, check_types boolean DEFAULT true
)
    RETURNS bigint
    LANGUAGE en57_plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (en57.import_batch(source, NULL, NULL, partition, keep_positions, check_types, NULL)).events;
END
$$;
COMMENT ON FUNCTION en57_import_from(regclass, text, boolean, boolean) IS
    'imports the rows of a table or view that has columns of en57_event, in one transaction; returns how many';

CREATE PROCEDURE en57_import_in_batches(
    name text,
    source regclass,
    partition text DEFAULT NULL,
    keep_positions boolean DEFAULT false,
    batch_size integer DEFAULT 10000,
    check_types boolean DEFAULT true,
    on_error text DEFAULT 'stop'
)
    LANGUAGE en57_plpgsql
    AS $$
DECLARE
    taken record;
    known en57.imports;
    target text := coalesce(partition, nullif(pg_catalog.current_setting('en57.partition', true), ''), 'default');
BEGIN
    IF en57_import_in_batches.name IS NULL OR source IS NULL OR coalesce(batch_size, 0) NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'an import needs a name, a source, and a batch_size from 1 to 100000'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF on_error IS NULL OR on_error NOT IN ('stop', 'skip') THEN
        RAISE EXCEPTION 'on_error must be ''stop'' or ''skip''' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO en57.imports (name, source, partition)
    VALUES (en57_import_in_batches.name, source::text, target)
    ON CONFLICT DO NOTHING;
    COMMIT;
    LOOP
        -- Another session that runs the same import waits here for this batch.
        SELECT * INTO STRICT known FROM en57.imports AS i WHERE i.name = en57_import_in_batches.name FOR UPDATE;
        IF (known.source, known.partition) IS DISTINCT FROM (source::text, target) THEN
            RAISE EXCEPTION 'import % takes % into partition %', known.name, known.source, known.partition
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Choose another name, or delete its row from en57.imports.';
        END IF;
        taken := en57.import_batch(source, known."position", batch_size, target, keep_positions, check_types,
                                   CASE on_error WHEN 'skip' THEN known.name END);
        UPDATE en57.imports AS i
           SET "position" = coalesce(taken."position", i."position"), events = i.events + taken.events,
               updated_at = pg_catalog.clock_timestamp(), finished = taken.events + taken.skipped = 0,
               skipped = i.skipped + taken.skipped
         WHERE i.name = known.name;
        COMMIT;
        EXIT WHEN taken.events + taken.skipped = 0;
        RAISE NOTICE 'import %: % events%', known.name, known.events + taken.events,
            CASE WHEN known.skipped + taken.skipped > 0 THEN pg_catalog.format(', %s rows left out', known.skipped + taken.skipped) ELSE '' END;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE en57_import_in_batches(text, regclass, text, boolean, integer, boolean, text) IS
    'imports like en57_import_from, with a commit after each batch; called again it continues where it stopped';
