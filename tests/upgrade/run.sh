#!/usr/bin/env bash
# Updates a database of each released version by ALTER EXTENSION en57 UPDATE and compares it with a fresh one: the catalogs
# line by line, and what a log that was written before does afterwards. Before the first release, and as a test of the test,
# today's script stands in for an older one. README.md says what is compared. Prints 'ok' or 'not ok' for each.
source "$(dirname "$0")/lib.sh"
source "$here/selftest.sh"
source "$here/session.sh"

stand_in=0.0.9
finish() {
    trap '' INT TERM HUP
    server_stop "$tree" "$data"
    rm -rf "$work"
}

prepare_tree
script=$extension/en57--$version.sql
data=$base/data/upgrade-$PG
trap finish EXIT
server_stop "$tree" "$data"
server_init "$tree" "$data" 'fsync = off' 'wal_level = logical'
server_start "$tree" "$data"
say "updates of en57 to $version on $("$tree" --version)"
roles

# Does the library say that it serves the tables of this version?
is_served() { grep -qE "const SCHEMAS: .*\"${1//./\\.}\"" "$(schemas)"; }

update() { PGUSER=upgrade_dba on "$1" -c 'ALTER EXTENSION en57 UPDATE'; }

# after DATABASE LABEL NAME..: with these variables true of worker, updated and restored.
after() {
    local status=0 database=$1 label=$2 variables=() name expected
    shift 2
    for name in worker updated restored; do
        variables+=(-v "$name=$([[ " $* " == *" $name "* ]] && echo true || echo false)")
    done
    PGOPTIONS="$PGOPTIONS -c upgrade.label=${label// /\\ }" "${psql[@]}" -d "$database" "${variables[@]}" -f "$here/after.sql" >"$work/after" 2>&1 || status=1
    grep -E '^(ok|not ok|#)' "$work/after" || status=1
    ! grep -q '^not ok' "$work/after" || failed=1
    # A test that finds no row says nothing.
    expected=$(grep -c "^SELECT pg_temp.test('" "$here/after.sql")
    [[ " $* " == *' worker '* ]] || expected=$((expected - 1))
    if ((status)) || grep -E 'ERROR:|FATAL:' "$work/after" || (($(grep -cE '^(ok|not ok) ' "$work/after") != expected)); then
        not_ok "$label: all $expected tests have said something"
    fi
}

# The catalogs, from an extension that has nothing but what its script gave it.
compare_catalogs() {
    database "bare_$1"
    on "bare_$1" -c "CREATE EXTENSION en57 VERSION '$1'"
    update "bare_$1"
    surface "bare_$1" >"$work/bare_$1"
    same "$1: the catalogs are those of a fresh $version" "$work/bare_$1" "$work/fresh"
}

# A log that was written before, in an open session and under the worker.
live() {
    local from=$1 worker=false
    database "live_$from"
    on "live_$from" -c "CREATE EXTENSION en57 VERSION '$from'"
    if is_served "$from"; then
        worker=true
        on "live_$from" -c 'SELECT en57_worker_start()' >/dev/null
    fi
    on "live_$from" -v worker=$worker -f "$here/before.sql"
    on "live_$from" -c 'SELECT en57_worker_stop()' >/dev/null
    dump "live_$from" >"$work/dump_$from"

    # Beside the new library, before the update.
    if is_served "$from" || [[ $from == "$stand_in" ]]; then
        database "beside_$from" "live_$from"
        after "beside_$from" "$from, not updated"
    fi

    if on "live_$from" -A -t -c "SELECT warning FROM en57_status() WHERE name = 'schema_version'" | grep -q '^Run ALTER EXTENSION en57 UPDATE'; then
        ok "$from, not updated: en57_status says what to do"
    else
        not_ok "$from, not updated: en57_status says what to do"
    fi
    on "live_$from" -c 'SELECT en57_worker_start()' >/dev/null
    if [[ $worker == false ]]; then
        await "$from: the worker says that it does not know this version" "does not know version $from of the extension's tables"
    fi
    session_open "live_$from"
    update "live_$from"
    session_goes_on "$from"
    dump "live_$from" >"$work/dump_updated_$from"
    after "live_$from" "$from, updated" worker updated
    session_appends "$from"
    on "live_$from" -c 'SELECT en57_worker_stop()' >/dev/null
}

# await WHAT TEXT: until the server's log has it.
await() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        if grep -qF "$2" "$data/log"; then
            ok "$1"
            return
        fi
        sleep 0.1
    done
    not_ok "$1"
}

# The log as the released library has written it, with the partitions that it has made: a dump from then, restored by the
# script of then.
frozen_log() {
    local log=$here/released/log--$1.sql
    [[ -f $log ]] || return 0
    database "frozen_$1"
    on "frozen_$1" -c "CREATE EXTENSION en57 VERSION '$1'"
    on "frozen_$1" -f "$log" >/dev/null
    update "frozen_$1"
    surface "frozen_$1" | partition_lines >"$work/frozen_$1"
    partition_lines <"$work/fresh" >"$work/fresh_partition"
    same "$1: its default partition is that of a fresh $version" "$work/frozen_$1" "$work/fresh_partition"
    after "frozen_$1" "$1, a log of then" updated restored
}

# Of a surface what is the default partition's, but for the rights that users were given.
partition_lines() { grep 'events_default' | grep -vE '\| relacl \||^pg_init_privs' || true; }

# restored LABEL FILE: a dump is restored where only the new version is installed.
restored() {
    database restored
    on restored -f "$2" >/dev/null
    after restored "$1" updated restored
}

cp "$script" "$work/script.sql"
script=$work/script.sql
database fresh
on fresh -c 'CREATE EXTENSION en57'
surface fresh >"$work/fresh"

selftest

# What is released stays as it was released.
if [[ -f $here/released/SHA256SUMS ]]; then
    if (cd "$root" && sha256sum --check --quiet "$here/released/SHA256SUMS" >"$work/sums" 2>&1); then
        ok 'what is released is as it was'
    else
        not_ok 'what is released is as it was'
        cat "$work/sums"
    fi
fi

mapfile -t versions < <(released)
for from in "${versions[@]}"; do
    put "$here/released/en57--$from.sql" "en57--$from.sql"
done
if ((${#versions[@]} == 0)); then
    say "no version is released yet: today's script stands in for an older one"
fi
put "$script" "en57--$stand_in.sql"
step "$stand_in" "$version" >"$work/step"
put "$work/step" "en57--$stand_in--$version.sql"
versions+=("$stand_in")

for from in "${versions[@]}"; do
    compare_catalogs "$from"
    live "$from"
    frozen_log "$from"
done
for from in "${versions[@]}"; do
    rm -f "$extension/en57--$from.sql"
done
rm -f "$extension"/en57--*--*.sql
for from in "${versions[@]}"; do
    restored "$from, dumped, restored as $version" "$work/dump_$from"
    restored "$from, updated, dumped and restored" "$work/dump_updated_$from"
done

if grep -E 'PANIC:|TRAP:|terminated by signal' "$data/log"; then
    not_ok 'no server process crashed'
fi
exit "$failed"
