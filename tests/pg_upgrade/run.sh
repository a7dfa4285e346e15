#!/usr/bin/env bash
# pg_upgrade from PostgreSQL $OLD to $NEW, with a log and all that follows it: the module pg_upgrade of the driver, between two
# trees that have en57. Not part of make test: it builds en57 twice.
#
# OLD, NEW  majors, by default 16 and 18. Both servers must be of about the same day: what a security fix has taught the old one
#           (15.20 writes an option pg_attver into what pg_dump makes), an older release of the new major refuses.
source "$(dirname "$0")/../harness/lib.sh"
here=$root/tests/harness
old=${OLD:-16} new=${NEW:-18}

PG=$old "$here/setup.sh"
PG=$new "$here/setup.sh"
tree=$(PG=$new "$here/tree.sh")
if ! has_psql "$tree"; then
    # pg_upgrade wants all programs of the new version. Where CI runs, they must be there.
    [[ $new != 15 && $new != 18 ]] || die "PostgreSQL $new has no psql of its own that starts"
    say "skipped: pg_upgrade to $new needs psql $new, and that of the Python wheel does not start"
    exit 0
fi
PG=$new make --no-print-directory -C "$here/../.." install PG_CONFIG="$tree" >&2
EN57_NEW_BINDIR=$("$tree" --bindir) PG=$old TESTS=pg_upgrade exec "$here/rust.sh" "$@"
