#!/usr/bin/env bash
# The model of `imsuper bench cluster` against runs: two to four machines are network namespaces on a bridge, each of which may send so
# many megabits a second (tc tbf) and no more. They share the processors of this machine, so the step without a limit, which the
# model needs, is measured with as many. Needs root.
#
#   tests/bench/cluster/model.sh BIN [MBIT/S [seconds of a run]]     BIN: where the programs are, such as build/release; 10; 30
set -euo pipefail
bin=$(realpath "$1") mbit=${2:-10} seconds=${3:-30}
folder=$(mktemp -d /tmp/imsuper-model.XXXXXX)
tag=immodel$$ net=10.97.0
# shellcheck source-path=SCRIPTDIR source=../../cluster/machines.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../cluster/machines.sh"
# All processes of the machines.
stop() {
  local k
  for k in 0 1 2 3; do
    # shellcheck disable=SC2046 # a list
    kill -KILL $(ip netns pids "$tag-$k" 2>/dev/null) 2>/dev/null || true
  done
}
trap 'stop; remove_machines 4; rm -rf "$folder"' EXIT
why=$(can_make_machines) || { echo "$why" >&2 && exit 1; }
make_machines 4
"$bin/imsuper" data synth --out "$folder/data" --classes 8 --per-class 128 --val-per-class 4 --side-min 32 --side-max 64 --quiet
"$bin/imsuper" cluster key "$folder/key" >/dev/null

# step_of NODES: milliseconds of a step of a run on so many, between the third and the last.
step_of() {
  local hosts='' k
  for ((k = 0; k < $1; k++)); do hosts=$hosts${hosts:+,}10.97.0.$((k + 1)); done
  for ((k = 0; k < $1; k++)); do
    mkdir -p "$folder/rt$k" && chmod 700 "$folder/rt$k" && rm -rf "$folder/w$k"
    XDG_RUNTIME_DIR=$folder/rt$k ip netns exec "$tag-$k" "$bin/imsuper" start --data-dir "$folder/data" --model resnet20 --image-size 16 --batch-size 8 \
      --epochs 1000 --trainer-threads 1 --readers 1 --augmenters 1 --ranks 1 --nodes "$hosts" --node "$k" --cluster-key "$folder/key" --status-interval 0.25 \
      --plain --workspace "$folder/w$k" --run-name run 2>&1 | while IFS= read -r line; do echo "$EPOCHREALTIME $line"; done >"$folder/out$k" &
  done
  sleep "$seconds"
  stop
  awk '/split=train/ { for (i = 2; i <= NF; i++) { if ($i ~ /^epoch=/) e = substr($i, 7) + 0; if ($i ~ /^step=/) { split(substr($i, 6), s, "/"); g = (e - 1) * s[2] + s[1] } }
      if (g >= 3 && g != last) { if (!n++) { t0 = $1; g0 = g } t1 = $1; last = g } }
    END { if (n < 3) { print "nan"; exit } printf "%.1f\n", 1000 * (t1 - t0) / (last - g0) }' "$folder/out0"
}
limit() { # on | off
  local k
  for k in 0 1 2 3; do
    tc -n "$tag-$k" qdisc del dev eth0 root 2>/dev/null || true
    [ "$1" = off ] || tc -n "$tag-$k" qdisc add dev eth0 root tbf rate "${mbit}mbit" burst 16kb latency 400ms
  done
}
printf 'load %s, %s cores; %s Mbit/s; milliseconds of a step\n%8s %10s %10s %10s %8s\n' "$(cut -d ' ' -f 1 /proc/loadavg)" "$(nproc)" "$mbit" machines unlimited limited model ratio
for nodes in 2 3 4; do
  limit off
  free=$(step_of $nodes)
  limit on
  measured=$(step_of $nodes)
  model=$("$bin/imsuper" bench cluster --model resnet20 --gradient-mb 1.089408 --ring --batch-size 8 --step-ms "$free" --bandwidth "$(awk -v m="$mbit" 'BEGIN { print m / 1000 }')" \
    --latency 200 --nodes $nodes --json | sed -E 's/.*"points":\[.*"step_ms":([0-9.e+]*).*/\1/')
  awk -v n=$nodes -v f="$free" -v m="$measured" -v p="$model" 'BEGIN { printf "%8d %10.1f %10.1f %10.1f %8.2f\n", n, f, m, p, m / p }'
done
