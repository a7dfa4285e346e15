#!/usr/bin/env bash
# Builds en57 with the tests that run inside a backend, and runs them on a server of their own, each in a session and a
# transaction of its own that is rolled back. Prints 'ok' or 'not ok' for each, and why. See tests/in_process/README.md.
#
# TESTS              only those whose names contain one of these words
# EN57_FUZZ_SECONDS  how long each of those lasts that change bytes at random; 2
# EN57_TEST_SEED     the seed of these changes, instead of any
source "$(dirname "$0")/server.sh"

make=(make --no-print-directory -C "$root")
"${make[@]}" build in-process-library >&2
tree=$("$root/tests/harness/tree.sh")
"${make[@]}" install PG_CONFIG="$tree" >&2

# Where the server's user can read it.
library=$base/in-process/$PG/en57_in_process.so
mkdir -p "$(dirname "$library")"
install -m 755 "$root/target/in-process/pg$PG/debug/liben57.so" "$library"

data=$base/data/in-process-$PG
trap 'trap "" INT TERM HUP; server_stop "$tree" "$data"' EXIT
server_stop "$tree" "$data"
server_init "$tree" "$data" 'fsync = off'
server_start "$tree" "$data"

psql=("$("$(client_pg_config "$tree")" --bindir)/psql" -X -q -A -t -v ON_ERROR_STOP=1)
say "tests inside a backend, on $("$tree" --version)"
"${psql[@]}" -d postgres -c 'CREATE DATABASE in_process'
"${psql[@]}" -d in_process -c 'CREATE EXTENSION en57'
# In another session, for one process cannot load en57 twice.
"${psql[@]}" -d in_process -v library="$library" -f "$root/tests/in_process/functions.sql"

mapfile -t names < <("${psql[@]}" -d in_process -c 'SELECT unnest(tests.names())')
((${#names[@]})) || die "there are no tests"
failed=0
fuzz_seconds=${EN57_FUZZ_SECONDS:-2}
settings="SET tests.fuzz_seconds = '$fuzz_seconds'${EN57_TEST_SEED:+; SET tests.fuzz_seed = '$EN57_TEST_SEED'}"
for name in "${names[@]}"; do
    [[ -z ${TESTS:-} || $name =~ ${TESTS// /|} ]] || continue
    status=0
    said=$(timeout $((60 + fuzz_seconds)) "${psql[@]}" -d in_process -c "$settings" -c BEGIN -c "SELECT tests.run('$name')" -c ROLLBACK 2>&1) || status=$?
    if ((status == 0)); then
        echo "ok in_process $name"
        sed -n 's/^NOTICE:  fuzz/  fuzz/p' <<<"$said"
        continue
    fi
    echo "not ok in_process $name"
    printf '%s\n' "$said"
    failed=1
    if ((status == 124)); then
        echo "It has not ended within $((60 + fuzz_seconds)) seconds."
        as_server "$("$tree" --bindir)/pg_ctl" restart -s -w -m immediate -D "$data" -l "$data/log" -o "-k $PGHOST"
    fi
    # The server that a test has brought down is back after its recovery.
    until "${psql[@]}" -d postgres -c 'SELECT 1' >/dev/null 2>&1; do sleep 0.1; done
done

if grep -E 'PANIC:|TRAP:|terminated by signal|leak' "$data/log"; then
    echo "not ok in_process server"
    say "a server process crashed or lost something, see $data/log"
    failed=1
fi
exit "$failed"
