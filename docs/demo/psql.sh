#!/usr/bin/env bash
# make psql: psql on the demo's database; its server runs as long as psql does.
source "$(dirname "$0")/lib.sh"

demo_start
"$psql"
