#!/usr/bin/env bash
# Other layouts of the reference's images: the same images in the same order give the same weights, bit for bit, wherever they lie
# and wherever their classes stand.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# each_image SPLIT COMMAND...: COMMAND FILE CLASS NUMBER, in the order of the index.
each_image() {
  local split=$1 file n=0
  shift
  while read -r file; do
    n=$((n + 1))
    "$@" "$REFERENCE/data/$split/$file" "${file%%/*}" "$(printf %05d $n)"
  done < <(cd "$REFERENCE/data/$split" && find . -name '*.jpg' | sed 's,^\./,,' | LC_ALL=C sort)
}
# The optimiser's and the network's tensors; the hash of the data is another, as it has other paths.
must_equal_weights() {
  "$BIN/compare_states" --tensors "$REFERENCE/w/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights are not those of the reference"
  cmp "$REFERENCE/w/run/classes.txt" "$RUN/classes.txt" || fail "classes.txt"
}

# As Tiny ImageNet is unpacked, with what people and tools leave in such folders.
tiny_train() { mkdir -p "$T/data/train/$2/images" && cp "$1" "$T/data/train/$2/images/$3.JPEG"; }
tiny_val() {
  mkdir -p "$T/data/val/images" && cp "$1" "$T/data/val/images/val_$3.JPEG"
  printf 'val_%s.JPEG\t%s\t0\t0\t9\t9\n' "$3" "$2" >>"$T/data/val/val_annotations.txt"
}
case_tiny_imagenet() {
  each_image train tiny_train
  each_image val tiny_val
  echo x >"$T/data/train/class_000/class_000_boxes.txt"
  cp -r "$T/data/train/class_000/images" "$T/data/train/class_001/@eaDir"
  ln -s ../.. "$T/data/train/class_002/images/around"
  start 0 --data-dir "$T/data"
  must_say "layout tiny-imagenet"
  must_say "3 left out: 1 link to a folder around it (train/class_002/images/around), 1 file that is no image by name"
  must_say "the whole list: $RUN/left_out.txt"
  [ "$(wc -l <"$RUN/left_out.txt")" = 3 ] || fail "left_out.txt: $(cat "$RUN/left_out.txt")"
  must_equal_weights
  must_balance
  grep -qF '"classes":"[\"class_000\",\"class_001\"' "$RUN/checkpoints/last.safetensors" || fail "the weights do not name the classes"
}

# A flat folder and tables, killed as a whole in the middle and continued.
flat() {
  mkdir -p "$T/data/img" && cp "$1" "$T/data/img/$split$3.jpg"
  echo "img/$split$3,\"$2\"" >>"$T/data/$split.rows"
}
case_csv_killed() {
  local split pid
  for split in train val; do
    each_image $split flat
    (echo 'image_id,class' && sort -R "$T/data/$split.rows") >"$T/data/$split.csv"
  done
  FAULTS=$PACE
  TRAIN+=(--data-dir "$T/data" --snapshot-interval 0)
  launch
  wait_step 14
  for pid in $(ours); do kill -KILL "$pid" 2>/dev/null || true; done
  until_true 10 nobody_left || fail "something runs"
  FAULTS=""
  start 0
  must_say "layout csv"
  must_equal_weights
}

# One folder of class folders; the split is a part of the run.
case_val_split() {
  cp -r "$REFERENCE/data/train" "$T/data"
  TRAIN+=(--data-dir "$T/data" --epochs 1)
  start 0 --val-split 0.25
  must_say "144 train, 48 val, 8 classes, layout single"
  must_balance
  start 2 --val-split 0.5 --epochs 2
  must_say "this run began with --val-split 0.25, not 0.5"
  start 0 --val-split 0.25 --epochs 2
  must_say "144 train, 48 val"
  start 2 --val-split 0.25 --data-dir "$REFERENCE/data" --run-name other
  must_say "has validation images; leave --val-split away"
}

run_case
