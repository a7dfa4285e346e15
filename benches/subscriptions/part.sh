# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

events_polled=$((quick ? 20000 : 200000))

# A consumer that applies nothing: its events go over the wire and are thrown away. In a transaction for each batch.
subscriptions() {
    local store size from started
    new_database bench_subscriptions
    load bench_subscriptions "$events_polled"
    ask bench_subscriptions "INSERT INTO plain (id, type, data, tags, recorded_at)
        SELECT id, type, data, tags, recorded_at FROM en57_read() ORDER BY position"
    ask bench_subscriptions "CREATE TABLE consumers (name text PRIMARY KEY, position bigint)"
    ask bench_subscriptions "INSERT INTO consumers VALUES ('c', 0)"
    ask bench_subscriptions "VACUUM ANALYZE"
    for size in 100 1000; do
        ask bench_subscriptions "SELECT en57_create_subscription('en57_$size', en57_query())" >/dev/null
        for store in sql en57; do
            for ((from = 0; from < events_polled; from += size)); do
                if [[ $store == sql ]]; then
                    printf '%s\n' 'BEGIN;' "SELECT position FROM consumers WHERE name = 'c' FOR UPDATE;" \
                        "SELECT * FROM plain WHERE position > $from ORDER BY position LIMIT $size;" \
                        "UPDATE consumers SET position = $((from + size)) WHERE name = 'c';" 'COMMIT;'
                else
                    printf '%s\n' 'BEGIN;' "SELECT * FROM en57_poll('en57_$size', $size);" \
                        "SELECT en57_ack('en57_$size', $((from + size)));" 'COMMIT;'
                fi
            done >"$work/consume.sql"
            started=$(date +%s%N)
            "$bin/psql" -X -q -v ON_ERROR_STOP=1 -o /dev/null -d bench_subscriptions -f "$work/consume.sql"
            echo "subscriptions $store $size $events_polled $(($(date +%s%N) - started))" >>"$results"
        done
    done
}
