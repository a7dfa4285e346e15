# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

events_read=1000000

reads() {
    local what store round clients
    say "loading $events_read events three times"
    new_database bench_reads
    run_sql bench_reads reads/setup.sql
    disk reads plain bench_reads plain
    disk reads tagged bench_reads tagged tagged_tags
    disk reads append bench_reads en57.events_default
    run_sql bench_reads reads/index.sql
    for ((round = 1; round <= rounds; round++)); do
        for clients in 1 16; do
            for what in tail tag two_tags type; do
                for store in sql en57; do
                    # SQL is fastest so: its merge join of two tags is, and a plan with workers loses to it here.
                    MORE_OPTIONS='-c max_parallel_workers_per_gather=0' \
                        measure reads "${what}_$store" bench_reads "reads/${what}_$store.sql" 1 $clients on "$round"
                done
            done
        done
    done
}
