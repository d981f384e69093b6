#!/usr/bin/env bash
# Everything that a step of training can do, at once: a run that is stopped at any batch, with other numbers of processes each
# time, ends with the bits of one that was left alone. And steps that cannot be taken, averages, beginning from a file.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# 12 batches an epoch: windows of 5, 5 and 2.
EVERYTHING=(--epochs 4 --opt adamw --lr 0.002 --weight-decay 0.05 --schedule onecycle --mixup 0.2 --cutmix 1
  --label-smoothing 0.1 --accumulate 5 --grad-clip 1 --ema 0.9 --ema-warmup tf --loss-scale dynamic)
STATE=checkpoints/last.state.safetensors

whole_run() { # FLAG...: an undisturbed run, moved to $T/whole
  start 0 --readers 1 --augmenters 1 "$@"
  mv "$RUN" "$T/whole"
}
must_equal_whole() { "$BIN/compare_states" "$T/whole/$STATE" "$RUN/$STATE" || fail "the state is not that of the undisturbed run"; }
# In the middle of a window the state holds the sum of the gradients so far.
in_window() { grep -q 'optimizer\.gradient\.' < <(head -c 65536 "$RUN/$STATE"); }

# stop_and_go STOPS FLAG...: stops at so many batches, the first within a window if windows there are, and goes on.
stop_and_go() {
  local seed=${E2E_SEED:-$RANDOM} step=0 stops all=$1
  shift
  WITHIN=0
  echo "seed $seed"
  RANDOM=$seed
  # The first after step 3, which is within a window where there are windows; the others fall anywhere.
  FAULTS=trainer:trainer.step.done=stop@3
  launch "$@" "${HELD[@]}" --readers 2 --augmenters 1
  until_true "$LIMIT_SECONDS" is_held || fail "the trainer does not come to step 3"
  send INT # it is let go on by the supervisor
  finish 75
  must_leave_nothing
  if in_window; then WITHIN=1; fi
  step=3
  FAULTS=$PACE
  for ((stops = 2; stops <= all; stops++)); do
    step=$((step + 2 + RANDOM % (30 / all)))
    launch "$@" --readers $((1 + stops % 3)) --augmenters $((1 + RANDOM % 4))
    wait_step $step
    send INT
    finish 75
    must_leave_nothing
    if in_window; then WITHIN=$((WITHIN + 1)); fi
  done
  FAULTS=""
  start 0 "$@" --readers 2 --augmenters 3
  echo "$WITHIN of $all stops within a window"
  must_equal_whole
}

case_everything() {
  whole_run "${EVERYTHING[@]}"
  stop_and_go 5 "${EVERYTHING[@]}"
  [ "$WITHIN" -gt 0 ] || fail "no stop fell within a window"
}

case_lamb() {
  whole_run --epochs 4 --opt lamb --lr 0.01 --cutmix 1 --ema 0.5
  stop_and_go 2 --epochs 4 --opt lamb --lr 0.01 --cutmix 1 --ema 0.5
}

# Names of the state are PyTorch's: of Muon's matrices one moment, of the rest those of AdamW.
case_muon() {
  local names flags=(--epochs 4 --opt muon --lr 0.02 --accumulate 5 --ema 0.9 --flip alternate)
  whole_run "${flags[@]}"
  names=$(head -c 65536 "$T/whole/$STATE" | grep -ao '"optimizer\.[a-z_]*\.[^"]*"' | sort)
  for name in momentum.layer1.0.conv1.weight exp_avg.conv1.weight exp_avg_sq.conv1.weight exp_avg.fc.weight exp_avg_sq.layer1.0.bn1.bias; do
    grep -qxF "\"optimizer.$name\"" <<< "$names" || fail "the state has no optimizer.$name"
  done
  ! grep -E 'exp_avg(_sq)?\.layer.*conv' <<< "$names" || fail "the state has moments that Muon does not use"
  stop_and_go 2 "${flags[@]}"
}

# Parts of the network are trained later than others, whose moments begin at that step: at 12, 24 and 36 here.
case_finetune() {
  local flags=(--finetune "$REFERENCE/w/run/checkpoints/last.safetensors" --opt adamw --lr 0.01 --weight-decay 0.05
    --batch-size 16 --epochs 4 --freeze backbone --unfreeze-epochs "1,2,3" --layer-decay 0.7 --ema 0.9)
  whole_run "${flags[@]}"
  stop_and_go 2 "${flags[@]}"
}

