# Sourced: a PostgreSQL of these tests' own with scripts of several versions, and the comparison of two databases.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../harness/server.sh"

here=$root/tests/upgrade
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
work=$(mktemp -d)
failed=0
export PGOPTIONS='-c client_min_messages=warning'

# The versions that are released, the oldest first: their scripts are kept.
released() {
    find "$here/released" -name 'en57--*.sql' 2>/dev/null | sed -E 's/.*en57--(.*)\.sql/\1/' | sort -V
}

# A copy of the tree, so that old scripts are in no other test's way. Its files are links; what is installed later are
# files of its own.
prepare_tree() {
    local source
    source=$("$root/tests/harness/tree.sh")
    make --no-print-directory -C "$root" install PG_CONFIG="$source" >&2
    rm -rf "${base:?}/upgrade-$PG"
    cp -al "$base/$PG" "$base/upgrade-$PG"
    tree=$base/upgrade-$PG${source#"$base/$PG"}
    extension=$("$tree" --sharedir)/extension
    rm -f "$extension"/en57--*--*.sql
    for file in "$root"/sql/en57--*--*.sql; do
        [[ ! -f $file ]] || put "$file" "$(basename "$file")"
    done
    psql=("$("$(client_pg_config "$tree")" --bindir)/psql" -X -q)
}

# put FILE NAME: among the scripts of the extension.
put() { install -m 644 "$1" "$extension/$2"; }

# step OLD NEW [FILE]: a step between two versions with the changes of the file, in the form that `make freeze` begins it.
step() {
    sed "s/@OLD@/$1/; s/@NEW@/$2/" "$here/step.sql" | awk -v changes="${3:-/dev/null}" '
        { print }
        /^-- The changes/ { while ((getline line <changes) > 0) print line }'
}

on() { # on DATABASE ARGUMENT..
    local database=$1
    shift
    "${psql[@]}" -v ON_ERROR_STOP=1 -d "$database" "$@"
}

database() { on postgres -c "DROP DATABASE IF EXISTS \"$1\"" -c "CREATE DATABASE \"$1\" TEMPLATE \"${2:-template0}\"" >&2; }

surface() { on "$1" -f "$here/surface.sql"; }

dump() { "$(dirname "${psql[0]}")/pg_dump" "$1"; }

# Who before.sql gives rights to, and who runs updates: another superuser than the owner of the extension.
roles() {
    on postgres -c 'CREATE ROLE upgrade_dba SUPERUSER LOGIN' -c 'CREATE ROLE upgrade_writer' -c 'CREATE ROLE upgrade_reader' -c 'CREATE ROLE upgrade_admin'
}

# The file that says which versions of the tables the library serves.
schemas() { grep -rlE 'const SCHEMAS: .*env!' "$root/src"; }

ok() { echo "ok upgrade $*"; }
not_ok() {
    echo "not ok upgrade $*"
    failed=1
}

# differences FILE FILE: what only one of two sorted surfaces has.
differences() {
    LC_ALL=C comm -3 <(LC_ALL=C sort "$1") <(LC_ALL=C sort "$2") | sed -E 's/^\t/+ /; t; s/^/- /' | cut -c 1-"${WIDTH:-300}"
}

# same WHAT UPDATED FRESH: '-' is before what only the updated database has, '+' before what only the fresh one has.
same() {
    differences "$2" "$3" >"$work/differences"
    if [[ ! -s $work/differences ]]; then
        ok "$1"
    else
        not_ok "$1"
        echo "# $(wc -l <"$work/differences") lines differ: - is in the updated database alone, + in the fresh one alone"
        head -n 60 "$work/differences"
    fi
}
