#!/usr/bin/env bash
# Each test that docs/faults.md or tests/chaos/scenarios names exists in the build. Those of a kind that this build leaves out altogether (no CUDA, no
# libcurl) are not looked for.
#
#   faults.sh SOURCE BUILD
set -euo pipefail
source=$1 build=$2 bad=0 named=0
tests=$(ctest --test-dir "$build" -N | sed -n 's/^ *Test *#[0-9]*: //p')
# shellcheck disable=SC2016 # backticks of Markdown
for name in $({ grep -oE '`[a-z0-9]+_[a-z0-9_]+`' "$source/docs/faults.md" && grep -v '^#' "$source/tests/chaos/scenarios" | sed 's/.* | //' | tr ' ' '\n'; } |
  tr -d '`' | sort -u); do
  named=$((named + 1))
  if grep -qxF "$name" <<<"$tests"; then continue; fi
  case $name in cuda_* | e2e_remote_* | unit_fetcher_* | e2e_ranks_* | e2e_nodes_* | chaos_ranks_* | cluster_*)
    if ! grep -q "^$(cut -d _ -f 1-2 <<<"$name")_" <<<"$tests"; then continue; fi
    ;;
  esac
  case $name in oom_score_adj | decode_memory*) continue ;; esac
  echo "docs/faults.md or tests/chaos/scenarios names $name, and there is no such test"
  bad=1
done
[ "$named" -ge 100 ] || { echo "only $named names were found in docs/faults.md" && bad=1; }
[ "$(grep -cE '^[0-9]+ \| [^|]+ \| [^|]+ \| [^|]+$' "$source/tests/chaos/scenarios")" = 32 ] || { echo "tests/chaos/scenarios has not 32 lines of four columns" && bad=1; }
exit $bad
