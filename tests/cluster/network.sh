#!/usr/bin/env bash
# Three supervisors in three network namespaces: a head that comes late, a cut that heals, a process that is killed, one that
# is stopped, a head that is killed, a wrong key, a port that is taken, nodes that are missing. Needs root, for the namespaces.
#
#   network.sh BUILD
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
tag=im$$ net=10.98.0
open_machines

# node K LOG FLAG...
node() {
  local k=$1 log=$2
  shift 2
  ip netns exec "$tag-$k" "$NODE" --nodes 3 --node "$k" --head 10.98.0.1 --port 26999 "$@" >"$T/$log.log" 2>&1 &
  pid[$k]=$!
}
for key in key other; do "$1/imsuper" cluster key "$T/$key" >/dev/null || fail "no key"; done
# regenerated LOG...: all have exchanged cards in the same generation, which is newer than the one before.
last=0
regenerated() {
  local log of end=$((SECONDS + 90))
  while :; do
    of=$(for log in "$@"; do sed -n 's/.*exchanged: \([0-9]*\) of 3$/\1/p' "$T/$log.log" | tail -n 1; done)
    # shellcheck disable=SC2086 # words
    set -- "$@" -- $of
    if [ $# = 7 ] && [ "$5" = "$6" ] && [ "$6" = "$7" ] && [ "$5" -gt "$last" ]; then
      last=$5
      return
    fi
    set -- "$1" "$2" "$3"
    [ $SECONDS -lt $end ] || fail "no generation after $last in $*"
    sleep 0.1
  done
}
F=(--key "$T/key" --stay --patience 100)

# Without a key, another machine is refused; with one that others may read, too.
node 1 nokey
wait "${pid[1]}" && fail "no key was needed"
await "needs a key" nokey
chmod 644 "$T/other"
node 1 open --key "$T/other"
wait "${pid[1]}" && fail "a key that all may read was taken"
await "chmod 600" open
chmod 600 "$T/other"

# The head comes after the others.
node 1 a1 "${F[@]}"
node 2 a2 "${F[@]}"
await "waiting for the head at 10.98.0.1 port 26999" a1 a2
node 0 a0 "${F[@]}"
regenerated a0 a1 a2

# Its port is taken then.
(ip netns exec "$tag-0" "$NODE" --nodes 3 --node 0 --head 10.98.0.1 --port 26999 "${F[@]}" >"$T/second.log" 2>&1) && fail "two heads"
await "port 26999 of this machine is taken" second

# A cut of 3 s: nothing. A longer one: dead after 5 s without an acknowledgement, and back.
ip -n "$tag-2" link set eth0 down
sleep 3
ip -n "$tag-2" link set eth0 up
sleep 8
if grep -q "over: node 2\|over: .*node 2 (" "$T/a0.log"; then fail "3 s were too much"; fi
if grep -q "lost: the head" "$T/a2.log"; then fail "3 s were too much for the machine itself"; fi
ip -n "$tag-2" link set eth0 down
await "node 2 (.*) is silent" a0
await "over: node 2 (.*) is cut off" a0 a1
await "lost: the head .* is cut off" a2
ip -n "$tag-2" link set eth0 up
regenerated a0 a1 a2

# The same of the head, whose own interface is down: it cannot even send.
ip -n "$tag-0" link set eth0 down
await "lost: the head .* is cut off" a1
COUNT=2 await "lost: the head .* is cut off" a2
await "node 1 (.*) is cut off" a0
ip -n "$tag-0" link set eth0 up
regenerated a0 a1 a2

# Killed, and another in its place.
kill -KILL "${pid[1]}"
await "over: node 1 (.*) has " a0 a2
node 1 b1 --key "$T/other" --stay
await "does not take this machine's key" b1
await "turned away, because of the key" a0
kill -KILL "${pid[1]}"
node 1 c1 "${F[@]}" --agree $'seed=2\n'
await "refused: it would train something else than the head: seed is known to it only" c1
wait "${pid[1]}" && fail "the refused node went on"
node 1 d1 "${F[@]}"
regenerated a0 d1 a2

# Stopped for longer than the head waits.
kill -STOP "${pid[2]}"
COUNT=$(($(grep -c "over: node 2 (.*) has not been heard of" "$T/a0.log") + 1)) await "over: node 2 (.*) has not been heard of" a0
kill -CONT "${pid[2]}"
regenerated a0 d1 a2

# The head is killed, and another begins without its state: a higher number.
kill -KILL "${pid[0]}"
await "no message from the head" d1 a2
node 0 b0 "${F[@]}" --ask-stop-at 50
regenerated b0 d1 a2
await "end: saved" b0 d1 a2
for k in 0 1 2; do
  status=0
  wait "${pid[$k]}" || status=$?
  [ $status = 75 ] || fail "node $k ended with $status"
done

# Two nodes never come.
node 0 e0 --key "$T/key" --patience 4
await "waiting at 10.98.0.1 port 26999 for 2 of 3 nodes since 3 s: there 0" e0
await "stop: node 2 has not come within 4 s" e0
