#!/usr/bin/env bash
# Measures en57 against plain tables, all in one run on one fresh cluster, the scenarios taking turns in every round, and
# prints medians and ratios as docs/BENCHMARKS.md has them. About 45 minutes.
#
# run.sh quick    one round of a second each: shows that everything runs, not how fast
# ROUNDS          5
# SECONDS_EACH    5, of one scenario in one round
# ONLY            some of the parts, which are the folders here: "writes reads"; default: all but large
# LARGE=1         large too: a condition's price with 10 million events in the store
# RECORD=1        puts the result into docs/BENCHMARKS.md
# INSTALLED=1     measures the en57 that is installed in PG or PG_CONFIG, instead of installing into a copy
#
# Every scenario of writing has a database of its own, so that all stores grow alike.
# shellcheck source-path=SCRIPTDIR source=../tests/harness/server.sh
source "$(dirname "$0")/../tests/harness/server.sh"

# shellcheck disable=SC2154 # root and base come from tests/harness/lib.sh
benches=$root/benches
rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-5}
parts=(writes streams batches many contended projections rebuild schemas upcasters deciders folds worker lag waiting subscriptions reads memory imports large)
# shellcheck disable=SC2034 # the parts use it
quick=0
# shellcheck disable=SC2034 # the parts use quick
if [[ ${1:-} == quick ]]; then
    rounds=1 seconds=1 quick=1
fi
only=${ONLY:-${parts[*]/large/}}
[[ -z ${LARGE:-} ]] || only+=' large'

wants() { [[ " $only " == *" $1 "* ]]; }
ask() { "$bin/psql" -X -q -A -t -F ' ' -v ON_ERROR_STOP=1 -d "$1" -c "$2"; }
new_database() {
    "$bin/psql" -X -q -v ON_ERROR_STOP=1 -d postgres -c "DROP DATABASE IF EXISTS $1" -c "CREATE DATABASE $1 TEMPLATE ${2:-start}" 2>/dev/null
}
run_sql() { "$bin/psql" -X -q -v ON_ERROR_STOP=1 -o /dev/null -d "$1" -f "$benches/$2"; }

# CPU of all backends that have ended, in ticks.
cpu_ticks() { awk '{ sub(/.*\) /, ""); print $14 + $15 }' "/proc/$postmaster/stat"; }
wal() { ask postgres 'SELECT wal_bytes, wal_records, wal_fpi, wal_sync FROM pg_stat_wal'; }

# measure GROUP NAME DATABASE SCRIPT EVENTS CLIENTS SYNC ROUND [PGBENCH OPTION...]: adds a line to the results.
measure() {
    local group=$1 name=$2 database=$3 script=$4 events=$5 clients=$6 sync=$7 round=$8
    local head ticks before after rate done_count failed stored out
    shift 8
    head=$(ask "$database" 'SELECT en57_head()')
    before=$(wal) ticks=$(cpu_ticks)
    out=$(PGOPTIONS="-c synchronous_commit=$sync ${MORE_OPTIONS:-}" "$bin/pgbench" -n -M prepared -c "$clients" \
        -j $((clients > 1 ? 2 : 1)) -T "$seconds" -D after="$head" "$@" -f "$benches/$script" "$database" 2>&1) ||
        die "pgbench $script: $out"
    sleep 0.2 # the last backends go
    ticks=$(($(cpu_ticks) - ticks))
    after=$(wal)
    stored=$(($(ask "$database" 'SELECT en57_head()') - head))
    rate=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$out")
    done_count=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' <<<"$out")
    failed=$(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' <<<"$out")
    awk -v group="$group" -v name="$name" -v clients="$clients" -v sync="$sync" -v round="$round" -v rate="$rate" \
        -v calls="$done_count" -v failed="$failed" -v events="$events" -v stored="$stored" -v ticks="$ticks" \
        -v hertz="$(getconf CLK_TCK)" -v before="$before" -v after="$after" 'BEGIN {
            split(before, b, " "); split(after, a, " ")
            refused = name ~ /^append/ ? calls - stored / events : failed
            good = name ~ /^append/ ? stored / events : calls
            per = good * events
            if (per < 1) per = 1
            print group, name, clients, sync, round, rate * good / calls * events, rate * refused / calls,
                ticks / hertz * 1e6 / per, (a[1] - b[1]) / per, (a[2] - b[2]) / per, (a[3] - b[3]) / per, (a[4] - b[4]) / per
        }' >>"$results"
    printf '%-10s round %d  %-14s %2d clients, sync %-3s  %s\n' "$group" "$round" "$name" "$clients" "$sync" \
        "$(awk 'END { printf "%d/s, %.1f us of CPU each", $6, $8 }' "$results")" >&2
}

