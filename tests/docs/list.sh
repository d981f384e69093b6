# shellcheck shell=bash
# The commands that the documents and the examples show; to be sourced.

# "FILE:LINE<TAB>command": indented lines, fenced lines of sh, and what stands in backticks.
commands() {
  awk '
    function out(text) {
      sub(/[ \t]+#.*$/, "", text)
      sub(/^build\/[a-z]+\/imsuper/, "imsuper", text)
      if (text ~ /^(imsuper|\.\/quickstart|cmake|ctest|tests\/[^ ]+|--[a-z])/) print FILENAME ":" FNR "\t" text
    }
    FNR == 1 { fenced = 0 }
    /^```/ { fenced = fenced ? 0 : $0 == "```sh" ? 1 : 2; next }
    fenced == 2 { next }
    /^    / || fenced { line = $0; sub(/^ +/, "", line); out(line); next }
    {
      line = $0
      while (match(line, /`[^`]+`/)) {
        out(substr(line, RSTART + 1, RLENGTH - 2))
        line = substr(line, RSTART + RLENGTH)
      }
    }' "$@"
}

# The same of examples: commands of scripts, their lines joined, and of lists of words in YAML (- imsuper, - start, ...).
example_commands() {
  awk '
    function out(text) {
      gsub(/ *(\|\||&&|;|[0-9]*>).*/, "", text); gsub(/["\047]/, "", text)
      print FILENAME ":" first "\t" text
    }
    FNR == 1 { if (list != "") out(list); list = joined = "" }
    FILENAME ~ /\.yaml$/ {
      if ($1 == "-" && $2 == "imsuper" && NF == 2) { list = $2; first = FNR }
      else if (list != "" && $1 == "-" && NF == 2) list = list " " $2
      else if (list != "") { out(list); list = "" }
      next
    }
    { line = $0; sub(/^ +/, "", line) }
    joined == "" { first = FNR }
    /\\$/ { sub(/ *\\$/, "", line); joined = joined line " "; next }
    { line = joined line; joined = ""; sub(/^#.*[ =]imsuper start /, "imsuper start ", line); sub(/^srun /, "", line) }
    line ~ /^imsuper / { out(line) }
    END { if (list != "") out(list) }' "$@"
}

# documented ROOT: all of them.
documented() (
  cd "$1"
  shopt -s nullglob
  for document in README.md CONTRIBUTING.md SECURITY.md ARCHITECTURE.md docs/*.md; do [ ! -e "$document" ] || commands "$document"; done
  mapfile -t examples < <(find examples -type f ! -name '*.py' 2>/dev/null | sort)
  [ ${#examples[@]} -eq 0 ] || example_commands "${examples[@]}"
)
