#!/usr/bin/env bash
# A run on three machines, which are network namespaces, each with a folder of its own. Node 0's machine is lost with its folder,
# and another takes its place; then one that fails with an error. The run continues from the newest snapshot, and each image is
# taken once in each pass. Needs root.
#
#   lost_head.sh BUILD
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
tag=ih$$ net=10.96.0
open_runs "$1"

# node K [RULE]: with --cluster-min-nodes 1, so that no other takes over.
node() { RULE=${2:-trainer:trainer.step.done=sleep:150@1/every} start_on "$1" --epochs 10 --cluster-wait 2 --snapshot-steps 2 --max-restarts 0 --cluster-min-nodes 1; }
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
nothing_was_lost "$T"/w0/run/log.txt "$T"/w[12]/run/nodes/node*/log.txt
echo ok
