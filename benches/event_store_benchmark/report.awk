# Reads "workload store workers rate p50 p99 errors" lines in the order of the runs, prints tables in Markdown. A ratio is
# the median of the rounds' ratios: what ran side by side is compared.

{
    if (!(($1) in known)) { known[$1] = 1; workload[++workloads] = $1 }
    if (!(($2) in seen)) { seen[$2] = 1; store[++stores] = $2 }
    if (!(($3) in counted)) { counted[$3] = 1; workers[++counts] = $3 }
    r = ++rounds[$1, $2, $3]
    rate[$1, $2, $3, r] = $4; p50[$1, $2, $3, r] = $5; p99[$1, $2, $3, r] = $6
    errors[$1, $2] += $7
}

function median(list, n,    i, j, x) {
    for (i = 2; i <= n; i++) {
        x = list[i]
        for (j = i - 1; j > 0 && list[j] > x; j--) list[j + 1] = list[j]
        list[j + 1] = x
    }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
# 12345 as 12,345
function big(x,    s) {
    s = sprintf("%.0f", x)
    while (match(s, /[0-9][0-9][0-9][0-9]($|,)/)) s = substr(s, 1, RSTART) "," substr(s, RSTART + 1)
    return s
}
function middle(table, w, s, n,    list, i, m) {
    m = rounds[w, s, n]
    for (i = 1; i <= m; i++) list[i] = table[w, s, n, i]
    return m ? median(list, m) : 0
}
function ratio(w, s, to, n,    list, i, m) {
    for (i = 1; i <= rounds[w, s, n]; i++)
        if (rate[w, to, n, i] > 0) list[++m] = rate[w, s, n, i] / rate[w, to, n, i]
    return m ? sprintf("%.2f", median(list, m)) : "-"
}
function line(first, cells) { print "| " first " |" cells }

END {
    title["write"] = "Appends on condition, events a second"
    title["read"] = "Reads of a tag and a type, events a second"
    for (w = 1; w <= workloads; w++) {
        printf "\n## %s\n\n", title[workload[w]]
        heads = ""; rule = "| --- |"
        for (c = 1; c <= counts; c++) { heads = heads " " big(workers[c]) " |"; rule = rule " --- |" }
        line(workload[w] == "write" ? "writers" : "readers", heads)
        print rule
        for (s = 1; s <= stores; s++) {
            cells = ""
            for (c = 1; c <= counts; c++) cells = cells " " big(middle(rate, workload[w], store[s], workers[c])) " |"
            line(store[s], cells)
        }
        for (s = 1; s <= stores; s++) {
            if (store[s] == "en57" || !("en57" in seen)) continue
            cells = ""
            for (c = 1; c <= counts; c++) cells = cells " " ratio(workload[w], "en57", store[s], workers[c]) " |"
            line("en57 / " store[s], cells)
        }
        for (s = 1; s <= stores; s++) {
            cells = ""
            for (c = 1; c <= counts; c++)
                cells = cells sprintf(" %.1f, %.1f |", middle(p50, workload[w], store[s], workers[c]) / 1000, middle(p99, workload[w], store[s], workers[c]) / 1000)
            line(store[s] ": ms, p50 and p99", cells)
        }
        failed = ""
        for (s = 1; s <= stores; s++) if (errors[workload[w], store[s]]) failed = failed " " store[s] " " errors[workload[w], store[s]] ";"
        if (failed != "") print "\nCalls that failed:" failed
    }
}
