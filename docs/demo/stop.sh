#!/usr/bin/env bash
# make stop: the demo's server stops itself; this is for one that was left behind.
source "$(dirname "$0")/lib.sh"

if [[ -n $(server_socket "$demo/data") ]]; then
    say "stopping the demo's server"
    demo_stop
else
    say "the demo's server does not run"
fi
