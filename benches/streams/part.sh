# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

# Each client appends to a stream of its own, new in every round, at versions that it counts itself: so the check is made each
# time and never fails. Both stores are in one database; what one writes does not slow the other.
streams() {
    local name what store round clients sync
    new_database bench_streams
    run_sql bench_streams streams/setup.sql
    new_database bench_streams_if
    for ((round = 1; round <= rounds; round++)); do
        for clients in 1 16; do
            for what in all window; do
                for store in sql en57; do
                    measure streams "${what}_$store" bench_streams "streams/${what}_$store.sql" 1 $clients on "$round"
                done
            done
        done
    done
    for ((round = 1; round <= rounds; round++)); do
        for sync in off on; do
            for clients in 1 16; do
                for name in append plain; do
                    measure streams $name bench_streams "streams/$name.sql" 1 $clients $sync "$round" -D version=0
                done
                measure streams append_if bench_streams_if writes/append_if.sql 1 $clients $sync "$round"
            done
        done
    done
}
