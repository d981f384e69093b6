# Lines of `nm -A -f sysv`: archive:member:name |value|class|type|size|line|section. Everything in .data or .bss is mutable;
# constant tables of pointers lie in .data.rel.ro and are fine. `allowed` lists the exceptions, each with its reason.

BEGIN {
    FS = "|"
    while ((getline text < allowed) > 0)
        if (text !~ /^ *(#|$)/) {
            split(text, word, " ")
            ok[word[1]] = 1
        }
}

NF >= 7 {
    section = $7
    gsub(/ /, "", section)
    if (section !~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ || section ~ /^\.data\.rel\.ro/)
        next
    n = split($1, part, ":")
    name = part[n]
    gsub(/ /, "", name)
    if (name ~ /^DW\.ref\./) # how C++ finds the types of exceptions
        next
    bare = name
    sub(/\.[0-9]+$/, "", bare)
    object = part[n - 1]
    sub(/\.o$/, "", object)
    if (bare != "" && !((object ":" bare) in ok))
        print object ":1: " name " in " section " is a mutable global; give it to a struct that the caller owns"
}
