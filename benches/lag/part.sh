# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

# An async projection, run by the worker while 16 clients append as fast as they can.
lag() {
    new_database bench_lag
    run_sql bench_lag lag/setup.sql
    measure lag append bench_lag writes/append.sql 1 16 on 1
    [[ $(ask bench_lag "SELECT en57_wait_projection('lagging', timeout => '60s')") == t ]] || die "the worker does not catch up"
    echo "async $(ask bench_lag 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), count(*) FROM handled')" >>"$results"
    ask bench_lag 'SELECT en57_worker_stop()' >/dev/null
}
