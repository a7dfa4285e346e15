# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

projections() {
    local name round clients sync
    for name in append append_document append_upsert; do
        new_database "bench_$name"
        run_sql "bench_$name" projections/setup.sql
    done
    run_sql bench_append_document projections/documents.sql
    for ((round = 1; round <= rounds; round++)); do
        for sync in off on; do
            for clients in 1 16; do
                measure projections append bench_append projections/append_document.sql 1 $clients $sync "$round"
                for name in append_document append_upsert; do
                    measure projections $name "bench_$name" "projections/$name.sql" 1 $clients $sync "$round"
                done
            done
        done
    done
}
