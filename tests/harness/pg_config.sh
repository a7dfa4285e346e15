#!/usr/bin/env bash
# Prints the pg_config of PostgreSQL $PG to build with, or, with arguments, what it answers to them.
source "$(dirname "$0")/lib.sh"

pg_config=$(source_pg_config)
[[ -n $pg_config ]] || die "PostgreSQL $PG is not there: run make setup PG=$PG"
if (($#)); then
    exec "$pg_config" "$@"
fi
printf '%s\n' "$pg_config"
