#!/usr/bin/env bash
# Builds en57 with cargo's profile 'quick', installs it into the tree of PostgreSQL $PG, and runs TESTS of pg_regress and
# the isolation tests on a server there, which is a copy of one that was initialised before. Says how long it took.
#
# TESTS  the names of the tests; all where there are none
source "$(dirname "$0")/server.sh"

started=$EPOCHREALTIME
export PROFILE=quick
make --no-print-directory -s -C "$root" build >&2
tree=$("$root/tests/harness/tree.sh")
make --no-print-directory -s -C "$root" install PG_CONFIG="$tree" >&2
built=$EPOCHREALTIME

fresh=$base/data/quick-fresh-$PG
data=$base/data/quick-$PG
trap 'trap "" INT TERM HUP; server_stop "$tree" "$data"' EXIT
server_stop "$tree" "$data"
[[ -d $fresh/base && $fresh -nt $tree ]] || server_init "$tree" "$fresh" 'fsync = off' 'max_prepared_transactions = 4'
rm -rf "$data"
cp -a --reflink=auto "$fresh" "$data"
server_start "$tree" "$data"
status=0
PG_CONFIG=$tree "$root/tests/harness/regress.sh" || status=1
if grep -E 'PANIC:|TRAP:|terminated by signal' "$data/log"; then
    say "a server process crashed, see $data/log"
    status=1
fi
awk -v s="$started" -v b="$built" -v e="$EPOCHREALTIME" 'BEGIN { printf "== built and installed in %.1f s, tested in %.1f s\n", b - s, e - b }' >&2
exit "$status"
