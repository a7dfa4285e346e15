#!/usr/bin/env bash
# Runs the SQL of README.md, docs/*.md and docs/*/*.md and compares what it prints with what they show.
#
# Of each file every ```sql block runs, in order, in one psql session on a fresh database that has the extension. Where a
# ```text block comes next it must be the block's output, but for spaces at the ends of lines; a block that shows no
# output must not raise an error. ```python blocks run too, where psycopg 3 is to be had, and those that create the
# extension pgtap, where that is (in CI they must be). Prints 'ok' or 'not ok' for each.
#
# docs.sh [--bless] [--running]
# --bless    write the outputs into the files; read what has changed before you keep it
# --running  on the server that PGHOST, PGPORT and PGUSER name, which has en57 installed; not on one of our own
# PYTHON     the Python to run (default: Debian's)
source "$(dirname "$0")/server.sh"

bless='' running=''
for option; do
    case $option in
        --bless) bless=1 ;;
        --running) running=1 ;;
        *) die "docs.sh has no option $option" ;;
    esac
done

failed=0
work=$(mktemp -d)
data=''
finish() {
    rm -rf "$work"
    [[ -z $data ]] || server_stop "$tree" "$data"
}
trap finish EXIT

# Into the tree, which is a copy from before it was installed.
install_pgtap() {
    "$root/tests/harness/setup.sh" pgtap || return
    install -m 644 "$("$(source_pg_config)" --sharedir)"/extension/pgtap* "$("$tree" --sharedir)/extension"
}

client=$(client_pg_config "$(source_pg_config)")
if [[ -z $running ]]; then
    tree=$("$root/tests/harness/tree.sh")
    make --no-print-directory -C "$root" install PG_CONFIG="$tree" >&2
    install_pgtap || [[ -z ${CI:-} ]] || { echo "not ok docs pgtap" && failed=1; }
    "$root/tests/harness/setup.sh" psycopg || [[ -z ${CI:-} ]] || { echo "not ok docs psycopg" && failed=1; }
    client=$(client_pg_config "$tree")
    data=$base/data/docs-$PG
    server_stop "$tree" "$data"
    server_init "$tree" "$data" 'fsync = off'
    server_start "$tree" "$data"
fi
psql=("$("$client" --bindir)/psql" -X -q -v VERBOSITY=default -v SHOW_CONTEXT=never)
# What is shown is the same on all servers and machines.
export PGOPTIONS='-c lc_messages=C -c timezone=UTC -c datestyle=ISO -c client_min_messages=warning' PGCLIENTENCODING=UTF8

python=${PYTHON:-/usr/bin/python3}
"$python" -c 'import psycopg' 2>/dev/null || python=''
pgtap=$("${psql[@]}" -d postgres -A -t -c "SELECT 1 FROM pg_available_extensions WHERE name = 'pgtap'")

# split FILE: the code blocks as $work/N.sql and N.python, their outputs as N.want, their lines in $work/lines.
split() {
    awk -v work="$work" '
        function close_block() { close(name); inside = 0 }
        inside && /^```$/ { close_block(); next }
        inside { print >name; next }
        /^```(sql|python)$/ { name = sprintf("%s/%03d.%s", work, ++n, substr($0, 4)); print n, NR, substr($0, 4) >(work "/lines")
                              printf "" >name; code = 1; inside = 1; next }
        /^```text$/ && code { name = sprintf("%s/%03d.want", work, n); printf "" >name; code = 0; inside = 1; next }
        /^```./ { name = "/dev/null"; code = 0; inside = 1; next }
        /[^[:space:]]/ { code = 0 }' "$1"
}

trimmed() { sed -E 's/[[:space:]]+$//' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' | sed '/./,$!d'; }

# lacks KIND FILE: what is not there that the block needs, or nothing.
lacks() {
    case $1 in
        python) [[ -n $python ]] || echo psycopg ;;
        sql) [[ -n $pgtap ]] || ! grep -qi '^create extension pgtap' "$2" || echo pgTAP ;;
    esac
}

