#!/usr/bin/env bash
# Each test that docs/faults.md names exists in the build. Those of a kind that this build leaves out altogether (no CUDA, no
# libcurl) are not looked for.
#
#   faults.sh SOURCE BUILD
set -euo pipefail
source=$1 build=$2 bad=0 named=0
tests=$(ctest --test-dir "$build" -N | sed -n 's/^ *Test *#[0-9]*: //p')
# shellcheck disable=SC2016 # backticks of Markdown
for name in $(grep -oE '`[a-z0-9]+_[a-z0-9_]+`' "$source/docs/faults.md" | tr -d '`' | sort -u); do
  named=$((named + 1))
  if grep -qxF "$name" <<<"$tests" || ! grep -q "^$(cut -d _ -f 1-2 <<<"$name")_" <<<"$tests"; then continue; fi
  case $name in oom_score_adj | decode_memory*) continue ;; esac
  echo "docs/faults.md names $name, and there is no such test"
  bad=1
done
[ "$named" -ge 100 ] || { echo "only $named names were found in docs/faults.md" && bad=1; }
exit $bad
