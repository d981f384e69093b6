#!/usr/bin/env bash
# A run that is interrupted says so with its exit status, leaves nothing behind, and the same command continues it; in the end
# the weights are those of the undisturbed run.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

must_be_saved() { grep -q '"run.ended","exit_status":75' "$RUN/events.jsonl" || fail "the run did not end as resumable"; }
metrics_are_whole() {
  [ "$(grep -c '"event":"epoch"' "$RUN/metrics.jsonl")" = 2 ] || fail "metrics.jsonl does not have each epoch once"
  [ "$(wc -l <"$RUN/summary.csv")" = 3 ] || fail "summary.csv does not have each epoch once"
}
# continue_to_the_end: the same command, undisturbed.
continue_to_the_end() {
  FAULTS=""
  start 0 "$@"
  check_outcome
  metrics_are_whole
}

# Ctrl-C at random steps, in training and in validation, until the run is over.
case_interrupts() {
  local seed=${E2E_SEED:-$RANDOM} step=0 status interrupts=0
  echo "seed $seed"
  RANDOM=$seed
  FAULTS=$PACE
  while [ $interrupts -lt 20 ]; do
    step=$((step + 1 + RANDOM % 8))
    launch --readers 2 --augmenters 2
    wait_step $step
    kill -INT "$WARDEN" 2>/dev/null || true
    until_true "$LIMIT_SECONDS" is_over || fail "Ctrl-C does not end the run"
    status=0
    wait "$WARDEN" || status=$?
    [ "$status" = 0 ] && break
    [ "$status" = 75 ] || fail "exit status $status after Ctrl-C, not 75"
    must_be_saved
    must_say "continues from here"
    must_leave_nothing
    interrupts=$((interrupts + 1))
  done
  echo "$interrupts interrupts"
  [ $interrupts -ge 2 ] || fail "the run was over before it was interrupted twice"
  check_outcome
  metrics_are_whole
}

case_terminate() {
  FAULTS=$PACE
  launch
  wait_step 7
  send TERM
  finish 75
  must_be_saved
  must_leave_nothing
  continue_to_the_end
}

case_second_interrupt() {
  # The save after the first Ctrl-C takes longer than anybody waits.
  FAULTS="trainer:trainer.save.before=sleep:20000@2,$PACE"
  launch
  wait_step 15
  send INT
  until_true 10 says "once more stops at once" || fail "the first Ctrl-C was not answered"
  send INT
  finish 130
  must_leave_nothing
  continue_to_the_end
}

case_stop_verb() {
  FAULTS=$PACE
  launch
  wait_step 16
  "$BIN/imsuper" stop --workspace "$T/w" --run-name run >"$T/stop" || fail "imsuper stop: exit status $?"
  finish 75
  must_be_saved
  "$BIN/imsuper" stop --workspace "$T/w" --run-name run >/dev/null && fail "a run that is not running was stopped"
  must_leave_nothing
  continue_to_the_end
}

case_stop_now() {
  FAULTS=$PACE
  launch
  wait_step 16
  "$BIN/imsuper" stop --now --workspace "$T/w" --run-name run >/dev/null || fail "imsuper stop --now: exit status $?"
  finish 130
  must_leave_nothing
  continue_to_the_end
}

# A run started under nohup ignores the end of its terminal; any other stops and saves.
case_hangup() {
  FAULTS=$PACE
  launch
  wait_step 5
  send HUP
  finish 75
  trap '' HUP
  launch
  wait_step 10
  send HUP
  finish 0
  trap - HUP
  check_outcome
}

# Interrupted, continued with other numbers of processes and another engine.
case_other_machine() {
  FAULTS=$PACE
  launch --readers 3 --augmenters 1 --io pread
  wait_step 9
  send INT
  finish 75
  continue_to_the_end --readers 1 --augmenters 4 --io auto --encoded-cells 48
}

# The last checkpoint is damaged: the one before is used, the damage is named, the file kept.
case_damaged_checkpoint() {
  FAULTS=$PACE
  launch
  wait_step 18
  send INT
  finish 75
  printf 'X' | dd of="$RUN/checkpoints/last.state.safetensors" bs=1 seek=100000 conv=notrunc status=none
  continue_to_the_end
  grep -q 'continuing from the checkpoint before the last' "$RUN/log.txt" || fail "the damage was not reported"
  [ -e "$RUN/checkpoints/last.damaged.state.safetensors" ] || fail "the damaged file was not kept"
}

# The run is over: the same command says so and changes nothing.
case_done() {
  cp -r "$REFERENCE/w" "$T/w"
  start 0
  must_say "is done"
  must_equal_reference
}

case_other_batch_size() {
  FAULTS=$PACE
  launch
  wait_step 4
  send INT
  finish 75
  start 2 --batch-size 32
  must_say "--batch-size 16"
  cp -r "$REFERENCE/data" "$T/data" && rm "$(find "$T/data/train" -name '*.jpg' -print -quit)"
  start 2 --data-dir "$T/data"
  must_say "the images are not those this run began with"
  continue_to_the_end
}

run_case
