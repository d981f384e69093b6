# Names of functions that say whose they are: a backtrace, a profile and a search show the name alone. A static function may
# share its name with those of a few other files, not with those of ten. Input: strip.awk's lines.

$1 !~ /^tests\// && $3 ~ /^static / && $3 !~ /;[ \t]*$/ && match($3, /[A-Za-z_][A-Za-z0-9_]*\(/) {
    name = substr($3, RSTART, RLENGTH - 1)
    if (!((name, $1) in seen)) {
        seen[name, $1] = 1
        files[name]++
        places[name] = places[name] $1 ":" $2 "\n"
    }
}

END {
    for (name in files) {
        if (files[name] < 10)
            continue
        count = split(places[name], place, "\n")
        for (i = 1; i < count; i++)
            print place[i] ": static " name "() stands in " files[name] " files: put before the name whose it is"
    }
}
