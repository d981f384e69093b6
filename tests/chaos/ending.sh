#!/usr/bin/env bash
# A run ends when somebody asks, or when nothing can be done, and then it is saved: kills that say nothing about the program never
# end it, a stop at any moment saves the newest state there is, and who stands still is noticed.
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
WORKERS=(--readers 2 --augmenters 2)

signal_role() {
  # shellcheck disable=SC2046 # a list of numbers
  kill "-$1" $(pids "$2") 2>/dev/null || true
}
# Of the checkpoint that the same command would continue from: training steps, 0 when there is none.
saved_step() {
  { head -c 4096 "$RUN/checkpoints/last.state.safetensors" 2>/dev/null | grep -aoE '"step":"[0-9]+"' || true; } |
    grep -oE '[0-9]+' || echo 0
}
# Is last.safetensors the export of the state beside it?
checksum_in() { head -c 4096 "$RUN/checkpoints/$1" | grep -aoE "\"$2\":\"[0-9a-f]+\"" | cut -d '"' -f 4; }
must_be_saved_at() {
  [ "$(saved_step)" -ge "$1" ] || fail "the checkpoint is of step $(saved_step), not of $1 or later"
  [ "$(checksum_in last.state.safetensors checksum)" = "$(checksum_in last.safetensors state)" ] ||
    fail "last.safetensors is not of the state beside it"
}
continue_to_the_end() {
  FAULTS=""
  start 0 "${WORKERS[@]}"
  check_outcome
}
supervisor_deaths() { grep -c 'the supervisor died' "$T/out" || true; }

# More than 20 within 10 s, on an idle machine.
case_supervisors() {
  local kills=0 began pid last=""
  FAULTS=$HOLD
  launch "${WORKERS[@]}" "${HELD[@]}"
  wait_held
  began=$SECONDS
  while ! is_over && [ $kills -lt 23 ]; do
    pid=$(pids supervisor)
    if [ -n "$pid" ] && [ "$pid" != "$last" ] && kill -KILL "$pid" 2>/dev/null; then
      kills=$((kills + 1)) last=$pid
    fi
    sleep 0.1
  done
  echo "$kills kills in $((SECONDS - began)) s"
  let_go
  finish 0
  [ "$(supervisor_deaths)" -ge 21 ] || fail "only $(supervisor_deaths) supervisors died"
  check_outcome
}

# kill_next NAME SIGNAL: the next one that the warden starts, as soon as it is there: found without a rest, for it needs
# milliseconds to its loop.
kill_next() {
  local pid end=$((SECONDS + 60))
  while [ $SECONDS -lt $end ] && ! is_over; do
    children "$1"
    for pid in "${CHILDREN[@]}"; do
      if [[ $victims == *" $pid "* ]]; then continue; fi
      victims+=" $pid "
      if kill "-$2" "$pid" 2>/dev/null; then return; fi
    done
  done
  fail "no other $1 was started"
}
# Killed again and again before they come to anything, by signals that look like crashes, too: somebody's doing, not theirs.
case_killed_while_starting() {
  local signals=(KILL SEGV BUS ABRT) victims="" turn
  FAULTS=trainer:trainer.step.done=sleep:500@1/every
  launch "${WORKERS[@]}" --max-restarts 3
  wait_step 2
  for ((turn = 0; turn < 16; turn++)); do kill_next imsuper "${signals[turn % 4]}"; done
  for ((turn = 0; turn < 8; turn++)); do kill_next imsuper-trainer "${signals[turn % 4]}"; done
  FAULTS=""
  finish 0
  [ "$(supervisor_deaths)" = 16 ] || fail "$(supervisor_deaths) supervisors died, not 16"
  [ "$(deaths_of trainer)" = 8 ] || fail "$(deaths_of trainer) trainers died, not 8"
  check_outcome
}

