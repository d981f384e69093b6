#!/usr/bin/env bash
# A run on three machines, which are network namespaces: the network of one is cut, then that of node 0; whoever is cut off from
# node 0 waits, node 0's side goes on, and lets the others in when the network is back. Never do two sides go on. Needs root.
#
#   survivors.sh BUILD
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
tag=is$$ net=10.97.0
W=$T/w
open_runs "$1"

# With --cluster-min-nodes 1, so that node 0 goes on alone, and no other takes over.
node() { start_on "$1" --epochs 14 --cluster-wait 2 --snapshot-steps 1 --cluster-min-nodes 1; }
took() { echo "$1: $((SECONDS - began)) s"; }

node 0 && node 1 && node 2
await "split=train\|^epoch" 0
began=$SECONDS
ip -n "$tag-2" link set eth0 down
await "2 of 3 machines share the work" 0 1
took "node 2 cut off: 5 s until it is dead, 2 s of waiting, and the rest"
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
nothing_was_lost "$T/w/run/log.txt" "$T"/w/run/nodes/node*/log.txt
grep -q '"train_passes":14,"train_passes_exactly_once":14,' "$T/w/run/events.jsonl" || fail "not each pass was exactly once"
echo ok
