# A third-party header is included by exactly one file of the product, so that a new version of the library touches one
# file. Input: strip.awk's lines. `table` says which (third_party.txt); an angled include that is neither there nor in
# `system_list` is an unknown library. Tests are free to look at a library's output with the library.

# Shell pattern to regular expression: only * is special.
function regex_of(pattern) {
    gsub(/[.+]/, "\\\\&", pattern)
    gsub(/\*/, "[^ ]*", pattern)
    return "^" pattern "$"
}

BEGIN {
    while ((getline text < table) > 0) {
        if (text ~ /^ *(#|$)/)
            continue
        n = split(text, word, " ")
        header[++rows] = regex_of(word[2])
        library[rows] = word[1]
        places[rows] = ""
        for (i = 3; i <= n; i++)
            places[rows] = places[rows] " " word[i]
    }
    while ((getline text < system_list) > 0)
        if (text !~ /^ *(#|$)/)
            known[++systems] = regex_of(text)
}

function is_system(name,    i) {
    for (i = 1; i <= systems; i++)
        if (name ~ known[i])
            return 1
    return 0
}

# The place of the table that lets `file` include row `r`; empty when none does.
function place_of(r, file,    n, i, word) {
    n = split(places[r], word, " ")
    for (i = 1; i <= n; i++)
        if (file ~ regex_of(word[i]))
            return word[i]
    return ""
}

function check(r, file, line, name,    place, key) {
    if (file !~ /\.(c|cc|cu)$/) {
        print file ":" line ": <" name "> in a header spreads " library[r] " to every file that includes it"
        return
    }
    place = place_of(r, file)
    if (place == "") {
        print file ":" line ": <" name "> belongs into" places[r]
        return
    }
    key = library[r] SUBSEP place
    if (!(key in owner))
        owner[key] = file
    if (owner[key] != file)
        print file ":" line ": <" name "> is included by " owner[key] " already; one file a library"
}

$1 !~ /^tests\// && $3 ~ /^ *# *include *</ {
    name = $3
    sub(/^ *# *include *</, "", name)
    sub(/>.*$/, "", name)
    if (is_system(name))
        next
    for (r = 1; r <= rows; r++)
        if (name ~ header[r])
            break
    if (r > rows)
        print $1 ":" $2 ": <" name "> is unknown: add its library to tests/lint/third_party.txt"
    else
        check(r, $1, $2, name)
}
