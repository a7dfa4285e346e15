#!/usr/bin/env bash
# make demo: loads real events, asks about them, keeps documents of them up to date, and lets 16 clients race for the last
# 10 seats of a course. Prints each SQL before its answer. $1 is a file of events, one JSON object a line; else events.sh
# finds some on this machine.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/live.sh"

batch=500 # events an append
buyers=16
seats=10

bold='' plain=''
if [[ -t 1 ]]; then
    bold=$'\e[1m' plain=$'\e[0m'
fi
title() { printf '\n%s== %s%s\n\n' "$bold" "$*" "$plain"; }

# Prints SQL and then its answer.
show() {
    printf '%s%s%s\n\n' "$bold" "$1" "$plain"
    "$psql" -X -q -P pager=off -v ON_ERROR_STOP=1 <<<"$1"
}

# The bare answer.
ask() { "$psql" -X -q -A -t -v ON_ERROR_STOP=1 <<<"$1"; }

new_database() {
    local make=(make --no-print-directory -C "$root") tree
    tree=$("$root/tests/harness/tree.sh")
    "${make[@]}" install PG_CONFIG="$tree" >/dev/null
    title "A private $("$tree" --version) in $demo, nothing of yours is touched"
    demo_stop
    server_init "$tree" "$demo/data"
    printf '%s\n' "$tree" >"$demo/pg_config"
    demo_start
    "$psql" -X -q -d postgres -c 'CREATE DATABASE demo'
    show 'CREATE EXTENSION en57;'
}

# One append for each batch of lines.
appends() {
    awk -v batch="$batch" '
        { printf "%s%s", NR % batch == 1 ? "SELECT (en57_append($en57_events$[" : ",\n", $0 }
        NR % batch == 0 { print "]$en57_events$)).position;" }
        END { if (NR % batch) print "]$en57_events$)).position;" }'
}

load() {
    local file=$demo/events.jsonl total position=0 start seconds
    "$(dirname "$0")/events.sh" "$@" >"$file" || true
    total=$(wc -l <"$file")
    ((total > 0)) || die "there are no events to load: say make demo FILE=events.jsonl, with one JSON object a line"
    title "Loading $total events, $batch an append; the first of them:"
    head -n 3 "$file"
    printf "\n%sSELECT position FROM en57_append('[{\"type\": .., \"tags\": [..], \"data\": {..}}, ..]');%s\n\n" "$bold" "$plain"
    start=$EPOCHREALTIME
    appends <"$file" | "$psql" -X -q -A -t -v ON_ERROR_STOP=1 | while read -r position; do
        [[ ! -t 1 ]] || printf '\r%d of %d events' "$position" "$total"
    done
    seconds=$(awk -v from="$start" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.2f", to - from }')
    [[ ! -t 1 ]] || printf '\r'
    printf '%d events in %s seconds\n' "$total" "$seconds"
}

questions() {
    # The tag with the most history that still fits a screen, and the rarest type; both as JSON inside of SQL.
    local tag type rare
    tag=$(ask "SELECT to_json(tag) FROM en57_read('{}'), unnest(tags) AS tag
                GROUP BY tag ORDER BY count(*) <= 12 DESC, count(*) DESC, tag LIMIT 1")
    tag=${tag//\'/\'\'}
    [[ -n $tag ]] || { title "These events have no tags to ask about" && return; }
    type=$(ask "SELECT to_json(type) FROM en57_read('{\"tags\": [$tag]}') GROUP BY type ORDER BY count(*), type LIMIT 1")
    rare=$(ask "SELECT to_json(type) FROM en57_read('{}') GROUP BY type ORDER BY count(*), type LIMIT 1")
    type=${type//\'/\'\'} rare=${rare//\'/\'\'}

    title "The history of $tag"
    show "SELECT position, type, data, occurred_at
  FROM en57_read('{\"tags\": [$tag]}', max_count => 12);"

    title "Two criteria: what is $type of it, or $rare of anything; the newest five"
    show "SELECT position, type, tags, data
  FROM en57_read('[{\"types\": [$type], \"tags\": [$tag]}, {\"types\": [$rare]}]',
                 backwards => true, max_count => 5);"

    refusal "$tag"
}

# A decision that was taken before the newest event of tag $1 was known.
refusal() {
    local tag=$1 newest append
    newest=$(ask "SELECT position FROM en57_read('{\"tags\": [$tag]}', backwards => true, max_count => 1)")
    append="SELECT outcome, position, jsonb_pretty(conflicts) AS conflicts
  FROM en57_append('{\"type\": \"reviewed\", \"tags\": [$tag], \"data\": {\"by\": \"ada\"}}',
                   fail_if => '{\"tags\": [$tag], \"after\": AFTER}');"

    title "An append on condition: ada has read $tag up to position $((newest - 1)), so she does not know $newest"
    show "${append/AFTER/$((newest - 1))}"
    title "It was refused and shown why. She reads that too, and tries again"
    show "${append/AFTER/$newest}"
}

race() {
    title "A race: $buyers connections want the last $seats seats of a course"
    show "SELECT outcome FROM en57_append('{\"type\": \"course defined\", \"tags\": [\"course:sql\"], \"data\": {\"seats\": $seats}}');"

    # Every decider locks what it is about to decide on, so they queue and none of them has to try again.
    local sell="BEGIN;
SELECT en57_lock('{\"tags\": [\"course:sql\"]}') AS seen \\gset
SELECT append.outcome
  FROM (SELECT count(*) AS sold
          FROM en57_read('{\"types\": [\"seat sold\"], \"tags\": [\"course:sql\"]}')) AS course,
       en57_append(jsonb_build_object('type', 'seat sold',
                                      'tags', ARRAY['course:sql', :'buyer'],
                                      'data', jsonb_build_object('seat', sold + 1)),
                   fail_if => en57_query(tags => '{course:sql}', after => :seen)) AS append
 WHERE sold < $seats;
COMMIT;"
    printf '%sEach of them:%s\n\n%s%s%s\n\n' "$bold" "$plain" "$bold" "$sell" "$plain"

    local start answers=$demo/answers
    rm -rf "$answers"
    mkdir "$answers"
    start=$(ask "SELECT clock_timestamp() + '2 s'")
    for ((i = 1; i <= buyers; i++)); do
        {
            echo "SELECT pg_sleep(extract(epoch FROM '$start' - clock_timestamp())) \\g /dev/null"
            echo "$sell"
        } | "$psql" -X -q -A -t -v ON_ERROR_STOP=1 -v buyer="student:$i" >"$answers/$i" 2>&1 &
    done
    wait

    show "SELECT position, data->'seat' AS seat, tags
  FROM en57_read('{\"types\": [\"seat sold\"], \"tags\": [\"course:sql\"]}');"
    local won refused
    won=$(cat "$answers"/* | grep -cx appended || true)
    refused=$(find "$answers" -type f -empty | wc -l)
    echo "$won of $buyers connections got a seat, $refused found the course full, $((buyers - won - refused)) failed, nobody tried twice."
    ((won == seats && refused == buyers - seats)) || die "the race went wrong: see $answers"
}

[[ -z ${1:-} || -r $1 ]] || die "there is no file $1"
new_database
load "$@"
questions
live
race
title "That was it. make psql opens psql on this database; its server runs only as long as psql does"
