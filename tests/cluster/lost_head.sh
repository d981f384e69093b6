#!/usr/bin/env bash
# A run on three machines, which are network namespaces, each with a folder of its own. Node 0's machine is lost with its folder,
# and another takes its place; then one that fails with an error. The run continues from the newest snapshot, and each image is
# taken once in each pass. Needs root.
#
#   lost_head.sh BUILD
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=machines.sh
. "$(dirname "${BASH_SOURCE[0]}")/machines.sh"
BIN=$1 tag=ih$$ net=10.96.0
export IMSUPER_GPUS=0 XDG_CACHE_HOME=$T/cache
declare -A pid
clean() {
  local k
  for k in "${!pid[@]}"; do kill -KILL "${pid[$k]}" 2>/dev/null || true; done # the others of a node end with it
  remove_machines 3
  rm -rf "$T"
}
why=$(can_make_machines) || skip "$why"
trap clean EXIT
make_machines 3
"$BIN/imsuper" data synth --out "$T/data" --classes 4 --per-class 60 --val-per-class 8 --quiet >/dev/null || fail "no data"
"$BIN/imsuper" cluster key "$T/key" >/dev/null || fail "no key"

# node K [RULE]: starts it, with its output in K.log; the rule is a fault of its trainer.
node() {
  IMSUPER_FAULT=${2:-trainer:trainer.step.done=sleep:150@1/every} ip netns exec "$tag-$1" "$BIN/imsuper" start --data-dir "$T/data" \
    --model resnet20 --image-size 16 --batch-size 8 --epochs 10 --trainer-threads 1 --ranks 1 --readers 1 --augmenters 1 --seed 7 \
    --plain --workspace "$T/w$1" --run-name run --nodes $net.1,$net.2,$net.3 --node "$1" --cluster-key "$T/key" \
    --cluster-wait 2 --snapshot-steps 2 --max-restarts 0 >>"$T/$1.log" 2>&1 </dev/null &
  pid[$1]=$!
}
# lose K: all processes of the machine at once, and what is on its disk. Stopped first: a supervisor that sees its warden die
# would still ask all to stop.
lose() {
  local all
  all="$(ip netns pids "$tag-$1" | tr '\n' ' ')"
  # shellcheck disable=SC2086 # a list
  kill -STOP $all && kill -KILL $all
  wait "${pid[$1]}" || true
  unset "pid[$1]"
  rm -rf "$T/w$1"
}
# ends K STATUS
ends() {
  local status=0 end=$((SECONDS + 240))
  while kill -0 "${pid[$1]}" 2>/dev/null; do
    [ $SECONDS -lt $end ] || fail "node $1 does not end"
    sleep 0.1
  done
  wait "${pid[$1]}" || status=$?
  unset "pid[$1]"
  [ "$status" = "$2" ] || fail "node $1 has ended with $status, not $2"
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
# event_of K NAME FIELD: of the last such event of that machine's supervisor.
event_of() { grep -o "\"event\":\"$2\".*" "$T/w$1/run/nodes/node$1/events.jsonl" | tail -n 1 | grep -oE "\"$3\":[0-9]+" | cut -d : -f 2; }

node 0 && node 1 && node 2
await "split=train\|^epoch" 0
sleep 3
began=$(milliseconds)
lose 0
node 0
until grep -qs "continuing from another machine's snapshot" "$T/w0/run/log.txt"; do
  [ $(($(milliseconds) - began)) -lt 60000 ] || fail "the new node 0 does not continue"
  sleep 0.1
done
echo "node 0 lost with its folder, another in its place: continued after $(($(milliseconds) - began)) ms"
until [ "$(event_of 1 run.continued repeated_batches)" ]; do sleep 0.1; done
repeated=$(event_of 1 run.continued repeated_batches)
echo "batches done again: $repeated of a snapshot interval of 2"
[ "$repeated" -le 3 ] || fail "more than an interval and the step that was half done was repeated" # 3: node 1 may be one step ahead
[ "$(event_of 1 run.continued next_batch)" -gt 0 ] || fail "the run began again"

# A machine that fails: the others go on, and it is let in again.
lose 2
await "2 of 3 machines share the work" 0 1
node 2 trainer:trainer.step.done=exit:1@2
await "3 of 3 machines share the work" 0 1
ends 2 1
await "node 2 (.*) has left with exit status 1: trainer#0" 0
COUNT=2 await "2 of 3 machines share the work" 0
node 2
COUNT=2 await "3 of 3 machines share the work" 0
for k in 0 1 2; do ends $k 0; done
if grep -q 'the ledger does not balance' "$T"/w0/run/log.txt "$T"/w[12]/run/nodes/node*/log.txt; then fail "a sample was lost or came twice"; fi
echo ok