# From the file of a run that was stopped, a run of another name comes to the same end; so does the stopped one.
case_resume_file() {
  whole_run "${EVERYTHING[@]}"
  FAULTS=$PACE
  launch "${EVERYTHING[@]}"
  wait_step 14
  send INT
  finish 75
  FAULTS=""
  cp "$RUN/$STATE" "$T/saved.safetensors"
  (cd "$T" && start 0 "${EVERYTHING[@]}" --run-name other --resume saved.safetensors)
  RUN=$T/w/other must_equal_whole
  grep -q '"event":"config"' "$T/w/other/metrics.jsonl" || fail "metrics.jsonl does not begin with the configuration"
  # The same command again: the run has a state of its own now, and is done.
  start 0 "${EVERYTHING[@]}" --run-name other --resume "$T/saved.safetensors"
  must_say "is done"
  # Another file is not ignored, but refused: the run has a state of its own.
  cp "$T/saved.safetensors" "$T/another.safetensors"
  start 2 "${EVERYTHING[@]}" --run-name other --resume "$T/another.safetensors"
  must_say "has a state of its own; choose another --run-name"
  start 0 "${EVERYTHING[@]}" --run-name other --resume "$T/w/other/$STATE"
  must_say "is done"
  start 2 "${EVERYTHING[@]}" --resume=
  must_say "--resume: the value is empty"
  start 0 "${EVERYTHING[@]}" --resume
  must_equal_whole
}

case_resume_refused() {
  start 2 --run-name none --resume
  must_say "no run in"
  start 2 --resume "$T/nothing.safetensors"
  must_say "No such file"
  start 2 --resume "$REFERENCE/w/run/checkpoints/last.safetensors"
  must_say "holds only weights"
  start 2 --resume "$REFERENCE/w/run/$STATE" --opt adamw --lr 0.001
  must_say "this run began with --opt sgd"
  start 0
  must_equal_reference
}

