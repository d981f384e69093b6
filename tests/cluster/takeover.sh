#!/usr/bin/env bash
# A run on three machines, which are network namespaces, whose node 0 is lost: another machine takes over without anybody's
# help. Where the third comes back before its work is shared, the weights are those of an undisturbed run, to the bit. Needs root.
#
#   takeover.sh BUILD CASE: back (the head is lost with its folder, and comes back; the next one is cut off, and healed), gone (it
#   does not come back; the folder is shared), few (two are lost: the last one waits; one comes back), address (as back, but the
#   machines are told where the first one is, and nothing of the others; the first time the old head comes back with its folder)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case $2 in
  back) tag=ib$$ net=10.95.0 ;;
  gone) tag=ig$$ net=10.94.0 ;;
  few) tag=if$$ net=10.93.0 ;;
  address) tag=ia$$ net=10.92.0 BY=address ;;
esac
open_runs "$1"
state() { echo "$T/w$1/run/checkpoints/last.state.safetensors"; }
took() { echo "$1: $(($(milliseconds) - began)) ms"; }

# until_continued K: trainers have begun under machine K as node 0.
until_continued() {
  local end=$((SECONDS + 60))
  until grep -qs 'msg="continuing' "$T/w$1/run/log.txt"; do
    [ $SECONDS -lt $end ] || fail "the run does not go on under machine $1"
    sleep 0.1
  done
}
# Weights of an undisturbed run in $T/reference.
undisturbed() {
  local k
  for k in 0 1 2; do RULE='' start_on "$k" "$@"; done
  for k in 0 1 2; do ends "$k" 0; done
  mv "$T/w0/run" "$T/reference"
  rm -rf "$T"/w? "$T"/?.log
}

case_back() {
  local flags=(--epochs 30 --snapshot-steps 2 --cluster-wait 100)
  undisturbed "${flags[@]}"
  for k in 0 1 2; do start_on "$k" "${flags[@]}"; done
  await "split=train\|^epoch" 0
  sleep 2
  began=$(milliseconds)
  lose 0
  await "$net.2 (machine 1.*) is node 0, and takes over" 1
  took "the head lost, another takes over"
  start_on 0 "${flags[@]}"
  await "$net.2 (machine 1.*) is node 0" 0 2
  until_continued 1
  took "the old head is back as a member, and the run goes on"
  sleep 3
  # Machine 1 is the head now. It is cut off; the others have machine 0 take over; it comes back.
  began=$(milliseconds)
  ip -n "$tag-1" link set eth0 down
  await "1 of 3 machines are left" 1
  await "$net.1 (machine 0.*) is node 0, and takes over" 0
  await "looking for node 0 since" 1
  took "the head cut off, another takes over"
  ip -n "$tag-1" link set eth0 up
  await "$net.1 (machine 0.*) is node 0" 1 2
  until_continued 0
  took "healed, and the run goes on"
  for k in 0 1 2; do ends "$k" 0; done
  "$BIN/compare_states" "$T/reference/checkpoints/last.state.safetensors" "$(state 0)" || fail "other weights than those of an undisturbed run"
}

case_address() {
  LOSE_FOLDER=no
  case_back
}

case_gone() {
  W=$T/w
  for k in 0 1 2; do start_on "$k" --epochs 6 --snapshot-steps 1 --cluster-wait 1; done
  await "split=train\|^epoch" 0
  sleep 2
  began=$(milliseconds)
  lose 0
  await "$net.2 (machine 1.*) is node 0, and takes over" 1
  await "2 of 3 machines share the work" 1
  took "the head lost, two of three go on"
  "$BIN/imsuper" status --workspace "$T/w" --run-name run >"$T/status" || fail "no status"
  ends 1 0
  ends 2 0
  grep -q '"epochs": *6' "$T/w/run/DONE" || fail "the run is not done: $(cat "$T/w/run/DONE")"
  [ "$(grep -c . "$T/w/run/summary.csv")" = 7 ] || fail "not a row an epoch: $(cat "$T/w/run/summary.csv")"
}

case_few() {
  for k in 0 1 2; do start_on "$k" --epochs 8 --snapshot-steps 2 --cluster-wait 1; done
  await "split=train\|^epoch" 0
  lose 2
  await "2 of 3 machines share the work" 0 1
  lose 0 # in the generation that has just begun
  await "looking for node 0 since" 1
  sleep 8
  if grep -q "and takes over" "$T/1.log"; then fail "a machine alone took over"; fi
  began=$(milliseconds)
  start_on 2 --epochs 8 --snapshot-steps 2 --cluster-wait 1
  await "$net.2 (machine 1.*) is node 0, and takes over" 1
  COUNT=2 await "2 of 3 machines share the work" 1
  took "a second machine is there, and they go on"
  # All stop, and all start again: the first machine, which has nothing, is node 0, and the newest state is in machine 1's folder.
  sleep 3
  kill -TERM "${pid[1]}"
  ends 1 75
  ends 2 75
  for k in 0 1 2; do start_on "$k" --epochs 8 --snapshot-steps 2 --cluster-wait 1; done
  await "3 trainers x 8" 0
  until_continued 0
  grep 'msg="continuing from another' "$T/w0/run/log.txt" | grep -q "rank=1 " || fail "not from machine 1: $(grep 'msg="continuing' "$T/w0/run/log.txt")"
  for k in 0 1 2; do ends "$k" 0; done
}

"case_$2"
nothing_was_lost "$T"/w*/run/log.txt "$T"/w*/run/nodes/node*/log.txt
echo ok
