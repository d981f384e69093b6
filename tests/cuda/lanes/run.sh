#!/usr/bin/env bash
# Whole runs of the real programs with the CUDA backend on a GPU that is the processor: a run that is stopped within an epoch and
# goes on ends with the bits of one that was left alone.
# shellcheck source-path=SCRIPTDIR/../../e2e source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../e2e/lib.sh"

unset IMSUPER_GPUS CUDA_VISIBLE_DEVICES
MODULE=$BIN/tests/cuda/lanes/module/imsuper-cuda.so
mkdir "$T/bin" # the module lies beside the programs
cp "$BIN/imsuper" "$BIN"/imsuper-{reader,augmenter,trainer} "$BIN/compare_states" "$MODULE" "$T/bin/"
BIN=$T/bin
STATE=checkpoints/last.state.safetensors
FLAGS=(--gpus 1 --epochs 1 --image-size 8 --subset --subset-size 96 --readers 1 --augmenters 1)
export IMSUPER_TEST_GPUS=2

# stopped_like_whole FLAG...
stopped_like_whole() {
  start 0 "${FLAGS[@]}" "$@"
  must_balance
  mv "$RUN" "$T/whole"
  launch "${FLAGS[@]}" "$@"
  wait_step 3
  send INT
  finish 75
  start 0 "${FLAGS[@]}" "$@"
  "$BIN/compare_states" "$T/whole/$STATE" "$RUN/$STATE" || fail "the state is not that of the undisturbed run"
  must_balance
  must_be_clean
}

case_plain() { stopped_like_whole --amp none; }
# Two steps and a validation pass, for the sanitizers: under them the emulated kernels take seconds a step.
case_short() {
  start 0 "${FLAGS[@]:0:7}" --subset-size 32 --readers 1 --augmenters 1 --amp none
  must_balance
}
case_everything() {
  stopped_like_whole --amp fp16 --accumulate 2 --ema 0.9 --mixup 0.2 --cutmix 1 --label-smoothing 0.1 --grad-clip 1 \
    --drop-path-rate 0.1 --loss bce --bce-threshold 0.2
}
# Batch norm over both; the last step has a sample for one of them only.
case_two() {
  local two=(--gpus 2 --batch-size 8 --subset-size 97 --no-drop-last --amp none)
  stopped_like_whole "${two[@]}" --sync-bn
  rm -r "$RUN"
  start 0 "${FLAGS[@]}" "${two[@]}"
  if "$BIN/compare_states" --tensors "$T/whole/$STATE" "$RUN/$STATE" >/dev/null; then fail "--sync-bn changes nothing"; fi
}

# The largest batch that fits is found before the run is planned, and kept when it goes on.
case_auto() {
  local flags=(--gpus 1 --image-size 16 --readers 1 --augmenters 1 --amp none --batch-size auto)
  export IMSUPER_TEST_GPU_MEMORY=$((110 << 20)) # some 92 images
  start 0 "${flags[@]}" --epochs 1
  must_say "batch   64: "
  must_balance
  export IMSUPER_TEST_GPU_MEMORY=$((1 << 30))
  start 0 "${flags[@]}" --epochs 2
  if says "batch   "; then fail "the batch was chosen once more"; fi
  must_say ", batch 64,"
  rm -r "$RUN"
  start 0 "${flags[@]}" --epochs 1
  must_say "batch   192: "
  must_say "more than the images of an epoch"
  rm -r "$RUN"
  start 2 "${flags[@]}" --gpus 0
  must_say "--batch-size auto is for GPUs"
}

# The trainer dies while a thread puts a snapshot into shared memory beside its steps: it goes on from the one before.
case_killed() {
  start 0 "${FLAGS[@]}" --amp none
  mv "$RUN" "$T/whole"
  FAULTS="trainer:snapshot.written=kill@2,$QUICK_PACE"
  start 0 "${FLAGS[@]}" --amp none --snapshot-interval 0.01
  [ "$(deaths_of trainer)" -ge 1 ] || fail "no trainer died"
  [ "$(grep -c 'msg="continuing" from=snapshot ' "$RUN/log.txt" || true)" -ge 1 ] || fail "none went on from a snapshot"
  "$BIN/compare_states" "$T/whole/$STATE" "$RUN/$STATE" || fail "the state is not that of the undisturbed run"
  must_balance
}

