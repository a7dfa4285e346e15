# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

# Requests on condition, one at a time and a hundred in a call.
many() {
    local name round clients sync
    for name in append_single append_many; do
        new_database "bench_$name"
        run_sql "bench_$name" many/setup.sql
    done
    for ((round = 1; round <= rounds; round++)); do
        for sync in off on; do
            for clients in 1 16; do
                measure many append_single bench_append_single many/append_single.sql 1 $clients $sync "$round"
                measure many append_many bench_append_many many/append_many.sql 100 $clients $sync "$round"
            done
        done
    done
}
