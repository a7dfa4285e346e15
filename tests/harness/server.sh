# Sourced, with lib.sh: servers of our own. Each has a data folder and a socket folder and no TCP address.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

port=5757 # only the name of the socket

# server_init PG_CONFIG DATA [SETTING...]
server_init() {
    local bin data=$2
    bin=$("$1" --bindir)
    shift 2
    rm -rf "$data"
    mkdir -p "$(dirname "$data")"
    install -d -m 700 -o "$server_user" "$data"
    as_server "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --no-locale --no-sync >/dev/null
    printf '%s\n' "listen_addresses = ''" "port = $port" "$@" >>"$data/postgresql.conf"
}

# server_start PG_CONFIG DATA: and points PGHOST, PGPORT and PGUSER to it.
server_start() {
    local bin data=$2
    bin=$("$1" --bindir)
    # Not below TMPDIR: the name of a socket has at most 107 bytes.
    PGHOST=$(mktemp -d /tmp/en57.XXXXXX)
    export PGHOST PGPORT=$port PGUSER=postgres
    chown "$server_user" "$PGHOST"
    if ! as_server "$bin/pg_ctl" start -s -w -D "$data" -l "$data/log" -o "-k $PGHOST"; then
        cat "$data/log" >&2
        rmdir "$PGHOST"
        die "the server in $data did not start"
    fi
}

# server_socket DATA: the socket folder of the running server, or nothing.
server_socket() {
    sed -n 5p "$1/postmaster.pid" 2>/dev/null || true
}

# server_stop PG_CONFIG DATA: if it runs.
server_stop() {
    local bin data=$2 socket
    bin=$("$1" --bindir)
    socket=$(server_socket "$data")
    if [[ -n $socket ]]; then
        as_server "$bin/pg_ctl" stop -s -w -m fast -D "$data" || true
        rm -rf "$socket"
    fi
}
