# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

events_imported=$((quick ? 50000 : 500000))

imports() {
    local source started round
    new_database bench_import_source
    ask bench_import_source "CREATE TABLE alone AS
        SELECT n AS position, gen_random_uuid() AS id, 'order placed' AS type, data((n % 1000)::int, n) AS data,
               ARRAY['customer:' || n % 100000, 'order:' || n] AS tags, now() AS recorded_at
          FROM generate_series(1::bigint, $events_imported) AS n"
    ask bench_import_source "CREATE TABLE streams AS
        SELECT position, gen_random_uuid() AS id, type, data, tags, recorded_at,
               'order-' || (position - 1) / 10 AS stream, (position - 1) % 10 + 1 AS stream_version
          FROM alone"
    for ((round = 1; round <= (rounds < 3 ? rounds : 3); round++)); do
        new_database bench_imports bench_import_source
        for source in alone streams; do
            started=$(date +%s%N)
            ask bench_imports "SELECT en57_import_from('$source')" >/dev/null
            echo "imports $source $events_imported $(($(date +%s%N) - started))" >>"$results"
        done
    done
}
