# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

events_folded=$((quick ? 20000 : 1000000))

# A state of many events in one scope: the first time by reading all, then from the snapshot.
folds() {
    local from started size
    new_database bench_folds
    run_sql bench_folds folds/setup.sql
    say "loading $events_folded events"
    for ((from = 0; from < events_folded; from += 10000)); do
        echo "SELECT (en57_append(jsonb_agg(jsonb_build_object('type', 'noted', 'data', data((n % 1000)::int, n), 'tags', '[\"scope\"]'::jsonb)))).outcome
            FROM generate_series(1::bigint, 10000) AS n;"
    done | PGOPTIONS='-c synchronous_commit=off' "$bin/psql" -X -q -v ON_ERROR_STOP=1 -o /dev/null -d bench_folds
    for size in all snapshot; do
        if [[ $size == all ]]; then
            started=$(date +%s%N)
            run_sql bench_folds folds/state.sql
            echo "folds all $events_folded $(($(date +%s%N) - started))" >>"$results"
        else
            echo "folds snapshot $events_folded $("$bin/pgbench" -n -M prepared -c 1 -t 2000 -f "$benches/folds/state.sql" bench_folds 2>/dev/null |
                sed -n 's/^latency average = \([0-9.]*\) ms/\1/p')" >>"$results"
        fi
    done
}
