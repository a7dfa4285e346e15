# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

# What readers of a type without upcasters pay for those of another type.
upcasters() {
    local name what round clients
    for name in none other; do
        new_database "bench_$name"
        run_sql "bench_$name" upcasters/setup.sql
    done
    run_sql bench_other upcasters/register.sql
    for ((round = 1; round <= rounds; round++)); do
        for clients in 1 16; do
            for what in type tag; do
                for name in none other; do
                    measure upcasters "${what}_$name" "bench_$name" "upcasters/$what.sql" 1 $clients on "$round"
                done
            done
        done
    done
}
