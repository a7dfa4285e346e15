#!/usr/bin/env bash
# make test: every part runs, whatever became of the ones before it; the last line adds them up.
#
# ALSO_PG  another major, for what is not the same on all of them: pg_regress, the isolation tests, the driver, the history
# TESTS    only these of pg_regress and the isolation tests
source "$(dirname "$0")/lib.sh"

passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs a command, shows what it prints and adds up what it reports; one that fails without naming a test counts as one.
part() {
    local status=0 ok not_ok started=$SECONDS
    "$@" | tee "$log" || status=$?
    read -r ok not_ok < <(awk '
        /^ok /           { ok++ }
        /^not ok /       { not_ok++ }
        /^test result: / { ok += $4; not_ok += $6 }
        END              { print ok + 0, not_ok + 0 }' "$log")
    if ((status != 0 && not_ok == 0)); then
        not_ok=1
        say "failed: $*"
    fi
    passed=$((passed + ok))
    failed=$((failed + not_ok))
    say "$ok passed, $not_ok failed in $((SECONDS - started)) s: ${*#"$root/"}"
}

# on_other_major COMMAND..: where that major can be had. With the build that takes the least time: it is about PostgreSQL.
on_other_major() {
    local PG=$ALSO_PG PROFILE=quick
    export PG PROFILE
    if "$root/tests/harness/setup.sh"; then
        "$@"
    elif [[ -z ${CI:-} ]]; then
        say "PostgreSQL $PG is left out"
    else
        return 1
    fi
}

part "$root/tests/harness/suites.sh"
if [[ -z ${TESTS:-} ]]; then
    part "$root/tests/harness/in_process.sh"
    part "$root/tests/harness/rust.sh"
    part "$root/tests/model/run.sh"
    part "$root/tests/history/run.sh"
    part "$root/tests/harness/ruby.sh"
    part "$root/tests/generate/run.sh"
    part "$root/tests/given_when_then/run.sh"
    part "$root/tests/upgrade/run.sh"
    part "$root/.ci/links"
    part "$root/tests/harness/docs.sh"
fi
if [[ -n ${ALSO_PG:-} ]]; then
    part on_other_major "$root/tests/harness/suites.sh"
    if [[ -z ${TESTS:-} ]]; then
        part on_other_major "$root/tests/harness/rust.sh" --test driver
        part on_other_major env SECONDS_TO_RUN=60 "$root/tests/history/run.sh"
    fi
fi

echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
