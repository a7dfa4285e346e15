#!/usr/bin/env bash
# Prints events as JSON, one a line, oldest first: the file $1, else what dpkg did to this machine, else this project's
# commits.
set -euo pipefail

json='function json(s) { gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); gsub(/[\001-\037]/, " ", s); return "\"" s "\"" }
function version(s) { return s == "<none>" ? "null" : json(s) }'

dpkg_logs() { compgen -G '/var/log/dpkg.log*' | sort -rV; }

# A line is 'date time action package:arch version version', but for
# 'date time startup operation ..' and 'date time status state package:arch version'.
from_dpkg() {
    dpkg_logs | xargs zcat -f | awk "$json"'
        $3 == "startup" {
            printf "{\"type\":\"startup\",\"occurred_at\":%s,\"data\":{\"operation\":%s}}\n", json($1 "T" $2), json($4 " " $5)
            next
        }
        $3 == "conffile" || NF < 6 { next }
        {
            package = $3 == "status" ? $5 : $4
            split(package, name, ":")
            data = $3 == "status" ? "\"status\":" json($4) ",\"version\":" version($6) : "\"from\":" version($5) ",\"to\":" version($6)
            printf "{\"type\":%s,\"occurred_at\":%s,\"tags\":[%s,%s],\"data\":{%s}}\n", json($3), json($1 "T" $2),
                json("package:" name[1]), json("arch:" name[2]), data
        }'
}

from_git() {
    git -C "$(dirname "$0")" log --reverse --format='%aI%x09%an%x09%h%x09%s' | awk -F '\t' "$json"'{
        printf "{\"type\":\"commit\",\"occurred_at\":%s,\"tags\":[%s],\"data\":{\"id\":%s,\"subject\":%s}}\n",
            json($1), json("author:" $2), json($3), json($4)
    }'
}

if [[ -n ${1:-} ]]; then
    zcat -f "$1" | grep -v '^[[:space:]]*$'
elif [[ -n $(dpkg_logs) ]]; then
    from_dpkg
else
    from_git
fi
