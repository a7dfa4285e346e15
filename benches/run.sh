#!/usr/bin/env bash
# Measures en57 against plain tables, all in one run on one fresh cluster, the scenarios taking turns in every round, and
# prints medians and ratios as docs/BENCHMARKS.md has them. About 45 minutes.
#
# run.sh quick    one round of a second each: shows that everything runs, not how fast
# ROUNDS          5
# SECONDS_EACH    5, of one scenario in one round
# ONLY            of: writes streams batches contended projections worker waiting subscriptions reads memory imports large;
#                 default: all but large
# LARGE=1         large too: a condition's price with 10 million events in the store
# RECORD=1        puts the result into docs/BENCHMARKS.md
# INSTALLED=1     measures the en57 that is installed in PG or PG_CONFIG, instead of installing into a copy
#
# Every scenario of writing has a database of its own, so that all stores grow alike.
# shellcheck source-path=SCRIPTDIR source=../tests/pg/server.sh
source "$(dirname "$0")/../tests/pg/server.sh"

# shellcheck disable=SC2154 # root and base come from tests/pg/lib.sh
benches=$root/benches
rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-5}
only=${ONLY:-writes streams batches contended projections worker waiting subscriptions reads memory imports}
[[ -z ${LARGE:-} ]] || only+=' large'
events_read=1000000
events_large=10000000
batch_memory=100000
events_imported=500000
events_polled=200000
if [[ ${1:-} == quick ]]; then
    rounds=1 seconds=1 events_large=100000 events_imported=50000 events_polled=20000
fi

wants() { [[ " $only " == *" $1 "* ]]; }
ask() { "$bin/psql" -X -q -A -t -F ' ' -v ON_ERROR_STOP=1 -d "$1" -c "$2"; }
new_database() {
    "$bin/psql" -X -q -v ON_ERROR_STOP=1 -d postgres -c "DROP DATABASE IF EXISTS $1" -c "CREATE DATABASE $1 TEMPLATE ${2:-start}" 2>/dev/null
}
run_sql() { "$bin/psql" -X -q -v ON_ERROR_STOP=1 -o /dev/null -d "$1" -f "$benches/$2"; }

# CPU of all backends that have ended, in ticks.
cpu_ticks() { awk '{ sub(/.*\) /, ""); print $14 + $15 }' "/proc/$postmaster/stat"; }
wal() { ask postgres 'SELECT wal_bytes, wal_records, wal_fpi, wal_sync FROM pg_stat_wal'; }

# measure GROUP NAME DATABASE SCRIPT EVENTS CLIENTS SYNC ROUND [PGBENCH OPTION...]: adds a line to the results.
measure() {
    local group=$1 name=$2 database=$3 script=$4 events=$5 clients=$6 sync=$7 round=$8
    local head ticks before after rate done_count failed stored out
    shift 8
    head=$(ask "$database" 'SELECT en57_head()')
    before=$(wal) ticks=$(cpu_ticks)
    out=$(PGOPTIONS="-c synchronous_commit=$sync ${MORE_OPTIONS:-}" "$bin/pgbench" -n -M prepared -c "$clients" \
        -j $((clients > 1 ? 2 : 1)) -T "$seconds" -D after="$head" "$@" -f "$benches/$script" "$database" 2>&1) ||
        die "pgbench $script: $out"
    sleep 0.2 # the last backends go
    ticks=$(($(cpu_ticks) - ticks))
    after=$(wal)
    stored=$(($(ask "$database" 'SELECT en57_head()') - head))
    rate=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$out")
    done_count=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' <<<"$out")
    failed=$(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' <<<"$out")
    awk -v group="$group" -v name="$name" -v clients="$clients" -v sync="$sync" -v round="$round" -v rate="$rate" \
        -v calls="$done_count" -v failed="$failed" -v events="$events" -v stored="$stored" -v ticks="$ticks" \
        -v hertz="$(getconf CLK_TCK)" -v before="$before" -v after="$after" 'BEGIN {
            split(before, b, " "); split(after, a, " ")
            refused = name ~ /^append/ ? calls - stored / events : failed
            good = name ~ /^append/ ? stored / events : calls
            per = good * events
            if (per < 1) per = 1
            print group, name, clients, sync, round, rate * good / calls * events, rate * refused / calls,
                ticks / hertz * 1e6 / per, (a[1] - b[1]) / per, (a[2] - b[2]) / per, (a[3] - b[3]) / per, (a[4] - b[4]) / per
        }' >>"$results"
    printf '%-10s round %d  %-14s %2d clients, sync %-3s  %s\n' "$group" "$round" "$name" "$clients" "$sync" \
        "$(awk 'END { printf "%d/s, %.1f us of CPU each", $6, $8 }' "$results")" >&2
}

