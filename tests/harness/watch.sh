#!/usr/bin/env bash
# Runs quick.sh, and again whenever a file changes that its build or its tests are made of. Ctrl-C ends it.
#
# TESTS  as quick.sh takes them
source "$(dirname "$0")/lib.sh"

watched=("$root"/{src,sql,pg_regress,tests/harness,Cargo.toml,Makefile,en57.control})
seen=$(mktemp)
trap 'rm -f "$seen"' EXIT
trap 'exit 0' INT TERM

changed() { [[ -n $(find "${watched[@]}" -newer "$seen" -type f -print -quit) ]]; }

# Returns when one of the files has changed since the last run began.
await_change() {
    while ! changed; do
        if command -v inotifywait >/dev/null; then
            inotifywait --quiet --quiet --recursive --timeout 2 --event close_write,move,create,delete "${watched[@]}" || true
        else
            sleep 0.3
        fi
    done
}

while true; do
    touch "$seen"
    "$root/tests/harness/quick.sh" || true
    say "waiting for a change"
    await_change
done
