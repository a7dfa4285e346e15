# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

writes() {
    local name round clients sync
    for name in plain tagged append append_if; do new_database "bench_$name"; done
    for ((round = 1; round <= rounds; round++)); do
        for sync in off on; do
            for clients in 1 16; do
                for name in plain tagged append append_if; do
                    measure writes $name "bench_$name" "writes/$name.sql" 1 $clients $sync "$round"
                done
            done
        done
    done
    disk writes plain bench_plain plain
    disk writes tagged bench_tagged tagged tagged_tags
    disk writes append bench_append en57.events_default
    disk writes append_if bench_append_if en57.events_default
}