# With the snapshots of the default flags, every 30 s: what counts is the one after the first step of a new trainer.
case_trainer_every_second() {
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  while ! is_over; do
    sleep "$SLOWNESS"
    signal_role KILL trainer
  done
  finish 0
  echo "$(deaths_of trainer) trainers died"
  [ "$(deaths_of trainer)" -ge 3 ] || fail "only $(deaths_of trainer) trainers died"
  check_outcome
}

# Nobody needs it, and it holds nothing: its deaths say nothing.
case_idle_augmenter() {
  local kills=0
  FAULTS=$HOLD
  launch --readers 1 --augmenters 1 --max-restarts 3 "${HELD[@]}"
  wait_held
  sleep 0.5 # until all batches are full
  while ! is_over && [ $kills -lt 7 ]; do
    if [ -n "$(pids augmenter)" ]; then signal_role KILL augmenter && kills=$((kills + 1)); fi
    sleep 0.2
  done
  let_go
  finish 0
  [ "$(deaths_of augmenter)" -ge 6 ] || fail "only $(deaths_of augmenter) augmenters died"
  check_outcome
}

# What a trainer that died had done is in memory, and newer than the checkpoint.
case_stop_in_restart() {
  local how
  for how in INT TERM verb; do
    rm -rf "$T/w"
    FAULTS="trainer:process.enter.after=sleep:1500@1,$PACE"
    launch "${WORKERS[@]}" --snapshot-steps 1
    wait_step 8
    signal_role KILL trainer
    until_true 20 has_event '"run.reset"' || fail "no reset"
    if [ $how = verb ]; then
      "$BIN/imsuper" stop --workspace "$T/w" --run-name run >/dev/null || fail "imsuper stop: exit status $?"
    else
      send $how
    fi
    finish 75
    must_say "continues from here"
    echo "$how: saved at step $(saved_step)"
    must_be_saved_at 7
    must_leave_nothing
    continue_to_the_end
  done
}

# A batch system tells every process to end, and not the first one alone.
case_terminate_everybody() {
  FAULTS=$PACE
  launch "${WORKERS[@]}" --snapshot-steps 1
  wait_step 8
  # shellcheck disable=SC2046 # a list of numbers
  kill -TERM "$WARDEN" $(pids supervisor) $(pids trainer) $(pids reader) $(pids augmenter)
  finish 75
  must_say "continues from here"
  must_be_saved_at 7
  continue_to_the_end
}

# The save that was asked for dies: the snapshot is saved in its place.
case_save_dies() {
  FAULTS="trainer:trainer.save.before=kill@1,$PACE"
  launch "${WORKERS[@]}" --snapshot-steps 1
  wait_step 8
  send INT
  finish 75
  must_be_saved_at 7
  continue_to_the_end
}

# So does every supervisor that has the snapshot saved: the warden does it in the end.
case_supervisors_die_ending() {
  FAULTS="trainer:trainer.save.before=kill@1,supervisor:ending.seal=kill@1,$PACE"
  launch "${WORKERS[@]}" --snapshot-steps 1
  wait_step 8
  send INT
  finish 75
  must_say "the supervisor cannot end the run"
  must_say "continues from here"
  must_be_saved_at 7
  continue_to_the_end
}

# Nobody can save, however often: then it does not say that it was, and what was on disk before is as it was.
case_savers_die() {
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  wait_step 4
  send INT
  finish 75
  FAULTS="trainer:trainer.save.before=kill@1,saver:saver.before=kill@1,$PACE"
  launch "${WORKERS[@]}" --snapshot-steps 1
  wait_step 8
  send INT
  finish 1
  must_say "could not be saved: signal 9"
  says "continues from here" && fail "it says that it was saved"
  must_be_saved_at 4
  continue_to_the_end
}

# Without snapshots there is nothing to save from, and the run says so.
case_save_dies_without_snapshot() {
  FAULTS="trainer:trainer.save.before=kill@1,$PACE"
  launch "${WORKERS[@]}" --snapshot-interval 0
  wait_step 8
  send INT
  finish 1
  must_say "not saved"
  says "continues from here" && fail "it says that it was saved"
  continue_to_the_end
}

