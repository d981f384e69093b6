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
  must_say "this run began with --val-split 0.25, not --val-split 0.5"
  start 0 --val-split 0.25 --epochs 2
  must_say "144 train, 48 val"
  start 2 --val-split 0.25 --data-dir "$REFERENCE/data" --run-name other
  must_say "has validation images; leave --val-split away"
}

# organise SRC DST [flags]: must end well.
organise() { "$BIN/imsuper" data organise "$@" >"$T/out" 2>&1 || fail "organise $*"; }
# same_images DST: DST/train and DST/val hold the reference's images, class by class, whatever their names.
same_images() {
  local what="cd '$1' && find -L train val -type f -exec sha1sum {} + | sed -E 's,  (.*/).*,  \1,' | sort"
  cmp <(bash -c "$what") <(bash -c "${what/$1/$REFERENCE/data}") || fail "$1 does not hold the reference's images"
}
# Class folders from other layouts are the reference's again, whatever way they are made in; undone, nothing is left.
case_organise() {
  local how
  each_image train tiny_train
  each_image val tiny_val
  for how in --copy --hard-link --symlink; do
    organise "$T/data" "$T/made" $how --dry-run
    [ ! -e "$T/made" ] || fail "a dry run made something"
    organise "$T/data" "$T/made" $how
    same_images "$T/made"
    organise "$T/made" "$T/again" # from class folders, and through links
    same_images "$T/again"
    organise --undo "$T/again/organise.undo"
    [ $how = --symlink ] || organise --undo "$T/made/organise.undo"
  done
  [ ! -e "$T/again" ] || fail "something stayed: $(find "$T/again")"
  start 0 --data-dir "$T/made"
  must_equal_weights
  grep -q 'reads="anywhere: symbolic links lead out of the data folder"' "$RUN/log.txt" || fail "log.txt does not say what may be read"
  organise --undo "$T/made/organise.undo"
  [ ! -e "$T/made" ] || fail "something stayed: $(find "$T/made")"
  [ "$(find "$T/data" -name '*.JPEG' | wc -l)" = "$(find "$REFERENCE/data" -name '*.jpg' | wc -l)" ] || fail "images are missing"

  # From tables, Kaggle's ILSVRC with a CSV of labels, and a single folder.
  local split file kaggle=$T/k/ILSVRC/Data/CLS-LOC
  cp -r "$REFERENCE/data" "$T/tables"
  for split in train val; do
    (cd "$T/tables" && echo file,label && find $split -name '*.jpg' | sort -R | awk -F/ '{print $0 "," $2}') >"$T/$split.csv"
  done
  organise "$T/tables" "$T/csv" --labels "$T/train.csv" --val-labels "$T/val.csv"
  same_images "$T/csv"
  mkdir -p "$kaggle/val" && cp -r "$REFERENCE/data/train" "$kaggle/train"
  echo ImageId,PredictionString >"$T/k/LOC_val_solution.csv"
  for file in "$REFERENCE"/data/val/*/*; do
    split=${file%/*} split=${split##*/}
    cp "$file" "$kaggle/val/$split${file##*/}" && echo "$split$(basename "$file" .jpg),$split 1 2 3 4" >>"$T/k/LOC_val_solution.csv"
  done
  organise "$T/k" "$T/kaggle" --symlink
  same_images "$T/kaggle"
  organise "$REFERENCE/data/train" "$T/single" --layout single --val-split 0.25 --symlink
  [ "$(find "$T/single/train" -name '*.jpg' | wc -l) $(find "$T/single/val" -name '*.jpg' | wc -l)" = "144 48" ] || fail "the split"
  # A table beside class folders that is of no use is not passed over in silence.
  cp -r "$REFERENCE/data/train" "$T/alone" && printf 'file,label\nother.jpg,cat\n' >"$T/alone/labels.csv"
  organise "$T/alone" "$T/beside" --symlink
  must_say "no table does: labels.csv names 'other.jpg', and others, that are not below"
}
# Whatever is killed, the same command goes on; what differs stays as it is, in both directions.
case_organise_killed() {
  local point
  each_image train tiny_train
  for point in undo=kill folders=kill file=kill@5 rename=kill@5 write=kill@9 file.rename=kill file.done=kill; do
    case $point in file.rename* | file.done*) ;; *) point=organise.$point ;; esac
    rc=0 && IMSUPER_FAULT=$point "$BIN/imsuper" data organise "$T/data" "$T/made" --layout single --copy >"$T/out" 2>&1 || rc=$?
    [ $rc = 137 ] || fail "$point: $rc"
    cp -r "$T/made" "$T/part"
    organise "$T/data" "$T/made" --layout single --copy
    [ "$(find "$T/made" -name '*.JPEG' | wc -l)" = 192 ] || fail "$point: not all"
    [ -z "$(find "$T/made" -name '.*')" ] || fail "$point: left over: $(find "$T/made" -name '.*')"
    organise --undo "$T/made/organise.undo"
    rm -rf "$T/made" # for the second start it was made by the user
    if [ -e "$T/part/organise.undo" ]; then
      organise --undo "$T/part/organise.undo"
      [ -z "$(find "$T/part" -type f)" ] || fail "$point: undo left $(find "$T/part" -type f)"
    fi
    rm -rf "$T/part"
  done
  rc=0 && IMSUPER_FAULT=organise.write=fail:ENOSPC@9 "$BIN/imsuper" data organise "$T/data" "$T/made" --layout single --copy >"$T/out" 2>&1 || rc=$?
  [ $rc = 1 ] || fail "a full disk: $rc"
  must_say "make room and start the same command again"
  # A second start counts what the first made, though it fails at the first file.
  rm "$(find "$T/made" -name '*.JPEG' | LC_ALL=C sort | head -n 1)"
  rc=0 && IMSUPER_FAULT=organise.write=fail:ENOSPC@1 "$BIN/imsuper" data organise "$T/data" "$T/made" --layout single --copy >"$T/out" 2>&1 || rc=$?
  [ $rc = 1 ] || fail "a full disk again: $rc"
  must_say "after $(find "$T/made" -name '*.JPEG' | wc -l) of 192 files"
  point=$(find "$T/made" -name '*.JPEG' | head -n 1)
  echo other >"$point"
  "$BIN/imsuper" data organise "$T/data" "$T/made" --layout single --copy >"$T/out" 2>&1 && fail "a file that differs was taken"
  must_say "is there already and differs"
  [ "$(cat "$point")" = other ] || fail "a file was overwritten"
  "$BIN/imsuper" data organise --undo "$T/made/organise.undo" >"$T/out" 2>&1 && fail "a changed file counts as undone"
  must_say "1 files stay"
  [ "$(find "$T/made" -name '*.JPEG')" = "$point" ] || fail "undo took something else"
  rm "$T/made/organise.undo"
  "$BIN/imsuper" data organise "$T/data" "$T/made" --layout single --copy >"$T/out" 2>&1 && fail "a foreign file was taken"
  must_say "Nothing was written"
}

