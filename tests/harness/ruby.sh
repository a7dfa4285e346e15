#!/usr/bin/env bash
# Runs tests/ruby: the Ruby gem En57's way to talk to the database, with ruby-pg, on a server of our own. Prints 'ok' or
# 'not ok' for each test. Where ruby-pg is not to be had it says so; in CI that is a failure.
source "$(dirname "$0")/server.sh"

if ! "$root/tests/harness/setup.sh" ruby; then
    say "the tests with Ruby are left out"
    [[ -n ${CI:-} ]] || exit 0
    echo "not ok ruby"
    exit 1
fi

tree=$("$root/tests/harness/tree.sh")
make --no-print-directory -C "$root" install PG_CONFIG="$tree" >&2
say "ruby-pg $(ruby -e 'require "pg"; print PG::VERSION') on $("$tree" --version)"
data=$base/data/ruby-$PG
trap 'trap "" INT TERM HUP; server_stop "$tree" "$data"' EXIT
server_stop "$tree" "$data"
server_init "$tree" "$data" 'fsync = off'
server_start "$tree" "$data"
export PGDATABASE=postgres PGOPTIONS='-c client_min_messages=warning'
ruby -W -I "$root/tests/ruby" -r minitest -r tap "$root/tests/ruby/gem.rb"
