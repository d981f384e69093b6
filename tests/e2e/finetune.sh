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

run_case
