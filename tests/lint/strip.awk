# C source to lines of "path TAB line TAB code": comments become one blank, string and character contents vanish.
# The operand of #include is kept. Line counts stay true, so that findings point at the right place.

FNR == 1 { in_comment = 0 }

{
    line = $0
    gsub(/\t/, " ", line)
    if (!in_comment && line ~ /^ *# *include/) {
        sub(/\/[\/*].*$/, "", line)
        print FILENAME "\t" FNR "\t" line
        next
    }
    if (in_comment ? line !~ /\*\// : line !~ /["'\/]/) { # most lines: nothing to look for character by character
        print FILENAME "\t" FNR "\t" (in_comment ? "" : line)
        next
    }
    out = ""
    n = length(line)
    for (i = 1; i <= n; i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (in_comment) {
            if (two == "*/") {
                in_comment = 0
                out = out " "
                i++
            }
        } else if (two == "/*") {
            in_comment = 1
            i++
        } else if (two == "//") {
            break
        } else if (c == "\"" || c == "'") {
            quote = c
            for (i++; i <= n && (c = substr(line, i, 1)) != quote; i++)
                if (c == "\\")
                    i++
            out = out quote quote
        } else {
            out = out c
        }
    }
    print FILENAME "\t" FNR "\t" out
}
