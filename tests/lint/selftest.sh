#!/bin/sh
# Shows that each rule fails on what it forbids: selftest/RULE is a small bad tree, its file `expect` lists the findings
# that lint.sh must print for it, each as the beginning of a line (or, for globals, a name), no more and no fewer.
#
#   selftest.sh RULE [compiler flag...]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
rule=${1:?rule} && shift
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
tree=$here/selftest/$rule

if [ "$rule" = globals ]; then
  "$@" -c -o "$work/source.o" "$tree/source.c"
  set -- "$work/source.o"
fi
status=0
"$here/lint.sh" "$rule" "$tree" "$@" >"$work/out" 2>&1 || status=$?
[ "$status" -ne 77 ] || exit 77
[ "$status" -eq 1 ] || { cat "$work/out" && echo "$rule: exit status $status on a bad tree, expected 1" && exit 1; }

failed=0
while IFS= read -r want; do
  grep -qF -- "$want" "$work/out" || { echo "$rule: not reported: $want" && failed=1; }
done <"$tree/expect"
while IFS= read -r got; do
  found=0
  while IFS= read -r want; do
    case $got in *"$want"*) found=1 && break ;; esac
  done <"$tree/expect"
  [ $found -eq 1 ] || { echo "$rule: reported, but allowed: $got" && failed=1; }
done <"$work/out"
exit $failed
