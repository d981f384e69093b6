# What no text file of the project may hold. The patterns are written so that they do not match themselves.

/[ \t\r]$/ { print FILENAME ":" FNR ": blanks at the end of the line" }
/\t/ { print FILENAME ":" FNR ": a tab; indent with blanks" }
/(^|[^A-Za-z0-9_.])\/(root|[h]ome|[w]ork|Users)\/[A-Za-z0-9_.]/ { print FILENAME ":" FNR ": a path of one machine" }
/(^|[^A-Za-z0-9_])(TOD[O]|FIXM[E]|XX[X]|HAC[K])([^A-Za-z0-9_]|$)/ {
    print FILENAME ":" FNR ": a mark of unfinished work; finish it or open an issue"
}
/^(<<<<<<<|>>>>>>>) / { print FILENAME ":" FNR ": a merge conflict" }
