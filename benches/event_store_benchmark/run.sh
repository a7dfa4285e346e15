#!/usr/bin/env bash
# Runs the DCB workloads of the Event Store Benchmark Suite on en57, on the suite's own PostgreSQL adapter, on UmaDB and
# on a bare INSERT, all through the suite's clients and with durable commits. README.md beside this says what is what.
#
# EVENT_STORE_BENCHMARK  the checkout of the suite (github.com/pyeventsourcing/event-store-benchmark); there is no default
# ROUNDS                 5
# SECONDS_EACH           5, of one workload on one store in one round, after a second of warming up
# WORKERS                "1 4 16 64 256 1024", writers, and readers of one tag
# CONNECTIONS            12, of the pool that the workers of a PostgreSQL store share; 12 is the suite's default
# STORES                 "insert en57 postgres-dcb-ttcte umadb"
# WORKLOADS              "write read"
# READ_LIMIT             1, how many events of the tag a read asks for; 1 is the suite's default
# PREPOPULATE            50000, events in a tenth as many streams, before reads; as the suite has it
# INSTALLED=1            measures the en57 that is installed in PG or PG_CONFIG, instead of installing into a copy
#
# shellcheck source-path=SCRIPTDIR source=../../tests/harness/server.sh
source "$(dirname "$0")/../../tests/harness/server.sh"

suite=${EVENT_STORE_BENCHMARK:-}
[[ -n $suite ]] || die "EVENT_STORE_BENCHMARK is not set: it names a checkout of github.com/pyeventsourcing/event-store-benchmark"
[[ -f $suite/rust/bench-core/Cargo.toml ]] || die "$suite is not a checkout of the Event Store Benchmark Suite: it has no rust/bench-core"
suite=$(cd "$suite" && pwd)

rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-5}
read -ra workers <<<"${WORKERS:-1 4 16 64 256 1024}"
read -ra stores <<<"${STORES:-insert en57 postgres-dcb-ttcte umadb}"
read -ra workloads <<<"${WORKLOADS:-write read}"
prepopulate=${PREPOPULATE:-50000}
export ESB_POSTGRES_MAX_CONNECTIONS=${CONNECTIONS:-12}
umadb_version=0.7.8
umadb_sha256=dd0ba1edfb0c692234804a4b04cf70908bb48a337318a4c6c7a6ef9edb31fbc0 # of the wheel for Linux on x86_64
# shellcheck disable=SC2154 # root and base come from tests/harness/lib.sh
here=$root/benches/event_store_benchmark
build=$root/target/event_store_benchmark

# The crate stands beside a link to the suite, because Cargo wants a fixed path. Its lock file pins every other crate.
mkdir -p "$build/adapter"
ln -sfn "$suite" "$build/suite"
cp -r "$here/Cargo.toml" "$here/Cargo.lock" "$here/src" "$build/adapter"
say "building the adapter"
cargo build --release --locked --manifest-path "$build/adapter/Cargo.toml" --target-dir "$build/target" >&2
runner=$build/target/release/en57-event-store-benchmark

if [[ " ${stores[*]} " == *' umadb '* && $(cat "$build/umadb/version" 2>/dev/null) != "$umadb_version" ]]; then
    say "installing UmaDB $umadb_version"
    rm -rf "$build/umadb"
    echo "umadb==$umadb_version --hash=sha256:$umadb_sha256" >"$build/requirements.umadb"
    if python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --require-hashes \
        --only-binary=:all: --target "$build/umadb" --requirement "$build/requirements.umadb" >&2; then
        echo "$umadb_version" >"$build/umadb/version"
    else
        say "UmaDB $umadb_version cannot be had here: the tables have no line for it"
        rm -rf "$build/umadb"
        read -ra stores <<<"$(sed 's/\bumadb\b//' <<<"${stores[*]}")"
    fi
fi

if [[ -n ${INSTALLED:-} ]]; then
    pg_config=$(source_pg_config)
else
    pg_config=$("$root/tests/harness/tree.sh")
    make --no-print-directory -C "$root" install PG_CONFIG="$pg_config" >&2
