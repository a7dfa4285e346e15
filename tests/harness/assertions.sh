#!/usr/bin/env bash
# make assertions: builds PostgreSQL 15 from Debian's source package with assertions, and with memory that is overwritten as
# soon as it is freed, and runs pg_regress, the isolation tests, the driver and a minute of history on it. Slow: for the time
# before a release.
#
# TESTS  only these of pg_regress and the isolation tests
source "$(dirname "$0")/lib.sh"

[[ -z ${PG_CONFIG:-} ]] || die "PG_CONFIG is what is built here"
work=$base/assertions
built=$work/installed
make_base
mkdir -p "$work"

# Debian's lists of sources, for this folder alone: what the machine installs from stays as it is.
fetch_source() {
    local options=(-qq -o "Dir::State::lists=$work/lists" -o "Dir::Etc::sourceparts=$work/sources" -o Dir::Etc::sourcelist=/dev/null
        -o APT::Sandbox::User=root)
    mkdir -p "$work/lists/partial" "$work/sources"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [[ ! -f $list ]] || sed -nE 's/^deb /deb-src /p' "$list" >"$work/sources/$(basename "$list" .list).list"
    done
    for list in /etc/apt/sources.list.d/*.sources; do
        [[ ! -f $list ]] || sed -E 's/^Types:.*/Types: deb-src/' "$list" >"$work/sources/$(basename "$list")"
    done
    apt-get "${options[@]}" update
    # The newest one that is there: a package of security fixes can be installed, and its source be gone already.
    local version
    for version in $(apt-cache "${options[@]}" showsrc postgresql-15 2>/dev/null | sed -n 's/^Version: //p' | sort -Vr); do
        (cd "$work" && apt-get "${options[@]}" --download-only source "postgresql-15=$version") && break
    done
    compgen -G "$work/postgresql-15_*.orig.tar.*" >/dev/null || die "the source package of PostgreSQL 15 cannot be had"
    rm -rf "$work/source"
    mkdir "$work/source"
    tar -C "$work/source" --strip-components=1 -xf "$work"/postgresql-15_*.orig.tar.*
}

build() {
    local packages=(bison flex libreadline-dev zlib1g-dev make perl)
    if ((EUID == 0)); then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >"$work/apt.log" 2>&1 ||
            die "apt-get could not install ${packages[*]}: see $work/apt.log"
    fi
    say "getting the source of PostgreSQL 15"
    fetch_source
    say "building it with assertions (some minutes)"
    (
        cd "$work/source"
        # PROFILE means something else to PostgreSQL's makefiles.
        unset PROFILE MAKEFLAGS
        # Two of the assertions say that an index whose options are read is a btree's. A key index has another access method, of
        # an extension; its options are made by btree's own function, so they are what is meant.
        sed -i 's/relation->rd_rel->relam == BTREE_AM_OID/(& || relation->rd_rel->relam >= 16384)/' src/include/access/nbtree.h
        # With assertions it also overwrites memory that is freed.
        ./configure --quiet --prefix="$built" --enable-cassert --enable-debug CFLAGS='-O1 -fno-omit-frame-pointer'
        make -s -j "$(nproc)" MAKELEVEL=0 && make -s install && make -s -C contrib install
    ) >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log" >&2 && die "it did not build: see $work/build.log"; }
}

[[ -x $built/bin/postgres ]] || build
export PG_CONFIG=$built/bin/pg_config
[[ $("$built/bin/pg_config" --configure) == *cassert* ]] || die "$built has no assertions"
unset PG
failed=0
"$root/tests/harness/suites.sh" || failed=1
if [[ -z ${TESTS:-} ]]; then
    "$root/tests/harness/rust.sh" --test driver || failed=1
    SECONDS_TO_RUN=60 "$root/tests/history/run.sh" || failed=1
fi
((failed == 0)) && say "all is well with assertions"
exit "$failed"
