# Sourced by run.sh, with a server that runs: whether the comparison finds what is missing. To a newer version of today's
# script, which has each change of changes.sql, lead a step with all of them, one with none, and one without each of them.
# shellcheck shell=bash disable=SC2154

before_changes=0.0.8
after_changes=999.0.0

selftest() {
    local titles=() n
    mapfile -t titles < <(sed -n 's/^--- //p' "$here/changes.sql")
    put "$script" "en57--$before_changes.sql"
    { cat "$script" && all_but 0; } >"$work/newer.sql"
    put "$work/newer.sql" "en57--$after_changes.sql"
    database self_fresh
    on self_fresh -c "CREATE EXTENSION en57 VERSION '$after_changes'"
    surface self_fresh >"$work/self_fresh"
    database self_old
    on self_old -c "CREATE EXTENSION en57 VERSION '$before_changes'"

    for ((n = 0; n <= ${#titles[@]}; n++)); do
        all_but "$n" >"$work/changes"
        step "$before_changes" "$after_changes" "$work/changes" >"$work/step.$n"
    done
    step "$before_changes" "$after_changes" >"$work/step.none"
    steps "${titles[@]}" >"$work/steps.sql"
    PGUSER=upgrade_dba on self_old -f "$work/steps.sql" | tee "$work/self" || failed=1
    ! grep -q '^not ok' "$work/self" || failed=1
    rm -f "$extension/en57--$before_changes"* "$extension/en57--$after_changes.sql"
}

# All changes but the Nth.
all_but() { awk -v without="$1" '/^--- / { n++; next } n && n != without' "$here/changes.sql"; }

# The whole surface after all changes and after none, and after all but one the catalog that shows it. Each is undone.
steps() {
    local n=0 title
    printf '%s\n' "\\ir $here/lines.sql" 'CREATE TEMP TABLE fresh (line text);' \
        "\\copy fresh FROM '$work/self_fresh' (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')" \
        "DELETE FROM fresh WHERE line LIKE 'pg_settings %';"
    one_step 0 NULL = 'with all changes is found right'
    one_step none NULL '>' 'with no change is found wrong'
    for title; do
        n=$((n + 1))
        one_step "$n" "'${title%%: *}'" '>' "without ${title#*: } is found wrong"
    done
}

# one_step NUMBER CATALOG SIGN WHAT: whether the number of lines that differ is 0, or greater.
one_step() {
    cat <<END
\\! install -m 644 $work/step.$1 $extension/en57--$before_changes--$after_changes.sql
BEGIN;
ALTER EXTENSION en57 UPDATE TO '$after_changes';
WITH updated AS MATERIALIZED (SELECT line FROM pg_temp.lines($2) AS line),
     wanted AS (SELECT line FROM fresh WHERE split_part(line, ' | ', 1) = coalesce($2, split_part(line, ' | ', 1))),
     different AS ((SELECT '- ', line FROM updated EXCEPT ALL SELECT '- ', line FROM wanted)
                   UNION ALL (SELECT '+ ', line FROM wanted EXCEPT ALL SELECT '+ ', line FROM updated))
SELECT concat(CASE WHEN count(*) $3 0 THEN 'ok' ELSE 'not ok' END, ' upgrade self-test: a step ', \$\$$4\$\$,
              CASE WHEN NOT count(*) $3 0 THEN E'\n' || string_agg(concat('#', different), E'\n') END) FROM different;
ROLLBACK;
END
}
