#!/usr/bin/env bash
# make mutants: takes one mechanism after another out of a copy of the sources, builds it, and runs the tests that should
# notice. Prints 'ok' or 'not ok' for each mutant, and a table of which test has noticed it. See README.md.
#
# ONLY    the names of mutants; all where there are none
# RECORD  1: writes the table into README.md, for the mutants that were run
source "$(dirname "$0")/../harness/lib.sh"

here=$root/tests/mutants
work=$base/mutants
copy=$work/tree
export PROFILE=quick GIT_CEILING_DIRECTORIES=$work

# The sources as they are now, without what is not under version control but the new files. They are new to cargo (tar's m):
# a library that is newer than they are may be that of the last mutant, and be taken for theirs.
copy_sources() {
    make_base
    mkdir -p "$copy/target"
    find "$copy" -mindepth 1 -maxdepth 1 ! -name target ! -name .pg -exec rm -rf {} +
    git -C "$root" ls-files -z --cached --others --exclude-standard |
        (cd "$root" && tar --null --no-recursion --ignore-failed-read -T - -cf - 2>/dev/null) | tar -C "$copy" -xmf -
    local built
    for built in "target/pg$PG/quick" target/tests; do
        [[ -e $copy/$built || ! -e $root/$built ]] || { mkdir -p "$(dirname "$copy/$built")" && cp -a --reflink=auto "$root/$built" "$copy/$built"; }
    done
}

# Who waits for ever has noticed it, too.
in_time=(timeout 300)

# program NAME: the test program of this name, built in the copy. Mutants do not change it.
program() {
    (cd "$copy" && cargo test --quiet --package en57-tests --profile tests --target-dir target/tests --no-run --test "$1" \
        --message-format=json | sed -nE 's/.*"executable":"([^"]*)".*/\1/p')
}

# notice KIND WHAT..: runs tests; fails where they do.
notice() {
    local kind=$1
    shift
    case $kind in
        regress) TESTS=$* "${in_time[@]}" "$copy/tests/harness/quick.sh" ;;
        in-process) TESTS=$* "${in_time[@]}" "$copy/tests/harness/in_process.sh" ;;
        driver) of_driver "$@" ;;
        cargo) of_cargo "$@" ;;
        history) of_history "$1" ;;
        model) "${in_time[@]}" "$copy/tests/model/run.sh" ;;
        *) die "there are no tests of kind $kind" ;;
    esac
}

with_tree() { EN57_BINDIR=$("$tree" --bindir) EN57_LIBDIR=$("$tree" --pkglibdir) "${in_time[@]}" "$@"; }
of_driver() {
    make --no-print-directory -s -C "$copy" install PG_CONFIG="$tree" && with_tree "$driver" "${@/%/::}"
}
of_cargo() {
    (cd "$copy" && "${in_time[@]}" cargo test --quiet --package en57-tests --profile tests --target-dir target/tests "${@/#/--test=}")
}
of_history() {
    make --no-print-directory -s -C "$copy" install PG_CONFIG="$tree" && EN57_HISTORY_SECONDS=$1 with_tree "$history"
}

# noticed NAME: the names of the tests that have failed, from their output.
failures() {
    sed -nE -e 's/^not ok (.*)$/\1/p' -e 's/^test (.*) \.\.\. FAILED$/driver \1/p' "$1" | sed -E 's/ \([0-9]+ looked at\)$//' |
        sort -u | head -n 4 | paste -sd ';' | sed 's/;/, /g'
}

# mutant PATCH: applies it, looks who notices, takes it back.
mutant() {
    local patch=$1 name tests line started=$SECONDS what='' status
    name=$(basename "$patch" .patch)
    git -C "$copy" apply "$patch" || { report "$name" "the patch no longer fits the source" '' && return; }
    if ! make --no-print-directory -s -C "$copy" build >"$work/log" 2>&1; then
        report "$name" "it does not build" ''
        grep -A 6 -E '^error' "$work/log" | head -n 20
    else
        mapfile -t tests < <(sed -n 's/^Noticed by: //p' "$patch")
        for line in "${tests[@]}"; do
            status=0
            # shellcheck disable=SC2086 # words
            (notice $line) >"$work/log" 2>&1 || status=$?
            if ((status)); then
                what=$(failures "$work/log")
                what=${what:-$line}
                break
            fi
        done
        report "$name" '' "$what" $((SECONDS - started))
    fi
    git -C "$copy" apply -R "$patch"
}

# report NAME TROUBLE WHO SECONDS
report() {
    if [[ -n $3 ]]; then
        echo "ok mutant $1: noticed by $3, after $4 s"
        printf '%s\t%s\t%s\n' "$1" "$3" "$4" >>"$work/noticed"
    else
        echo "not ok mutant $1: ${2:-nothing has noticed it}"
        failed=1
        [[ ! -f $work/log ]] || cp "$work/log" "$work/$1.log"
    fi
}

# The table of README.md, with what is known of this run in place of what it had.
record() {
    local patch name row
    {
        sed '/^| mutant |/,$d' "$here/README.md"
        echo '| mutant | the mechanism that it takes out | noticed by | after |'
        echo '| --- | --- | --- | --- |'
        for patch in "$here"/*.patch; do
            name=$(basename "$patch" .patch)
            row=$(awk -F '\t' -v n="$name" '$1 == n { r = $2 " | " $3 " s |" } END { print r }' "$work/noticed")
            if [[ -n $row ]]; then
                printf '| `%s` | %s | %s\n' "$name" "$(sed -n 's/^Mechanism: //p' "$patch")" "$row"
            else
                grep -F "| \`$name\` |" "$here/README.md" || true
            fi
        done
    } >"$work/README.md"
    cat "$work/README.md" >"$here/README.md"
}

failed=0
copy_sources
"$copy/tests/harness/setup.sh"
tree=$("$copy/tests/harness/tree.sh")
say "building what is not mutated"
make --no-print-directory -s -C "$copy" build
driver=$(program driver)
history=$(program history)
: >"$work/noticed"
for patch in "$here"/*.patch; do
    [[ -z ${ONLY:-} || " $ONLY " == *" $(basename "$patch" .patch) "* ]] || continue
    mutant "$patch"
done
[[ -z ${RECORD:-} ]] || record
exit "$failed"
