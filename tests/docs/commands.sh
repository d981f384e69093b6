#!/usr/bin/env bash
# The commands, flags and options that the documents show exist.
#
#   commands.sh names ROOT BUILD   every verb and flag, by the help; presets, quickstart's commands, scripts
#   commands.sh run ROOT BUILD     runs those that need no image: none may end as wrong use (exit status 2)
#
# Words in capitals stand for others (VERB, --aug.NAME) and are not checked. A command is an indented line, or text in backticks, that begins with imsuper, ./quickstart, cmake, ctest or tests/. ROOT may be
# another tree, with documents that must fail (selftest/).
set -euo pipefail
mode=${1:?names or run} root=${2:?root} build=${3:?build}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
program=$build/imsuper
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
cd "$root"

found=0
finding() { printf '%s\n' "$*" && found=1; }

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

# The verbs of the help, of one word or two; and the flags of one, by their long names.
verbs() { "$program" help | sed -nE 's/^([A-Z][a-z]+)? +((data|bench|profile) [a-z]+|[a-z-]+)(  .*|, .*)$/\2/p'; }
flags_of() {
  local help="$work/help-$*"
  [ -e "$help" ] ||
    "$program" "$@" --help | grep -oE -- '--(\[no-\])?[a-z0-9.-]+' | sed 's/^--\[no-\]/--/; s/\./-/g' | sort -u >"$help" || true
  cat "$help"
}
all_flags() {
  local words
  echo --help
  "$program" help | grep -oE -- '--[a-z-]+'
  while read -ra words; do
    case ${words[0]} in help | version) ;; *) flags_of "${words[@]}" ;; esac
  done <"$work/verbs"
}
# Names of other trainers: X("their name", "our name", ...).
aliases() {
  grep -oE 'X\("[a-z0-9-]+", "' "$source/ipc/config/conf_keys.h" | sed -E 's/X\("(.*)", "/--\1/'
  grep -oE '^    \{"[a-z-]+", (true|false),' "$source/ipc/config/conf_foreign.c" | sed -E 's/ *\{"(.*)",.*/--\1/' # ignored ones
}
# Flags of cmake, ctest, quickstart and of scripts under tests/.
foreign='--(build|config|install|label|long|output-on-failure|parallel|prefix|preset|target|test-dir|threads)'

is_flag() { grep -qx -- "$1" "$2" || grep -qx -- "${1/--no-/--}" "$2" || grep -qx -- "$1" "$work/aliases"; }

check_flags() {
  local place=$1 list=$2 word
  shift 2
  for word in "$@"; do
    case $word in
    -- | *[A-Z]*) ;;
    --[a-z]*)
      word=${word%%=*} && word=${word//[._]/-}
      if ! is_flag "$word" "$list"; then finding "$place: there is no flag $word"; fi ;;
    esac
  done
}

check_imsuper() {
  local place=$1 verb=${3:-help} part=
  shift 3 || return 0
  case $verb in
  version | --* | [A-Z]*) return 0 ;;
  python | torchrun) check_flags "$place" "$work/all" "$@" && return 0 ;; # other trainers' command lines
  data | bench | profile)
    [ $# -gt 0 ] || return 0
    if ! grep -qx -- "$verb $1" "$work/verbs"; then finding "$place: there is no verb $verb $1" && return 0; fi
    part=$1 ;;
  help)
    case ${1:-VERB} in
    [A-Z]*) ;;
    *) grep -qE "^$1( |\$)" "$work/verbs" || finding "$place: there is no verb $1" ;;
    esac
    return 0 ;;
  *) grep -qx -- "$verb" "$work/verbs" || { finding "$place: there is no verb $verb" && return 0; } ;;
  esac
  flags_of "$verb" ${part:+"$part"} >"$work/flags"
  check_flags "$place" "$work/flags" "$@"
}

check_names() {
  local place command word
  verbs >"$work/verbs" && aliases >"$work/aliases"
  all_flags >"$work/all"
  [ "$(wc -l <"$work/verbs")" -gt 10 ] || finding "only $(wc -l <"$work/verbs") verbs found in the help"
  while IFS=$'\t' read -r place command; do
    read -ra word <<<"$command"
    case $command in
    "imsuper "*) check_imsuper "$place" "${word[@]}" ;;
    "./quickstart "*)
      "$source/quickstart" help | grep -qE "^ +\./quickstart ${word[1]}( |\$)" || finding "$place: quickstart has no command ${word[1]}" ;;
    cmake* | ctest*)
      if [[ $command =~ --preset\ ([a-z]+) ]]; then
        grep -q "\"name\": \"${BASH_REMATCH[1]}\"" "$source/CMakePresets.json" || finding "$place: there is no preset ${BASH_REMATCH[1]}"
      fi ;;
    tests/*) [ -e "$source/${word[0]}" ] || finding "$place: there is no ${word[0]}" ;;
    --*) [[ ${word[0]} =~ ^$foreign$ ]] || check_flags "$place" "$work/all" "${word[0]}" ;;
    esac
  done
}

# In an empty folder, without images or servers: a command ends by itself, and not with 2 unless it is wrong.
check_run() {
  local place command word status
  mkdir "$work/empty" && cd "$work/empty"
  while IFS=$'\t' read -r place command; do
    read -ra word <<<"$command"
    case $command in
    *...* | *[A-Z][A-Z]* | *\$* | *"--resume"* | *"bench trainer"* | *"profile trainer"* | *://*) continue ;;
    "imsuper start --"* | "imsuper lr-find --"* | "imsuper model"* | "imsuper recipes"* | "imsuper help"* | "imsuper gpus"* | \
      "imsuper data index --"* | "imsuper data preview --"* | "imsuper bench augment --"* | "imsuper profile augment --"*) ;;
    *) continue ;;
    esac
    [[ $command == *--data-dir* || $command == "imsuper "[mrhg]* ]] || continue
    status=0
    timeout 60 "$program" "${word[@]:1}" >out 2>&1 </dev/null || status=$?
    ran=$((ran + 1))
    if [ "$status" = 2 ] || [ "$status" -ge 124 ]; then
      finding "$place: $command: exit status $status: $(tail -n 1 out)"
    fi
  done
  [ "$ran" -gt 20 ] || finding "only $ran commands were run"
}

shopt -s nullglob
documents=(README.md CONTRIBUTING.md SECURITY.md ARCHITECTURE.md docs/*.md)
for document in "${documents[@]}"; do [ ! -e "$document" ] || commands "$document"; done >"$work/commands"
mapfile -t examples < <(find examples -type f ! -name '*.py' 2>/dev/null | sort)
[ ${#examples[@]} -eq 0 ] || example_commands "${examples[@]}" >>"$work/commands"
ran=0
case $mode in
names) check_names <"$work/commands" ;;
run) check_run <"$work/commands" ;;
*) echo "commands.sh: names or run" >&2 && exit 2 ;;
esac
exit $found
