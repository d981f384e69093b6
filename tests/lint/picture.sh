#!/bin/sh
# Keeps the pictures of ARCHITECTURE.md true to the tree (picture.awk draws them):
#
#   picture.sh write    puts them between the markers
#   picture.sh check    prints a finding for each block that is not what the tree gives
#
# To be run in the root of the project.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
page=ARCHITECTURE.md
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

find ipc kernels reader fetcher augment trainer supervisor -type f 2>/dev/null | grep -E '\.(c|cc|h|cu|cuh)$' |
  LC_ALL=C sort >"$work/list"
xargs awk -f "$here/strip.awk" <"$work/list" | awk -F '\t' -f "$here/picture.awk" >"$work/picture"

# The page with the blocks put in. A block stands between "<!-- picture: NAME ... -->" and "<!-- end of the picture -->".
awk -F '\t' '
  NR == FNR { block[$1] = block[$1] $2 "\n"; next }
  /^<!-- end of the picture -->$/ { skip = 0 }
  !skip
  /^<!-- picture: / { split($0, word, " "); printf "%s", block[word[3]]; skip = 1 }
' "$work/picture" "$page" >"$work/page"

case ${1:-} in
write) cat "$work/page" >"$page" ;;
check)
  grep -q '^<!-- picture: ' "$page" || echo "$page:1: there is no picture: put back its markers"
  cmp -s "$work/page" "$page" ||
    echo "$page:$(cmp "$work/page" "$page" | sed 's/.* //'): the picture is not that of the tree: run tests/lint/picture.sh write"
  ;;
*) echo "picture.sh: write or check" >&2 && exit 2 ;;
esac
