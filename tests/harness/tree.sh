#!/usr/bin/env bash
# Makes the tree of PostgreSQL $PG if it is not there yet, and prints its pg_config.
#
# A tree is a copy of the folders that a pg_config reports, under the same names below .pg/MAJOR: the server finds its
# libraries and scripts by their place relative to itself, and so does its pg_config. A wheel is a tree already.
source "$(dirname "$0")/lib.sh"

pg_config=$(source_pg_config)
[[ -n $pg_config ]] || die "PostgreSQL $PG is not there: run make setup PG=$PG"

case $pg_config in
    "$base"/*) tree_pg_config=$pg_config ;;
    *) tree_pg_config=$base/$PG$pg_config ;;
esac

if ! cmp -s "$(dirname "$pg_config")/postgres" "$(dirname "$tree_pg_config")/postgres"; then
    say "copying PostgreSQL $PG from $(dirname "$pg_config") to $base/$PG"
    make_base
    rm -rf "${base:?}/$PG" "$base/$PG.new"
    mkdir "$base/$PG.new"
    for what in bindir pkglibdir sharedir includedir-server; do
        tar -C / -cf - ".$("$pg_config" --$what)" | tar -C "$base/$PG.new" -xf -
    done
    mv "$base/$PG.new" "$base/$PG"
fi

printf '%s\n' "$tree_pg_config"