fi
bin=$("$(client_pg_config "$pg_config")" --bindir)

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
ask() { "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -d postgres -c "$1" 2>/dev/null; }

make_base
data=$base/event_store_benchmark
work=$(mktemp -d)
umadb_pid=
umadb_stop() {
    [[ -z $umadb_pid ]] || { kill "$umadb_pid" && wait "$umadb_pid"; } 2>/dev/null || true
    umadb_pid=
    rm -rf "$data.umadb"
}
trap 'trap "" INT TERM HUP; umadb_stop; server_stop "$pg_config" "$data"; rm -rf "$work" "$data"' EXIT
trap 'exit 130' INT TERM HUP

# The suite's clients talk TCP to every store, also to PostgreSQL. So this server listens on an address of its own machine,
# and asks for a password there.
# shellcheck disable=SC2034 # server_init and server_start use it
port=$(free_port)
settings=('shared_buffers = 1GB' 'max_wal_size = 16GB' 'checkpoint_timeout = 1h' 'fsync = on' 'synchronous_commit = on'
    "max_connections = $((ESB_POSTGRES_MAX_CONNECTIONS + 20))")
server_stop "$pg_config" "$data"
server_init "$pg_config" "$data" "${settings[@]}" "listen_addresses = '127.0.0.1'"
printf '%s\n' 'local all all trust' 'host all all 127.0.0.1/32 scram-sha-256' >"$data/pg_hba.conf"
server_start "$pg_config" "$data"
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
ask "ALTER ROLE postgres PASSWORD '$password'"

# 1,024 clients of UmaDB are as many connections.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

# config MODE WORKERS: a workload as the suite's configs/scaling-dcb.yaml has it.
config() {
    local role=writers operation='read: {}'
    [[ $1 == write ]] || role=readers operation="read: { dcb_query: one_tag_one_type, limit: ${READ_LIMIT:-1} }"
    cat <<END
performance:
  name: $1
  mode: $1
  warmup_seconds: 1
  duration_seconds: $seconds
  samples_per_second: 2
  concurrency:
    $role: $2
  operations:
    write: { event_size_bytes: 256, concurrency_control: true, append_condition: one_tag_one_type }
    $operation
  stores: any
END
    [[ $1 == write ]] || printf '  setup: { prepopulate_events: %d, prepopulate_streams: %d }\n' "$prepopulate" $((prepopulate / 10))
}

umadb_start() { # ADDRESS
    rm -rf "$data.umadb"
    mkdir -p "$data.umadb"
    UMADB_READ_METHOD=fileio UMADB_PAGE_CACHE_MAX_MB=2000 PYTHONPATH=$build/umadb \
        python3 -c 'import sys; from umadb.umadb_server_cli import main; sys.argv[0] = "umadb"; main()' \
        --listen "$1" --db-path "$data.umadb" >"$work/umadb.log" 2>&1 &
    umadb_pid=$!
    for _ in {1..100}; do
        ! (: <"/dev/tcp/${1/://}") 2>/dev/null || return 0
        sleep 0.1
    done
    cat "$work/umadb.log" >&2
    die "UmaDB did not start"
}

# one STORE: a run on a store that has nothing in it yet.
one() {
    local uri
    if [[ $1 == umadb ]]; then
        local address
        address=127.0.0.1:$(free_port)
        umadb_start "$address"
        uri=http://$address
    else
        ask 'DROP DATABASE IF EXISTS esb WITH (FORCE)'
        ask 'CREATE DATABASE esb'
        uri="postgres://postgres:$password@127.0.0.1:$port/esb"
    fi
    if (cd "$work" && "$runner" "$work/config.yaml" "$1" "$uri") >"$work/log" 2>&1; then
        sed -n "s/^result //p" "$work/log" | tee -a "$work/results" >&2
    else
        tail -n 5 "$work/log" >&2
        die "the run on $1 failed"
    fi
    [[ $1 != umadb ]] || umadb_stop
}

load=$(cut -d ' ' -f 1 /proc/loadavg) # what else goes on here
say "$rounds rounds of $seconds s: ${workloads[*]}, ${workers[*]} workers, ${stores[*]}"
: >"$work/results"
for ((round = 1; round <= rounds; round++)); do
    for workload in "${workloads[@]}"; do
        for n in "${workers[@]}"; do
            config "$workload" "$n" >"$work/config.yaml"
            for store in "${stores[@]}"; do one "$store"; done
        done
    done
done

echo "Machine: $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1). $("$bin/postgres" --version), $(printf '%s, ' "${settings[@]}")$ESB_POSTGRES_MAX_CONNECTIONS connections in the pool. UmaDB $umadb_version. Suite: $(git -C "$suite" rev-parse --short HEAD 2>/dev/null || echo 'of unknown commit'). Date: $(date +%F). Medians of $rounds rounds of $seconds s. Load of the machine before it began: $load."
awk -f "$here/report.awk" "$work/results"
