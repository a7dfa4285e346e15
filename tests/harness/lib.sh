# Sourced by the scripts of this folder and of docs/demo: where PostgreSQL is, and who runs it.
#
# PG         the major version, 15 to 18
# PG_CONFIG  a pg_config of the caller's choice; it decides the major version then
#
# The tests and the demo never touch an installed PostgreSQL. They run from a *tree*: a copy of one, into which en57 is
# installed without asking for any right.
# shellcheck shell=bash

set -euo pipefail
umask 022 # the server's user, who may be another than ours, must read what we make

# The threads of tests have 2 MiB of stack otherwise; what is little optimised takes more of it.
export RUST_MIN_STACK=$((32 << 20))

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s\n' "== $*" >&2; }
die() { printf '%s\n' "en57: $*" >&2; exit 1; }

major_of() { "$1" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/'; }

if [[ -n ${PG_CONFIG:-} ]]; then
    PG_CONFIG=$(command -v "$PG_CONFIG") || die "there is no program ${PG_CONFIG}"
    PG=$(major_of "$PG_CONFIG")
fi
PG=${PG:-15}
[[ $PG =~ ^1[5-8]$ ]] || die "PostgreSQL $PG is not supported: PG is one of 15, 16, 17, 18"

# PostgreSQL refuses to run as root, so root runs it as this user.
server_user=$(id -un)
if ((EUID == 0)); then
    server_user=postgres
    id postgres >/dev/null 2>&1 || server_user=nobody
fi

as_server() {
    if ((EUID == 0)); then
        (cd / && exec runuser -u "$server_user" -- "$@")
    else
        (cd / && exec "$@")
    fi
}

# Where trees and the demo's data live: in .pg, or in the temporary folder if the server's user cannot get at .pg.
base=$root/.pg
if ! as_server test -x "$root"; then
    base=${TMPDIR:-/tmp}/en57-$(printf '%s' "$root" | cksum | cut -d ' ' -f 1)
fi

make_base() {
    [[ ! -d $base ]] || return 0
    if [[ $base != "$root/.pg" ]]; then
        say "user $server_user cannot enter $root: servers and their data go to $base"
    fi
    mkdir "$base"
    as_server test -x "$base" || die "user $server_user cannot enter $base: set TMPDIR to a folder open to all"
}
# A folder of that name which somebody else has put there is not to be trusted.
[[ $base == "$root/.pg" || ! -e $base || -O $base ]] || die "$base belongs to somebody else"

# The pg_config of an unpacked wheel of major $1, or nothing.
wheel_pg_config() {
    compgen -G "$base/$1/*/pginstall/bin/pg_config" || true
}

# Is this a server with headers and test programs?
is_complete() {
    [[ -x $1 ]] && [[ -f $("$1" --includedir-server)/postgres.h && -f $("$1" --pgxs) ]]
}

# The pg_config to build with, and to install into by default: the caller's, else the system's, else the wheel's.
source_pg_config() {
    local debian=/usr/lib/postgresql/$PG/bin/pg_config
    if [[ -n ${PG_CONFIG:-} ]]; then
        # Debian's pg_config in /usr/bin is a wrapper of the one beside the server.
        printf '%s\n' "$("$PG_CONFIG" --bindir)/pg_config"
    elif is_complete "$debian"; then
        printf '%s\n' "$debian"
    else
        wheel_pg_config "$PG"
    fi
}

# Does the psql beside pg_config $1 run, and is it of the same major? That of the wheel of 17 does not start, and setup.sh
# has put another one in its place.
has_psql() {
    [[ $(major_of "$("$1" --bindir)/psql" 2>/dev/null) == "$(major_of "$1")" ]]
}

# The pg_config whose psql and pg_regress go with the server of pg_config $1: its own, but those of the wheel of 17
# do not run, and those of 18 do.
client_pg_config() {
    if has_psql "$1"; then
        printf '%s\n' "$1"
    else
        wheel_pg_config 18
    fi
}
