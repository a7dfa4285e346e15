# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

# What appends pay for a check against a JSON Schema.
schemas() {
    local name round clients sync
    for name in append append_checked; do new_database "bench_$name"; done
    run_sql bench_append_checked schemas/setup.sql
    for ((round = 1; round <= rounds; round++)); do
        for sync in off on; do
            for clients in 1 16; do
                for name in append append_checked; do
                    measure schemas $name "bench_$name" schemas/append.sql 1 $clients $sync "$round"
                done
            done
        done
    done
}
