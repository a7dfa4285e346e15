# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

events_rebuilt=$((quick ? 20000 : 400000))

# longest_wait WAY ROUND: how long one of 200 appends a second waits at most while all documents are swapped for others.
longest_wait() {
    local log appends
    log=$(mktemp -d)
    (cd "$log" && exec "$bin/pgbench" -n -M prepared -c 1 -R 200 -T 100000 -l -f "$benches/projections/append_document.sql" bench_rebuild) >/dev/null 2>&1 &
    appends=$!
    ask bench_rebuild "CREATE OR REPLACE FUNCTION add_order_$1_$2(doc jsonb, event en57_event) RETURNS jsonb LANGUAGE sql
        AS \$\$ SELECT add_order(doc, event) || '{\"by\": \"$1 $2\"}' \$\$"
    ask bench_rebuild "CALL en57_rebuild('customers', 'add_order_$1_$2(jsonb,en57_event)', swap => '$1')" >/dev/null
    sleep 2 # pgbench writes its log block by block
    kill "$appends"
    wait "$appends" || true
    echo "swap $1 $(cat "$log"/* | awk '$3 - $7 > most { most = $3 - $7 } END { print most / 1000 }')" \
        "$(ask bench_rebuild 'SELECT count(*) FROM customers')" >>"$results"
    rm -r "$log"
}

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
    for ((round = 1; round <= rounds; round++)); do
        longest_wait rows "$round"
        longest_wait files "$round"
    done
}
