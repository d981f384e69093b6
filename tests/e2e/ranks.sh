#!/usr/bin/env bash
# Several trainers: the same bits however the work is spread, interrupted and continued; each sample once.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=ranks_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/ranks_lib.sh"

case_same_bits() {
  two_undisturbed
  start 0 "${TWO[@]}" --readers 2 --augmenters 3
  check_two
  must_leave_nothing
}

# Both ranks stop before the same step, whichever hears of it first.
case_interrupts() {
  local step
  two_undisturbed
  for step in 3 9 14; do
    FAULTS=$PACE
    launch "${TWO[@]}" --augmenters 2
    wait_step $step
    send INT
    finish 75
  done
  FAULTS=""
  start 0 "${TWO[@]}" --readers 2 --augmenters 1
  check_two
}

# With everything that a step can be made of, a window of three batches among it.
case_recipe() {
  TWO+=(--sync-bn --opt adamw --lr 0.002 --mixup 0.2 --cutmix 1 --ema 0.99 --accumulate 3 --grad-clip 1
    --drop-path-rate 0.1 --label-smoothing 0.1)
  case_interrupts
}

# Each rank's own statistics before a window are no drift, at the end of an epoch or when a stop divides a window.
case_windows() {
  TWO+=(--accumulate 5)
  two_undisturbed
  FAULTS=$PACE
  launch "${TWO[@]}"
  wait_step 8 # batches
  send INT
  finish 75
  FAULTS=""
  start 0 "${TWO[@]}"
  check_two
}

# One rank is always later than the other: it hears of the stop in another step.
case_uneven_interrupt() {
  two_undisturbed
  FAULTS=trainer#1:trainer.step.done=sleep:60@1/every
  launch "${TWO[@]}"
  wait_step 5
  send INT
  finish 75
  FAULTS=trainer#0:trainer.step.done=sleep:60@1/every
  launch "${TWO[@]}"
  wait_step 16
  send TERM
  finish 75
  FAULTS=""
  start 0 "${TWO[@]}"
  check_two
}

# A pause, a checkpoint meanwhile, more augmenters, all trainers again: both ranks do it at the same step.
case_control() {
  local ask=(--workspace "$T/w" --run-name run)
  two_undisturbed
  FAULTS=trainer#1:trainer.step.done=sleep:60@1/every
  launch "${TWO[@]}"
  wait_step 3
  for _ in 1 2 3 4; do "$BIN/imsuper" pause "${ask[@]}" && "$BIN/imsuper" resume "${ask[@]}"; done
  "$BIN/imsuper" pause "${ask[@]}"
  until_true 10 eval 'grep -q "\"state\": \"paused\"" < <(status_json)' || fail "the run is not paused"
  send USR2
  until_true 10 test -e "$RUN/checkpoints/last.state.safetensors" || fail "a paused run does not save"
  "$BIN/imsuper" scale augmenters=3 "${ask[@]}"
  "$BIN/imsuper" resume "${ask[@]}"
  wait_step 8
  "$BIN/imsuper" restart trainer#1 "${ask[@]}"
  until_true 20 has_event '"run.continued"' || fail "training does not go on"
  "$BIN/imsuper" pause "${ask[@]}"
  send INT
  finish 75
  FAULTS=""
  start 0 "${TWO[@]}"
  check_two
}

# The last step of an epoch has two samples for five ranks.
case_idle_ranks() {
  local five=(--ranks 5 --batch-size 19)
  start 0 "${five[@]}"
  must_balance
  mv "$T/w" "$T/first"
  start 0 "${five[@]}" --augmenters 2
  must_balance
  "$BIN/compare_states" "$T/first/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights differ"
  [ "$(awk -F, 'END { print NR }' "$RUN/summary.csv")" = 3 ] || fail "summary.csv has not one line for each epoch"
}

# Stopped in the middle of a pass and continued with other numbers of trainers: the same samples in each step, mixed and dropped
# alike, and each sample once. Two gradients have one sum, in whichever order: the weights are the same.
case_other_ranks() {
  TWO+=(--mixup 0.2 --cutmix 1 --drop-path-rate 0.1 --ema 0.9)
  two_undisturbed
  FAULTS=$PACE
  launch "${TWO[@]}"
  wait_step 3
  send INT
  finish 75
  launch "${TWO[@]}" --ranks 1
  wait_step 13 # batches
  send INT
  finish 75
  must_say "ranks   1 x batch 8 x accumulate 2, before 2 x 8 x 1: the same 16 images a step in the same order"
  launch "${TWO[@]}"
  wait_step 10
  send INT
  finish 75
  must_say "ranks   2 x batch 8 x accumulate 1, before 1 x 8 x 2"
  FAULTS=""
  start 0 "${TWO[@]}" --ranks 1
  same_parameters "$T/two/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors"
  diff <(losses "$T/two/run/summary.csv") <(losses "$RUN/summary.csv") || fail "the training losses differ"
  if grep -q 'the ledger does not balance' "$RUN/log.txt"; then fail "a sample was lost or came twice"; fi
}

