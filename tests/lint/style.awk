# One spelling of what C spells in several ways. Input: strip.awk's lines; -v system_list=system_headers.txt.
#
# - Includes at the top of a file come in this order, a blank line between two kinds: the file's own header (of a .c, .cc
#   or .cu file: the header of its stem, or one of its folder or of a folder above, or of what the file tests or implements),
#   headers of the system, of third parties, of the project.
# - `sizeof x` for an object, `sizeof(type)` for a type; not within a macro's definition.
# - IM_COUNT(array) (ipc/base/count.h) for the number of elements. kernels/ stands alone and has none to count.
# - static_assert, not _Static_assert.

function find(message) {
    print $1 ":" $2 ": " message
}

function is_system(name,    i, n, part) {
    if (name in plain)
        return 1
    for (i = 1; i <= patterns; i++)
        if (name ~ pattern[i])
            return 1
    return 0
}

function is_type(operand) {
    return operand ~ /^ *(const|struct|union|enum|unsigned|signed|char|short|int|long|float|double|bool|void)([^A-Za-z0-9_]|$)/ ||
        operand ~ /^ *[A-Za-z0-9_]+_t[ *]*$/ || operand ~ /^[A-Z]+$/
}

function is_own(name,    folder) {
    if ($1 !~ /\.(c|cc|cu)$/ || includes > 1)
        return 0
    folder = name
    sub(/\/[^\/]*$/, "/", folder)
    return index($1, folder) == 1
}

function is_stem(name,    a, b) {
    a = $1
    b = name
    return a ~ /\.(c|cc|cu)$/ && sub(/\.[a-z]+$/, "", a) && sub(/\.[a-z]+$/, "", b) && a == b
}

function check_include(line,    name, kind) {
    name = line
    gsub(/^ *# *include *[<"]|[>"].*$/, "", name)
    includes++
    if (line ~ /</)
        kind = is_system(name) ? 2 : 3
    else
        kind = is_own(name) ? 1 : 4
    # The first may be the header of what a test is about, or of what the file implements of another folder.
    if (includes == 1 && kind == 4 && $1 ~ /\.(c|cc|cu)$/)
        kind = maybe = 1
    else if (kind == 4 && maybe && last == 1 && !blank)
        last = 4
    if (includes > 1 && !own && is_stem(name))
        find("include order: the own header " name " comes first")
    if (kind < last)
        find("include order: own header, system, third party, project; " name " comes too late")
    else if (last && kind != last && !blank)
        find("include order: a blank line before " name)
    else if (kind == last && kind == 1)
        find("include order: only one own header")
    own = own || (kind == 1 && !maybe)
    last = kind
    blank = 0
}

BEGIN {
    while ((getline line < system_list) > 0) {
        if (line ~ /^#/ || line == "")
            continue
        if (line ~ /\*/) {
            gsub(/\./, "\\.", line)
            gsub(/\*/, ".*", line)
            pattern[++patterns] = "^" line "$"
        } else {
            plain[line] = 1
        }
    }
}

$1 != file {
    file = $1
    top = 1
    includes = last = blank = own = maybe = in_macro = 0
}

top && $3 ~ /^ *# *include/ { check_include($3) }
top && includes && $3 ~ /^ *$/ { blank = 1 }
top && includes && $3 !~ /^ *$/ && $3 !~ /^ *# *include/ { top = 0 }

/_Static_assert/ { find("static_assert, not _Static_assert") }

{
    macro = in_macro || $3 ~ /^ *# *define/
    in_macro = macro && $3 ~ /\\$/
    rest = $3
    while (!macro && match(rest, /sizeof *\([^()]*\)/)) {
        operand = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        gsub(/^sizeof *\(|\)$/, "", operand)
        if (!is_type(operand))
            find("sizeof " operand ", without parentheses: it is no type")
    }
    if (!macro && match($3, /sizeof [^ ]+ \/ sizeof [*]/) || !macro && $3 ~ /sizeof [^ ]+ \/ sizeof [^ ]+\[0\]/)
        find("count an array's elements with IM_COUNT")
}
