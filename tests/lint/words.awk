# Words that readers from outside must translate, each with a better one. Input: the C files of the product themselves.
# sentence[]: in strings with a blank, which users read (help, errors, logs). comment[]: in comments. Both are regular
# expressions, of whole words in small letters. Words that a file really is about (a GPU's `stream`) are no business of this.

BEGIN {
    sentence["knows?|wants?|wanted"] = "programs have, need, accept, support; they neither know nor want"
    sentence["is said|are said|was said|what is told|is told"] = "name who prints, reports or decides it"
    sentence["to be had"] = "available"
    sentence["for people|for humans"] = "name the reader: users, operators, the terminal"
    sentence["of ours|of theirs|of its own accord"] = "of imsuper, of this program, of this project"
    sentence["somebody|whoever"] = "another user, another process, anyone who"
    sentence["does without|do without|goes without"] = "runs without, needs no"
    sentence["mends?|mended"] = "repairs, fixes"
    sentence["settles?|course of|trouble|buried|lest|shall"] = "tunes, schedule, error, closed, so that not, must"

    comment["for people"] = "for users, for the terminal"
    comment["wants|knows"] = "needs, asks for, accepts, has, recognises"
    comment["is said|are said|was said|is told|are told|was told|is to be had|to be had"] = "say who prints, reports or sends it; available"
    comment["of ours|of theirs|shall|lest"] = "of imsuper, of this process; must; so that not"
    comment["does without|do without"] = "runs without, needs no"
    comment["buried"] = "closed, removed"
    comment["on the host's word|at the right moments"] = "say by whom and when"
}

function check(text, list, where,    words) {
    text = " " tolower(text) " "
    gsub(/[^a-z'_]+/, " ", text)
    for (words in list)
        if (match(text, " (" words ") "))
            print FILENAME ":" FNR ": \"" substr(text, RSTART + 1, RLENGTH - 2) "\" in " where ": " list[words]
}

FNR == 1 { inside = 0 }

{
    rest = $0
    while (rest != "") {
        if (inside) {
            end = index(rest, "*/")
            check(end ? substr(rest, 1, end - 1) : rest, comment, "a comment")
            rest = end ? substr(rest, end + 2) : ""
            inside = !end
        } else if (match(rest, /\/\*|\/\/|'.'|'\\.'|"([^"\\]|\\.)*"/)) {
            found = substr(rest, RSTART, RLENGTH)
            rest = substr(rest, RSTART + RLENGTH)
            if (found == "/*") {
                inside = 1
            } else if (found == "//") {
                check(rest, comment, "a comment")
                rest = ""
            } else if (found ~ /^".* .*"$/ && found !~ /^"[a-z]+\/.*\.h"$/) {
                gsub(/\\[a-z]/, " ", found)
                check(found, sentence, "a sentence")
            }
        } else {
            rest = ""
        }
    }
}
