#!/usr/bin/env bash
# Builds en57, installs it into the tree of PostgreSQL $PG, and runs pg_regress and the isolation tests on a server there.
source "$(dirname "$0")/server.sh"

make=(make --no-print-directory -C "$root")
"${make[@]}" build >&2
tree=$("$root/tests/harness/tree.sh")
"${make[@]}" install PG_CONFIG="$tree" >&2

say "pg_regress and isolation tests on $("$tree" --version)"
data=$base/data/$PG
trap 'trap "" INT TERM HUP; server_stop "$tree" "$data"' EXIT
server_stop "$tree" "$data"
server_init "$tree" "$data" 'fsync = off' 'max_prepared_transactions = 4'
server_start "$tree" "$data"
status=0
PG_CONFIG=$tree "$root/tests/harness/regress.sh" || status=1

# A crash that no expected output tells of.
if grep -E 'PANIC:|TRAP:|terminated by signal' "$data/log"; then
    echo "not ok server"
    say "a server process crashed, see $data/log"
    status=1
fi
exit "$status"
