# What documents name must exist. Input: Markdown files. Checked, outside of fenced blocks:
#
#   [text](path)     a file or folder, relative to the document
#   `folder/file`    a file or folder of the project, when the first part is one of its folders
#   `name()`         a function that some C file names (given in -v names=FILE, a word a line); not name_NAME()

BEGIN {
    while ((getline word < names) > 0)
        known[word] = 1
    n = split("ipc kernels reader fetcher augment trainer supervisor tests recipes docs .ci", list, " ")
    for (i = 1; i <= n; i++)
        ours[list[i]] = 1
}

function exists(path) {
    if (!(path in found))
        found[path] = system("test -e '" path "'") == 0
    return found[path]
}

function finding(text) {
    print FILENAME ":" FNR ": " text
}

FNR == 1 {
    fenced = 0
    folder = FILENAME
    if (!sub(/\/[^\/]*$/, "/", folder))
        folder = ""
}

/^```/ { fenced = !fenced }
fenced { next }

{
    line = $0
    while (match(line, /\]\([^)]*\)/)) {
        target = substr(line, RSTART + 2, RLENGTH - 3)
        line = substr(line, RSTART + RLENGTH)
        sub(/#.*$/, "", target)
        if (target != "" && target !~ /^[a-z]+:/ && !exists(folder target))
            finding("the link's target " target " does not exist")
    }
    line = $0
    while (match(line, /`[^`]+`/)) {
        word = substr(line, RSTART + 1, RLENGTH - 2)
        line = substr(line, RSTART + RLENGTH)
        if (word ~ /^[A-Za-z0-9_]+\(\)$/) {
            sub(/\(\)$/, "", word)
            if (!(word in known) && word !~ /_[A-Z]+$/)
                finding(word "() does not exist")
        } else if (word ~ /^[A-Za-z0-9_.\/-]+$/ && word ~ /\//) {
            first = word
            sub(/\/.*$/, "", first)
            if (first in ours && !exists(word))
                finding(word " does not exist")
        }
    }
}
