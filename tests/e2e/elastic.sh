#!/usr/bin/env bash
# --elastic drop: with fewer trainers a step has fewer images; each sample comes once all the same, and the learning rate stays
# that of the same place in the data.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=ranks_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/ranks_lib.sh"

# interrupt RANKS STEP FLAG...: once the run has taken so many optimiser steps in all, or a little later.
has_taken() { [ "$(grep -c '"split":"train","loss"' "$RUN/metrics.jsonl" 2>/dev/null || true)" -ge "$1" ]; }
interrupt() {
  local ranks=$1 step=$2
  shift 2
  FAULTS=$PACE
  launch --ranks "$ranks" "${DROP[@]}" "$@"
  until_true "$LIMIT_SECONDS" eval "has_taken $step || is_over" || fail "step $step was not reached"
  send INT
  finish 75
  FAULTS=""
}

# Three trainers, stopped within the first epoch; then one, which does not divide what is left in threes; then four. A step has a
# batch of each, 48 batches are an epoch, and each pass is exactly once.
case_ranks() {
  local steps gone
  start 0 --ranks 3 "${DROP[@]}"
  must_balance
  rates "$RUN" >"$T/rates"
  [ "$(wc -l <"$T/rates")" = 32 ] || fail "$(wc -l <"$T/rates") steps of three trainers in two epochs, not 32"
  rm -rf "$T/w"
  interrupt 3 5
  steps=$(state_number step) gone=$(state_number order.next)
  [ "$gone" = $((3 * steps)) ] || fail "$steps steps of three trainers, and $gone batches are done"
  interrupt 1 $((steps + 4))
  must_say "ranks   1 x accumulate 1, before 3: the same order of images, 4 images a step, before 12 (elastic drop); the learning rate stays that of the same place in the data"
  # To a place within a step of four trainers.
  while [ $(($(state_number order.next) % 4)) = 0 ]; do interrupt 1 $(($(state_number step) + 1)); done
  gone=$((2 * steps + $(state_number step)))
  [ "$(state_number order.next)" = "$gone" ] || fail "$(state_number order.next) batches are done, not $gone"
  # A step of one trainer has the rate of the step of three that its batch would have been in.
  diff <(rates "$RUN" | awk -v from="$steps" 'NR > from') <(awk -v from=$((3 * steps)) -v to="$gone" '{ rate[NR] = $0 } END { for (q = from; q < to; q++) print rate[int(q / 3) + 1] }' "$T/rates") ||
    fail "the learning rates are not those of the same place"
  steps=$(state_number step)
  start 0 --ranks 4 "${DROP[@]}"
  must_say "16 images a step, before 4"
  must_balance
  [ "$(ledger train_samples)" = $((4 * (48 - gone) + 192)) ] || fail "the last start delivered $(ledger train_samples) images, and $gone of 48 batches of the first epoch were done before it"
  [ "$(state_number step)" = $((steps + 12 - gone / 4 + 12)) ] || fail "$(state_number step) steps in all"
  if grep -q 'the ledger does not balance' "$RUN/log.txt"; then fail "a sample was lost or came twice"; fi
}

# From the same state, undisturbed and with deaths and other stops: the same weights to the bit.
case_same_bits() {
  interrupt 3 3 --accumulate 2
  cp -r "$T/w" "$T/kept"
  start 0 --ranks 2 "${DROP[@]}" --accumulate 2
  must_say "16 images a step, before 24"
  mv "$T/w" "$T/two"
  mv "$T/kept" "$T/w"
  interrupt 2 5 --accumulate 2
  FAULTS=trainer#1:trainer.step.done=kill@3
  launch --ranks 2 "${DROP[@]}" --accumulate 2 --augmenters 2
  finish 0
  [ "$(deaths_of trainer)" -ge 1 ] || fail "no trainer died"
  check_two
}

case_refusals() {
  start 2 "${DROP[@]}" --virtual-ranks 4
  must_say "virtual-ranks and elastic drop contradict each other"
  interrupt 2 2
  start 2 --ranks 2 "${DROP[@]}" --elastic keep
  must_say "this run began with --elastic drop, not --elastic keep"
  start 2 --ranks 1 "${DROP[@]}" --batch-size 8
  must_say "this run began with --batch-size 4, which with --elastic drop each trainer keeps"
  start 2 --ranks 1 "${DROP[@]}" --accumulate 2
  must_say "use --accumulate 1"
}

run_case
