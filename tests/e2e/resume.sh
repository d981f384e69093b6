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
  until_true 10 says "stops at once" || fail "the first Ctrl-C was not answered"
  send INT
  finish 130
  must_leave_nothing
  continue_to_the_end
}

# The run is done, its last reports take long, and Ctrl-C ends them: it is done, and nothing is left.
case_interrupts_at_the_end() {
  # The second Ctrl-C comes while the reports of a run that was saved are written.
  FAULTS=$PACE,supervisor:file.write=sleep:4000@4/every
  launch
  wait_step 3
  send INT
  until_true 60 says "continues from here" || fail "the run is not saved"
  send INT
  finish 75
  must_leave_nothing
  # And of one that is done.
  FAULTS=supervisor:file.write=sleep:4000@4/every
  launch
  until_true 60 ls "$RUN/DONE" >/dev/null 2>&1 || fail "the run is not done"
  send INT
  sleep 0.3 # two that come at once are one
  send INT
  until_true 20 is_over || fail "Ctrl-C does not end the run"
  finish 0
  must_leave_nothing
  must_equal_reference
  FAULTS="" start 0
  must_say "is done"
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
  # What status says continues it: the run has its options itself.
  "$BIN/imsuper" status run/ --workspace "$T/w" >"$T/out" && fail "a run that is over was told to go on"
  must_say "stopped, 1/2 epochs, best validation top-1" && must_say "\`imsuper start --run-name run --workspace $T/w\` continues it"
  IMSUPER_FAULT="" "$BIN/imsuper" start --run-name run --workspace "$T/w" >"$T/out" 2>&1 </dev/null || fail "exit status $?"
  must_say "options are those of $T/w/run/config.yaml"
  check_outcome
  metrics_are_whole
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

# signal_early SIGNAL FLAG...: a run that gets the signal while its data is still measured, by a program that waits for $T/go.
signal_early() {
  local signal=$1
  shift
  mkdir -p "$T/bin"
  cp "$BIN"/imsuper "$BIN"/imsuper-{augmenter,trainer} "$T/bin"
  # shellcheck disable=SC2016 # it expands there
  printf '#!/bin/sh\nif [ "$1" = data ]; then : >"%s/measures"; until [ -e "%s/go" ]; do sleep 0.02; done; fi\nexec "%s/imsuper-reader" "$@"\n' \
    "$T" "$T" "$BIN" >"$T/bin/imsuper-reader"
  chmod +x "$T/bin/imsuper-reader"
  rm -f "$T/measures" "$T/go"
  PROGRAM=$T/bin/imsuper
  launch --rebuild-index "$@"
  PROGRAM=""
  until_true 20 test -e "$T/measures" || fail "the data is not measured"
  send "$signal"
  touch "$T/go"
}

# Requests to save that come before there is anybody to hear them wait; a stop ends what has begun nothing.
case_early_signals() {
  local status=0
  signal_early USR2
  finish 0
  check_outcome
  rm -r "$T/w"
  signal_early USR1 --on-signal stop
  finish 75
  must_leave_nothing
  rm -r "$T/w"
  signal_early TERM
  until_true 10 is_over || fail "SIGTERM does not end a start"
  wait "$WARDEN" || status=$?
  [ "$status" = 75 ] || fail "exit status $status after SIGTERM"
  must_say "nothing was trained"
  until_true 10 nobody_left || fail "left behind: $(ours)"
  [ ! -e "$RUN" ] || fail "a start that was ended while its data was measured left a run: $(ls -A "$RUN")"
  if grep 'Broken pipe' "$T/out"; then fail "a program that nobody listens to says so"; fi
  start 0
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
  grep -q 'continuing from the previous checkpoint' "$RUN/log.txt" || fail "the damage was not reported"
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
  must_say "train-images was 192, is 191"
  continue_to_the_end
}

# 192 images are 9 batches of 20 and 12 more. A run keeps the way that it began with.
case_last_batch() {
  start 0 --batch-size 20 --epochs 1
  must_say "12 of 192 training images are left out of each epoch, others in each: they do not fill a step of 20"
  must_balance
  [ "$(ledger train_samples)" = 180 ] || fail "trained on $(ledger train_samples) images"
  RUN=$T/w/all
  start 0 --batch-size 20 --epochs 1 --no-drop-last --run-name all
  if says "left out of each epoch"; then fail "nothing is left out"; fi
  start 0 --batch-size 20 --run-name all
  [ "$(ledger train_samples)" = 384 ] || fail "trained on $(ledger train_samples) images in two epochs"
  start 2 --batch-size 20 --epochs 3 --drop-last --run-name all
  must_say "this run began with --no-drop-last, not --drop-last"
  RUN=$T/w/single
  start 0 --batch-size 191 --epochs 1 --no-drop-last --run-name single
  must_say "in the last step of epoch 1 a trainer has a batch of one image"
  start 0 --batch-size 191 --epochs 1 --run-name dropped
  must_say "1 of 192 training images is left out of each epoch"
}

# A run that is over and gets more epochs goes on from its end. With a constant learning rate its weights are those of the run
# that had all epochs from the start, although validation fell differently: the third epoch, once the last, had one.
case_grow() {
  local images got flags=(--schedule constant --validate-every 2)
  images=$(find "$REFERENCE/data/train" -name '*.jpg' | wc -l)
  start 0 "${flags[@]}" --epochs 5
  mv "$T/w" "$T/whole"
  start 0 "${flags[@]}" --epochs 3
  start 0 "${flags[@]}" --epochs 5
  got=$(events | sed -n '/"run.finished"/ s/.*"train_samples":\([0-9]*\).*/\1/p' | tr '\n' ' ')
  [ "$got" = "$((3 * images)) $((2 * images)) " ] || fail "samples trained on in each start: $got; the folder has $images"
  "$BIN/compare_states" --tensors "$T/whole/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights are not those of the run that had 5 epochs from the start"
  if grep -q 'the ledger does not balance' "$RUN/log.txt"; then fail "a sample was lost or came twice"; fi
}

# Image size and batch change with the epochs; interrupted in two of them, the trainer killed in another. Other sizes for epochs
# to come are taken, other batches for those that are over are not.
case_resize() {
  local sizes="1:8x16,2-4:8..40x12,5:16x10"
  TRAIN=(--data-dir "$REFERENCE/data" --model resnet20 --epochs 5 --trainer-threads 1 --seed 7 --queue-depth 8 --encoded-cells 32
    --schedule onecycle --lr-scale linear --no-drop-last)
  start 0 --resize-schedule "$sizes"
  [ "$(cut -d , -f 10,11 "$RUN/summary.csv" | tr '\n' ' ')" = "image_size,batch_size 8,16 8,12 32,12 40,12 16,10 " ] ||
    fail "summary.csv does not show the sizes"
  mv "$T/w" "$T/whole"
  FAULTS=$PACE
  launch --resize-schedule "$sizes"
  wait_step 5
  kill -KILL "$(pids trainer)"
  wait_step 16
  send INT
  finish 75
  start 2 --resize-schedule "1:8x12,2-:16x16"
  must_say "use its old --resize-schedule for the epochs that are over"
  start 2 --resize-schedule "1:8x16,2-:16x16"
  must_say "this run stopped within a pass with a batch of 12, which is 16 now"
  launch --resize-schedule "$sizes" --readers 2 --augmenters 2
  wait_step 50
  send INT
  finish 75
  FAULTS=""
  start 0 --resize-schedule "$sizes"
  [ "$(count_events 'signal 9')" = 1 ] || fail "the trainer was not killed once"
  "$BIN/compare_states" "$T/whole/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights are not those of the undisturbed run"
  if grep -q 'the ledger does not balance' "$RUN/log.txt"; then fail "a sample was lost or came twice"; fi
}

run_case
