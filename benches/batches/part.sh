# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

batches() {
    local name round clients sync size
    local names=(plain tagged tagged_json append append_if)
    new_database batches
    run_sql batches batches/setup.sql
    for ((round = 1; round <= rounds; round++)); do
        for name in "${names[@]}"; do
            new_database "bench_$name" batches
            ask "bench_$name" 'SELECT sum(length(events::text)) FROM batches' >/dev/null # into the cache
            ask "bench_$name" 'SELECT count(data) FROM rows' >/dev/null
        done
        for size in 100 1000; do
            for sync in off on; do
                for clients in 1 16; do
                    for name in "${names[@]}"; do
                        measure "batch$size" "$name" "bench_$name" "batches/$name.sql" $size $clients $sync "$round" -D size=$size
                    done
                done
            done
        done
    done
    for name in "${names[@]}"; do new_database "bench_$name"; done
}
