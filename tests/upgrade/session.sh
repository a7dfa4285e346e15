# Sourced by run.sh: a session that was open before the update, and has used what there is.
# shellcheck shell=bash disable=SC2154

session_open() {
    coproc SESSION { exec "${psql[@]}" -A -t -d "$1" 2>&1; }
    # Bash closes those of a coprocess in what runs in a pipe.
    exec {to_session}>&"${SESSION[1]}" {from_session}<&"${SESSION[0]}"
    # Whatever it keeps of definitions, plans and tables it has by then. Nothing of this is committed.
    asked "
        SET search_path = shop, public;
        PREPARE append AS SELECT outcome FROM en57_append(\$1, fail_if => \$2, partition => \$3);
        PREPARE reading AS SELECT count(*) FROM en57_read(partition => \$1);
        BEGIN;
        EXECUTE append('{\"type\": \"paid\", \"tags\": [\"account:1\"], \"data\": {\"cents\": 5}}', '{\"tags\": [\"none\"]}', 'default');
        EXECUTE reading('branch');
        SELECT count(*) FROM en57_poll('payments');
        SELECT state FROM en57_state('turnover', '{\"tags\": [\"account:1\"]}');
        SELECT count(*) FROM en57_projections, en57_subscriptions, en57_partitions, en57_streams;
        SELECT outcome FROM en57_decide('sell seat', '{\"show\": \"hamlet\"}');
        SELECT en57_run('noted later');
        ROLLBACK;
        SELECT count(*) FROM en57_check('*');" >/dev/null
}

# asked STATEMENTS: what the session answers.
asked() {
    local line
    printf '%s\n' "$1" '\echo @@@' >&"$to_session"
    while IFS= read -r -t 60 line <&"$from_session"; do
        [[ $line != @@@ ]] || return 0
        printf '%s\n' "$line"
    done
}

expect() { # expect WHAT WANTED STATEMENTS
    local got
    got=$(asked "$3" | paste -sd ' ')
    if [[ $got == "$2" ]]; then
        ok "$1"
    else
        not_ok "$1"
        echo "# it answers: $got"
    fi
}

session_goes_on() {
    expect "$1, an open session: it goes on" 'appended conflict 2 3 0' "
        BEGIN;
        EXECUTE append('{\"type\": \"paid\", \"tags\": [\"account:1\"], \"data\": {\"cents\": 5}}', '{\"tags\": [\"none\"]}', 'default');
        EXECUTE append('{\"type\": \"paid\", \"data\": {\"cents\": 5}}', '{\"tags\": [\"account:1\"]}', 'default');
        EXECUTE reading('branch');
        SELECT count(*) FROM en57_poll('payments');
        ROLLBACK;
        SELECT count(*) FROM en57_check('*');"
}

session_appends() {
    expect "$1, an open session: it appends, and projections have it" 'appended 605 t 605' "
        EXECUTE append('{\"type\": \"paid\", \"tags\": [\"account:1\"], \"data\": {\"cents\": 5}}', '{\"tags\": [\"none\"]}', 'default');
        SELECT doc FROM accounts WHERE id = '1';
        SELECT en57_wait_projection('accounts_later');
        SELECT state FROM en57_state('turnover', '{\"tags\": [\"account:1\"]}');"
    exec {to_session}>&- {from_session}<&-
    kill "$SESSION_PID"
    wait "$SESSION_PID" || true
}
