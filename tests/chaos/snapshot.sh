#!/usr/bin/env bash
# The trainer dies and goes on from the snapshot in shared memory: the weights are those of the undisturbed run, and no death
# costs more batches than lie between two snapshots.
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WORKERS=(--readers 2 --augmenters 2)
EVERY=3
BY_STEPS=(--snapshot-interval 0 --snapshot-steps "$EVERY")

kill_role() {
  # shellcheck disable=SC2046 # a list of numbers
  kill -KILL $(pids "$1") 2>/dev/null || true
}
# went_on N: so many times all trainers have gone on after a death.
went_on() { [ "$(count_events '"run.continued"')" -ge "$1" ]; }
# Of each restart, in order: the batch it went on with, and how many were done again.
continued_at() { events | sed -n '/"run.continued"/ s/.*"next_batch":\([0-9]*\).*/\1/p'; }
repeated() { events | sed -n '/"run.continued"/ s/.*"repeated_batches":\([0-9]*\).*/\1/p'; }
# continuations SOURCE: how often a trainer said that it goes on from there.
continuations() { grep -c "msg=\"continuing\" from=$1 " "$RUN/log.txt" || true; }
must_repeat_at_most() {
  local batches
  for batches in $(repeated); do
    [ "$batches" -le "$1" ] || fail "a death cost $batches batches, not $1 at most"
  done
}
metrics_are_whole() {
  local epoch
  for epoch in 1 2; do
    [ "$(grep -c "\"event\":\"epoch\",\"step\":$((12 * epoch)),\"epoch\":$epoch," "$RUN/metrics.jsonl")" = 1 ] ||
      fail "metrics.jsonl does not have epoch $epoch once"
  done
  [ "$(sed -nE 's/^\{"step":([0-9]+),"epoch":([12]),"split":"train".*/\1 \2/p' "$RUN/metrics.jsonl")" = "$(seq 24 | awk '{ print $1, 1 + ($1 > 12) }')" ] ||
    fail "metrics.jsonl does not have each step once"
  [ "$(wc -l <"$RUN/summary.csv")" = 3 ] || fail "summary.csv does not have each epoch once"
}
check_all() {
  check_outcome
  metrics_are_whole
}

# At each point of taking one, in the second snapshot of each trainer. Those of making the memory have their unit test.
case_points() {
  local point at
  for point in $(cd "$here/../.." && grep -rhoE 'IM_FAULT\("snapshot\.[^"]+"\)' --include='*.c' ipc trainer |
    sed 's/.*"\(.*\)".*/\1/' | sort -u); do
    case $point in
    snapshot.opened) continue ;;
    snapshot.piece) at=300 ;;
    *) at=2 ;;
    esac
    is_sampled || continue
    rm -rf "$T/w"
    FAULTS="trainer:$point=kill@$at,$QUICK_PACE"
    start 0 "${WORKERS[@]}" "${BY_STEPS[@]}"
    [ "$(deaths_of trainer)" -ge 3 ] || fail "$point: only $(deaths_of trainer) trainers died"
    [ "$(continuations snapshot)" -ge 3 ] || fail "$point: only $(continuations snapshot) went on from a snapshot"
    must_repeat_at_most $EVERY
    check_all
    echo "$point: $(deaths_of trainer) trainers died, batches repeated: $(repeated | tr '\n' ' ')"
  done
  must_be_points 4
}

# How many trainers have been ready; 0 while there is no log.
ready_times() { { cat "$RUN/log.txt" || true; } 2>/dev/null | grep -c 'msg="network ready"' || true; }
is_over_or_ready() { is_over || [ "$(ready_times)" -ge "$1" ]; }

# At random times of its work.
case_random() {
  local seed=${E2E_SEED:-$RANDOM} kills=0
  echo "seed $seed (E2E_SEED=$seed repeats the pauses)"
  RANDOM=$seed
  FAULTS=$PACE
  launch "${WORKERS[@]}" --snapshot-interval 0 --snapshot-steps 1
  while ! is_over && [ $kills -lt 12 ]; do
    # Some steps into its work, however fast this machine is.
    until_true 30 is_over_or_ready $((kills + 1)) || fail "trainer $((kills + 1)) was not ready"
    sleep "0.$((1 + RANDOM % 3))$((RANDOM % 10))"
    [ -z "$(pids trainer)" ] || { kill_role trainer && kills=$((kills + 1)); }
  done
  finish 0
  echo "$(deaths_of trainer) trainers died, batches repeated: $(repeated | tr '\n' ' ')"
  [ "$(deaths_of trainer)" -ge 3 ] || fail "only $(deaths_of trainer) trainers died"
  must_repeat_at_most 1
  check_all
}

# By time: as often as a hundredth of the time allows.
case_interval() {
  FAULTS=$PACE
  launch "${WORKERS[@]}" --snapshot-interval 0.05
  wait_step 8 && kill_role trainer
  until_true 20 went_on 1 || fail "nobody went on"
  wait_step 16 && kill_role trainer
  finish 0
  [ "$(continuations snapshot)" -ge 1 ] || fail "nobody went on from a snapshot"
  [ "$(continued_at | head -n 1)" -ge 1 ] || fail "the first death went back to the beginning"
  check_all
}

# Switched off, a death goes back to the last checkpoint, and no memory is taken.
case_off() {
  FAULTS=$PACE
  launch "${WORKERS[@]}" --snapshot-interval 0
  wait_step 8 && kill_role trainer
  until_true 20 went_on 1 || fail "nobody went on"
  wait_step 16 && kill_role trainer
  finish 0
  must_say "none  a trainer that dies goes back to the last checkpoint"
  [ "$(continued_at | tr '\n' ' ')" = "0 14 " ] || fail "went on with batches $(continued_at | tr '\n' ' ')"
  [ "$(continuations snapshot)" = 0 ] || fail "there was a snapshot"
  check_all
}

