#!/bin/sh
# Checks of the house that no compiler makes. One rule a call, so that CTest names the rule that failed:
#
#   lint.sh RULE ROOT [compiler flag...]
#
# RULE is includes, third_party, style, names, tokens, sizes, text, words, guards, tags, picture, docs, headers, clang, tidy, format, shell or globals.
# ROOT is the tree to look at: the project, or one of the bad examples under selftest/. Findings are printed as "path:line: what is wrong";
# exit status 0 means none, 1 some, 77 that the tool the rule needs is not installed, 2 wrong use.
# Only sh, awk, find and grep are needed (and clang-format, shellcheck, nm or the compiler where the rule is about them).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
rule=${1:?rule} && root=${2:?root} && shift 2
cd "$root"
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

# All text of the project, sorted; what is built, fetched, recorded or wrong on purpose is not ours to judge.
files() {
  find . \( -name .git -o -path ./build -o -path ./runs -o -path ./shared -o -path ./tests/lint/selftest -o -path ./tests/docs/selftest \) -prune -o \
    -type f -print | sed 's|^\./||' | LC_ALL=C sort
}
c_files() {
  files | grep -E '^(ipc|kernels|reader|fetcher|augment|trainer|supervisor|tests)/.*\.(c|cc|h|cu|cuh)$' || true
}

# One awk program over the C files, comments and strings blanked out; it prints findings.
over_code() {
  c_files >"$work/list"
  [ -s "$work/list" ] || return 0
  xargs awk -f "$here/strip.awk" <"$work/list" >"$work/code"
  awk -F '\t' "$@" "$work/code"
}

check_text() {
  files | grep -v -E '^(tests/golden/|tests/fuzz/corpus/|LICENSE$)' | xargs grep -lI . >"$work/list" || true # not empty, not binary
  xargs awk -f "$here/text.awk" <"$work/list"
  [ -n "$(xargs tail -q -c 1 <"$work/list" | tr -d '\n')" ] || return 0
  while IFS= read -r file; do
    [ -z "$(tail -c 1 "$file")" ] || echo "$file:1: no newline at the end of the file"
  done <"$work/list"
}

# What the product's sentences and comments say. The awk program reads the files, for strip.awk leaves no words.
check_words() {
  c_files | grep -v '^tests/' >"$work/list" || true
  [ ! -s "$work/list" ] || xargs awk -f "$here/words.awk" <"$work/list"
}

# Each header must compile as the first and only thing a file includes, and twice in a row.
check_headers() {
  c_files | grep '\.h$' >"$work/list" || true
  while IFS= read -r header; do
    printf '#include "%s"\n#include "%s"\n' "$header" "$header" >"$work/tu.c"
    if ! "$@" -I. -fsyntax-only -x c "$work/tu.c" 2>"$work/err"; then
      echo "$header:1: does not compile alone: $(grep -m 1 error "$work/err" || true)"
    fi
  done <"$work/list"
}

# Rule tidy has clang's warnings for the product, preset fuzz those for its targets; here are those for the other tests.
check_clang() {
  command -v clang >/dev/null || exit 77
  c_files | grep -E '^tests/(backend|bench|chaos|cuda|e2e|e2e_threads|gpu|pixels|stress|support|unit)/.*\.c$' >"$work/list" || true
  if ! echo '#include <cuda_runtime_api.h>' | clang "$@" -x c -fsyntax-only - 2>/dev/null; then
    xargs grep -LE '#include <cuda' <"$work/list" >"$work/rest" || true # what is built with CUDA alone
    mv "$work/rest" "$work/list"
  fi
  [ -s "$work/list" ] || return 0
  # shellcheck disable=SC2046 # flags
  xargs -P "$(nproc)" -n 8 clang "$@" $(pkg-config --cflags cairo libprotobuf-c 2>/dev/null) -I. -fsyntax-only -DSOURCE_DIR='""' \
    -DGOLDEN_DIR='""' -DFIXTURE='""' -DIMSUPER_BUILD_ID='""' <"$work/list" >"$work/out" 2>&1 || true
  grep -E '(error|warning):' "$work/out" || true
}

