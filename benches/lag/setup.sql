-- How long after an event was recorded its projection has handled it, in milliseconds; its commit is still to come.
CREATE UNLOGGED TABLE handled (ms double precision);
CREATE FUNCTION handle(events en57_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO handled SELECT extract(epoch FROM clock_timestamp() - e.recorded_at) * 1000 FROM unnest(events) AS e
$$;
SELECT en57_create_projection('lagging', '{}', 'handle(en57_event[])', mode => 'async');
SELECT en57_worker_start();
