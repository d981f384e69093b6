#!/usr/bin/env bash
# The pixel cache: one set of weights, whether its cells are made, found, damaged, those of other files or without room, in memory or on a
# disk, by processes that are killed at it.
#
#   pixels.sh BIN REFERENCE CASE
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

IMAGES=96 # of training, and 16 of validation
DATA=$T/data
make_data() {
  "$BIN/imsuper" data synth --out "$DATA" --classes 4 --per-class 24 --val-per-class 4 --side-min 90 --side-max 160 --quiet
  TRAIN+=(--data-dir "$DATA" --image-size 32 --epochs 2 --readers 1 --augmenters 2)
}
kept() { mv "$T/w" "$T/$1"; }
weights_of() { echo "$1/checkpoints/last.state.safetensors"; }
same_as() {
  "$BIN/compare_states" --tensors "$(weights_of "$T/$1/run")" "$(weights_of "$RUN")" || fail "$2: other weights"
  must_balance
}
cells() { echo "$T"/cells/*.pixels; }
# must_count KEY AT_LEAST AT_MOST
must_count() {
  local n
  n=$(ledger "$1")
  if [ "$n" -lt "$2" ] || [ "$n" -gt "$3" ]; then fail "$1: $n, not $2 to $3"; fi
}
are_settled() { [ -z "$(find "$DATA" -name '*.jpg' -newerct '3 seconds ago')" ]; }

# The cache takes the memory that the trainer needs later: it is given back, and the run goes on.
case_memory() {
  "$BIN/imsuper" data synth --out "$DATA" --classes 4 --per-class 200 --val-per-class 4 --side-min 200 --side-max 260 --quiet
  TRAIN+=(--data-dir "$DATA" --image-size 16 --batch-size 64 --epochs 1 --readers 1 --augmenters 2 --pixel-cache-side 128)
  start 0 --pixel-cache "$T/cells"
  kept without_limit
  memory_cgroup "${IMSUPER_TEST_MEMORY:-100M}"
  start 0 --pixel-cache ram
  must_say "its memory is given back"
  has_event '"pixels.gone"' || fail "no event"
  same_as without_limit "in memory that ran out"
}

case_kills() {
  local all=$((IMAGES + 16)) at size
  make_data
  start 0
  kept without
  start 0 --cache ram
  must_say "kept in memory"
  must_say "short side of 37"
  must_count pixels_made $all $((all + 4))
  must_count pixels_used $((all - 4)) $all
  "$BIN/compare_states" --tensors "$(weights_of "$T/without/run")" "$(weights_of "$RUN")" >"$T/same" 2>&1 &&
    fail "images that are resized before they are cropped gave the same weights"
  must_balance
  kept ram

  FAULTS=$QUICK_PACE,augmenter#0:pixels.put.half=kill@9,augmenter#1:pixels.put.before=kill@13,augmenter#1:pixels.put.after=kill@7
  start 0 --pixel-cache "$T/cells"
  [ "$(deaths_of augmenter)" -ge 3 ] || fail "$(deaths_of augmenter) augmenters died"
  same_as ram "killed while cells were made"
  kept killed

  FAULTS=""
  # Files that changed in the last seconds are read, and known by their bytes; then by their times.
  until_true 10 are_settled
  start 0 --pixel-cache "$T/cells"
  must_count pixels_made 0 20
  same_as ram "with all cells from the start"
  kept warm
  start 0 --pixel-cache "$T/cells"
  must_count pixels_made 0 0
  must_count pixels_unread $all $((2 * all))
  same_as ram "without a file read"
  kept unread

  size=$(stat -c %s "$(cells)")
  for ((at = 4096 + 977; at < size; at += 20011)); do
    printf 'damage' | dd of="$(cells)" bs=1 seek="$at" conv=notrunc status=none
  done
  start 0 --pixel-cache "$T/cells"
  must_count pixels_made 10 $all
  must_count pixels_unread 1 $((2 * all))
  same_as ram "with damaged cells"
  kept damaged

  # Other bytes of the same pixels: cells of other files are none. And no room, for a while.
  find "$DATA" -name '*.jpg' | while read -r file; do printf 'x' >>"$file"; done
  FAULTS=augmenter:pixels.put.before=fail:ENOSPC@30
  start 0 --pixel-cache "$T/cells"
  must_count pixels_made $((all - 10)) $((2 * all))
  same_as ram "with cells of other files, on a full disk"
  kept others

  FAULTS=""
  start 69 --pixel-cache "$T/cells" --pixel-cache-size 64K
  must_say "--pixel-cache-size is 64"
  printf x >"$T/file"
  start 69 --pixel-cache "$T/file"
  must_say "is not a folder"
}

run_case
