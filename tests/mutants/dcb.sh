#!/usr/bin/env bash
# make mutants-dcb: cargo-mutants changes the pure domain (src/dcb/), one expression after the other, and runs the tests that
# need no server. What no test notices is printed, and is in target/mutants/mutants.out/missed.txt. Some minutes to hours.
#
# FILES  only these, as patterns of paths: 'src/dcb/query.rs'
source "$(dirname "$0")/../harness/lib.sh"

# Pinned: another version makes other mutants.
readonly VERSION=27.1.0
tools=$root/target/tools
if [[ $("$tools/bin/cargo-mutants" mutants --version 2>/dev/null) != "cargo-mutants $VERSION" ]]; then
    say "installing cargo-mutants $VERSION into target/tools"
    cargo install --quiet --locked --root "$tools" --target-dir "$root/target/tools-build" --version "$VERSION" cargo-mutants ||
        die "cargo-mutants $VERSION cannot be had: this needs a registry of crates"
fi
mkdir -p "$root/target/mutants"
# The tests of the package are beside the library, so its 'test' targets see the changed domain through tests/lib.rs.
cd "$root"
"$tools/bin/cargo-mutants" mutants --package en57-tests --file "${FILES:-src/dcb/**}" --output target/mutants --no-shuffle \
    --baseline run --jobs 1 --timeout 60 --profile tests --colors never -- \
    --test dcb --test query_text --test evolution --test generate
