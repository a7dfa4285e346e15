#!/usr/bin/env bash
# pg_upgrade from PostgreSQL $OLD to $NEW, with a log and all that follows it: the module pg_upgrade of the driver, between two
# trees that have en57. Not part of make test: it builds en57 twice.
#
# OLD, NEW  majors, by default 15 and 18
set -euo pipefail
here=$(cd "$(dirname "$0")/../harness" && pwd)
old=${OLD:-15} new=${NEW:-18}

PG=$new "$here/setup.sh"
tree=$(PG=$new "$here/tree.sh")
PG=$new make --no-print-directory -C "$here/../.." install PG_CONFIG="$tree" >&2
EN57_NEW_BINDIR=$("$tree" --bindir) PG=$old TESTS=pg_upgrade exec "$here/rust.sh" "$@"
