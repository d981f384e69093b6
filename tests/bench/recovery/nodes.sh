#!/usr/bin/env bash
# How long a run on two machines stands still when something dies, and how much it trains again. Both are processes on this machine, at
# one loopback address; a loop starts the second one's command again, as Kubernetes does.
#
#   tests/bench/recovery/nodes.sh BIN [kills]     BIN: where the programs are, such as build/release; kills of each kind (5)
#
# resnet20 on the CPU, one trainer a machine, a snapshot every two steps, a status line every 0.1 s. Seconds from SIGKILL until the end of
# the longest pause after it, and the steps that are done twice, each of them a global batch.
set -euo pipefail
bin=$(realpath "$1") kills=${2:-5} at=127.77.77.1
folder=$(mktemp -d /tmp/imsuper-recovery.XXXXXX)
export XDG_RUNTIME_DIR=$folder
chmod 700 "$folder"
trap 'touch "$folder/over"; kill -KILL $(all) 2>/dev/null; wait; rm -rf "$folder"' EXIT

run=$folder/w/run
"$bin/imsuper" data synth --out "$folder/data" --classes 8 --per-class 128 --val-per-class 4 --side-min 32 --side-max 96 --quiet
flags=(--data-dir "$folder/data" --model resnet20 --image-size 16 --batch-size 8 --epochs 2000 --trainer-threads 1 --readers 1 --augmenters 1
  --ranks 1 --nodes "$at,$at" --snapshot-steps 2 --status-interval 0.1 --plain --workspace "$folder/w" --run-name run)
all() { pgrep -f "^$bin/imsuper(-[a-z]+)? .*" || true; }
stamped() { while IFS= read -r line; do echo "$EPOCHREALTIME $line"; done; }
"$bin/imsuper" start "${flags[@]}" --node 0 2>&1 | stamped >"$folder/out" &
(until [ -e "$folder/over" ] || "$bin/imsuper" start "${flags[@]}" --node 1 >>"$folder/out1" 2>&1; do sleep 0.2; done) 2>/dev/null &

warden() { pgrep -f "^$bin/imsuper start .*--node $1" | head -n 1; }
# of NODE PATTERN: a process of that machine.
of() { pgrep -P "$(warden "$1")" -f "$2" | head -n 1; }
steps() { awk '{ for (i = 2; i <= NF; i++) { if ($i ~ /^epoch=/) { sub(/epoch=/, "", $i); e = $i + 0 } if ($i ~ /^step=/) { split(substr($i, 6), s, "/"); if ($0 ~ /split=train/) print $1, (e - 1) * s[2] + s[1] } } }' "$folder/out"; }
reached() { steps | tail -n 1 | cut -d ' ' -f 2; }
wait_step() {
  local end=$((SECONDS + 120))
  until [ "$(reached || true)" ] && [ "$(reached)" -ge "$1" ]; do
    if [ $SECONDS -ge $end ]; then echo "nodes.sh: step $1 has not come within 120 s" >&2 && tail -n 5 "$folder/out" "$folder/out1" >&2 && exit 1; fi
    sleep 0.1
  done
}
victims() {
  case $1 in
  "trainer of node 0") of 0 imsuper-trainer ;;
  "trainer of node 1") of 1 imsuper-trainer ;;
  "supervisor of node 1") of 1 "imsuper supervise" ;;
  "all of node 1") pgrep -P "$(warden 1)" && warden 1 ;;
  esac
}

printf 'load %s, %s cores, %s kills of each kind\n%-22s %s\n' "$(cut -d ' ' -f 1 /proc/loadavg)" "$(nproc)" "$kills" kind "seconds until a step is done, steps done twice"
wait_step 10
for kind in "trainer of node 0" "trainer of node 1" "supervisor of node 1" "all of node 1"; do
  printf '%-22s' "$kind"
  for ((i = 0; i < kills; i++)); do
    before=$(reached) events=$(wc -l <"$run/events.jsonl")
    mapfile -t pids < <(victims "$kind")
    began=$EPOCHREALTIME
    kill -KILL "${pids[@]}"
    wait_step $((before + 10))
    # The longest pause of the steps; what is done again is what node 0 says when it goes back.
    steps | awk -v began="$began" '$1 < began { t = $1; s = $2 } $1 >= began && $2 != s { if ($1 - (t > began ? t : began) > most) { most = $1 - t; end = $1 } t = $1; s = $2 }
      END { printf "  %.1f,", end - began }'
    printf ' %s;' "$(tail -n "+$((events + 1))" "$run/events.jsonl" | { grep -o '"repeated_batches":[0-9]*' || echo :0; } | cut -d : -f 2 | paste -sd +)"
  done
  echo
done
