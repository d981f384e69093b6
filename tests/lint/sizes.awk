# Nothing grows past what a reader can hold. Input: strip.awk's lines. Functions are found by the braces that
# clang-format puts at column 0.

BEGIN {
    FILE_LINES = 800
    FUNCTION_LINES = 80
    MAIN_LINES = 79
}

function close_file() {
    if (file == "")
        return
    if (last > FILE_LINES)
        print file ":" last ": " last " lines; a file has at most " FILE_LINES
    if (file ~ /(^|\/|_)main\.c$/ && file !~ /^tests\// && last > MAIN_LINES)
        print file ":" last ": " last " lines; main is under 80, the rest is a library"
}

$1 != file {
    close_file()
    file = $1
    start = 0
    head = ""
}

{ last = $2 }

$3 ~ /^[A-Za-z_].*\(/ {
    head = $3
    sub(/ *\(.*$/, "", head)
    sub(/^.*[ *]/, "", head)
}

$3 ~ /^\{/ { start = $2 }

$3 ~ /^\}/ {
    if (start && $2 - start - 1 > FUNCTION_LINES)
        print file ":" start ": " head "() has " $2 - start - 1 " lines; a function has at most " FUNCTION_LINES
    start = 0
}

END { close_file() }
