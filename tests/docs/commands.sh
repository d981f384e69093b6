#!/usr/bin/env bash
# The commands, flags and options that the documents show exist.
#
#   commands.sh ROOT BUILD   every verb and flag, by the help; presets, quickstart's commands, scripts
#
# Words in capitals stand for others (VERB, --aug.NAME) and are not checked. A command is an indented line, or text in backticks, that begins with imsuper, ./quickstart, cmake, ctest or tests/. ROOT may be
# another tree, with documents that must fail (selftest/).
set -euo pipefail
root=${1:?root} build=${2:?build}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
program=$build/imsuper
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
# shellcheck source-path=SCRIPTDIR source=list.sh
. "$here/list.sh"
cd "$root"

found=0
finding() { printf '%s\n' "$*" && found=1; }

# The verbs of the help, of one word or two; and the flags of one, by their long names.
verbs() { "$program" help | sed -nE 's/^([A-Z][a-z]+)? +((data|bench|profile|cluster) [a-z]+|[a-z-]+)(  .*|, .*)$/\2/p'; }
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

documented "$root" >"$work/commands"
check_names <"$work/commands"
exit $found
