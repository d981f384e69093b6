#!/usr/bin/env bash
# --virtual-ranks: the same bits for any number of trainers, also when it changes while the run goes on.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=ranks_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/ranks_lib.sh"

# with RANKS FLAG...: the same run by so many trainers.
with() {
  local ranks=$1
  shift
  rm -rf "$T/w"
  start 0 --ranks "$ranks" "${VIRTUAL[@]}" "$@"
  must_balance
  check_virtual
}

# Three take turns: they do not divide four.
case_same_bits() {
  virtual_undisturbed
  must_say "32 images a step: 4 virtual ranks x 4 x accumulate 2"
  with 4
  with 3 --augmenters 2
}

# The last step of an epoch has 24 images of 40, in batches of 5 and 4; classes weigh differently, and some images are bad.
case_uneven() {
  local flags=(--batch-size 8 --no-drop-last --class-weights balanced --label-smoothing 0.1 --opt adamw --lr 0.002 --accumulate 1)
  cp -r "$REFERENCE/data" "$T/data"
  find "$T/data/train/class_000" -name '*.jpg' | LC_ALL=C sort | sed -n 1,8p | xargs rm
  for image in $(find "$T/data/train" -name '*.jpg' | LC_ALL=C sort | sed -n '20p;90p;140p'); do echo no >"$image"; done
  flags+=(--data-dir "$T/data" --virtual-ranks 5)
  virtual_undisturbed "${flags[@]}"
  with 2 "${flags[@]}"
  with 5 "${flags[@]}"
}

# Stopped within steps and within validation, and continued with other numbers; a trainer dies on the way.
case_other_ranks() {
  local ranks step
  virtual_undisturbed
  FAULTS=$PACE
  set -- 4:3 1:14 2:10 3:9
  for ranks in "$@"; do
    step=${ranks#*:} ranks=${ranks%:*}
    launch --ranks "$ranks" "${VIRTUAL[@]}" --snapshot-steps 1
    wait_step "$step"
    if [ "$ranks" = 2 ]; then
      kill_all trainer
      until_true 60 has_event '"run.continued"' || fail "training does not go on"
    fi
    send INT
    finish 75
  done
  must_say "ranks   3 x batch 4 x accumulate up to 3, before 2 x 4 x 4: the same 32 images a step in the same order"
  FAULTS=""
  start 0 --ranks 1 "${VIRTUAL[@]}"
  check_virtual
}

# What would change bits is refused, with the words of who asked for it.
case_refusals() {
  start 2 --ranks 5 "${VIRTUAL[@]}"
  must_say "--virtual-ranks 4 are fewer than the 5 trainers of this run"
  start 2 "${VIRTUAL[@]}" --sync-bn
  must_say "virtual-ranks and sync-bn contradict each other"
  start 2 --virtual-ranks 64 --batch-size 4
  must_say "--batch-size 4 with 64 ranks asks for 256 images a step, but the training set has 192; use --batch-size 3 or less"
  FAULTS=$PACE
  launch --ranks 2 "${VIRTUAL[@]}"
  wait_step 2
  send INT
  finish 75
  FAULTS=""
  start 2 --ranks 2 "${VIRTUAL[@]:2}"
  must_say "this run began with --virtual-ranks 4, not --virtual-ranks 0"
  start 2 --ranks 2 "${VIRTUAL[@]}" --virtual-ranks 2 --accumulate 4
  must_say "this run began with --virtual-ranks 4, not --virtual-ranks 2"
  start 2 --ranks 2 "${VIRTUAL[@]}" --batch-size 8 --accumulate 1
  must_say "this run began with --batch-size 4, which with --virtual-ranks is that of a virtual rank"
  start 2 --ranks 2 "${VIRTUAL[@]}" --trainer-threads 2
  must_say "this run began with --trainer-threads 1, not --trainer-threads 2"
  start 2 --ranks 5 "${VIRTUAL[@]}"
  must_say "--virtual-ranks 4 are fewer than the 5 trainers of this run"
  start 0 --ranks 1 "${VIRTUAL[@]}" --trainer-threads 0 # those of before, not one for each core
  must_say "1 trainer (1 thread)"
}

run_case
