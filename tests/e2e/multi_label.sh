#!/usr/bin/env bash
# Images with several labels each, from the table to the exported file.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

make_pictures() {
  mkdir -p "$T/d/images"
  awk -v dir="$T/d" -v train="$1" -v val="$2" -v flags="$3" -f "$(dirname "${BASH_SOURCE[0]}")/multi_label.awk"
}
LEARN=(--data-dir "$T/d" --multi-label --image-size 16 --batch-size 16 --train-crop center --augment none --lr 0.1 --warmup-epochs 1 --seed 1)

# number FILE KEY: of a JSON object.
number() { grep -o "\"$2\": *[0-9.e-]*" "$1" | head -n 1 | sed 's/.*: *//'; }
# at_least NUMBER LOW: as fractions.
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a >= b) }'; }

# A label is on 40 % of the pictures: chance is an mAP of 0.4.
case_learns() {
  local label
  make_pictures 200 50 0
  start 0 "${LEARN[@]}" --epochs 5 --layout csv
  must_say "val mAP"
  must_say "done      best validation mAP"
  must_balance
  at_least "$(number "$RUN/DONE" best_val_map)" 0.8 || fail "mAP is only $(number "$RUN/DONE" best_val_map)"
  grep -q 'val_map,val_f1,val_f1_macro' "$RUN/summary.csv" || fail "summary.csv lacks mAP"
  if grep -q '"val_top1"' "$RUN/metrics.jsonl"; then fail "metrics.jsonl has an accuracy, which there is none of"; fi
  [ "$(grep -c '"red"\|"green"\|"blue"\|"yellow"' "$RUN/class_scores.csv")" = 4 ] || fail "class_scores.csv lacks a class"
  # The weights say what they are for.
  "$BIN/imsuper" eval "$RUN" --weights last --json >"$T/eval.json" 2>"$T/out" || fail "eval failed"
  [ "$(number "$T/eval.json" map)" = "$(number "$RUN/DONE" val_map)" ] || fail "eval: mAP $(number "$T/eval.json" map), training's is $(number "$RUN/DONE" val_map)"
  "$BIN/imsuper" eval "$RUN" --shard 0/2 -o "$T/parts" >"$T/out" 2>&1 && fail "a part of weights for several labels"
  grep -q "needs the outputs of all images" "$T/out" || fail "eval --shard: $(cat "$T/out")"
  cp "$RUN/checkpoints/best.safetensors" "$T/alone.safetensors"
  "$BIN/imsuper" predict "$T/alone.safetensors" --image-size 16 --json "$T"/d/images/val_?.ppm >"$T/all" 2>"$T/out" || fail "predict failed"
  "$BIN/imsuper" predict "$T/alone.safetensors" --image-size 16 --threshold 0.5 --json "$T"/d/images/val_?.ppm >"$T/some" 2>"$T/out" || fail "predict failed"
  [ "$(grep -o '"class"' "$T/all" | wc -l)" = 40 ] || fail "predict gives not each of the 4 labels of 10 images"
  [ "$(grep -oE '"probability":(1|0\.[5-9])' "$T/all" | wc -l)" = "$(grep -o '"class"' "$T/some" | wc -l)" ] || fail "--threshold gives others than those above it"
  "$BIN/imsuper" export "$T/alone.safetensors" --image-size 16 --no-prove -o "$T/net.onnx" >"$T/out" 2>&1 || fail "export failed"
  grep -qa Sigmoid "$T/net.onnx" || fail "the ONNX file has no sigmoid"
  if grep -qa Softmax "$T/net.onnx"; then fail "the ONNX file has a softmax"; fi
  # So does a file that was exported, and how its images are made.
  "$BIN/imsuper" export "$RUN" --format safetensors -o "$T/exported.safetensors" >"$T/out" 2>&1 || fail "export failed"
  "$BIN/imsuper" predict "$RUN" --json "$T"/d/images/val_?.ppm >"$T/all" 2>"$T/out" || fail "predict failed"
  "$BIN/imsuper" predict "$T/exported.safetensors" --json "$T"/d/images/val_?.ppm >"$T/some" 2>"$T/out" || fail "predict failed"
  cmp "$T/all" "$T/some" || fail "exported weights answer otherwise than those of the run"
  # Other images are looked at as they lie, not as the run's did.
  for label in red blue; do mkdir -p "$T/f/$label" && cp "$T/d/images/val_1.ppm" "$T/f/$label"; done
  "$BIN/imsuper" eval "$RUN" --data-dir "$T/f" >"$T/out" 2>&1 || fail "eval failed: $(cat "$T/out")"
  must_say "--layout csv of the run is for its own images, and left out"
  # Each label is a class of its own.
  "$BIN/imsuper" data verify --data-dir "$T/d" --multi-label --json >"$T/verify.json" 2>"$T/out" || fail "verify failed"
  [ "$(grep -o '"train_usable"' "$T/verify.json" | wc -l)" = 4 ] || fail "verify counts sets of labels: $(cat "$T/verify.json")"
  [ "$(grep -o '"name":"red","train":[0-9]*' "$T/verify.json")" = "\"name\":\"red\",\"train\":$(grep -c red "$T/d/train.csv")" ] || fail "verify counts other images: $(cat "$T/verify.json")"
  start 65 "${LEARN[@]:0:2}" "${LEARN[@]:3}" --epochs 6
  must_say "the class is empty (images without a label: --multi-label)"
  sed -i '/,$/d' "$T/d/train.csv" "$T/d/val.csv"
  start 2 "${LEARN[@]:0:2}" "${LEARN[@]:3}" --epochs 6
  must_say "this run began with --multi-label, not --no-multi-label"
}