# By three on the way, which take turns. Four gradients are summed in another order, which batch norm over four images enlarges: the small rate keeps it small.
case_four_two_one() {
  local four=(--batch-size 4 --lr 0.001)
  start 0 --ranks 4 "${four[@]}"
  mv "$T/w" "$T/four"
  FAULTS=$PACE
  launch --ranks 4 "${four[@]}"
  wait_step 3
  send INT
  finish 75
  launch --ranks 3 "${four[@]}"
  wait_step 9
  send INT
  finish 75
  must_say "ranks   3 x batch 4 x accumulate up to 2, before 4 x 4 x 1: the same 16 images a step in the same order"
  launch --ranks 2 "${four[@]}"
  wait_step 13
  send INT
  finish 75
  must_say "ranks   2 x batch 4 x accumulate 2, before 3 x 4 x 2"
  FAULTS=""
  start 0 --ranks 1 "${four[@]}"
  must_say "ranks   1 x batch 4 x accumulate 4, before 2 x 4 x 2"
  "$BIN/compare_states" --within=0.1 "$T/four/run/checkpoints/last.safetensors" "$RUN/checkpoints/last.safetensors" || fail "the weights differ"
  # Weights that are not equal to the bit may give one image another class: the losses only.
  diff <(losses "$T/four/run/summary.csv" | cut -d ' ' -f 1,2) <(losses "$RUN/summary.csv" | cut -d ' ' -f 1,2) || fail "the training losses differ"
}

# 1 -> 2 -> 1 as on two GPUs for a while.
case_one_two_one() {
  local one=(--batch-size 8 --accumulate 2)
  start 0 --ranks 1 "${one[@]}"
  mv "$T/w" "$T/one"
  FAULTS=$PACE
  launch --ranks 1 "${one[@]}"
  wait_step 5
  send INT
  finish 75
  launch --ranks 2 --batch-size 8 # the accumulation of before is not repeated
  wait_step 8
  send INT
  finish 75
  must_say "ranks   2 x batch 8 x accumulate 1, before 1 x 8 x 2"
  FAULTS=""
  start 0 --ranks 1 "${one[@]}"
  must_say "ranks   1 x batch 8 x accumulate 2, before 2 x 8 x 1"
  same_parameters "$T/one/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors"
  diff <(losses "$T/one/run/summary.csv") <(losses "$RUN/summary.csv") || fail "the training losses differ"
}

# The same steps, cut into other batches; and what cannot make them.
case_other_batches() {
  FAULTS=$PACE
  launch "${TWO[@]}"
  wait_step 3
  send INT
  finish 75
  FAULTS=""
  start 2 --ranks 3 --batch-size 8
  must_say "which 3 trainers with batches of 8 cannot share evenly"
  start 2 --ranks 1 --batch-size 32
  must_say "which is no multiple of --batch-size 32 x --ranks 1; use --batch-size 16"
  start 2 --ranks 1 --batch-size 8 --accumulate 3
  must_say "--accumulate 3 gives steps of 24 images, but this run's have 16; use --accumulate 2"
  start 0 --ranks 1 --batch-size 16
  must_say "the same 16 images a step in the same order; batch norm takes its statistics over other groups of them"
  must_say "accumulate 1, before 2 x 8 x 1"
  [ "$(awk -F, 'END { print NR }' "$RUN/summary.csv")" = 3 ] || fail "summary.csv has not one line for each epoch"
  if grep -q 'the ledger does not balance' "$RUN/log.txt"; then fail "a sample was lost or came twice"; fi
}

# One bit of one weight of one rank: found at the epoch's end, nothing is saved, and the same command comes to the right end.
case_drift() {
  two_undisturbed
  FAULTS=trainer#1:trainer.weights.flip=fail:EIO@15
  # With snapshots of the difference: they are not what is continued from.
  start 0 "${TWO[@]}" --snapshot-steps 1
  must_say "after step 24 trainer#1 has different parameters than trainer#0"
  grep -q 'msg="continuing" from=snapshot' "$RUN/log.txt" && fail "a snapshot was used that may hold the difference"
  check_two
}
case_drift_of_three() {
  FAULTS=trainer#0:trainer.weights.flip=fail:EIO@2
  start 1 --ranks 3 --batch-size 5 --opt adamw --lr 0.001 --ema 0.9
  must_say "trainer#0 has different parameters than most others"
  must_say "was not saved"
}

case_status() {
  FAULTS=$PACE
  launch "${TWO[@]}"
  wait_step 3
  "$BIN/imsuper" status --workspace "$T/w" --run-name run >"$T/status"
  [ "$(grep -c 'trainer#' "$T/status")" = 2 ] || { cat "$T/status" && fail "status does not show two trainers"; }
  send INT
  finish 75
  must_say "2 trainers (1 thread each)"
}

run_case
