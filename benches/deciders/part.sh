# shellcheck shell=bash disable=SC2034,SC2154 # sourced by run.sh

# The same decision by the server and by a client. What is refused is what a client has to try again.
deciders() {
    local name round clients courses
    for courses in 1 1000; do
        for name in append_decide append_client; do
            new_database "bench_${name}_$courses"
            run_sql "bench_${name}_$courses" deciders/setup.sql
        done
    done
    for ((round = 1; round <= rounds; round++)); do
        for clients in 1 16; do
            for courses in 1 1000; do
                for name in append_decide append_client; do
                    measure deciders "${name}_$courses" "bench_${name}_$courses" "deciders/$name.sql" 1 $clients on "$round" -D courses=$courses
                done
            done
        done
    done
}
