-- Who waits notes when it woke.
CREATE TABLE woken (position bigint, at timestamptz);
CREATE PROCEDURE follow(rounds int) LANGUAGE plpgsql AS $$
DECLARE
    at bigint := en57_head();
BEGIN
    FOR n IN 1..rounds LOOP
        COMMIT;
        at := en57_wait(at, '10s');
        INSERT INTO woken VALUES (at, clock_timestamp());
    END LOOP;
END
$$;
