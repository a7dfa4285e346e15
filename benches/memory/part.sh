# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

batch_memory=100000

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
