#!/usr/bin/env bash
# Runs cargo test for the package of tests/, with en57 installed into the tree of PostgreSQL $PG. Arguments go to cargo test.
#
# TESTS  only these of the driver (tests/driver): MODULE, or MODULE::TEST
source "$(dirname "$0")/lib.sh"

filters=()
for name in ${TESTS:-}; do
    module=${name%%::*}
    [[ -e $root/tests/driver/$module.rs ]] || die "there is no module $module in tests/driver"
    [[ $name == *::* ]] || name+=::
    filters+=("$name")
done
((${#filters[@]} == 0)) || set -- "$@" --test driver -- "${filters[@]}"

tree=$("$root/tests/harness/tree.sh")
make --no-print-directory -C "$root" install PG_CONFIG="$tree" >&2
"$root/tests/harness/setup.sh" pgbouncer || say "the tests with PgBouncer show nothing"
say "cargo test on $("$tree" --version)"
cd "$root"
EN57_BINDIR=$("$tree" --bindir) EN57_LIBDIR=$("$tree" --pkglibdir) \
    exec cargo test --package en57-tests --profile tests --target-dir target/tests --no-fail-fast "$@"
