# shellcheck shell=bash
# What the trials of the channel share; to be sourced. Arguments: the build folder. Logs lie in $T, a line of link_node's a
# line; every wait is for such a line, and bounded.
set -euo pipefail
NODE=$1/link_node
T=$(mktemp -d /tmp/cluster.XXXXXX)
export XDG_RUNTIME_DIR=$T
chmod 700 "$T"

fail() {
  echo "FAILED: $*" >&2
  for log in "$T"/*.log; do echo "--- ${log##*/}" >&2 && tail -n 30 "$log" >&2; done
  exit 1
}
skip() { echo "skipped: $*" && exit 77; }
# has COUNT TEXT LOG: so many lines of the log hold the text, at least.
has() { [ "$(grep -c -- "$2" "$T/$3.log" 2>/dev/null || true)" -ge "$1" ]; }
# await TEXT LOG...: in each of the logs. COUNT before it: so often.
await() {
  local count=${COUNT:-1} text=$1 log end=$((SECONDS + 90))
  shift
  for log in "$@"; do
    until has "$count" "$text" "$log"; do
      [ $SECONDS -lt $end ] || fail "no \"$text\" ($count times) in $log.log"
      sleep 0.1
    done
  done
}

# ---- machines: each test has a `tag` and a `net` of its own, and the pid of the command of machine K in pid[K] ----

# shellcheck source-path=SCRIPTDIR source=machines.sh
. "$(dirname "${BASH_SOURCE[0]}")/machines.sh"
declare -A pid
close_machines() {
  local k
  for k in "${!pid[@]}"; do kill -KILL "${pid[$k]}" 2>/dev/null || true; done
  # shellcheck disable=SC2046 # a list
  for k in 0 1 2; do kill -KILL $(ip netns pids "$tag-$k" 2>/dev/null) 2>/dev/null || true; done
  remove_machines 3
  rm -rf "$T"
}
# open_machines: three, or skips.
open_machines() {
  local why
  why=$(can_make_machines) || skip "$why"
  trap close_machines EXIT
  make_machines 3
}
# open_runs BUILD: and what runs on them need.
open_runs() {
  BIN=$1
  export IMSUPER_GPUS=0 XDG_CACHE_HOME=$T/cache
  open_machines
  "$BIN/imsuper" data synth --out "$T/data" --classes 4 --per-class 60 --val-per-class 8 --quiet >/dev/null || fail "no data"
  "$BIN/imsuper" cluster key "$T/key" >/dev/null || fail "no key"
}
# launched K: what tells machine K where the others are, as flags and variables in FLAGS and VARIABLES. BY: nodes, or address: no list,
# only the variables that name the first machine.
launched() {
  FLAGS=() VARIABLES=()
  case ${BY:-nodes} in
    nodes) FLAGS=(--nodes "$net.1,$net.2,$net.3" --node "$1") ;;
    address) VARIABLES=(NODE_RANK="$1" NNODES=3 MASTER_ADDR="$net.1" MASTER_PORT=29500) ;;
  esac
}
# start_on K FLAG...: starts the run's command on machine K, with its output in K.log and its folder in $T/wK, or in $W for all.
# RULE: a fault of its trainer.
start_on() {
  local k=$1 FLAGS VARIABLES
  shift
  launched "$k"
  IMSUPER_FAULT=${RULE-trainer:trainer.step.done=sleep:150@1/every} ip netns exec "$tag-$k" env "${VARIABLES[@]}" "$BIN/imsuper" start --data-dir "$T/data" \
    --model resnet20 --image-size 16 --batch-size 8 --trainer-threads 1 --ranks 1 --readers 1 --augmenters 1 --seed 7 --plain \
    --workspace "${W-$T/w$k}" --run-name run "${FLAGS[@]}" --cluster-key "$T/key" "$@" >>"$T/$k.log" 2>&1 </dev/null &
  pid[$k]=$!
}
# lose K: all processes of the machine at once, and, unless LOSE_FOLDER is no, what is on its disk. Stopped first: a supervisor that sees its warden die
# would still ask all to stop.
lose() {
  local all
  all="$(ip netns pids "$tag-$1" | tr '\n' ' ')"
  # shellcheck disable=SC2086 # a list
  kill -STOP $all && kill -KILL $all
  wait "${pid[$1]}" || true
  unset "pid[$1]"
  [ "${LOSE_FOLDER:-yes}" = no ] || rm -rf "$T/w$1"
}
# ends K STATUS
ends() {
  local status=0 end=$((SECONDS + 240))
  while kill -0 "${pid[$1]}" 2>/dev/null; do
    [ $SECONDS -lt $end ] || fail "machine $1 does not end"
    sleep 0.1
  done
  wait "${pid[$1]}" || status=$?
  unset "pid[$1]"
  [ "$status" = "$2" ] || fail "machine $1 has ended with $status, not $2"
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
# nothing_was_lost FILE...: logs of supervisors.
nothing_was_lost() {
  if grep -q 'the ledger does not balance' "$@"; then fail "a sample was lost or came twice"; fi
}
