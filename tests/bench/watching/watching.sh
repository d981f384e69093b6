#!/usr/bin/env bash
# What watching a run costs: CPU time of whoever watches, and CPU time of an image with and without a trace.
#
#   tests/bench/watching/watching.sh BIN [seconds [windows]]   BIN: where the programs are, such as build/release; of each
#                                                              window (20), and how many of each kind, alternating (3)
#
# resnet20 on the CPU, synthetic images. One run without TensorBoard and metrics, that nobody looks at; then one with TensorBoard,
# tables of each class, /metrics read once a second, `imsuper top` in a terminal of 120x40, and in every other window `imsuper trace`.
# CPU time is that of /proc/PID/stat, in which a tick is 10 ms: it does not depend on what else the machine does, as images/s do.
set -euo pipefail
bin=$(realpath "$1") seconds=${2:-20} windows=${3:-3}
folder=$(mktemp -d /tmp/imsuper-watching.XXXXXX)
tag=watching-$$
run="" top=""
# Stops at once by a second Ctrl-C.
end() {
  [ -n "$run" ] || return 0
  kill -INT "$run" 2>/dev/null || true
  sleep 0.2
  kill -INT "$run" 2>/dev/null || true
  wait "$run" || true
  run=""
}
clean() {
  if [ -n "$top" ]; then kill "$top" 2>/dev/null || true; fi
  end
  rm -rf "$folder"
}
trap clean EXIT
port=$((20000 + $$ % 20000))

"$bin/imsuper" data synth --out "$folder/data" --classes 10 --per-class 100 --val-per-class 10 --side-min 200 --side-max 400 --quiet
# begin NAME FLAG...
begin() {
  WATCHED=$tag "$bin/imsuper" start --data-dir "$folder/data" --model resnet20 --image-size 32 --batch-size 32 --epochs 5000 --trainer-threads 1 \
    --readers 1 --augmenters 1 --plain --workspace "$folder/w" --run-name "$1" "${@:2}" >"$folder/$1.out" 2>&1 &
  run=$!
  until [ "$(wc -l 2>/dev/null <"$folder/w/$1/summary.csv")" -ge 2 ] 2>/dev/null; do
    kill -0 "$run" || { cat "$folder/$1.out" && exit 1; }
    sleep 0.2
  done
}
# ticks PATTERN: CPU time of the processes of this run whose command line matches, in ticks.
ticks() {
  local pid sum=0
  for pid in $(pgrep -f "$1" || true); do
    grep -qzxF "WATCHED=$tag" "/proc/$pid/environ" 2>/dev/null || continue
    # shellcheck disable=SC2046
    set -- "$1" $(sed 's/.*) //' "/proc/$pid/stat")
    sum=$((sum + ${13} + ${14}))
  done
  echo $sum
}
images() { awk -F , 'END { print (NR - 1) * 1000 }' "$folder/w/$1/summary.csv"; }
workers='imsuper-(reader|augmenter|trainer)'
ms_per_s() { awk -v t="$1" -v s="$seconds" 'BEGIN { printf "%.2f", t * 10 / s }'; }

echo "| window of $seconds s | supervisor, ms of CPU a second | top | trace | readers, augmenters, trainer, ms/s |"
echo "|---|---|---|---|---|"
# window LABEL
window() {
  local a b c t0
  a=$(ticks "imsuper supervise") b=$(ticks "$workers") c=$(ticks "imsuper top")
  t0=$( { time -p "${@:2}" >/dev/null 2>&1; } 2>&1 | awk '/user|sys/ { n += $2 } END { print n * 100 }')
  echo "| $1 | $(ms_per_s $(($(ticks "imsuper supervise") - a))) | $(ms_per_s $(($(ticks "imsuper top") - c))) | $(ms_per_s "$t0") | $(ms_per_s $(($(ticks "$workers") - b))) |"
}

begin bare --no-tensorboard
for ((i = 0; i < windows; i++)); do window "bare" sleep "$seconds"; done
end
begin watched --per-class-log --metrics-listen "$port"
WATCHED=$tag TERM=xterm-256color script -qc "stty rows 40 cols 120; exec $bin/imsuper top --workspace $folder/w --run-name watched" /dev/null >"$folder/top.out" 2>&1 </dev/null &
top=$!
scrape() {
  while :; do
    { exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3 && cat <&3 >/dev/null; } 2>/dev/null || true
    sleep 1
  done
}
scrape &
scraper=$!
for ((i = 0; i < windows; i++)); do
  window "watched" sleep "$seconds"
  window "watched, traced" "$bin/imsuper" trace watched --workspace "$folder/w" -o "$folder/trace.json" --seconds "$seconds"
done
kill "$scraper"
echo
echo "$(images watched) images, $(wc -c <"$folder/top.out") bytes of top, $(du -sh "$folder/w/watched/tensorboard" | cut -f 1) of TensorBoard, $(find "$folder/w/watched/per_class" -name '*.png' | wc -l) confusion matrices drawn"
end
