# A tag (C has one name space for struct, union and enum) that a product header defines or declares has one definition in
# the product: where two meet, the compiler takes one type for the other without a warning. Tags of .c files alone may
# repeat. Input: strip.awk's lines; -v allowed=tags.txt lists the handles that each implementation defines.

BEGIN {
    count = 0
    while ((getline line < allowed) > 0) {
        sub(/ *#.*$/, "", line)
        if (split(line, word, " ") == 2)
            handle[word[2]] = 1
    }
}

$1 ~ /^tests\// || $3 ~ /^ *# / { next }

{
    header = $1 ~ /\.(h|cuh)$/
    rest = $3
    # Alone on a line `struct tag;` declares.
    while (match(rest, /(struct|union|enum) +[A-Za-z_][A-Za-z0-9_]* *(\{|;)/)) {
        found = substr(rest, RSTART, RLENGTH)
        alone = substr(rest, 1, RSTART - 1) ~ /^ *$/
        rest = substr(rest, RSTART + RLENGTH)
        defines = found ~ /\{$/
        sub(/ *[{;]$/, "", found)
        sub(/^.* /, "", found)
        if (header && (defines || alone))
            shared[found] = 1
        if (defines) {
            place[count] = $1 ":" $2
            tag[count++] = found
        }
    }
}

END {
    for (i = 0; i < count; i++) {
        if (!(tag[i] in shared) || tag[i] in handle)
            continue
        if (tag[i] in first)
            print place[i] ": tag " tag[i] " is defined at " first[tag[i]] " too: give one of them another name"
        else
            first[tag[i]] = place[i]
    }
}