# Trainers that fail by themselves say why and leave, although captured graphs refer to the communicator (comm.c ends whoever
# closes it then); one that hangs while it leaves is ended, and what it said counts.
case_fails() {
  local two=(--gpus 2 --batch-size 8 --max-bad-steps 4)
  FAULTS="trainer:trainer.step.nonfinite=fail:EIO@1/every"
  start 1 "${FLAGS[@]}" "${two[@]}"
  must_say "not finite in 4 steps in a row"
  if grep -q 'recording(s)' "$RUN/log.txt"; then fail "the communicator was closed"; fi
  if has_event '"end":"signal'; then fail "a trainer died of a signal"; fi
  rm -r "$T/w"
  FAULTS="$FAULTS,trainer#1:trainer.leaving=sleep:600000"
  FAULTS="${FAULTS/trainer:/trainer#1:}" # the other waits for it
  start 1 "${FLAGS[@]}" "${two[@]}"
  must_say "trainer#1 failed and does not leave; killing it"
  must_say "not finite in 4 steps in a row"
}

# Steps that begin before the end of the one before change no bit: with steps that are skipped, snapshots within, and a
# trainer that dies while one is in flight.
case_ahead() {
  local two=(--gpus 2 --batch-size 8 --epochs 2 --amp fp16 --opt adamw --lr 0.001 --ema 0.9 --snapshot-steps 3)
  local skips=trainer:trainer.step.nonfinite=fail:EIO
  FAULTS=$skips@4,$skips@5,$skips@9
  start 0 "${FLAGS[@]}" "${two[@]}" --no-step-ahead
  must_balance
  [ "$(ahead)" = "0 0" ] || fail "--no-step-ahead goes ahead: $(ahead)"
  mv "$RUN" "$T/whole"
  start 0 "${FLAGS[@]}" "${two[@]}"
  must_balance
  echo "ahead, of both ranks: $(ahead) of 12 steps"
  [ "$(ahead | awk '$1 > 0 && $2 > 0')" ] || fail "no step began ahead"
  "$BIN/compare_states" "$T/whole/$STATE" "$RUN/$STATE" || fail "the state is not that of the steps one by one"
  rm -r "$T/whole" "$RUN"
  FAULTS=
  start 0 "${FLAGS[@]}" "${two[@]}" --no-step-ahead
  mv "$RUN" "$T/whole"
  FAULTS="trainer#1:trainer.step.done=kill@8"
  start 0 "${FLAGS[@]}" "${two[@]}"
  [ "$(deaths_of trainer)" -ge 1 ] || fail "no trainer died"
  [ "$(grep -c 'msg="continuing" from=snapshot ' "$RUN/log.txt" || true)" -ge 1 ] || fail "none went on from a snapshot"
  "$BIN/compare_states" "$T/whole/$STATE" "$RUN/$STATE" || fail "the state is not that of the undisturbed run"
  must_balance
  must_be_clean
}
# Gradients of weights on a stream of their own change no bit: of two ranks, whose sums wait for them, with steps ahead, snapshots
# within, and a trainer that dies. They have scratch memory of their own.
case_apart() {
  local two=(--gpus 2 --batch-size 8 --epochs 2 --amp fp16 --snapshot-steps 3)
  start 0 "${FLAGS[@]}" "${two[@]}"
  together=$(backend_bytes)
  mv "$RUN" "$T/whole"
  start 0 "${FLAGS[@]}" "${two[@]}" --wgrad-stream
  [ "$(ahead | awk '$1 > 0 && $2 > 0')" ] || fail "no step began ahead"
  [ "$(backend_bytes)" -gt "$together" ] || fail "--wgrad-stream takes no more memory: $(backend_bytes) bytes, $together without it"
  "$BIN/compare_states" "$T/whole/$STATE" "$RUN/$STATE" || fail "the state is not that of one stream"
  rm -r "$RUN"
  FAULTS="trainer#1:trainer.step.done=kill@8"
  start 0 "${FLAGS[@]}" "${two[@]}" --wgrad-stream
  [ "$(deaths_of trainer)" -ge 1 ] || fail "no trainer died"
  "$BIN/compare_states" "$T/whole/$STATE" "$RUN/$STATE" || fail "the state is not that of the undisturbed run"
  must_balance
  must_be_clean
}
backend_bytes() { sed -n 's/.* backend_bytes=\([0-9]*\).*/\1/p' "$RUN/log.txt" | tail -n 1; }
# Of each trainer that ended a run.
ahead() { grep -o 'msg="steps of the GPU" ahead=[0-9]*' "$RUN/log.txt" | sed 's/.*=//' | tr '\n' ' ' | sed 's/ $//'; }

# The step of tests/gpu/run.sh for GPUs, on the programs: what it asks for is accepted, and fails as it says.
case_script() {
  WORK=$T/gpu FAILS_FLAGS="--model resnet20 --image-size 8 --batch-size 8 --readers 1 --augmenters 1" \
    bash "$(dirname "${BASH_SOURCE[0]}")/../../gpu/run.sh" "$BIN" "$T/results" fails >"$T/out" 2>&1 || fail "the step fails"
  must_say "2 GPU(s): all left by themselves"
}

run_case