# A state goes with its network: another one is refused by the name of the flag. What only first weights are drawn by changes
# nothing any more.
case_model_flags() {
  local flag state=$REFERENCE/w/run/$STATE
  for flag in "model resnet32" "stem imagenet" "head conv" "blurpool zhang" "drop-path-rate 0.1"; do
    # shellcheck disable=SC2086 # a flag and its value
    start 2 --resume "$state" --image-size 16 --${flag%% *} ${flag#* } # the large stem needs 16
    must_say "this run began with --${flag%% *} "
    must_say ", not --${flag}"
  done
  FAULTS=$PACE
  launch
  wait_step 5
  send INT
  finish 75
  FAULTS=""
  start 0 --zero-init-residual
  must_equal_reference
}

# A step whose gradient is not finite is left out, counted, and the run goes on.
case_skipped_step() {
  FAULTS="trainer:trainer.step.nonfinite=fail:EIO@3"
  start 0
  [ "$(grep -c '"event":"skipped_step"' "$RUN/metrics.jsonl")" = 1 ] || fail "the step was not told"
  grep -q '"skipped_steps":1' "$RUN/DONE" || grep -q '"skipped_steps": 1' "$RUN/DONE" || fail "the step was not counted"
  if "$BIN/compare_states" --tensors "$REFERENCE/w/run/$STATE" "$RUN/$STATE" >/dev/null; then fail "the step was taken"; fi
}

case_too_many_skipped_steps() {
  FAULTS="trainer:trainer.step.nonfinite=fail:EIO@1/every"
  start 1 --max-bad-steps 3
  must_say "was not finite in 3 steps in a row"
  must_say "the run cannot go on"
  events | grep '"run.ended"' | grep -q '"saved":"yes"' || fail "it was not saved" # but 75 would queue a job again for ever
}

# Weights or statistics that are not finite give no loss: a warning says so, they are no checkpoint of an epoch, and the run ends.
case_validation_without_loss() {
  start 1 --lr 1000 --schedule constant --warmup-epochs 0 --max-bad-steps 1000
  must_say "the validation loss of epoch 1 is nan: "
  must_say ", which is not finite"
  if ls "$RUN"/checkpoints/epoch_* "$RUN"/checkpoints/best* >/dev/null 2>&1; then fail "there is a checkpoint of the epoch"; fi
}

# Powers of two change no bit of a float32 run.
case_loss_scale_changes_nothing() {
  start 0 --loss-scale dynamic
  "$BIN/compare_states" --tensors "$REFERENCE/w/run/$STATE" "$RUN/$STATE" || fail "the scale has changed the weights"
}

# kind NAME: bytes of that kind of memory in metrics.jsonl
kind() { sed -n "s/.*\"memory_bytes\":{[^}]*\"$1\":\([0-9]*\).*/\1/p" "$RUN/metrics.jsonl" | head -n 1; }

case_averages() {
  start 0 --ema 0.9 --per-class-log
  for name in parameters gradients "optimiser's state" statistics averages activations backend snapshots; do
    [ "$(grep -cE "^(memory )? +$name +[0-9.]+ [KMG]iB" "$T/out")" = 1 ] || fail "no line says how much memory $name take"
  done
  [ "$(kind averages)" -gt "$(kind parameters)" ] || fail "averages are those of parameters and statistics"
  [ "$(kind activations_apart)" -gt "$(kind activations)" ] || fail "activations share no memory"
  grep -q "activations_bytes=$(kind activations) " "$RUN/log.txt" || fail "log.txt does not have the same numbers"
  for name in last best epoch_001 epoch_002; do
    for kind in "" .ema; do
      [ -s "$RUN/checkpoints/$name$kind.safetensors" ] || fail "$name$kind.safetensors is missing"
    done
  done
  grep -q '"conv1.weight"' < <(head -c 65536 "$RUN/checkpoints/last.ema.safetensors") || fail "the averages lack torchvision's names"
  must_say "ema top1"
  awk -F , 'NR > 1 && ($10 == "" || $11 == "") { exit 1 }' "$RUN/summary.csv" || fail "summary.csv lacks the averages"
  # The tables of each class are those of an evaluation of the same weights.
  for kind in "" .ema; do
    "$BIN/imsuper" eval "$RUN/checkpoints/last$kind.safetensors" -o "$T/eval" --quiet >"$T/answer" || fail "eval: exit status $?"
    cmp "$T/eval/classes.csv" "$RUN/per_class/epoch_002$kind.csv" || fail "other numbers of the classes than eval's: $kind"
    [ -s "$RUN/per_class/confusion_002$kind.csv" ] || fail "no confusion matrix: $kind"
  done
  if cmp -s "$RUN/per_class/epoch_002.csv" "$RUN/per_class/epoch_002.ema.csv"; then fail "weights and averages have the same tables"; fi
  grep -q 'Each class by the averaged weights, epoch 2' "$RUN/report.html" || fail "report.html lacks the averages"
  # They only watch: the weights are those of the run without them.
  cmp <(tail -c 500000 "$REFERENCE/w/run/checkpoints/last.safetensors") <(tail -c 500000 "$RUN/checkpoints/last.safetensors") ||
    fail "averaging has changed the weights"
}

# best_epoch COLUMN: the first epoch with the highest value of that column of summary.csv.
best_epoch() {
  awk -F , -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i }
    NR > 1 && (NR == 2 || $c > best) { best = $c; epoch = $1 } END { print epoch }' "$RUN/summary.csv"
}
# file_epoch NAME: the epoch after which a file of weights was written.
file_epoch() { head -c 65536 "$RUN/checkpoints/$1.safetensors" | grep -ao '"epoch":"[0-9]*"' | tr -dc 0-9; }
# The weights and their averages are best in different epochs here; each file is of its own, and stays.
case_best_of_each() {
  start 0 --ema 0.99 --epochs 4 --lr 0.05 --checkpoint-keep 1
  [ "$(best_epoch val_top1)" != "$(best_epoch ema_val_top1)" ] || fail "both are best in epoch $(best_epoch val_top1): this tests nothing"
  [ "$(file_epoch best)" = "$(best_epoch val_top1)" ] || fail "best is of epoch $(file_epoch best), not $(best_epoch val_top1)"
  [ "$(file_epoch best.ema)" = "$(best_epoch ema_val_top1)" ] ||
    fail "best.ema is of epoch $(file_epoch best.ema), not $(best_epoch ema_val_top1)"
  must_say "the averages still hold 62 % of the weights they began with"
  must_say ", of averaged weights "
  must_say "weights   $RUN/checkpoints/best.safetensors "
  must_say "averages  $RUN/checkpoints/best.ema.safetensors "
  [ "$(ls "$RUN/checkpoints")" = "$(printf '%s.safetensors\n' best.ema best epoch_004.ema epoch_004 last.ema last.prev.state last last.state)" ] ||
    fail "$(ls "$RUN/checkpoints")"
}

run_case
