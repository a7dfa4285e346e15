#!/usr/bin/env bash
# make freeze: what is here becomes a release, and the next version begins. Keeps the script of CREATE EXTENSION and a log
# that was written by it in tests/upgrade/released, writes down the commit in CHANGELOG.md, and puts the next version
# wherever the version is said. Commits nothing: read the diff, run make test, and commit it as one.
#
# NEXT  the next version (default: the next minor one)
source "$(dirname "$0")/lib.sh"

next=${NEXT:-$(awk -F . '{ print $1 "." $2 + 1 ".0" }' <<<"$version")}
released=$here/released
cd "$root"
[[ $next =~ ^[0-9]+\.[0-9]+\.[0-9]+$ && $next != "$version" ]] || die "the next version is to be three numbers, and not $version"
[[ ! -e $released/en57--$version.sql ]] || die "version $version is frozen already"
[[ -z $(git status --porcelain) ]] || die "commit what has changed first: the release is a commit"
commit=$(git rev-parse HEAD)

prepare_tree
data=$base/data/freeze-$PG
trap 'trap "" INT TERM HUP; server_stop "$tree" "$data"; rm -rf "$work"' EXIT
server_stop "$tree" "$data"
server_init "$tree" "$data" 'fsync = off'
server_start "$tree" "$data"
roles

say "the script and a log of $version"
database log
on log -c 'CREATE EXTENSION en57'
on log -v worker=false -f "$here/before.sql"
mkdir -p "$released"
cp "$extension/en57--$version.sql" "$released/"
# Without pg_dump's tokens, which newer psql knows alone, and without what it says of servers.
dump log | sed -E '/^\\(un)?restrict /d; /^-- Dumped /d' >"$released/log--$version.sql"

say "the version becomes $next"
step "$version" "$next" >"sql/en57--$version--$next.sql"
quoted=${version//./\\.}
sed -i "s/^version = \"$quoted\"/version = \"$next\"/" Cargo.toml
sed -i "/^name = \"en57\"/{n;s/\"$quoted\"/\"$next\"/}" Cargo.lock
sed -i "s/\"version\": \"$quoted\"/\"version\": \"$next\"/" META.json
sed -i "s/^default_version = '$quoted'/default_version = '$next'/" en57.control
sed -i -E "s/(en57|version) $quoted\b/\1 $next/" README.md docs/reference/README.md
sed -i -E "s/(const SCHEMAS: .*)env!/\1\"$version\", env!/" "$(schemas)"
sed -i -E "s/^## \[$quoted\] - Unreleased/## [$next] - Unreleased\n\n## [$version] - $(date +%F)\n\nReleased from commit $commit./" CHANGELOG.md
step_before=$(ls sql/en57--*--"$version".sql 2>/dev/null || true)
sha256sum "tests/upgrade/released/en57--$version.sql" "tests/upgrade/released/log--$version.sql" $step_before >>"$released/SHA256SUMS"

for said in "Cargo.toml:version = \"$next\"" "Cargo.lock:version = \"$next\"" "META.json:\"version\": \"$next\"" "en57.control:$next" \
    "docs/reference/README.md:en57 $next" "README.md:version $next" "$(schemas):\"$version\", env!" "CHANGELOG.md:Released from commit $commit"; do
    grep -qF "${said#*:}" "${said%%:*}" || die "${said%%:*} does not say ${said#*:}: correct it, and tests/upgrade/freeze.sh"
done
say "frozen: read git diff, run make test, and commit it. $version is still said here:"
git grep -nF "$version" -- . ':!tests/upgrade/released' ':!CHANGELOG.md' ':!Cargo.lock' ':!pg_regress' || true
