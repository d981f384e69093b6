#!/usr/bin/env bash
# How long a run is without a process that died: kills processes of a run at random, one at a time, and reads from events.jsonl how
# long it took until the successor was ready.
#
#   tests/bench/recovery/recovery.sh BIN [kills [roles]]   BIN: where the programs are, such as build/release; kills of each
#                                                          role (50); roles: "reader augmenter supervisor trainer"
#
# resnet20 on the CPU, synthetic images, one reader, two augmenters, default flags. The last lines are a table. There are so many
# images that a run of few epochs lasts long enough: the plan of 100,000 epochs alone takes a process 10 ms to make.
set -euo pipefail
bin=$(realpath "$1") kills=${2:-50} roles=${3:-reader augmenter supervisor trainer}
folder=$(mktemp -d /tmp/imsuper-recovery.XXXXXX)
trap 'kill -INT %1; kill -INT %1; wait; rm -rf "$folder"' EXIT # the second one stops at once, and all leave

"$bin/imsuper" data synth --out "$folder/data" --classes 8 --per-class 512 --val-per-class 4 --side-min 32 --side-max 96 --quiet
"$bin/imsuper" start --data-dir "$folder/data" --model resnet20 --image-size 32 --batch-size 32 --epochs 2000 --trainer-threads 1 \
  --readers 1 --augmenters 2 --plain --workspace "$folder/w" --run-name run >"$folder/out" 2>&1 &
run=$folder/w/run

events() { cat "$run/events.jsonl" 2>/dev/null || true; }
# pids ROLE: of the run's processes.
pids() {
  case $1 in
  supervisor) pgrep -f "^$bin/imsuper supervise" || true ;;
  *) pgrep -f "^$bin/imsuper-$1 --index" || true ;;
  esac
}
seconds_of() {
  case $1 in
  supervisor) events | grep '"supervisor.recovered"' ;;
  *) events | grep "\"process.recovered\",\"role\":\"$1\"" ;;
  esac | sed 's/.*"seconds":\([0-9.e-]*\).*/\1/'
}
count() { seconds_of "$1" | wc -l || true; }

# Waits, with a bound, until there are more events than before.
wait_for_more() {
  local end=$((SECONDS + 60))
  until [ "$(count "$1")" -gt "$2" ]; do
    if [ $SECONDS -ge $end ]; then echo "recovery.sh: $1 has not come back within 60 s" >&2 && exit 1; fi
    sleep 0.02
  done
}

until grep -q '"run.started"\|epoch=' "$run/events.jsonl" "$folder/out" 2>/dev/null; do sleep 0.1; done
sleep 2
for role in $roles; do
  for ((i = 0; i < kills; i++)); do
    before=$(count "$role")
    mapfile -t victims < <(pids "$role")
    kill -KILL "${victims[RANDOM % ${#victims[@]}]}"
    wait_for_more "$role" "$before"
    # A trainer that dies again before its first snapshot has done nothing, and more of such deaths are waited after.
    [ "$role" != trainer ] || sleep 1.5
    sleep "0.$((RANDOM % 5 + 1))"
  done
done
repeated=$({ events | grep -o '"repeated_batches":[0-9]*' || true; } | cut -d : -f 2 | sort -n | tail -n 1)

echo "load $(cut -d ' ' -f 1 /proc/loadavg), $(nproc) cores, $kills kills of each role; milliseconds"
printf '%-11s %8s %8s %8s\n' role p50 p99 max
for role in $roles; do
  seconds_of "$role" | sort -g | awk -v role="$role" '{ s[NR] = 1000 * $1 }
    END { printf "%-11s %8.1f %8.1f %8.1f\n", role, s[int((NR + 1) / 2)], s[int(NR * 0.99 + 0.999)], s[NR] }'
done
echo "batches done again after a trainer's death: ${repeated:-0} at most"
