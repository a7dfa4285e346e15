# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

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