disk() { # GROUP NAME DATABASE TABLE...: bytes an event
    local group=$1 name=$2 database=$3
    shift 3
    echo "disk $group $name $(ask "$database" "SELECT sum(pg_total_relation_size(t)) / greatest((SELECT count(*) FROM $1), 1)
        FROM unnest('{$(IFS=,; echo "$*")}'::regclass[]) AS t")" >>"$results"
}

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

# Each client appends to a stream of its own, new in every round, at versions that it counts itself: so the check is made each
# time and never fails. Both stores are in one database; what one writes does not slow the other.
streams() {
    local name what store round clients sync
    new_database bench_streams
    run_sql bench_streams streams/setup.sql
    new_database bench_streams_if
    for ((round = 1; round <= rounds; round++)); do
        for clients in 1 16; do
            for what in all window; do
                for store in sql en57; do
                    measure streams "${what}_$store" bench_streams "streams/${what}_$store.sql" 1 $clients on "$round"
                done
            done
        done
    done
    for ((round = 1; round <= rounds; round++)); do
        for sync in off on; do
            for clients in 1 16; do
                for name in append plain; do
                    measure streams $name bench_streams "streams/$name.sql" 1 $clients $sync "$round" -D version=0
                done
                measure streams append_if bench_streams_if writes/append_if.sql 1 $clients $sync "$round"
            done
        done
    done
}

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

contended() {
    local name round sync
    local names=(locked serializable append_if append_locked)
    for name in "${names[@]}"; do
        new_database "bench_$name"
        run_sql "bench_$name" contended/setup.sql
    done
    for ((round = 1; round <= rounds; round++)); do
        for sync in off on; do
            for name in "${names[@]}"; do
                MORE_OPTIONS=$([[ $name != serializable ]] || echo '-c default_transaction_isolation=serializable') \
                    measure contended "$name" "bench_$name" "contended/$name.sql" 1 16 $sync "$round"
            done
        done
    done
}

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

# anonymous_growth DATABASE FILE: runs the SQL of the file; prints how far its backend's own memory grew beyond what it had
# when the file's first statement, a pg_sleep, ran. Shared memory is not the backend's, so VmHWM would say too much.
anonymous_growth() {
    local pid='' base_kb=0 peak_kb=0 kb job
    PGAPPNAME=en57_memory "$bin/psql" -X -q -v ON_ERROR_STOP=1 -v FETCH_COUNT=1000 -o /dev/null -d "$1" <"$2" &
    job=$!
    while [[ -z $pid ]]; do
        pid=$(ask "$1" "SELECT pid FROM pg_stat_activity WHERE application_name = 'en57_memory' AND state = 'active'")
    done
    while kb=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null) && [[ -n $kb ]]; do
        ((base_kb > 0)) || base_kb=$kb
        ((kb <= peak_kb)) || peak_kb=$kb
    done
    wait "$job"
    echo $(((peak_kb - base_kb) * 1024))
}

