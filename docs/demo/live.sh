# Sourced by demo.sh: what keeps itself up to date. Documents that a projection keeps, a subscription that follows, a
# rebuild beside the live documents.
# shellcheck shell=bash disable=SC2154 # psql, demo, bold and plain come from demo.sh

# documents PREFIX: what is known of each thing whose tags begin so. For a package log: what is installed now.
documents() {
    title "Documents: the present state of each $1, kept in the transaction of every append"
    show "CREATE FUNCTION latest(doc jsonb, event en57_event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS \$\$
    SELECT CASE WHEN event.data->>'status' IN ('not-installed', 'config-files') THEN NULL  -- NULL deletes
                ELSE coalesce(doc, '{}') || coalesce(event.data, '{}')
                     || jsonb_build_object('events', coalesce((doc->>'events')::int, 0) + 1) END
\$\$;

SELECT en57_create_document_projection('state_now', '{}', 'tag:$1:', 'latest(jsonb,en57_event)');

SELECT count(*) AS documents, sum((doc->>'events')::int) AS events_in_them FROM state_now;

SELECT id, doc, version, updated_at FROM state_now ORDER BY position DESC LIMIT 3;"
}

# follow PREFIX: a consumer in a session of its own prints what others append.
follow() {
    local follower out=$demo/follower
    title "A subscription that follows: a consumer sleeps until there is something, in a session of its own"
    show "SELECT en57_create_subscription('mail', '{\"tags\": [\"$1:demo\"]}', 'end');"
    local poll="BEGIN;
SELECT position, type, data, round(extract(epoch FROM clock_timestamp() - recorded_at) * 1000, 1) AS ms_after_append
  FROM en57_poll('mail', wait => '30s') \\gset
SELECT en57_ack('mail', :position) \\g /dev/null
COMMIT;
\\echo :position :type :data, :ms_after_append ms after it was recorded"
    printf '%sThe consumer, three times:%s\n\n%s%s%s\n\n' "$bold" "$plain" "$bold" "$poll" "$plain"
    { echo "SET application_name = 'consumer';" && for _ in 1 2 3; do echo "$poll"; done; } |
        "$psql" -X -q -A -t -v ON_ERROR_STOP=1 >"$out" 2>&1 &
    follower=$!
    for status in unpacked half-configured installed; do
        # The next event when the consumer sleeps again: so each is delivered by itself.
        until [[ $(ask "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'consumer' AND query LIKE '%en57_poll%' AND wait_event_type = 'Extension'") == 1 ]]; do
            kill -0 "$follower" 2>/dev/null || die "the consumer has failed: $(cat "$out")"
            sleep 0.05
        done
        show "SELECT outcome FROM en57_append('{\"type\": \"status\", \"tags\": [\"$1:demo\"], \"data\": {\"status\": \"$status\", \"version\": \"1.0\"}}');"
    done
    wait "$follower" || die "the consumer has failed: $(cat "$out")"
    printf '%sWhat the consumer has printed:%s\n\n' "$bold" "$plain"
    cat "$out"
    printf '\n%sAnd the document, meanwhile:%s\n\n' "$bold" "$plain"
    show "SELECT id, doc, version FROM state_now WHERE id = 'demo';"
}

# Builds the documents anew with another function, and shows how far it is.
rebuild() {
    local pid line shown='' nap out=$demo/rebuild
    # Slow enough that there is something to watch: three seconds in all.
    nap=$(ask "SELECT round(3.0 / greatest(en57_head(), 1), 6)")
    local progress="SELECT format('%s: %s of about %s events, %s a second', phase, events_done, events_total, per_second) FROM en57_stat_progress_rebuild WHERE events_done > 0"
    title "A rebuild: the function has changed; the documents are built anew beside the live ones, and swapped"
    show "CREATE FUNCTION latest_with_history(doc jsonb, event en57_event) RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
    PERFORM pg_sleep($nap);  -- slow on purpose, to be watched
    RETURN CASE WHEN event.data->>'status' IN ('not-installed', 'config-files') THEN NULL
                ELSE coalesce(doc, '{}') || coalesce(event.data, '{}')
                     || jsonb_build_object('history', coalesce(doc->'history', '[]') || to_jsonb(event.type)) END;
END
\$\$;"
    printf '%s%s%s\n\n' "$bold" "CALL en57_rebuild('state_now', evolve => 'latest_with_history(jsonb,en57_event)');" "$plain"
    "$psql" -X -q -v ON_ERROR_STOP=1 -c "CALL en57_rebuild('state_now', evolve => 'latest_with_history(jsonb,en57_event)')" >"$out" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        line=$(ask "$progress")
        if [[ -n $line && $line != "$shown" ]]; then
            if [[ -t 1 ]]; then printf '\r\033[K%s' "$line"; else echo "$line"; fi
            shown=$line
        fi
        sleep 0.1
    done
    [[ -z $shown ]] || echo
    wait "$pid" || die "the rebuild has failed: $(cat "$out")"
    show "SELECT id, doc, version FROM state_now WHERE id = 'demo';"
}

live() {
    local prefix
    prefix=$(ask "SELECT split_part(tag, ':', 1) FROM en57_read('{}'), unnest(tags) AS tag WHERE tag ~ '^[a-z]+:.'
                   GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1")
    [[ -n $prefix ]] || { title "These events have no tags like package:bash to make documents of" && return; }
    documents "$prefix"
    follow "$prefix"
    rebuild
}
