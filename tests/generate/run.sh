#!/usr/bin/env bash
# Gives the files in expected/, which cargo test compares with what en57_generate makes, to their languages' own tools, and
# sends events through them: JSON to typed to JSON. Rust's turn is in tests/generate.rs. Prints 'ok' or 'not ok' for each.
# A language whose tools are not to be had is named and left out; in CI that is a failure.
source "$(dirname "$0")/../harness/lib.sh"

here=$root/tests/generate
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
say "generated code: TypeScript, Python, Ruby, Go"

# is LANGUAGE WHAT COMMAND...: whether the command succeeds and is silent.
is() {
    local language=$1 what=$2
    shift 2
    if (cd "$work" && "$@") >"$work/log" 2>&1 && [[ ! -s $work/log ]]; then
        echo "ok generate $language $what"
    else
        echo "not ok generate $language $what"
        head -40 "$work/log"
        failed=1
    fi
}

# round_trip LANGUAGE COMMAND...
round_trip() {
    local language=$1
    shift
    python3 "$here/compare.py" lines "$language" "$here/events.json" >"$work/rows"
    if ! (cd "$work" && "$@") <"$work/rows" >"$work/$language.out" 2>"$work/log"; then
        head -40 "$work/log"
    fi
    python3 "$here/compare.py" same "$language" "$work/$language.out" "$here/events.json" || failed=1
}

# refuses LANGUAGE COMMAND...: whether it refuses what is in refused.json, and says why.
refuses() {
    local language=$1
    shift
    python3 "$here/compare.py" lines "$language" "$here/refused.json" >"$work/rows"
    (cd "$work" && "$@") <"$work/rows" >"$work/$language.out" 2>"$work/log" || head -40 "$work/log"
    python3 "$here/compare.py" refused "$language" "$work/$language.out" "$here/refused.json" || failed=1
}

# has LANGUAGE: whether its tools are there, or can be had.
has() {
    "$root/tests/harness/setup.sh" "generate-$1" && return
    say "the tests of generated $1 are left out"
    [[ -z ${CI:-} ]] || { echo "not ok generate $1" && failed=1; }
    return 1
}

if has python; then
    cp "$here/expected/events.py" "$here/round_trip.py" "$work"
    is python mypy mypy --strict --no-error-summary --cache-dir "$work/mypy" events.py round_trip.py
    round_trip python python3 round_trip.py
    refuses python python3 round_trip.py

    if has ruby; then
        is ruby warnings ruby -W -e "load '$here/expected/events.rb'"
        round_trip ruby ruby -W "$here/round_trip.rb"
    fi
    if has typescript; then
        cp "$here/expected/events.ts" "$here/round_trip.ts" "$work"
        is typescript tsc tsc --strict --noUnusedLocals --noImplicitReturns --exactOptionalPropertyTypes \
            --noUncheckedIndexedAccess --target es2022 --module commonjs events.ts round_trip.ts
        round_trip typescript node round_trip.js
    fi
    if has go; then
        sed 's/^package events$/package main/' "$here/expected/events.go" >"$work/events.go"
        cp "$here/round_trip.go" "$work"
        printf 'module events\n\ngo 1.18\n' >"$work/go.mod"
        export GOCACHE=$work/go-cache GOFLAGS=-mod=mod GOTOOLCHAIN=local
        is go gofmt gofmt -d events.go
        is go vet go vet .
        is go build go build -o round_trip .
        round_trip go ./round_trip
        refuses go ./round_trip
    fi
fi
exit "$failed"
