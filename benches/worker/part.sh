# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

# notify on|off: the setting, which a session knows once it has used en57.
notify() {
    "$bin/psql" -X -q -o /dev/null -v ON_ERROR_STOP=1 -d bench_append_notify -c 'SELECT en57_head()' \
        -c "ALTER SYSTEM SET en57.notify = $1" -c 'SELECT pg_reload_conf()'
}

# What appends pay for a worker, and for its notifications, to which four sessions listen. They are in no database but the last.
worker() {
    local name round sync clients listeners
    for name in append append_worker append_notify; do new_database "bench_$name"; done
    for name in append_worker append_notify; do ask "bench_$name" 'SELECT en57_worker_start()' >/dev/null; done
    "$bin/pgbench" -n -c 4 -t 1 -f <(echo 'LISTEN en57; SELECT pg_sleep(100000);') bench_append_notify >/dev/null 2>&1 &
    listeners=$!
    for ((round = 1; round <= rounds; round++)); do
        for sync in off on; do
            for clients in 1 16; do
                for name in append append_worker append_notify; do
                    [[ $name != append_notify ]] || notify on
                    measure worker $name "bench_$name" writes/append.sql 1 $clients $sync "$round"
                    [[ $name != append_notify ]] || notify off
                done
            done
        done
    done
    ask postgres "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(100000);'" >/dev/null
    wait "$listeners" || true
    for name in append_worker append_notify; do ask "bench_$name" 'SELECT en57_worker_stop()' >/dev/null; done
}
