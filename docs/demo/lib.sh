# Sourced: the server of the demo, which make demo, make psql and make stop share.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../../tests/harness/server.sh"

demo=$base/demo # 'pg_config' is the program that runs the server on 'data'

export PGDATABASE=demo

# Starts the server, or joins the one that runs; whoever starts it stops it at the end.
demo_start() {
    local pg_config socket
    [[ -f $demo/pg_config ]] || die "there is no demo yet: run make demo first"
    pg_config=$(<"$demo/pg_config")
    psql=$("$(client_pg_config "$pg_config")" --bindir)/psql
    socket=$(server_socket "$demo/data")
    if [[ -n $socket ]] && PGHOST=$socket PGPORT=$port PGUSER=postgres "$psql" -X -d postgres -c '' >/dev/null 2>&1; then
        export PGHOST=$socket PGPORT=$port PGUSER=postgres
    else
        server_start "$pg_config" "$demo/data"
        trap 'trap "" INT TERM HUP; demo_stop' EXIT
    fi
}

demo_stop() {
    if [[ -f $demo/pg_config ]]; then
        server_stop "$(<"$demo/pg_config")" "$demo/data"
    fi
}
