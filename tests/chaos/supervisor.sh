#!/usr/bin/env bash
# The supervisor, the warden and the trainer die: training goes on, or goes back to the last checkpoint, or stops so that the
# same command continues; in the end the weights are those of the undisturbed run.
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WORKERS=(--readers 2 --augmenters 2)

kill_role() {
  # shellcheck disable=SC2046 # a list of numbers
  kill -KILL $(pids "$1") 2>/dev/null || true
}
supervisor_deaths() { grep -c 'the supervisor died' "$T/out" || true; }

case_supervisor() {
  local step
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  for step in 2 5 8 11 14 17 20; do
    wait_step $step
    kill_role supervisor
  done
  finish 0
  [ "$(supervisor_deaths)" -ge 5 ] || fail "only $(supervisor_deaths) supervisors died"
  has_event '"run.reset"' && fail "training went back although the trainer lived"
  check_outcome
}

# At each of its own fault points, while workers die too so that there is something to do.
case_supervisor_points() {
  local point began
  for point in $(cd "$here/../.." && grep -rhoE 'IM_FAULT(_ERR)?\("(supervisor|reclaim)\.[^"]+"\)' --include='*.c' ipc supervisor |
    sed 's/.*"\(.*\)".*/\1/' | sort -u); do
    is_sampled || continue
    began=$SECONDS
    rm -rf "$T/w"
    FAULTS="supervisor:$point=kill@2,augmenter:augmenter.claim.after=kill@80,reader:reader.claimed=kill@90,$QUICK_PACE"
    start 0 "${WORKERS[@]}"
    [ "$(supervisor_deaths)" -ge 2 ] || fail "$point: only $(supervisor_deaths) supervisors died"
    check_outcome
    echo "$point: $(supervisor_deaths) supervisors died, $(deaths_of augmenter) augmenters, $((SECONDS - began)) s"
  done
  must_be_points 6
}

# The trainer: everyone goes back to the last checkpoint.
case_trainer() {
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  wait_step 5 && kill_role trainer # before the first checkpoint
  until_true 20 has_event '"run.reset"' || fail "no reset"
  wait_step 16 && kill_role trainer # in the second epoch
  finish 0
  [ "$(deaths_of trainer)" = 2 ] || fail "$(deaths_of trainer) trainers died"
  [ "$(count_events '"run.reset"')" = 2 ] || fail "$(count_events '"run.reset"') resets"
  check_outcome
}

# Everybody but the warden at random: readers and augmenters mostly, supervisors, and the trainer now and then.
case_storm() {
  local seed=${E2E_SEED:-$RANDOM} victims role sent=0
  local -A left=([reader]=1000 [augmenter]=1000 [supervisor]=15 [trainer]=3)
  local roles=(reader reader augmenter augmenter augmenter supervisor supervisor trainer)
  echo "seed $seed (E2E_SEED=$seed repeats the order of victims)"
  RANDOM=$seed
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  while ! is_over; do
    role=${roles[$((RANDOM % ${#roles[@]}))]}
    mapfile -t victims < <(pids "$role")
    if [ ${#victims[@]} -gt 0 ] && [ "${left[$role]}" -gt 0 ] &&
      kill -KILL "${victims[$((RANDOM % ${#victims[@]}))]}" 2>/dev/null; then
      left[$role]=$((left[$role] - 1)) sent=$((sent + 1))
    fi
    sleep "0.0$((RANDOM % 9))"
  done
  finish 0
  echo "$sent kills: $((1000 - left[reader])) readers, $((1000 - left[augmenter])) augmenters, $((15 - left[supervisor])) supervisors, $((3 - left[trainer])) trainers"
  [ "$sent" -ge 8 ] || fail "too few were killed"
  check_outcome
}

# Everyone but the warden, at once.
case_all_but_the_warden() {
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  wait_step 15
  # shellcheck disable=SC2046 # a list of numbers
  kill -KILL $(pids supervisor) $(pids trainer) $(pids reader) $(pids augmenter) 2>/dev/null || true
  finish 0
  check_outcome
}

# While it saves: the checkpoint is the old one or the new one.
case_saving() {
  local point began
  for point in $(cd "$here/../.." && grep -rhoE 'IM_FAULT(_ERR)?\("(file|checkpoint|trainer\.save)\.[^"]+"\)' --include='*.c' ipc trainer |
    sed 's/.*"\(.*\)".*/\1/' | sort -u); do
    is_sampled || continue
    began=$SECONDS
    rm -rf "$T/w"
    if [ "$point" = checkpoint.link ]; then save_early; fi
    FAULTS="trainer:$point=kill@$(passings "$point")"
    start 0 "${WORKERS[@]}"
    [ "$(deaths_of trainer)" -ge 1 ] || fail "$point: the trainer did not die"
    check_outcome
    echo "$point: $(deaths_of trainer) deaths, $((SECONDS - began)) s"
  done
  must_be_points 8
}
# So that a process saves twice over a state that is there already.
save_early() {
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  wait_step 3
  send INT
  finish 75
}
# On which passing the death comes: in the second save, which a trainer that begins after the first epoch does not reach again.
passings() {
  case $1 in
  file.write) echo 700 ;;
  file.append) echo 6 ;;
  file.*) echo 5 ;;
  *) echo 2 ;;
  esac
}

# A trainer that dies in its first step again and again, before there is a snapshot: the run is given up.
case_trainer_crash_loop() {
  FAULTS="trainer:trainer.step.done=segv@1"
  start 1 "${WORKERS[@]}" --max-restarts 2
  must_say "keeps failing"
  [ "$(deaths_of trainer)" = 3 ] || fail "$(deaths_of trainer) trainers died"
}

case_warden() {
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  wait_step 15
  kill -KILL "$WARDEN"
  wait "$WARDEN" 2>/dev/null || true
  until_true 15 nobody_left || fail "the run goes on without its warden"
  has_event '"warden.died"' || fail "the warden's death is not in events.jsonl"
  grep -q '"run.ended","exit_status":75' "$RUN/events.jsonl" || fail "the run was not saved"
  FAULTS=""
  start 0 "${WORKERS[@]}"
  check_outcome
}

case_warden_and_supervisor() {
  local began
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  wait_step 15
  kill -KILL "$WARDEN" "$(pids supervisor)"
  wait "$WARDEN" 2>/dev/null || true
  began=$SECONDS
  within 10 nobody_left || fail "workers stay for more than 10 s"
  echo "workers left within $((SECONDS - began + 1)) s"
  FAULTS=""
  start 0 "${WORKERS[@]}"
  check_outcome
}

run_case
