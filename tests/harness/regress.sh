#!/usr/bin/env bash
# Runs pg_regress/sql and pg_regress/specs against the server that PGHOST and PGPORT name, each file in a fresh
# database. Prints 'ok' or 'not ok' for each, and what differs.
#
# TESTS  the names of the only tests to run: those of files in pg_regress/sql and pg_regress/specs
source "$(dirname "$0")/lib.sh"

for name in ${TESTS:-}; do
    [[ -e $root/pg_regress/sql/$name.sql || -e $root/pg_regress/specs/$name.spec ]] || die "there is no test named $name"
done

client=$(client_pg_config "$(source_pg_config)")
pgxs=$(dirname "$(dirname "$("$client" --pgxs)")")
results=$base/results/$PG
failed=0

# A server that the test before has brought down is back after its recovery.
wait_for_server() {
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        ! "$("$client" --bindir)/pg_isready" -q || return 0
        sleep 0.1
    done
}

# run PROGRAM SUITE FILE...
run() {
    local program=$1 suite=$2 file name out
    shift 2
    rm -rf "${results:?}/$suite"
    for file; do
        name=$(basename "${file%.*}")
        [[ -z ${TESTS:-} || " $TESTS " == *" $name "* ]] || continue
        out=$results/$suite/$name
        mkdir -p "$out"
        wait_for_server
        if "$program" --bindir="$("$client" --bindir)" --inputdir="$root/pg_regress" --outputdir="$out" \
            --dbname="en57_$suite" --encoding=UTF8 --load-extension=en57 "$name" >"$out/log" 2>&1; then
            echo "ok $suite $name"
        else
            echo "not ok $suite $name"
            cat "$out/regression.diffs" 2>/dev/null || cat "$out/log"
            failed=1
        fi
    done
}

"$("$client" --bindir)/pg_isready" -q || die "start a server that has en57, and say where in PGHOST, PGPORT and PGUSER"
shopt -s nullglob
run "$pgxs/test/regress/pg_regress" regress "$root"/pg_regress/sql/*.sql
run "$pgxs/test/isolation/pg_isolation_regress" isolation "$root"/pg_regress/specs/*.spec
exit "$failed"