# Puts the outputs into the file.
write_outputs() {
    awk -v work="$work" '
        shown && !/^```$/ { next }
        shown { while ((getline line <shown) > 0) print line; close(shown); shown = "" }
        inside && /^```$/ { inside = 0; print; next }
        !inside && /^```(sql|python)$/ { n++; code = 1; inside = 1; print; next }
        !inside && /^```text$/ && code { print; shown = sprintf("%s/%03d.got", work, n); code = 0; inside = 1; next }
        !inside && /^```./ { code = 0; inside = 1; print; next }
        !inside && /[^[:space:]]/ { code = 0 }
        { print }' "$1" >"$work/new"
    cat "$work/new" >"$1"
}

check() {
    local file=$1 n line kind block missing database=en57_docs
    rm -f "$work"/*
    split "$root/$file"
    [[ -f $work/lines ]] || return 0

    "${psql[@]}" -d postgres -c "DROP DATABASE IF EXISTS $database" -c "CREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8'"
    export PGDATABASE=$database
    sed -n 's/^CREATE ROLE \([a-z_]*\).*/DROP ROLE IF EXISTS \1;/p' "$work"/*.sql | "${psql[@]}"
    grep -qi '^create extension en57' "$work"/*.sql || "${psql[@]}" -c 'CREATE EXTENSION en57'

    # shellcheck disable=SC2016 # the backticks are psql's
    while read -r n line kind; do
        block=$(printf '%s/%03d' "$work" "$n")
        printf '\\echo @@@ %d\n' "$n"
        [[ -z $(lacks "$kind" "$block.$kind") ]] || continue
        case $kind in
            sql) cat "$block.sql" ;;
            python) printf '\\echo `%s %s 2>&1`\n' "$python" "$block.python" ;;
        esac
    done <"$work/lines" >"$work/script"
    "${psql[@]}" <"$work/script" 2>&1 | awk -v work="$work" '
        /^@@@ [0-9]+$/ { name = sprintf("%s/%03d.raw", work, $2); printf "" >name; next }
        { print >name }' || true # what is missing then is seen below

    while read -r n line kind; do
        block=$(printf '%s/%03d' "$work" "$n")
        missing=$(lacks "$kind" "$block.$kind")
        if [[ -n $missing ]]; then
            say "docs: $file:$line is left out, there is no $missing"
            [[ ! -f $block.want ]] || trimmed <"$block.want" >"$block.got" # --bless keeps what is shown
            continue
        fi
        touch "$block.raw" # not there where psql has gone
        trimmed <"$block.raw" >"$block.got"
        if [[ -f $block.want ]]; then
            trimmed <"$block.want" >"$block.shown"
            if [[ -n $bless ]] || diff -u --label "shown, $file:$line" --label printed "$block.shown" "$block.got" >"$block.diff"; then
                echo "ok docs $file:$line"
                continue
            fi
        elif ! grep -E '^(ERROR|FATAL|PANIC|invalid command|Traceback)' "$block.got" >"$block.diff"; then
            echo "ok docs $file:$line"
            continue
        fi
        echo "not ok docs $file:$line"
        cat "$block.diff"
        failed=1
    done <"$work/lines"
    [[ -z $bless ]] || write_outputs "$root/$file"
}

# members [CONDITION]: the functions, types and views of the extension, and its settings, by name.
members() {
    "${psql[@]}" -A -t -d "${PGDATABASE:-postgres}" -c "LOAD 'en57'" -c "
        SELECT DISTINCT name
          FROM pg_depend,
               LATERAL (SELECT regexp_replace(pg_describe_object(classid, objid, 0), '^(function|type|view) ([^(]*).*', '\2')) AS described (name)
         WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
           AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'en57')
           AND pg_describe_object(classid, objid, 0) ~ '^(function|type|view) .*[^]]\$' -- from 17 on, array types are members too
           AND (${1:-true})
         UNION SELECT name FROM pg_settings WHERE name LIKE 'en57.%' ORDER BY 1"
}

# reference_has NAME: whether the reference's index has it, with a link to a page that has it as well.
reference_has() {
    local page
    page=$(sed -nE 's/.*\[`'"${1//./\\.}"'`\]\(([^)#]*)[^)]*\).*/\1/p' docs/reference/README.md | head -n 1)
    [[ -n $page && -f docs/reference/$page ]] && grep -qwF -- "$1" "docs/reference/$page"
}

# The index of the reference has every function, type, view and setting that a user may name, and no other; the page of
# errors has every SQLSTATE that the source raises.
complete() {
    local name
    # Without what input, output, casts and operators of the types call, and what the extension calls itself.
    while read -r name; do
        if reference_has "$name"; then
            echo "ok docs reference $name"
        else
            echo "not ok docs reference $name"
            echo "docs/reference/README.md has no link for $name to a page that has it"
            failed=1
        fi
    done < <(members "name !~ '^(en57\.(?!append_events|read_events|event\$|append_result)|en57_query_|en57_function_)'")
    while read -r name; do
        echo "not ok docs reference $name"
        echo "docs/reference/README.md has $name, the extension has not"
        failed=1
    done < <(grep -oE '\[`en57[^`]*`\]' docs/reference/README.md | tr -d '[]`' | sort -u |
        grep -vxF -e en57.events -e en57.debug_key_bits | grep -vxF -f <(members))
    while read -r name; do
        grep -qE "^\| $name \|" docs/reference/errors.md && continue
        echo "not ok docs reference $name"
        echo "docs/reference/errors.md has no row for $name"
        failed=1
    done < <(grep -rhoE '=> "[0-9A-Z]{5}"' src/dcb/error.rs | grep -oE '[0-9A-Z]{5}'; grep -rhoE "ERRCODE = 'N57[0-9]{2}'" sql | grep -oE 'N57..' | sort -u)
}

cd "$root"
shopt -s nullglob
for file in README.md docs/*.md docs/*/*.md; do
    check "$file"
done
complete
exit "$failed"
