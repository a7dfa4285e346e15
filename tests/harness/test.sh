#!/usr/bin/env bash
# make test: every part runs, whatever became of the ones before it; the last line adds them up.
#
# ALSO_PG  another major, for what is not the same on all of them: pg_regress, the isolation tests, the driver, the history
# TESTS    only these of pg_regress and the isolation tests
source "$(dirname "$0")/lib.sh"

# What each part has reported: passed and failed, one line a part.
counts=$(mktemp)
trap 'rm -f "$counts" "$counts".*' EXIT

# Runs a command, shows what it prints and notes what it reports; one that fails without naming a test counts as one.
part() {
    local status=0 ok not_ok started=$SECONDS log
    log=$(mktemp "$counts.XXXXXX")
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
    echo "$ok $not_ok" >>"$counts"
    say "$ok passed, $not_ok failed in $((SECONDS - started)) s: ${*#"$root/"}"
}

# together LANE LANE: runs two functions at the same time. What the second one prints comes when both are through. Most tests
# wait for servers and for each other, so two of them share two processors well.
together() {
    local second=$counts.second lane
    "$2" >"$second" 2>&1 &
    lane=$!
    "$1"
    say "waiting for what runs beside it"
    wait "$lane" || true
    cat "$second"
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

make=(make --no-print-directory -C "$root")

# The library as it is released: one processor is busy with it for minutes.
build_release() { "${make[@]}" build && "$root/tests/harness/tree.sh" >/dev/null; }
# Everything else.
build_others() {
    "${make[@]}" in-process-library &&
        (cd "$root" && cargo test --package en57-tests --profile tests --target-dir target/tests --no-run)
}
build_other_major() { on_other_major "${make[@]}" build; }
wait_for_release() { until [[ -e $counts.release ]]; do sleep 1; done; }

# Both take about the same time. While the release is built, the other major is tested.
first_lane() {
    part build_release
    touch "$counts.release"
    part "$root/tests/harness/suites.sh"
    part "$root/tests/harness/in_process.sh"
    part "$root/tests/harness/ruby.sh"
    part "$root/tests/generate/run.sh"
    part "$root/tests/given_when_then/run.sh"
    part "$root/tests/upgrade/run.sh"
    part "$root/.ci/links"
    part "$root/tests/harness/docs.sh"
    [[ -z ${ALSO_PG:-} ]] || part on_other_major "$root/tests/harness/suites.sh"
}
second_lane() {
    part build_others
    if [[ -n ${ALSO_PG:-} ]]; then
        part build_other_major
        part on_other_major "$root/tests/harness/rust.sh" --test driver
        part on_other_major env SECONDS_TO_RUN=60 "$root/tests/history/run.sh"
    fi
    part "$root/tests/model/run.sh"
    wait_for_release
    part "$root/tests/harness/rust.sh"
    part "$root/tests/history/run.sh"
}

if [[ -n ${TESTS:-} ]]; then
    part "$root/tests/harness/suites.sh"
    [[ -z ${ALSO_PG:-} ]] || part on_other_major "$root/tests/harness/suites.sh"
else
    together first_lane second_lane
fi

read -r passed failed < <(awk '{ passed += $1; failed += $2 } END { print passed + 0, failed + 0 }' "$counts")
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
