#!/usr/bin/env bash
# Runs the history checker on a server of its own: see tests/history/main.rs. Prints 'ok' or 'not ok' for each rule.
# Before that the checker must find the faults that its self-test plants.
#
#     tests/history/run.sh                 the whole
#     tests/history/run.sh selftest        the self-test alone
#     tests/history/run.sh check FOLDER    looks once more at the logs of a run
#     tests/history/run.sh shrink FOLDER   finds the shortest log that still shows what is wrong
#
# SECONDS_TO_RUN        how long clients and nemesis are at work; by default 180
# SEED                  of their random choices; what runs beside each other still comes in another order each time
# EN57_HISTORY_CLIENTS  how many clients append; else the seed chooses a number from 12 to 64
# EN57_HISTORY_CARELESS  1: what a promotion loses is to be found, so the run must fail
# PROFILE               cargo's for the library: release, or quick
source "$(dirname "$0")/../harness/lib.sh"

tree=$("$root/tests/harness/tree.sh")
cd "$root"
history() {
    EN57_BINDIR=$("$tree" --bindir) EN57_LIBDIR=$("$tree" --pkglibdir) \
        cargo test --quiet --package en57-tests --profile tests --target-dir target/tests --test history -- "$@"
}
if (($# > 0)); then
    history "$@"
    exit
fi
make --no-print-directory install PG_CONFIG="$tree" >&2
say "the history checker on $("$tree" --version)"
[[ -z ${SEED:-} ]] || export EN57_TEST_SEED=$SEED
export EN57_HISTORY_SECONDS=${SECONDS_TO_RUN:-180}
EN57_COMMIT=$(git rev-parse --short HEAD 2>/dev/null || true)
export EN57_COMMIT
history selftest
history
