#!/usr/bin/env bash
# A run on three machines, which are network namespaces: the network of one is cut, then that of node 0; whoever is cut off from
# node 0 waits, node 0's side goes on, and lets the others in when the network is back. Never do two sides go on. Needs root.
#
#   survivors.sh BUILD
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=machines.sh
. "$(dirname "${BASH_SOURCE[0]}")/machines.sh"
BIN=$1 tag=is$$ net=10.97.0
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

# node K: starts it, with its output in K.log.
node() {
  IMSUPER_FAULT=trainer:trainer.step.done=sleep:150@1/every ip netns exec "$tag-$1" "$BIN/imsuper" start --data-dir "$T/data" \
    --model resnet20 --image-size 16 --batch-size 8 --epochs 14 --trainer-threads 1 --ranks 1 --readers 1 --augmenters 1 --seed 7 \
    --plain --workspace "$T/w" --run-name run --nodes 10.97.0.1,10.97.0.2,10.97.0.3 --node "$1" --cluster-key "$T/key" \
    --cluster-wait 2 --snapshot-steps 1 >>"$T/$1.log" 2>&1 </dev/null &
  pid[$1]=$!
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
took() { echo "$1: $((SECONDS - began)) s"; }

node 0 && node 1 && node 2
await "split=train\|^epoch" 0
began=$SECONDS
ip -n "$tag-2" link set eth0 down
await "2 of 3 machines share the work" 0 1
took "node 2 cut off: 10 s until it is dead, 2 s of waiting, and the rest"
await "waiting for it for 300 s" 2
ip -n "$tag-2" link set eth0 up
await "3 of 3 machines share the work" 0 1
ip -n "$tag-0" link set eth0 down
began=$SECONDS
await "1 of 3 machines share the work" 0
took "node 0 cut off"
await "waiting for it for 300 s" 1
COUNT=2 await "waiting for it for 300 s" 2
grep -q "1 of 3 machines share the work\|2 of 3 machines share the work" "$T/2.log" && fail "node 2 went on without node 0"
ip -n "$tag-0" link set eth0 up
COUNT=2 await "3 of 3 machines share the work" 0
for k in 0 1 2; do ends $k 0; done
if grep -q 'the ledger does not balance' "$T/w/run/log.txt" "$T"/w/run/nodes/node*/log.txt; then fail "a sample was lost or came twice"; fi
grep -q '"train_passes":14,"train_passes_exactly_once":14,' "$T/w/run/events.jsonl" || fail "not each pass was exactly once"
echo ok
