#!/usr/bin/env bash
# Explores the protocol of positions, frontiers and locks in all interleavings, and sees that each broken order is found.
#
# LARGE  also the scenarios that take minutes
source "$(dirname "$0")/../harness/lib.sh"

explore() {
    cargo test --quiet --manifest-path "$root/tests/model/Cargo.toml" --target-dir "$root/target/model" --lib "$@"
}

say "the model"
status=0
explore -- --nocapture || status=1
explore --features broken -- --nocapture || status=1
[[ -z ${LARGE:-} ]] || explore -- --nocapture --ignored || status=1
exit "$status"
