#!/usr/bin/env bash
# What robustness costs a run whose reading and decoding limit it: the same run with its checks and without, in turns.
#
#   tests/bench/overhead/overhead.sh BIN [rounds [DIR]]   BIN: where the programs and tests are, such as build/release; rounds of
#                                                        two runs each (10); DIR: images in class folders (synthetic ones of 70 KB)
#
# Ten rounds take less than six minutes. Without: no hash of the bytes, no seccomp, no Landlock (no_checks.c). A round is with,
# without, or without, with. Compared is the CPU time of readers and augmenters for an image, which other programs disturb less than images/s. What
# supervisor and warden take is counted, and so is a snapshot; both cannot be left out of a run.
set -euo pipefail
bin=$(realpath "$1") rounds=${2:-10} data=${3:-}
folder=$(mktemp -d /tmp/imsuper-overhead.XXXXXX)
trap 'rm -rf "$folder"' EXIT
if [ "$data" = "" ]; then
  data=$folder/data
  "$bin/imsuper" data synth --out "$data" --classes 10 --per-class 20 --val-per-class 1 --side-min 400 --side-max 600 --quiet
fi
printf 'load %s, %s cores, %s files of %s KB\n' "$(cut -d ' ' -f 1 /proc/loadavg)" "$(nproc)" "$(find "$data" -type f | wc -l)" \
  "$(find "$data" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%.0f", n / NR / 1000 }')"

# Seconds and the nanoseconds that supervisor and warden of a run have taken, again and again until the run is over.
watch() {
  local supervisor warden thread sum
  until [ -e "$folder/over" ]; do
    if supervisor=$(pgrep -f "^$bin/imsuper supervise") && read -r _ _ _ warden _ <"/proc/$supervisor/stat"; then
      sum=0
      for thread in "/proc/$supervisor/task"/*/schedstat "/proc/$warden/task"/*/schedstat; do sum=$((sum + $(cut -d ' ' -f 1 "$thread" || echo 0))); done
      echo "$EPOCHREALTIME $sum"
    fi
    sleep 0.2
  done >"$folder/watched" 2>/dev/null
}
# Of that the part without the first and the last two seconds, where a run starts and writes its reports.
steady() {
  awk '{ t[NR] = $1; n[NR] = $2 }
    END { for (i = 1; i <= NR; i++) if (t[i] > t[1] + 2 && t[i] < t[NR] - 2) { if (!first) first = i; last = i }
      if (last > first) print n[last] - n[first], t[last] - t[first] }' "$folder/watched"
}
# number NAME JSON: the last one of that name; that of all stages stands behind those of each.
number() { grep -oE "\"$1\": *[0-9.e+-]+" <<<"$2" | tail -n 1 | sed 's/.*: *//'; }
# measure with|without: "CPU ms of an image, images/s"
measure() {
  local preload="" answer
  if [ "$1" = without ]; then preload=$bin/no_checks.so; fi
  rm -f "$folder/over" "$folder/watched"
  if [ "$1" = with ]; then watch & fi
  answer=$(LD_PRELOAD=$preload XDG_CACHE_HOME=$folder/cache-$1 "$bin/imsuper" bench data --data-dir "$data" --image-size 224 --batch-size 32 --readers 1 \
    --augmenters 1 --warm-up-seconds 1.5 --passes 4 --pass-seconds 2 --json 2>"$folder/errors") || { cat "$folder/errors" >&2 && exit 1; }
  touch "$folder/over"
  wait
  if [ "$1" = with ]; then steady >>"$folder/supervision"; fi
  echo "$(number cpu_ms_per_image "$answer") $(number mean "$answer")"
}

measure with >/dev/null # files, programs and seek indexes come to memory
measure without >/dev/null
rm -f "$folder/supervision"
printf '%-6s %22s %22s %8s\n' round "with: ms, images/s" "without: ms, images/s" "with/without"
for ((i = 0; i < rounds; i++)); do
  if [ $((i % 2)) = 0 ]; then with=$(measure with) without=$(measure without); else without=$(measure without) with=$(measure with); fi
  awk -v i=$((i + 1)) -v with="$with" -v without="$without" 'BEGIN { split(with, a); split(without, b)
    printf "%-6d %12.4f %9.1f %12.4f %9.1f %8.4f\n", i, a[1], a[2], b[1], b[2], a[1] / b[1] }' | tee -a "$folder/rounds"
done
echo
"$bin/bench_checks" "$data" 30 | tee "$folder/checks"
"$bin/bench_snapshot" --model resnet50 --rounds 5
echo
awk -v cores="$(nproc)" -v supervision="$(awk '{ n += $1 / 1e9; t += $2 } END { print n / t }' "$folder/supervision")" '
  { x[NR] = $6 - 1; sum += x[NR] }
  END { mean = sum / NR; for (i in x) v += (x[i] - mean) ^ 2; se = NR > 1 ? sqrt(v / (NR - 1) / NR) : 0
    printf "hashes, seccomp, Landlock: %+.2f +- %.2f %% of the CPU time of an image (paired)\n", 100 * mean, 100 * se
    printf "supervisor and warden: %.2f ms/s, %.2f %% of all cores\nsum: %+.2f +- %.2f %%\n", 1e3 * supervision, 100 * supervision / cores, 100 * (mean + supervision / cores), 100 * se }' "$folder/rounds"
