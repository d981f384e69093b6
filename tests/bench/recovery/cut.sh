#!/usr/bin/env bash
# How long a run on three machines stands still when the network of one is cut. Machines are network namespaces on a bridge. Needs root.
#
#   tests/bench/recovery/cut.sh BIN [times] [kind...]     BIN: where the programs are, such as build/release; cuts of each kind (3)
#
# Kinds: member, head: all of it; deaf-member, deaf-head: nothing comes to that machine, and what it sends arrives; mute-member, mute-head:
# the other way; brief-member, brief-head: all of it, for 3 s, after which nothing may have happened. Milliseconds from the cut until two of three
# machines share the work; --cluster-wait is 2 s of them.
# shellcheck source-path=SCRIPTDIR source=../../cluster/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../cluster/lib.sh"
BIN=$(realpath "$1") times=${2:-3}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- member head deaf-member deaf-head mute-member mute-head brief-member brief-head
tag=ic$$ net=10.91.0
export BIN
open_runs "$BIN"

# wrong FROM TO: what FROM sends to TO arrives nowhere.
wrong() { ip -n "$tag-$1" neigh replace "$net.$(($2 + 1))" lladdr 02:00:00:00:00:99 dev eth0 nud permanent; }
# cut HOW K
cut_machine() {
  local i
  for i in 0 1 2; do
    [ "$i" != "$2" ] || continue
    case $1 in
    deaf) wrong "$i" "$2" ;;
    mute) wrong "$2" "$i" ;;
    esac
  done
  case $1 in all | brief) ip -n "$tag-b" link set "v$2" nomaster ;; esac
}
one() {
  local k began how=${1%-*} machine=0 first=1
  [ "${1##*-}" = head ] || machine=2 first=0
  [ "$how" != "$1" ] || how=all
  for k in 0 1 2; do start_on "$k" --epochs 2000 --cluster-wait 2 --snapshot-steps 2; done
  await "split=train\|^epoch" 0
  sleep 2
  began=$(milliseconds)
  cut_machine "$how" "$machine"
  if [ "$how" = brief ]; then
    sleep 3
    ip -n "$tag-b" link set "v$machine" master br0
    sleep 12
    if grep -q "of 3 machines share the work\|cut off\|not been heard of\|looks for another node 0" "$T"/[012].log; then fail "3 s were too much"; fi
    echo "$1: nothing"
  else
    await "2 of 3 machines share the work" "$first"
    echo "$1: $(($(milliseconds) - began)) ms; $(grep -ho "cut off.*\|not been heard of.*\|has closed its connection" "$T"/[012].log | sort | uniq -c | tr -s ' \n' ' ')"
  fi
  for k in 0 1 2; do
    # shellcheck disable=SC2046 # a list
    kill -KILL $(ip netns pids "$tag-$k") 2>/dev/null || true
    { wait "${pid[$k]}"; } 2>/dev/null || true
    ip -n "$tag-$k" neigh flush all nud permanent
  done
  ip -n "$tag-b" link set "v$machine" master br0
  rm -rf "$T"/w? "$T"/[012].log
}
for kind in "$@"; do
  for ((i = 0; i < times; i++)); do one "$kind"; done
done