case_stopped_trainer() {
  FAULTS="trainer:trainer.step.done=stop@9,$PACE"
  start 0 "${WORKERS[@]}" --snapshot-steps 1 --trainer-deadline 2
  must_say "finished no step"
  [ "$(count_events '"run.reset"')" -ge 1 ] || fail "no reset"
  check_outcome
}

case_stopped_supervisor() {
  FAULTS=trainer:trainer.step.done=sleep:300@1/every
  launch "${WORKERS[@]}"
  wait_step 4
  signal_role STOP supervisor
  finish 0
  must_say "does nothing"
  check_outcome
}

# Everybody sleeps for longer than any deadline, as on a terminal or in a frozen cgroup: nobody is to blame.
case_all_stopped() {
  local supervising working
  FAULTS=$PACE
  launch "${WORKERS[@]}" --trainer-deadline 6
  wait_step 4
  # Found before they are stopped: on a busy machine that takes seconds, and those that are let go on last may then be late for their deadline.
  supervising="$WARDEN $(pids supervisor)" working=$(pids trainer && pids reader && pids augmenter)
  # shellcheck disable=SC2086 # lists of numbers
  kill -STOP $supervising $working
  sleep 14
  # shellcheck disable=SC2086 # lists of numbers
  kill -CONT $supervising && sleep 1 && kill -CONT $working
  finish 0
  [ "$(supervisor_deaths)" = 0 ] || fail "the supervisor was killed"
  [ "$(count_events '"process.died"')" = 0 ] || fail "$(count_events '"process.died"') processes died"
  check_outcome
}

is_stopped() { [ "$(cut -d ' ' -f 3 "/proc/$(pids trainer)/stat" 2>/dev/null)" = T ]; }
# It is let go on, and saves what it has, wherever it stood: in a step, or while it waits for a place to save.
case_interrupt_stopped_trainer() {
  FAULTS="trainer:trainer.step.done=stop@9,$PACE"
  launch "${WORKERS[@]}" --snapshot-interval 0
  until_true 60 is_stopped || fail "the trainer does not stop"
  send INT
  until_true 30 is_over || fail "Ctrl-C does not end the run"
  finish 75
  must_say "is stopped (SIGSTOP): letting it go on"
  must_be_saved_at 9
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  wait_step 13
  mv "$RUN/checkpoints" "$RUN/moved"
  echo x >"$RUN/checkpoints"
  until_true 60 says "training is done; waiting for a place to save" || fail "the wait is not said"
  signal_role STOP trainer
  until_true 10 is_stopped || fail "the trainer does not stop"
  rm "$RUN/checkpoints"
  mv "$RUN/moved" "$RUN/checkpoints"
  send INT
  until_true 30 is_over || fail "Ctrl-C does not end the run"
  finish 0
  check_outcome
}

case_interrupt_stopped_supervisor() {
  FAULTS=trainer:trainer.step.done=sleep:1000@1/every
  launch "${WORKERS[@]}"
  wait_step 4
  signal_role STOP supervisor
  sleep 0.5
  send INT
  until_true 40 is_over || fail "Ctrl-C does not end the run"
  finish 75
  must_say "continues from here"
  must_be_saved_at 4
  continue_to_the_end
}

# A program that cannot be started any more: what was trained is saved, and the reason is printed.
case_give_up() {
  mkdir "$T/bin"
  cp "$BIN"/imsuper "$BIN"/imsuper-{reader,augmenter,trainer} "$T/bin"
  PROGRAM=$T/bin/imsuper FAULTS=$PACE
  launch --readers 1 --augmenters 1 --max-restarts 3
  wait_step 5
  chmod 644 "$T/bin/imsuper-augmenter"
  signal_role KILL augmenter
  finish 75
  must_say "cannot start augmenter#0"
  must_say "continues from here"
  must_be_saved_at 5
  PROGRAM=""
  continue_to_the_end
}