# Between an epoch's lines and its checkpoint: the epoch's end is done again from a snapshot in its validation, once.
case_epoch_end() {
  FAULTS="trainer:trainer.save.before=kill@2,$PACE"
  start 0 "${WORKERS[@]}" --snapshot-interval 0 --snapshot-steps 1
  [ "$(deaths_of trainer)" = 1 ] || fail "$(deaths_of trainer) trainers died"
  [ "$(continued_at)" = 27 ] || fail "went on with batch $(continued_at)"
  must_repeat_at_most 1
  check_all
}

# Supervisors come and go, also together with the trainer: the snapshot is the warden's.
case_supervisor() {
  FAULTS=$PACE
  launch "${WORKERS[@]}" "${BY_STEPS[@]}"
  wait_step 5 && kill_role supervisor
  wait_step 8 && kill_role trainer
  until_true 20 went_on 1 || fail "nobody went on"
  wait_step 18
  # shellcheck disable=SC2046 # a list of numbers
  kill -KILL $(pids supervisor) $(pids trainer) 2>/dev/null || true
  finish 0
  [ "$(continuations snapshot)" = 2 ] || fail "$(continuations snapshot) went on from a snapshot, not 2"
  must_repeat_at_most $EVERY
  check_all
}

# With the warden the snapshot is gone: the same command goes on from the checkpoint.
case_warden() {
  FAULTS=$PACE
  launch "${WORKERS[@]}" "${BY_STEPS[@]}"
  wait_step 16
  # shellcheck disable=SC2046 # a list of numbers
  kill -KILL "$WARDEN" $(pids supervisor) $(pids trainer) 2>/dev/null || true
  wait "$WARDEN" 2>/dev/null || true
  until_true 10 nobody_left || fail "workers stay"
  FAULTS=""
  start 0 "${WORKERS[@]}" "${BY_STEPS[@]}"
  [ "$(continuations checkpoint)" = 1 ] || fail "the new trainer did not go on from the checkpoint"
  [ "$(continuations snapshot)" = 0 ] || fail "the snapshot outlived its run"
  check_all
}

# Somebody writes into both slots: the damage is named, and the checkpoint takes the snapshot's place.
case_damaged() {
  local trainer bytes place
  FAULTS=$PACE
  launch "${WORKERS[@]}" "${BY_STEPS[@]}"
  wait_step 18
  trainer=$(pids trainer)
  kill -STOP "$trainer"
  bytes=$(stat -L -c %s "/proc/$trainer/fd/9")
  for place in $((bytes / 4)) $((3 * bytes / 4)); do
    printf 'damage' | dd of="/proc/$trainer/fd/9" bs=1 seek="$place" conv=notrunc status=none || fail "cannot damage the snapshot"
  done
  kill -KILL "$trainer"
  finish 0
  grep -q 'level=warn role=trainer id=0 msg="the snapshot cannot be used' "$RUN/log.txt" || fail "the damage was not reported"
  [ "$(continuations checkpoint)" = 1 ] || fail "the next trainer did not go on from the checkpoint"
  [ "$(continued_at)" = 14 ] || fail "went on with batch $(continued_at)"
  check_all
}

# Everything that a state can hold: two moments, averages, gradients of half a step, draws for mixing.
case_recipe() {
  local flags=(--opt adamw --lr 0.001 --accumulate 2 --ema 0.9 --mixup 0.2 --cutmix 1 --grad-clip 1 --label-smoothing 0.1)
  start 0 "${flags[@]}" --readers 1 --augmenters 1
  mv "$T/w" "$T/undisturbed"
  FAULTS="trainer:snapshot.piece=kill@1300,$PACE"
  start 0 "${WORKERS[@]}" "${BY_STEPS[@]}" "${flags[@]}"
  [ "$(continuations snapshot)" -ge 2 ] || fail "only $(continuations snapshot) trainers went on from a snapshot"
  must_repeat_at_most $EVERY
  "$BIN/compare_states" "$T/undisturbed/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights are not those of the undisturbed run"
  if grep -q 'the ledger does not balance' "$RUN/log.txt"; then fail "a sample was lost or came twice"; fi
  must_balance
}

# Two trainers: whichever dies, both go on from the snapshot that rank 0 took, with the same bits.
case_ranks() {
  local rank
  # shellcheck source-path=SCRIPTDIR source=../e2e/ranks_lib.sh
  . "$here/../e2e/ranks_lib.sh"
  two_undisturbed
  FAULTS=$PACE
  launch "${TWO[@]}" "${WORKERS[@]}" "${BY_STEPS[@]}"
  for rank in 0 1; do
    wait_step $((8 + 10 * rank))
    kill -KILL "$(pids trainer | while read -r pid; do if cmdline "$pid" | grep -q -- "--index $rank "; then echo "$pid"; fi; done)"
    until_true 20 went_on $((rank + 1)) || fail "nobody went on"
  done
  finish 0
  [ "$(continuations snapshot)" = 4 ] || fail "$(continuations snapshot) trainers went on from a snapshot, not 4"
  must_repeat_at_most $EVERY
  check_two
  metrics_are_whole
}

# Dead at every second step and a snapshot only after three: after a death it comes sooner, so that there is progress.
case_too_rare() {
  FAULTS="trainer:trainer.step.done=kill@2,$QUICK_PACE"
  start 0 "${WORKERS[@]}" "${BY_STEPS[@]}" --max-restarts 2
  [ "$(deaths_of trainer)" -ge 10 ] || fail "$(deaths_of trainer) trainers died"
  check_all
}

run_case
