#!/usr/bin/env bash
# Runs the history checker on a server of its own: see tests/history/main.rs. Prints 'ok' or 'not ok' for each rule.
#
# SECONDS_TO_RUN  how long clients and nemesis are at work; by default 180
# SEED            of their random choices; what runs beside each other still comes in another order each time
source "$(dirname "$0")/../harness/lib.sh"

tree=$("$root/tests/harness/tree.sh")
make --no-print-directory -C "$root" install PG_CONFIG="$tree" >&2
say "the history checker on $("$tree" --version)"
cd "$root"
[[ -z ${SEED:-} ]] || export EN57_TEST_SEED=$SEED
export EN57_HISTORY_SECONDS=${SECONDS_TO_RUN:-180}
PGRX_PG_CONFIG_PATH=$(source_pg_config) EN57_BINDIR=$("$tree" --bindir) EN57_LIBDIR=$("$tree" --pkglibdir) \
    cargo test --quiet --release --no-default-features --features "pg$PG" --target-dir "target/pg$PG" --test history -- "$@"
