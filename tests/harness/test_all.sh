#!/usr/bin/env bash
# make test-all: every test on each major; the last lines say what came of each.
#
# MAJORS  only these
source "$(dirname "$0")/lib.sh"

log=$(mktemp)
summary=()
trap 'rm -f "$log"' EXIT
failed=0
for major in ${MAJORS:-15 16 17 18}; do
    say "every test on PostgreSQL $major"
    status=0
    started=$SECONDS
    { PG=$major "$root/tests/harness/setup.sh" && PG=$major "$root/tests/harness/test.sh"; } 2>&1 | tee "$log" || status=$?
    ((status == 0)) || failed=1
    summary+=("PostgreSQL $major: $(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1), in $(((SECONDS - started) / 60)) minutes")
done
for line in "${summary[@]}"; do say "$line"; done
exit "$failed"