# clang-tidy over the product's files that a build compiles; .clang-tidy has the checks. Argument: the build folder.
check_tidy() {
  command -v clang-tidy >/dev/null || exit 77
  c_files | grep -E '^(ipc|kernels|reader|fetcher|augment|trainer|supervisor)/.*\.c$' | while IFS= read -r file; do
    if grep -qsF "\"file\": \"$PWD/$file\"" "$1/compile_commands.json"; then echo "$PWD/$file"; fi
  done >"$work/list"
  [ -s "$work/list" ] || { echo "$1/compile_commands.json:1: names no file of $PWD" && return 0; }
  # A file that several targets compile is looked at once. CMake writes each property on a line of its own.
  awk '/^{/ { entry = ""; file = "" } /^\[|^\]/ { next } /"file":/ { file = $0 } { entry = entry $0 "\n" }
    /^}/ { if (!seen[file]++) { sub(/,\n$/, "\n", entry); printf "%s%s", separator, entry; separator = "," } }
    BEGIN { print "[" } END { print "]" }' "$1/compile_commands.json" >"$work/compile_commands.json"
  xargs -P "$(nproc)" -n 16 clang-tidy -p "$work" --quiet <"$work/list" 2>"$work/err" >"$work/tidy" || [ -s "$work/tidy" ] ||
    sed 's/^/clang-tidy:1: /' "$work/err"
  grep -E '(error|warning):' "$work/tidy" | sed "s|^$PWD/||" | LC_ALL=C sort -u || true
}

check_format() {
  command -v clang-format >/dev/null || exit 77
  c_files | grep -E '\.(c|cc|h|cu|cuh)$' >"$work/list" || true
  [ -s "$work/list" ] || return 0
  xargs clang-format --dry-run -Werror --style=file <"$work/list" 2>&1 | grep 'error:' || true
}

check_shell() {
  command -v shellcheck >/dev/null || exit 77
  files | LC_ALL=C xargs awk 'FNR == 1 && /^#!.*[\/ ](ba)?sh$/ { print FILENAME } { nextfile }' >"$work/list"
  [ -s "$work/list" ] || return 0
  # Each script reads the ones it sources again, so most of the time is the parser's: on all cores.
  xargs -n 8 -P "$(nproc)" shellcheck -x -f gcc <"$work/list" || true
}

# Libraries own no mutable globals: nothing of theirs may lie in .data or .bss. Arguments: archives or objects.
check_globals() {
  command -v nm >/dev/null || exit 77
  nm -A -f sysv "$@" >"$work/symbols"
  awk -v allowed="$here/globals.txt" -f "$here/globals.awk" "$work/symbols"
}

# Documents name files and functions that exist.
check_docs() {
  files | grep '\.md$' >"$work/list" || true
  c_files >"$work/c"
  xargs cat <"$work/c" | grep -oE '[A-Za-z_][A-Za-z0-9_]+' | sort -u >"$work/names"
  [ ! -s "$work/list" ] || xargs awk -v names="$work/names" -f "$here/docs.awk" <"$work/list"
}

case $rule in
includes) over_code -v root=. -f "$here/includes.awk" ;;
third_party) over_code -v table="$here/third_party.txt" -v system_list="$here/system_headers.txt" -f "$here/third_party.awk" ;;
style) over_code -v system_list="$here/system_headers.txt" -f "$here/style.awk" ;;
names) over_code -f "$here/names.awk" ;;
tokens) over_code -f "$here/tokens.awk" ;;
sizes) over_code -f "$here/sizes.awk" ;;
guards) over_code -f "$here/guards.awk" ;;
tags) over_code -v allowed="$here/tags.txt" -f "$here/tags.awk" ;;
text) check_text ;;
words) check_words ;;
picture) "$here/picture.sh" check ;;
docs) check_docs ;;
headers) check_headers "$@" ;;
clang) check_clang "$@" ;;
tidy) check_tidy "$@" ;;
format) check_format ;;
shell) check_shell ;;
globals) check_globals "$@" ;;
*) echo "lint.sh: no rule \"$rule\"" >&2 && exit 2 ;;
esac >"$work/findings"

[ ! -s "$work/findings" ] && exit 0
cat "$work/findings"
exit 1
