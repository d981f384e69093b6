#!/usr/bin/env bash
# One of two trainers dies, hangs or is cut off: both go back to the last checkpoint, nobody hangs, and in the end the weights
# are those of the undisturbed run of two.
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../e2e/ranks_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/ranks_lib.sh"

# A death of each rank at each point that a trainer passes in a step, around the sum of the gradients too.
case_points() {
  local point rank began
  two_undisturbed
  for point in trainer.gradients.before trainer.gradients.after trainer.step.done process.enter.after; do
    for rank in 0 1; do
      is_sampled || continue # each third of eight: of both ranks
      began=$SECONDS
      rm -rf "$T/w"
      # In the second epoch, so that the next process, which begins there and counts anew, does not come to it.
      case $point in
      process.*) FAULTS="trainer#$rank:$point=segv" ;;
      *done) FAULTS="trainer#$rank:$point=kill@16" ;;
      *) FAULTS="trainer#$rank:$point=kill@14" ;;
      esac
      if [ "$point" = process.enter.after ]; then
        start 1 "${TWO[@]}" --max-restarts 2
        must_say "keeps failing"
      else
        start 0 "${TWO[@]}"
        check_two
        [ "$(deaths_of trainer)" = 1 ] || fail "$point: $(deaths_of trainer) trainers died by themselves"
        [ "$(count_events '"run.reset"')" = 1 ] || fail "$point: $(count_events '"run.reset"') resets"
      fi
      echo "$point of rank $rank: $((SECONDS - began)) s"
    done
  done
  must_be_points 8
}

# At any time, one or both, with workers and a supervisor now and then.
case_random() {
  local seed=${E2E_SEED:-$RANDOM} victims kills=0
  echo "seed $seed (E2E_SEED=$seed repeats the order of victims)"
  RANDOM=$seed
  two_undisturbed
  FAULTS=trainer:trainer.step.done=sleep:300@1/every # however fast the rest is, no run is over before the third pause
  launch "${TWO[@]}" --readers 2 --augmenters 2
  while ! is_over && [ $kills -lt 6 ]; do
    sleep "0.$((RANDOM % 9 + 1))"
    mapfile -t victims < <(pids trainer)
    if [ ${#victims[@]} = 2 ]; then
      case $((RANDOM % 4)) in
      0) kill -KILL "${victims[@]}" 2>/dev/null || true ;;
      *) kill -KILL "${victims[$((RANDOM % 2))]}" 2>/dev/null || true ;;
      esac
      kills=$((kills + 1))
    fi
    mapfile -t victims < <(pids supervisor)
    if [ $((RANDOM % 3)) = 0 ] && [ ${#victims[@]} -gt 0 ]; then kill -KILL "${victims[0]}" 2>/dev/null || true; fi
  done
  finish 0
  [ $kills -ge 3 ] || fail "only $kills times a trainer was killed"
  check_two
}

# A rank that is there and does not come to the sum: the other gives up waiting.
case_hang() {
  two_undisturbed
  FAULTS=trainer#1:trainer.gradients.before=stop@14
  start 0 "${TWO[@]}" --rank-timeout-ms 2000
  check_two
  has_event '"run.reset"' || fail "no reset"
}

# While it saves, the other one waits; the checkpoint is the old one or the new one.
case_saving() {
  two_undisturbed
  FAULTS=trainer#0:trainer.save.before=kill@2
  start 0 "${TWO[@]}"
  check_two
  [ "$(deaths_of trainer)" = 1 ] || fail "$(deaths_of trainer) trainers died by themselves"
}

# From a snapshot of the step before the death, which rank 1 reads although rank 0 wrote it.
case_snapshots() {
  local rank
  two_undisturbed
  for rank in 0 1; do
    rm -rf "$T/w"
    FAULTS=trainer#$rank:trainer.gradients.after=kill@8
    start 0 "${TWO[@]}" --snapshot-steps 1 --max-restarts 20
    check_two
    [ "$(deaths_of trainer)" = 3 ] || fail "$(deaths_of trainer) trainers died; 24 steps, a death in each eighth"
    events | grep '"run.continued"' | grep -vE '"repeated_batches":[01][,}]' && fail "more than one batch was repeated"
  done
  return 0
}

# Asked to stop, one rank dies before it has heard of it.
case_stopping() {
  two_undisturbed
  FAULTS="trainer#1:trainer.step.done=kill@18,$PACE"
  launch "${TWO[@]}"
  wait_step 16
  send INT
  finish 75
  FAULTS=""
  start 0 "${TWO[@]}"
  check_two
}

run_case