# pack DST [flags]: the reference's images as shards of 40.
pack() { "$BIN/imsuper" data pack "$REFERENCE/data" "$@" --shard-images 40 >"$T/out" 2>&1 || fail "pack $*"; }
# Shards, read whole and by reference; back as class folders. Then a tar of class folders, as a list, in the order that find has.
case_shards() {
  pack "$T/shards"
  [ "$(find "$T/shards" -name 'train-*.tar' | wc -l)" = 5 ] || fail "not five shards"
  start 0 --data-dir "$T/shards" --readers 2 --augmenters 2
  must_say "layout shards"
  must_equal_weights
  must_balance
  rm -rf "$T/w"
  start 0 --data-dir "$T/shards/{train-{000000..000004},val-000000}.tar" --cell-bytes 4096 --io pread
  must_equal_weights
  "$BIN/imsuper" data verify --data-dir "$T/shards" >"$T/out" 2>&1 && must_say "every image can be used"
  # The likeliest classes of the same images, by their names in the shards.
  "$BIN/imsuper" predict "$RUN" "$REFERENCE/data/val" -q --top-k 1 >"$T/of_folders" && "$BIN/imsuper" predict "$RUN" "$T"/shards/val-*.tar -q --top-k 1 >"$T/of_shards"
  cmp <(sed 's,^[^ ]*,,' "$T/of_folders") <(sed 's,^[^ ]*,,' "$T/of_shards") || fail "predict: $(head -n 3 "$T/of_shards")"
  "$BIN/imsuper" data unpack "$T/shards" "$T/folders" >"$T/out" 2>&1 || fail "unpack"
  diff -r -x organise.undo "$REFERENCE/data" "$T/folders" || fail "other files"
  rm -rf "$T/w" && mkdir "$T/tar"
  (cd "$REFERENCE" && find data -name '*.jpg' | sort -R | tar -cf "$T/tar/all.tar" -T -)
  start 0 --data-dir "$T/tar" --cell-bytes 4096 --readers 2
  must_equal_weights
}
# Whatever is killed while shards are written, the same command makes the same bytes. Then a run over them that is killed as a whole.
case_shards_killed() {
  local point pid file
  pack "$T/shards"
  for point in plan=kill shard=kill@2 write=kill@3 written=kill@2 rename=kill@2 info=kill; do
    rc=0 && IMSUPER_FAULT=pack.$point "$BIN/imsuper" data pack "$REFERENCE/data" "$T/made" --shard-images 40 --jobs 2 >"$T/out" 2>&1 || rc=$?
    [ $rc = 137 ] || fail "$point: $rc"
    pack "$T/made" --jobs 1
    diff -r "$T/shards" "$T/made" || fail "$point: other bytes"
    rm -rf "$T/made"
  done
  for point in write=fail:ENOSPC@3 compare=fail:EIO@2; do
    rm -rf "$T/made" # how many shards there are already would be chance
    rc=0 && IMSUPER_FAULT=pack.$point "$BIN/imsuper" data pack "$REFERENCE/data" "$T/made" --shard-images 40 >"$T/out" 2>&1 || rc=$?
    [ $rc = 1 ] || fail "$point: $rc"
    [ -z "$(find "$T/made" -name '.tmp-*')" ] || fail "$point: a file was left"
  done
  pack "$T/made"
  diff -r "$T/shards" "$T/made" || fail "after errors: other bytes"
  "$BIN/imsuper" data pack "$REFERENCE/data" "$T/made" >"$T/out" 2>&1 && fail "shards of another size were mixed in"
  must_say "take another folder"
  FAULTS=$PACE
  TRAIN+=(--data-dir "$T/shards" --snapshot-interval 0 --cell-bytes 4096)
  launch
  wait_step 14
  for pid in $(ours); do kill -KILL "$pid" 2>/dev/null || true; done
  until_true 10 nobody_left || fail "something runs"
  FAULTS=""
  start 0
  must_equal_weights
  # One that is cut short is named, and what it holds is used.
  file=$T/made/train-000001.tar
  truncate -s 100000 "$file"
  "$BIN/imsuper" data index --data-dir "$T/made" >"$T/out" 2>&1 || fail "a cut shard ended the indexing"
  must_say "shard that is cut short, damaged or compressed (train-000001.tar)"
}
# A shard is replaced by another while the run goes on: what was there is left out by name, and no other bytes are taken for it.
case_shards_replaced() {
  pack "$T/shards"
  FAULTS=$PACE
  launch --data-dir "$T/shards"
  wait_step 3
  cp "$T/shards/train-000004.tar" "$T/other" && mv "$T/other" "$T/shards/train-000000.tar"
  cp "$T/shards/train-000001.tar" "$T/other" && mv "$T/other" "$T/shards/train-000001.tar" # the same members in their places
  kill_all reader # it has those of before open
  finish 0
  must_say 'a shard was written since it was indexed'
  [ "$(grep -c 'was written since it was indexed.*train-00000[01].tar' "$RUN/log.txt")" -ge 2 ] || fail "not both shards are named"
  [ "$(count_events 'sample.bad.*train-000000.tar/')" = 40 ] || fail "$(count_events 'sample.bad.*train-000000.tar/') of 40 images are left out"
  [ "$(count_events 'sample.bad')" = 40 ] || fail "images of other shards are left out"
  grep -q 'a shard is another one' "$RUN/log.txt" || fail "the log does not say why"
  must_balance
}

run_case
