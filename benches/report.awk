# Reads the lines that run.sh wrote, prints tables in Markdown. Ratios are medians of the rounds' ratios: what ran side by
# side is compared.

$1 == "disk"   { disk[$2, $3] = $4; next }
$1 == "latency" { latency[$2] = $3 " " $4 " " $5; next }
$1 == "sleep"  { asleep = $2 " " $3 " " $4; next }
$1 == "subscriptions" { polled[$2, $3] = $4 / $5 * 1e9; next }
$1 == "async"  { async_lag = $2 " " $3 " " $4; next }
$1 == "rebuild" { rebuilt[++rebuilds] = $3 / $4 * 1e9; next }
$1 == "swap"   { swapped[$2] = swapped[$2] " " $3; swapped_count = $4; next }
$1 == "imports" { imported[$2] = imported[$2] " " $3 / $4 * 1e9; next }
$1 == "folds"  { folded[$2] = $3 " " $4; next }
$1 == "memory" { memory[$2] = $3 " " $4 " " $5; next }
{
    group[$1] = 1
    if ($5 > rounds) rounds = $5
    for (i = 6; i <= NF; i++) value[$1, $2, $3, $4, $5, i] = $i
}

function sorted_median(list, n,    i, j, x) {
    for (i = 2; i <= n; i++) {
        x = list[i]
        for (j = i - 1; j > 0 && list[j] > x; j--) list[j + 1] = list[j]
        list[j + 1] = x
    }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
function median(g, name, clients, sync, field,    list, n, r) {
    for (r = 1; r <= rounds; r++)
        if ((g, name, clients, sync, r, field) in value) list[++n] = value[g, name, clients, sync, r, field]
    return n ? sorted_median(list, n) : 0
}
# The least of the rounds: what a scenario costs where the machine disturbs it least.
function least(g, name, clients, sync, field,    low, r, x) {
    for (r = 1; r <= rounds; r++)
        if ((g, name, clients, sync, r, field) in value) {
            x = value[g, name, clients, sync, r, field]
            if (low == "" || x < low) low = x
        }
    return low + 0
}
function over(x, y) { return y ? x / y : 0 }
function ratio(g, name, to, clients, sync, field,    list, n, r, below) {
    for (r = 1; r <= rounds; r++) {
        below = value[g, to, clients, sync, r, field]
        if (below > 0) list[++n] = value[g, name, clients, sync, r, field] / below
    }
    return n ? sorted_median(list, n) : 0
}
# The ratio, and whether it reaches its target.
function judged(x, target, less) {
    if (target == "") return sprintf("%.2f", x)
    return sprintf("%.2f (%s %s%s)", x, less ? "≤" : "≥", target, (less ? x <= target : x >= target) ? "" : ", missed")
}
# The same of a number of events.
function reached(x, target) { return sprintf("%s (≥ %s%s)", big(x), big(target), x >= target ? "" : ", missed") }
function median_of(list,    parts, n) {
    n = split(list, parts, " ")
    return n ? sorted_median(parts, n) : 0
}
# 12345 as 12,345
function big(x,    s) {
    s = sprintf("%.0f", x)
    while (match(s, /[0-9][0-9][0-9][0-9]($|,)/)) s = substr(s, 1, RSTART) "," substr(s, RSTART + 1)
    return s
}
function title(text) { printf "\n## %s\n\n", text }
function head(text,    n, cells) {
    print "| " text " |"
    n = split(text, cells, "|")
    printf "|"
    while (n--) printf " --- |"
    print ""
}

function rates(g, name, label,    line, i) {
    line = "| " label " |"
    for (i = 1; i <= 4; i++) line = line " " big(median(g, name, clients_of[i], sync_of[i], 6)) " |"
    print line
}
function ratios(g, name, to, label, targets,    line, i, t) {
    split(targets, t, " ")
    line = "| " label " |"
    for (i = 1; i <= 4; i++) line = line " " judged(ratio(g, name, to, clients_of[i], sync_of[i], 6), t[i] == "-" ? "" : t[i], 0) " |"
    print line
}
function costs(g, name, label,    bytes) {
    bytes = (g, name) in disk ? big(disk[g, name]) : "-"
    printf "| %s | %.1f | %.1f | %s | %.2f | %.4f | %.3f | %.3f | %s |\n", label, least(g, name, 1, "off", 8),
        least(g, name, 16, "off", 8), big(median(g, name, 16, "off", 9)), median(g, name, 16, "off", 10),
        median(g, name, 16, "off", 11), median(g, name, 1, "on", 12), median(g, name, 16, "on", 12), bytes
}
function cost_head() {
    print ""
    head("an event | CPU µs, 1 client | CPU µs, 16 | WAL bytes | WAL records | full pages | flushes, on, 1 | flushes, on, 16 | disk bytes")
}
function batch(g, size) {
    title("Batches of " size ", events a second")
    head("sync, clients | off, 1 | off, 16 | on, 1 | on, 16")
    rates(g, "plain", "(1) plain, from ready rows")
    rates(g, "tagged", "(2) tagged, from ready rows")
    rates(g, "tagged_json", "(2) from the JSON that en57 gets")
    rates(g, "append", "(3) en57")
    rates(g, "append_if", "(4) en57 on condition")
    ratios(g, "append", "plain", "(3) / (1)", "")
    ratios(g, "append", "tagged", "(3) / (2)", size == 1000 ? "1.2 1.2 - 1.2" : "")
    ratios(g, "append", "tagged_json", "(3) / (2) from JSON", "")
    ratios(g, "append_if", "tagged", "(4) / (2)", "")
    cost_head()
    costs(g, "plain", "(1)"); costs(g, "tagged", "(2)"); costs(g, "append", "(3)"); costs(g, "append_if", "(4)")
}
function reading(g, what, label, target,    i, line) {
    line = "| " label " |"
    for (i = 1; i <= 16; i += 15)
        line = line sprintf(" %s | %s | %s |", big(median(g, what "_sql", i, "on", 6)),
            big(median(g, what "_en57", i, "on", 6)), judged(ratio(g, what "_en57", what "_sql", i, "on", 6), target, 0))
    printf "%s %.2f |\n", line, over(least(g, what "_sql", 1, "on", 8), least(g, what "_en57", 1, "on", 8))
}
function unaffected(what, label,    i, line) {
    line = "| " label " |"
    for (i = 1; i <= 16; i += 15)
        line = line sprintf(" %s | %s | %s |", big(median("upcasters", what "_none", i, "on", 6)),
            big(median("upcasters", what "_other", i, "on", 6)),
            judged(ratio("upcasters", what "_other", what "_none", i, "on", 6), 0.95, 0))
    printf "%s %.2f |\n", line, over(least("upcasters", what "_none", 1, "on", 8), least("upcasters", what "_other", 1, "on", 8))
}

END {
    split("1 16 1 16", clients_of, " ")
    split("off off on on", sync_of, " ")

    if ("writes" in group) {
        title("One event an append, events a second")
        head("sync, clients | off, 1 | off, 16 | on, 1 | on, 16")
        rates("writes", "plain", "(1) plain table")
        rates("writes", "tagged", "(2) and a table of tags")
        rates("writes", "append", "(3) en57")
        rates("writes", "append_if", "(4) en57 on condition")
        ratios("writes", "append", "plain", "(3) / (1)", "0.85 0.80 - 0.85")
        ratios("writes", "append_if", "plain", "(4) / (1)", "0.75 0.70 - 0.80")
        ratios("writes", "append", "tagged", "(3) / (2)", "1.25 1.30 - 1.15")
        ratios("writes", "append_if", "tagged", "(4) / (2)", "1.10 1.15 - 1.10")
        cost_head()
        costs("writes", "plain", "(1)"); costs("writes", "tagged", "(2)")
        costs("writes", "append", "(3)"); costs("writes", "append_if", "(4)")
        printf "| (3) / (2) | %.2f | %.2f | %s | | | | | %s |\n", over(least("writes", "append", 1, "off", 8), least("writes", "tagged", 1, "off", 8)),
            over(least("writes", "append", 16, "off", 8), least("writes", "tagged", 16, "off", 8)), judged(ratio("writes", "append", "tagged", 16, "off", 9), 1, 1),
            judged(over(disk["writes", "append"], disk["writes", "tagged"]), 1, 1)
        printf "\nAppends refused by (4): %.2f %% with 16 clients, sync off.\n", 100 * median("writes", "append_if", 16, "off", 7) / \
            (median("writes", "append_if", 16, "off", 6) + median("writes", "append_if", 16, "off", 7) + 1e-9)
    }
    if ("streams" in group) {
        title("Streams: one event at an exact version, events a second")
        head("sync, clients | off, 1 | off, 16 | on, 1 | on, 16")
        rates("streams", "plain", "(5) table, unique (stream, version)")
        rates("streams", "append", "(6) en57, `expected_version`")
        rates("streams", "append_if", "(4) en57 on condition")
        ratios("streams", "append", "plain", "(6) / (5)", "")
        ratios("streams", "append", "append_if", "(6) / (4)", "1 1 - 1")
        cost_head()
        costs("streams", "plain", "(5)"); costs("streams", "append", "(6)")
        printf "\nAppends refused by (6): %.2f %% with 16 clients, sync off.\n", 100 * median("streams", "append", 16, "off", 7) / \
            (median("streams", "append", 16, "off", 6) + median("streams", "append", 16, "off", 7) + 1e-9)
        title("Streams: reading, queries a second")
        head("| SQL, 1 client | en57 | ratio | SQL, 16 | en57 | ratio | CPU, SQL / en57, 1 client")
        reading("streams", "all", "a stream's 1,000 events, SQL over (5)", 0.9)
        reading("streams", "window", "ten events in the midst of it, SQL over (5)", "")
    }
    if ("batch100" in group) batch("batch100", 100)
    if ("batch1000" in group) batch("batch1000", 1000)
    if ("many" in group) {
        title("A hundred requests on condition in one call, requests a second")
        head("sync, clients | off, 1 | off, 16 | on, 1 | on, 16")
        rates("many", "append_single", "(11) `en57_append`, one at a time")
        rates("many", "append_many", "(12) `en57_append_many`, a hundred at a time")
        ratios("many", "append_many", "append_single", "(12) / (11)", "8 5 - 6")
    }
    if ("contended" in group) {
        title("Contended: 16 clients on 10 tags, a second")
        head("| stored, sync off | refused or failed | stored, sync on | refused or failed")
        n = split("locked serializable append_if append_locked", names, " ")
        label["locked"] = "SQL over (2), advisory lock"
        label["serializable"] = "SQL over (2), SERIALIZABLE"
        label["append_if"] = "en57, head of the tag, then append on condition"
        label["append_locked"] = "en57, en57_lock, then append on condition"
        for (i = 1; i <= n; i++)
            printf "| %s | %s | %s | %s | %s |\n", label[names[i]],
                big(median("contended", names[i], 16, "off", 6)), big(median("contended", names[i], 16, "off", 7)),
                big(median("contended", names[i], 16, "on", 6)), big(median("contended", names[i], 16, "on", 7))
    }
    if ("projections" in group) {
        title("A document that is kept with each append, events a second")
        head("sync, clients | off, 1 | off, 16 | on, 1 | on, 16")
        rates("projections", "append", "(3) en57, no projection")
        rates("projections", "append_upsert", "(7) append and an upsert by hand, one transaction")
        rates("projections", "append_document", "(8) append with one inline document projection")
        ratios("projections", "append_document", "append_upsert", "(8) / (7)", "1.2 1.2 - 1.2")
        ratios("projections", "append_document", "append", "(8) / (3)", "")
    }
    if ("worker" in group) {
        title("Appends beside a worker, events a second")
        head("sync, clients | off, 1 | off, 16 | on, 1 | on, 16")
        rates("worker", "append", "(3) en57, no worker")
        rates("worker", "append_worker", "(9) beside a worker")
        rates("worker", "append_notify", "(10) beside a worker that notifies four listeners")
        ratios("worker", "append_worker", "append", "(9) / (3)", "")
        ratios("worker", "append_notify", "append", "(10) / (3)", "")
    }
    if ("deciders" in group) {
        title("Decisions on a tag's state, sync on, a second")
        head("| stored, 1 client | stored, 16 | refused, 16 | CPU µs each, 16")
        label["append_decide_1"] = "`en57_decide`, one tag"
        label["append_client_1"] = "the client: `en57_state`, append on condition, one tag"
        label["append_decide_1000"] = "`en57_decide`, 1,000 tags"
        label["append_client_1000"] = "the client, 1,000 tags"
        n = split("append_decide_1 append_client_1 append_decide_1000 append_client_1000", names, " ")
        for (i = 1; i <= n; i++)
            printf "| %s | %s | %s | %s | %.1f |\n", label[names[i]], big(median("deciders", names[i], 1, "on", 6)),
                big(median("deciders", names[i], 16, "on", 6)), big(median("deciders", names[i], 16, "on", 7)), least("deciders", names[i], 16, "on", 8)
    }
    if ("all" in folded) {
        title("A state of many events")
        split(folded["all"], m, " ")
        printf "Folded from %s events in one scope: %.1f s. ", big(m[1]), m[2] / 1e9
        split(folded["snapshot"], m, " ")
        printf "From its snapshot: %s ms.\n", judged(m[2], 2, 1)
    }
    if ("schemas" in group) {
        title("An event of ten fields, checked against its JSON Schema, events a second")
        head("sync, clients | off, 1 | off, 16 | on, 1 | on, 16")
        rates("schemas", "append", "en57, type not registered")
        rates("schemas", "append_checked", "checked")
        ratios("schemas", "append_checked", "append", "ratio", "0.85 0.85 - 0.85")
    }
    if ("upcasters" in group) {
        title("Reads of a type without upcasters, while another type has one, queries a second")
        head("| no upcasters, 1 client | another type has one | ratio | no upcasters, 16 | another type has one | ratio | CPU, none / another, 1 client")
        unaffected("type", "1,000 events of a type")
        unaffected("tag", "a tag's 10 events")
    }
    if (rebuilds) {
        title("Rebuilding documents of four events each, swap included")
        printf "%s events a second.\n", reached(sorted_median(rebuilt, rebuilds), 50000)
        if ("rows" in swapped) printf "The longest wait of an append while %s documents that all differ are swapped, median: by rows %s ms, by files %s ms.\n",
            big(swapped_count), big(median_of(swapped["rows"])), big(median_of(swapped["files"]))
    }
    if (async_lag) {
        title("Lag of an async projection")
        split(async_lag, m, " ")
        printf "With 16 clients that append %s events a second, sync on: median %.1f ms, 99th percentile %.1f ms from an event's recording to its handling, of %s.\n",
            big(value["lag", "append", 16, "on", 1, 6]), m[1], m[2], big(m[3])
    }
    if (asleep) {
        title("Waiting")
        for (i = 1; i <= 16; i += 15) {
            split(latency[i], m, " ")
            printf "From an append's begin, past its commit, to the statement after en57_wait, %d waiting: median %s ms, 99th percentile %s µs, of %s wake-ups.\n", i,
                judged(m[1] / 1000, 1, 1), big(m[2]), big(m[3])
        }
        split(asleep, m, " ")
        printf "%s sessions asleep use %s ms of CPU in %s s.\n", m[1], m[2], m[3]
    }
    if (("sql", 100) in polled) {
        title("A subscription: poll and acknowledge in one transaction, events a second")
        head("events a batch | SQL over (1) and a table of positions | en57 | ratio")
        for (i = 100; i <= 1000; i *= 10)
            printf "| %d | %s | %s | %.2f |\n", i, big(polled["sql", i]), big(polled["en57", i]), over(polled["en57", i], polled["sql", i])
    }
    if ("reads" in group) {
        title("Reads on a million events, queries a second")
        head("| SQL, 1 client | en57 | ratio | SQL, 16 | en57 | ratio | CPU, SQL / en57, 1 client")
        reading("reads", "tail", "tail of 1,000, SQL over (1)", 0.9)
        reading("reads", "tag", "a tag's 10 events, SQL over (2)", 0.9)
        reading("reads", "two_tags", "two tags of 100,000 that share 10, SQL over (2)", 5)
        reading("reads", "type", "newest 100 of a type, SQL over (2) and an index for it", "")
        printf "\nDisk bytes an event, loaded in bulk: (1) %s, (2) %s, en57 %s.\n", big(disk["reads", "plain"]),
            big(disk["reads", "tagged"]), big(disk["reads", "append"])
    }
    if ("batch" in memory) {
        title("Memory of a backend")
        split(memory["batch"], m, " ")
        printf "An append of %s events, %s bytes of JSON: grows by %s bytes, %s times the JSON.\n", big(m[1]), big(m[2]), big(m[3]),
            judged(m[3] / m[2], 4, 1)
        split(memory["cursor"], m, " ")
        printf "A cursor over %s events: grows by %s MB.\n", big(m[1]), judged(m[3] / 1048576, 32, 1)
    }
    if ("alone" in imported) {
        title("Import from a table, events a second")
        printf "With two tags: %s. With two tags, in streams of ten: %s.\n", reached(median_of(imported["alone"]), 100000),
            big(median_of(imported["streams"]))
    }
    if ("large" in group) {
        title("A condition in a store of 10 million")
        printf "Append on condition, 1 client, sync off: %.1f µs with 10,000 events in the store, %.1f with 10 million: %s times.\n",
            1e6 / median("large", "append_small", 1, "off", 6), 1e6 / median("large", "append_large", 1, "off", 6),
            judged(ratio("large", "append_small", "append_large", 1, "off", 6), 1.3, 1)
    }
}
