#!/usr/bin/env bash
# Fine-tuning: weights of eight classes are carried over to three others, of which there are eight images each.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WEIGHTS=$REFERENCE/w/run/checkpoints/last.safetensors
FEW=(--data-dir "$T/few" --batch-size 8 --epochs 2)

# changed RUN: the tensors whose bytes are not those of the weights that it began with.
changed() { "$BIN/compare_states" --tensors "$WEIGHTS" "$T/w/$1/checkpoints/last.safetensors" | sed 's/:.*//' | sort | tr '\n' ' '; }

case_whole_way() {
  "$BIN/imsuper" data synth --out "$T/few" --classes 3 --per-class 8 --val-per-class 4 --side-min 32 --side-max 48 --seed 9 >/dev/null
  # Another classifier is needed, and nobody said so.
  start 65 "${FEW[@]}" --init-from "$WEIGHTS"
  must_say "fc.weight is [8, 64], the model has [3, 64]"
  start 65 "${FEW[@]}" --finetune "${WEIGHTS%/*}/last.state.safetensors" && must_say "is a training state; take the weights beside it"
  start 2 "${FEW[@]}" --finetune "${WEIGHTS%/checkpoints/*}" && must_say "name its file, ${WEIGHTS%/*}/best.safetensors"
  "$BIN/imsuper" start --data-dir "$T/few" --batch-size 8 --model resnet20 --finetune "$WEIGHTS" --workspace "$T/w" --dry-run >"$T/out" 2>&1
  must_say "learnt from images that were made otherwise: give --image-size "
  must_say "the whole run updates the weights 60 times, which is few for fine-tuning: --epochs 100 makes it 300"
  start 0 "${FEW[@]}" --finetune --init-from "$WEIGHTS" --freeze backbone --run-name head
  grep -q "the classifier is new.*classes=3.*for 8 classes" "$T/w/head/log.txt" || fail "the new classifier is not told"
  [ "$(changed head)" = "fc.bias fc.weight " ] || fail "of a frozen network changed: $(changed head)"
  grep -q "^# recipe: finetune" "$T/w/head/config.yaml" || fail "config.yaml does not name the recipe"
  grep -q "^layer-decay: 0.75  # recipe" "$T/w/head/config.yaml" || fail "the recipe was not read"
  # Statistics of batch norm, weights and biases stay; convolutions do not.
  start 0 "${FEW[@]}" --finetune "$WEIGHTS" --freeze-bn --run-name norms
  case $(changed norms) in *bn* | *downsample.1*) fail "of frozen batch norms changed: $(changed norms)" ;; esac
  case $(changed norms) in *conv1.weight*layer3.2.conv2.weight*) ;; *) fail "no convolution was trained" ;; esac
  # The stem alone stays in the first epoch; with more than one step in it, its optimiser has begun in the second.
  start 0 "${FEW[@]}" --finetune --init-from "$WEIGHTS" --freeze stem --unfreeze-epochs 1 --run-name later
  case $(changed later) in bn1.bias*conv1.weight*) ;; *) fail "the stem was not trained: $(changed later)" ;; esac
  grep -q "more of the network is trained.*epoch=2" "$T/w/later/log.txt" || fail "that more is trained is not told"
  # The same command goes on with the same run.
  start 0 "${FEW[@]}" --finetune --init-from "$WEIGHTS" --freeze backbone --run-name head --epochs 3
  [ "$(changed head)" = "fc.bias fc.weight " ] || fail "of a frozen network changed: $(changed head)"
}

# Same weights as the run ONE, however the work was spread.
same_as() { "$BIN/compare_states" "$T/w/$1/checkpoints/last.state.safetensors" "$T/w/$2/checkpoints/last.state.safetensors" >/dev/null; }

# must_have_stopped EPOCH: of the run `still`, whose first epoch was the best.
must_have_stopped() {
  [ "$(sed -n 's/^ *"\(epochs\|stopped_early_best_epoch\)": \([0-9]*\).*/\2/p' "$T/w/still/DONE" | tr '\n' ' ')" = "$1 1 " ] ||
    fail "DONE says: $(cat "$T/w/still/DONE")"
  grep -q "stopped early.*epoch=$1 best_epoch=1" "$T/w/still/log.txt" || fail "that it stopped early is not told"
}

# Of three classes with 8, 4 and 2 images. Each draw of an epoch is delivered once, and by whom changes nothing.
case_uneven() {
  local run
  "$BIN/imsuper" data synth --out "$T/few" --classes 3 --per-class 8 --val-per-class 4 --side-min 32 --side-max 48 --seed 9 >/dev/null
  find "$T/few/train/class_001" -name '*.jpg' | sort | tail -n 4 | xargs rm
  find "$T/few/train/class_002" -name '*.jpg' | sort | tail -n 6 | xargs rm
  FEW=(--data-dir "$T/few" --batch-size 7 --epochs 2)
  start 0 "${FEW[@]}" --run-name plain
  start 0 "${FEW[@]}" --sampler balanced --run-name drawn
  must_say "classes sampler balanced"
  FAULTS=reader:reader.result=kill@3,augmenter:augmenter.commit.before=kill@5
  start 0 "${FEW[@]}" --sampler balanced --run-name spread --readers 2 --augmenters 3
  FAULTS=""
  same_as drawn spread || fail "with other processes, of which some died, the weights are others"
  if same_as plain drawn; then fail "--sampler balanced changes nothing"; fi
  for run in drawn spread; do
    RUN=$T/w/$run
    must_balance
    [ "$(ledger train_samples)" = 28 ] || fail "$(ledger train_samples) draws in two epochs of 14"
  done
  start 2 "${FEW[@]}" --run-name drawn --epochs 3
  must_say "this run began with --sampler balanced"
  start 0 "${FEW[@]}" --class-weights balanced --run-name weights
  must_say "classes weights balanced (class_weights.txt)"
  [ "$(cut -f 2,3 "$T/w/weights/class_weights.txt" | tr '\t\n' '  ')" = "8 class_000 4 class_001 2 class_002 " ] || fail "class_weights.txt"
  if same_as plain weights; then fail "--class-weights changes nothing"; fi
  # With a rate that moves nothing, and batch norms that stay, no epoch is better than the first.
  start 0 "${FEW[@]}" --init-from "$T/w/plain/checkpoints/last.safetensors" --freeze-bn --lr 1e-12 --epochs 9 --early-stop 2 --run-name still
  must_have_stopped 3
  start 0 "${FEW[@]}" --init-from "$T/w/plain/checkpoints/last.safetensors" --freeze-bn --lr 1e-12 --epochs 9 --early-stop 3 --run-name still
  must_have_stopped 4
}

run_case