# The numbers of a validation whose trainer is killed within it are those of one that nobody disturbed; and those of two trainers.
case_killed() {
  make_pictures 64 48 1
  start 0 "${LEARN[@]}" --epochs 2 --trainer-threads 1
  mv "$T/w" "$T/whole"
  # The same from shards.
  "$BIN/imsuper" data pack --multi-label "$T/d" "$T/shards" >"$T/out" 2>&1 || fail "pack"
  start 0 "${LEARN[@]}" --data-dir "$T/shards" --epochs 2 --trainer-threads 1
  must_balance
  cmp "$RUN/class_scores.csv" "$T/whole/run/class_scores.csv" || fail "other numbers of the classes from shards"
  "$BIN/compare_states" --tensors "$RUN/checkpoints/last.safetensors" "$T/whole/run/checkpoints/last.safetensors" >"$T/out" 2>&1 ||
    fail "other weights from shards"
  rm -r "$T/w"
  FAULTS="trainer:trainer.step.done=kill@6"
  start 0 "${LEARN[@]}" --epochs 2 --trainer-threads 1 --snapshot-steps 1 --ema 0.9 --per-class-log
  [ "$(deaths_of trainer)" -ge 2 ] || fail "no trainer died"
  [ "$(number "$RUN/DONE" best_val_map)" = "$(number "$T/whole/run/DONE" best_val_map)" ] || fail "another mAP after deaths"
  cmp "$RUN/class_scores.csv" "$T/whole/run/class_scores.csv" || fail "other numbers of the classes after deaths"
  # Each epoch's, of the averages too.
  for epoch in 001 002 001.ema 002.ema; do
    [ "$(wc -l <"$RUN/per_class/epoch_$epoch.csv")" = 5 ] || fail "no table of 4 labels of epoch $epoch"
  done
  [ "$(cut -d , -f 2 "$RUN/per_class/epoch_002.csv" | tail -n +2)" = "$(cut -d , -f 1 "$RUN/class_scores.csv" | tail -n +2)" ] ||
    fail "another number of images with a label than class_scores.csv"
}

run_case
