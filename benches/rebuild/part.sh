# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

events_rebuilt=$((quick ? 20000 : 400000))

# Documents of four events each, built anew by a trivial function in PL/pgSQL, swap included.
rebuild() {
    local round started
    new_database bench_rebuild
    run_sql bench_rebuild projections/setup.sql
    load bench_rebuild "$events_rebuilt"
    ask bench_rebuild "SELECT en57_create_document_projection('customers', '{}', 'tag:customer:', 'add_order(jsonb,en57_event)')" >/dev/null
    for ((round = 1; round <= rounds; round++)); do
        started=$(date +%s%N)
        ask bench_rebuild "CALL en57_rebuild('customers')"
        echo "rebuild $round $events_rebuilt $(($(date +%s%N) - started))" >>"$results"
    done
}
