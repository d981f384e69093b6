#!/bin/sh
# Shows that each rule fails on what it forbids: selftest/RULE is a small bad tree, its file `expect` lists the findings
# that lint.sh must print for it, each as the beginning of a line (or, for globals, a name), no more and no fewer. The tree
# of sizes is made here: files and functions that just fit, and ones of a line more. So is that of names.
#
#   selftest.sh RULE [compiler flag...]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
rule=${1:?rule} && shift
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
tree=$here/selftest/$rule expect=$here/selftest/$rule/expect

if [ "$rule" = globals ]; then
  "$@" -c -o "$work/source.o" "$tree/source.c"
  set -- "$work/source.o"
fi

# repeat COUNT LINE
repeat() { seq "$1" | sed "s/.*/$2/"; }
make_sizes() {
  mkdir "$tree/reader" && cd "$tree/reader"
  repeat 800 'int v&;' >full_file.c
  repeat 801 'int v&;' >long_file.c
  repeat 80 'int v&;' >main.c
  { printf 'int just_fits(int x)\n{\n' && repeat 80 '    x++;' && printf '}\n\n'
    printf 'static int one_too_many(int x,\n                        int y)\n{\n' && repeat 81 '    x++;' && printf '}\n'; } >long_function.c
  cd - >/dev/null
}
if [ "$rule" = sizes ]; then
  tree=$work/tree && mkdir "$tree"
  make_sizes
fi
# Ten files with one static function of the same name, nine of which have another one in common.
make_names() {
  mkdir "$tree/reader" && cd "$tree/reader"
  for i in 0 1 2 3 4 5 6 7 8 9; do
    printf 'static int find(int x);\n\nstatic int find(int x)\n{\n    return x;\n}\n' >"$i.c"
    [ "$i" = 0 ] || printf '\nstatic int take(int x)\n{\n    return x;\n}\n' >>"$i.c"
  done
  cd - >/dev/null
}
if [ "$rule" = names ]; then
  tree=$work/tree && mkdir "$tree"
  make_names
fi
if [ "$rule" = tidy ]; then
  # As CMake writes it, with a file of two targets.
  entry=$(printf '{\n  "directory": "%s",\n  "command": "cc -Wall -c reader/bad.c",\n  "file": "%s"\n}' "$tree" "$tree/reader/bad.c")
  printf '[\n%s,\n%s\n]\n' "$entry" "$entry" >"$work/compile_commands.json"
  set -- "$work"
fi
status=0
"$here/lint.sh" "$rule" "$tree" "$@" >"$work/out" 2>&1 || status=$?
[ "$status" -ne 77 ] || exit 77
[ "$status" -eq 1 ] || { cat "$work/out" && echo "$rule: exit status $status on a bad tree, expected 1" && exit 1; }

failed=0
while IFS= read -r want; do
  grep -qF -- "$want" "$work/out" || { echo "$rule: not reported: $want" && failed=1; }
done <"$expect"
while IFS= read -r got; do
  found=0
  while IFS= read -r want; do
    case $got in *"$want"*) found=1 && break ;; esac
  done <"$expect"
  [ $found -eq 1 ] || { echo "$rule: reported, but allowed: $got" && failed=1; }
done <"$work/out"
exit $failed