disk() { # GROUP NAME DATABASE TABLE...: bytes an event
    local group=$1 name=$2 database=$3
    shift 3
    echo "disk $group $name $(ask "$database" "SELECT sum(pg_total_relation_size(t)) / greatest((SELECT count(*) FROM $1), 1)
        FROM unnest('{$(IFS=,; echo "$*")}'::regclass[]) AS t")" >>"$results"
}

load() { # DATABASE EVENTS
    local from
    say "loading $2 events"
    for ((from = 0; from < $2; from += 10000)); do
        echo "SELECT (en57_append(jsonb_agg(jsonb_build_object('type', 'order placed', 'data', data(n % 100000, n),
            'tags', jsonb_build_array('customer:' || n % 100000, 'order:' || n))))).outcome
            FROM generate_series($from + 1, $from + 10000) AS n;"
    done | PGOPTIONS='-c synchronous_commit=off' "$bin/psql" -X -q -v ON_ERROR_STOP=1 -o /dev/null -d "$1"
}

if [[ -n ${INSTALLED:-} ]]; then
    pg_config=$(source_pg_config)
else
    pg_config=$("$root/tests/harness/tree.sh")
    make --no-print-directory -C "$root" install PG_CONFIG="$pg_config" >&2
fi
bin=$("$(client_pg_config "$pg_config")" --bindir)
[[ -x $bin/pgbench ]] || die "there is no pgbench in $bin"

make_base
# shellcheck disable=SC2154
data=$base/bench
work=$(mktemp -d)
results=$work/results
trap 'server_stop "$pg_config" "$data"; rm -rf "$work" "$data"' EXIT
server_stop "$pg_config" "$data"
settings=('shared_buffers = 1GB' 'max_wal_size = 16GB' 'checkpoint_timeout = 1h' 'max_connections = 130')
server_init "$pg_config" "$data" "${settings[@]}"
server_start "$pg_config" "$data"
postmaster=$(head -n 1 "$data/postmaster.pid")
ask postgres 'CREATE DATABASE start'
run_sql start setup.sql

load=$(cut -d " " -f 1 /proc/loadavg) # what else goes on here
say "$rounds rounds, $seconds s each: $only"
: >"$results"
for part in "${parts[@]}"; do
    if wants "$part"; then
        # shellcheck source=/dev/null
        source "$benches/$part/part.sh"
        "$part"
    fi
done

{
    echo "Machine: $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo), $(uname -sr). $("$bin/postgres" --version), $(printf '%s, ' "${settings[@]}")fsync on. Date: $(date +%F). Medians of $rounds rounds of $seconds s. Load of the machine before it began: $load."
    awk -f "$benches/report.awk" "$results"
} | tee "$work/report"

if [[ -n ${RECORD:-} ]]; then
    sed '/^<!-- results -->$/q' "$root/docs/BENCHMARKS.md" >"$work/page"
    { echo && cat "$work/report"; } >>"$work/page"
    cat "$work/page" >"$root/docs/BENCHMARKS.md"
    say "recorded in docs/BENCHMARKS.md"
fi
