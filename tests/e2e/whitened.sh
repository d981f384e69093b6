#!/usr/bin/env bash
# airbench94: its first layer is made of the first batch, the same again after a death in the first steps, kept for good, and in all files.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$BIN/imsuper" data synth --out "$T/data" --classes 2 --per-class 32 --val-per-class 4 --side-min 32 --side-max 40 --seed 9 >/dev/null
TRAIN=(--data-dir "$T/data" --model airbench94 --image-size 32 --batch-size 32 --epochs 2 --lr 0.01 --norm-lr-scale 100 --trainer-threads 1 --seed 4)
# changed FILE FILE: the tensors whose bytes differ.
changed() { "$BIN/compare_states" --tensors "$1" "$2" | sed 's/:.*//' | sort | tr '\n' ' '; }
same_as() { "$BIN/compare_states" "$T/w/$1/checkpoints/last.state.safetensors" "$T/w/$2/checkpoints/last.state.safetensors" >/dev/null; }

case_whole_way() {
  local files=$T/w/whole/checkpoints
  start 0 --run-name whole
  grep -q "the first layer whitens patches of the first batch.*patches=30752" "$T/w/whole/log.txt" || fail "that the layer whitens is not told"
  case " $(changed "$files/epoch_001.safetensors" "$files/last.safetensors")" in
  *" whiten.weight "* | *" layers.1.norm1.weight "*) fail "what is constant has changed" ;;
  *" layers.1.norm1.bias "*" whiten.bias "*) ;;
  *) fail "no bias was trained" ;;
  esac
  # Weights that a run begins with bring their filters.
  start 0 --run-name on --epochs 1 --init-from "$files/last.safetensors"
  case " $(changed "$files/last.safetensors" "$T/w/on/checkpoints/last.safetensors")" in
  *" whiten.weight "*) fail "the filters of --init-from were replaced" ;;
  esac
  start 0 --run-name fine --epochs 1 --finetune --init-from "$files/last.safetensors" --freeze backbone
  [ "$(changed "$files/last.safetensors" "$T/w/fine/checkpoints/last.safetensors")" = "head.bias head.weight " ] ||
    fail "of a frozen network changed: $(changed "$files/last.safetensors" "$T/w/fine/checkpoints/last.safetensors")"
  "$BIN/imsuper" eval "$files/last.safetensors" --data-dir "$T/data" --tta views --plain >"$T/out" 2>&1 || fail "eval"
  must_say "with mirror images, each moved in two ways too"
  "$BIN/imsuper" predict "$files/last.safetensors" "$(find "$T/data/val" -name '*.jpg' | head -n 1)" --plain >"$T/out" 2>&1 || fail "predict"
  "$BIN/imsuper" export "$files/last.safetensors" --format onnx --no-prove -o "$T/net.onnx" >"$T/out" 2>&1 || fail "export to ONNX"
  "$BIN/imsuper" export "$files/last.safetensors" --format timm -o "$T/net" >"$T/out" 2>&1 && fail "timm has no airbench94"
  must_say "timm has no airbench94"
}

is_whitened() { grep -q "the first layer whitens" "$T/w/died/log.txt" 2>/dev/null; }

# The trainer dies in its first steps, when all that is saved is the state before them; and a run in two parts.
case_killed() {
  start 0 --run-name whole
  FAULTS=trainer:trainer.step.done=sleep:2000@1 # leaves time for the kill
  launch --run-name died
  until_true "$LIMIT_SECONDS" is_whitened || fail "the first layer was not made"
  kill_all trainer
  finish 0
  FAULTS=""
  [ "$(grep -c "the first layer whitens" "$T/w/died/log.txt")" = 2 ] || fail "the trainer that died in the first steps did not whiten again"
  same_as whole died || fail "after a death in the first steps the weights are others"
  start 0 --run-name parts --epochs 1
  start 0 --run-name parts
  grep -c "the first layer whitens" "$T/w/parts/log.txt" | grep -qx 1 || fail "the run that went on has whitened again"
}

# All ranks have the same filters: their states are compared at each checkpoint. With virtual ranks the filters are those of the first of
# them, however many trainers there are.
case_ranks() {
  start 0 --run-name two --ranks 2 --batch-size 16
  grep -q "the first layer whitens patches of the first batch.*patches=30752" "$T/w/two/log.txt" || fail "not all ranks' patches count"
  start 0 --run-name one_of_two --epochs 1 --ranks 1 --batch-size 16 --virtual-ranks 2
  start 0 --run-name two_of_two --epochs 1 --ranks 2 --batch-size 16 --virtual-ranks 2
  [ -z "$(changed "$T"/w/{one_of_two,two_of_two}/checkpoints/last.safetensors)" ] || fail "with virtual ranks the weights depend on the trainers"
}

run_case