memory() {
    local script=$work/memory.sql json growth
    new_database bench_memory
    ask bench_memory "CREATE TABLE batch AS
        SELECT jsonb_agg(jsonb_build_object('type', 'order placed', 'data', data(n % 1000, n),
                                            'tags', jsonb_build_array('customer:' || n % 1000, 'order:' || n))) AS events
          FROM generate_series(1, $batch_memory) AS n"
    json=$(ask bench_memory 'SELECT octet_length(events::text) FROM batch')
    printf '%s\n' 'SELECT pg_sleep(1);' 'SELECT (en57_append(events)).outcome FROM batch;' >"$script"
    growth=$(anonymous_growth bench_memory "$script")
    echo "memory batch $batch_memory $json $growth" >>"$results"
    while (($(ask bench_memory 'SELECT en57_head()') < 1000000)); do
        ask bench_memory 'SELECT (en57_append(events)).outcome FROM batch' >/dev/null
    done
    printf '%s\n' 'SELECT pg_sleep(1);' "SELECT en57_read(max_count => 1000000);" >"$script"
    growth=$(anonymous_growth bench_memory "$script")
    echo "memory cursor 1000000 0 $growth" >>"$results"
}

imports() {
    local source started
    new_database bench_imports
    ask bench_imports "CREATE TABLE alone AS
        SELECT n AS position, gen_random_uuid() AS id, 'order placed' AS type, data((n % 1000)::int, n) AS data,
               ARRAY['customer:' || n % 100000, 'order:' || n] AS tags, now() AS recorded_at
          FROM generate_series(1::bigint, $events_imported) AS n"
    ask bench_imports "CREATE TABLE streams AS
        SELECT position, gen_random_uuid() AS id, type, data, tags, recorded_at,
               'order-' || (position - 1) / 10 AS stream, (position - 1) % 10 + 1 AS stream_version
          FROM alone"
    for source in alone streams; do
        started=$(date +%s%N)
        ask bench_imports "SELECT en57_import_from('$source')" >/dev/null
        echo "imports $source $events_imported $(($(date +%s%N) - started))" >>"$results"
    done
}

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

load() { # DATABASE EVENTS
    local from
    say "loading $2 events"
    for ((from = 0; from < $2; from += 10000)); do
        echo "SELECT (en57_append(jsonb_agg(jsonb_build_object('type', 'order placed', 'data', data(n % 100000, n),
            'tags', jsonb_build_array('customer:' || n % 100000, 'order:' || n))))).outcome
            FROM generate_series($from + 1, $from + 10000) AS n;"
    done | PGOPTIONS='-c synchronous_commit=off' "$bin/psql" -X -q -v ON_ERROR_STOP=1 -o /dev/null -d "$1"
}

if [[ -n ${INSTALLED:-} ]]; then
    pg_config=$(source_pg_config)
else
    pg_config=$("$root/tests/pg/tree.sh")
    make --no-print-directory -C "$root" install PG_CONFIG="$pg_config" >&2
fi
bin=$("$(client_pg_config "$pg_config")" --bindir)
[[ -x $bin/pgbench ]] || die "there is no pgbench in $bin"

make_base
# shellcheck disable=SC2154
data=$base/bench
work=$(mktemp -d)
results=$work/results
trap 'server_stop "$pg_config" "$data"; rm -rf "$work" "$data"' EXIT
server_stop "$pg_config" "$data"
settings=('shared_buffers = 1GB' 'max_wal_size = 16GB' 'checkpoint_timeout = 1h' 'max_connections = 130')
server_init "$pg_config" "$data" "${settings[@]}"
server_start "$pg_config" "$data"
postmaster=$(head -n 1 "$data/postmaster.pid")
ask postgres 'CREATE DATABASE start'
run_sql start setup.sql

load=$(cut -d " " -f 1 /proc/loadavg) # what else goes on here
say "$rounds rounds, $seconds s each: $only"
: >"$results"
for part in writes streams batches contended projections worker waiting subscriptions reads memory imports large; do
    if wants "$part"; then "$part"; fi
done

{
    echo "Machine: $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo), $(uname -sr). $("$bin/postgres" --version), $(printf '%s, ' "${settings[@]}")fsync on. Date: $(date +%F). Medians of $rounds rounds of $seconds s. Load of the machine before it began: $load."
    awk -f "$benches/report.awk" "$results"
} | tee "$work/report"

if [[ -n ${RECORD:-} ]]; then
    sed '/^<!-- results -->$/q' "$root/docs/BENCHMARKS.md" >"$work/page"
    { echo && cat "$work/report"; } >>"$work/page"
    cat "$work/page" >"$root/docs/BENCHMARKS.md"
    say "recorded in docs/BENCHMARKS.md"
fi
