#!/usr/bin/env bash
# Removes the trees, the data and the results.
source "$(dirname "$0")/lib.sh"

rm -rf "$base"
