# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

events_large=$((quick ? 100000 : 10000000))

large() {
    local round name
    new_database bench_large
    load bench_large "$events_large"
    for ((round = 1; round <= rounds; round++)); do
        new_database bench_small # which grows while it is measured
        load bench_small 10000
        for name in small large; do
            measure large "append_$name" "bench_$name" writes/append_if.sql 1 1 off "$round"
        done
    done
}
