# A header's guard is its path in capitals, so that no two can meet. Input: strip.awk's lines.

function close_file() {
    if (file != "" && !found)
        print file ":1: no include guard " want
}

$1 !~ /\.h$/ { next }

$1 != file {
    close_file()
    file = $1
    found = 0
    want = toupper(file)
    gsub(/[^A-Z0-9]/, "_", want)
}

$3 ~ /^#define / {
    split($3, word, " ")
    if (word[2] == want)
        found = 1
}

END { close_file() }
