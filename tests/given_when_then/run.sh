#!/usr/bin/env bash
# What docs/decisions.md says of pg_regress: a test of a decider that says given, when, then passes; and the same test fails
# where the decider does not do what it says, so that it cannot be green whatever happens. Prints 'ok' or 'not ok' for each.
# (tests/harness/docs.sh runs the same pattern with pgTAP, with a test that fails.)
source "$(dirname "$0")/../harness/server.sh"

tree=$("$root/tests/harness/tree.sh")
make --no-print-directory -C "$root" install PG_CONFIG="$tree" >&2
client=$(client_pg_config "$tree")
data=$base/data/given-$PG
work=$(mktemp -d)
trap 'trap "" INT TERM HUP; server_stop "$tree" "$data"; rm -rf "$work"' EXIT
server_stop "$tree" "$data"
server_init "$tree" "$data" 'fsync = off'
server_start "$tree" "$data"
failed=0

# regress FOLDER: what the page says.
regress() {
    "$("$client" --pkglibdir)/pgxs/src/test/regress/pg_regress" --bindir="$("$client" --bindir)" --inputdir="$1" \
        --outputdir="$work/out" --load-extension=en57 sell_seat >"$work/log" 2>&1
}

if regress "$root/tests/given_when_then"; then
    echo "ok given the decider passes"
else
    echo "not ok given the decider passes"
    cat "$work/out/regression.diffs" 2>/dev/null || cat "$work/log"
    failed=1
fi

# A decider that sells whatever is left. Of three decisions one is another then.
cp -r "$root/tests/given_when_then/." "$work/careless"
sed -i 's/state IS NULL OR .* < 1 THEN/state IS NULL THEN/' "$work/careless/sql/sell_seat.sql"
sed -i 's/state IS NULL OR .* < 1 THEN/state IS NULL THEN/' "$work/careless/expected/sell_seat.out"
if ! regress "$work/careless" && [[ $(grep -c '^-ERROR:  no seat is left$' "$work/out/regression.diffs") == 1 ]]; then
    echo "ok given a careless decider fails"
else
    echo "not ok given a careless decider fails"
    cat "$work/out/regression.diffs" 2>/dev/null || cat "$work/log"
    failed=1
fi
exit "$failed"
