# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

# backend_ticks DATABASE: CPU of the database's backends that wait, so far.
backend_ticks() {
    ask "$1" "SELECT pid FROM pg_stat_activity WHERE datname = '$1' AND query LIKE 'SELECT en57_wait%' AND wait_event IS NOT NULL" |
        while read -r pid; do sed 's/.*) //' "/proc/$pid/stat"; done | awk '{ ticks += $12 + $13; n++ } END { print ticks + 0, n + 0 }'
}

waiting() {
    local sleepers before after jobs=()
    new_database bench_waiting
    run_sql bench_waiting waiting/setup.sql
    for sleepers in 1 16; do
        ask bench_waiting 'TRUNCATE woken'
        "$bin/pgbench" -n -c "$sleepers" -t 1 -f <(echo 'CALL follow(500);') bench_waiting >/dev/null 2>&1 &
        jobs=($!)
        until [[ $(ask bench_waiting "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL follow%' AND wait_event IS NOT NULL") == "$sleepers" ]]; do
            sleep 0.05
        done
        # Slowly enough that each commit finds them asleep.
        "$bin/pgbench" -n -M prepared -c 1 -t 700 -R 200 -f "$benches/waiting/append.sql" bench_waiting >/dev/null 2>&1
        wait "${jobs[@]}"
        echo "latency $sleepers $(ask bench_waiting "$(cat "$benches/waiting/latency.sql")")" >>"$results"
    done
    PGOPTIONS='-c max_parallel_workers=0' "$bin/pgbench" -n -c 100 -j 2 -t 1 \
        -f <(echo "SELECT en57_wait(1000000000, '$((seconds + 10))s');") bench_waiting >/dev/null 2>&1 &
    jobs=($!)
    until [[ $(backend_ticks bench_waiting) == *' 100' ]]; do sleep 0.1; done
    before=$(backend_ticks bench_waiting)
    sleep "$seconds"
    after=$(backend_ticks bench_waiting)
    echo "sleep 100 $(((${after% *} - ${before% *}) * 1000 / $(getconf CLK_TCK))) $seconds" >>"$results"
    wait "${jobs[@]}"
}
