#!/usr/bin/env bash
# Versions of bench_crops against each other, in turns:
#
#     tests/bench/augment/crops.sh RUNS PASSES PROGRAM...
#
# Each PROGRAM is bench_crops of one version under a name of its own. Of each crop the least processor time of all runs
# counts; shown are the programs' last lines. All must show the same hash of pixels.
set -euo pipefail

runs=$1 passes=$2
shift 2
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
for ((run = 0; run < runs; run++)); do
  for program in "$@"; do
    "$program" --passes "$passes" --best "$folder/$(basename "$program")" >"$folder/$(basename "$program").text"
  done
done
for program in "$@"; do
  printf '%-16s %s\n' "$(basename "$program")" "$(cat "$folder/$(basename "$program").text")"
done