# An upgrade while the run goes on: the programs are removed, and others have their names. Whoever dies is started again as what
# the run began with; also the process that saves in a trainer's place.
# another ROLE PID: there is one, FOUND, and it is not this one.
another() { FOUND=$(pids "$1") && [ -n "$FOUND" ] && [ "$FOUND" != "$2" ]; }
case_upgrade() {
  local name role FOUND
  mkdir "$T/bin"
  cp "$BIN"/imsuper "$BIN"/imsuper-{reader,augmenter,trainer} "$T/bin"
  # So slow that the trainer lives until it is killed: at the end of the epoch it would die saving.
  PROGRAM=$T/bin/imsuper FAULTS="trainer:trainer.save.before=kill@1,trainer:trainer.step.done=sleep:$((400 * SLOWNESS))@1/every"
  launch --readers 1 --augmenters 1 --max-restarts 3
  wait_step 1
  for name in imsuper imsuper-{reader,augmenter,trainer}; do
    rm "$T/bin/$name"
    printf '#!/bin/sh\nexit 1\n' >"$T/bin/$name"
    chmod 755 "$T/bin/$name"
  done
  for role in reader augmenter supervisor trainer; do
    until_true 20 another $role "" || fail "there is no $role"
    kill -KILL "$FOUND"
    until_true 20 another $role "$FOUND" || fail "no other $role"
  done
  [ "$(cat "/proc/$FOUND/comm")" = imsuper-trainer ] || fail "the trainer's name is $(cat "/proc/$FOUND/comm")"
  wait_step 3
  send TERM
  finish 75
  must_say "continues from here"
  PROGRAM=""
  continue_to_the_end
}

# A saver that never comes to anything, three times.
case_silent_saver() {
  local began
  FAULTS="trainer:trainer.save.before=kill@1,saver:saver.started=sleep:600000@1,$PACE"
  launch "${WORKERS[@]}"
  wait_step 5
  send TERM
  began=$SECONDS
  finish 1
  must_have_taken 60 $began "it"
  [ "$(grep -c 'does nothing for 10 s; killing it' "$T/out")" = 3 ] || fail "it was not tried three times"
  must_say "was not saved"
}

# A program in the trainer's place that never enters the run does not hold up a stop.
case_stranger_in_place() {
  local began
  mkdir "$T/bin"
  cp "$BIN"/imsuper "$BIN"/imsuper-{reader,augmenter} "$T/bin"
  printf '#!/bin/bash\nexec -a imsuper-trainer sleep 600\n' >"$T/bin/imsuper-trainer"
  chmod 755 "$T/bin/imsuper-trainer"
  PROGRAM=$T/bin/imsuper
  launch
  until_true 20 says "state=starting" || fail "the run does not start"
  send TERM
  began=$SECONDS
  finish 75
  must_have_taken 6 $began "it"
}

# A supervisor that cannot be started again: the warden itself has the run saved, by a trainer that somebody has stopped, too.
case_no_supervisor() {
  mkdir "$T/bin"
  cp "$BIN"/imsuper "$BIN"/imsuper-{reader,augmenter,trainer} "$T/bin"
  PROGRAM=$T/bin/imsuper FAULTS=trainer:trainer.step.done=sleep:1000@1/every
  launch "${WORKERS[@]}"
  wait_step 5
  chmod 644 "$T/bin/imsuper"
  signal_role STOP trainer
  signal_role KILL supervisor
  finish 75
  must_say "continues from here"
  must_be_saved_at 5
  PROGRAM=""
  continue_to_the_end
}

# A status that no table lists does not become the command's.
case_unlisted_status() {
  FAULTS="augmenter:process.enter.after=exit:7@1"
  start 1 "${WORKERS[@]}" --max-restarts 3
  must_say "keeps failing"
  must_say "nothing was trained"
}

run_case
