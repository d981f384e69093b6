#!/usr/bin/env bash
# The seek index changes no weight: without it, while it is made by processes that are killed at it, with all of it, damaged,
# and where it cannot be written.
#
#   seek.sh BIN REFERENCE CASE
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

IMAGES=96 # of training, and 16 of validation
DATA=$T/data
# Images large enough to be worth an index.
make_data() {
  "$BIN/imsuper" data synth --out "$DATA" --classes 4 --per-class 24 --val-per-class 4 --side-min 200 --side-max 260 --jpeg-quality 97 --quiet
  TRAIN+=(--data-dir "$DATA" --image-size 32 --epochs 2 --readers 1 --augmenters 2)
}
# kept NAME: puts the run aside.
kept() { mv "$T/w" "$T/$1"; }
same_as() {
  "$BIN/compare_states" "$T/$1/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "$2: the weights are not those of the run without an index"
  must_balance
}
seek_file() { echo "$T"/cache/imsuper/*.seek; }

case_kills() {
  make_data
  start 0 --seek-index off
  [ "$(count_events seek_used)" = 0 ] || fail "an index was used"
  [ ! -e "$(seek_file)" ] || fail "an index was made"
  kept without

  FAULTS=$QUICK_PACE,supervisor:seek.record.after=kill@25,supervisor:seek.slot.after=kill@60,augmenter#0:seek.put.before=kill@9,augmenter#1:seek.put.after=kill@13
  start 0
  [ "$(deaths_of augmenter)" -ge 2 ] || fail "$(deaths_of augmenter) augmenters died"
  [ "$(count_events '"supervisor')" -ge 1 ] || fail "no supervisor died"
  same_as without "killed while it was made"
  kept killed

  FAULTS=""
  start 0
  # Those that were lost are made now, and all others used from the start.
  [ "$(ledger seek_made)" -lt $((IMAGES / 2)) ] || fail "$(ledger seek_made) indexes were made again"
  [ "$(ledger seek_used)" -gt $((3 * IMAGES / 2)) ] || fail "$(ledger seek_used) images were decoded with an index"
  [ "$(ledger seek_wrong)" = 0 ] || fail "an index was wrong"
  same_as without "with an index"
  kept warm

  local at size
  size=$(stat -c %s "$(seek_file)")
  for ((at = 4096 + 977; at < size; at += 977)); do
    printf 'damage' | dd of="$(seek_file)" bs=1 seek="$at" conv=notrunc status=none
  done
  start 0
  [ "$(ledger seek_made)" -gt 0 ] || fail "no index was damaged"
  [ "$(ledger seek_wrong)" = 0 ] || fail "damage was taken for an index"
  same_as without "with a damaged index"
  kept damaged

  # Begun anew, on a disk that is full soon, and elsewhere.
  printf 'something else' >"$(seek_file)"
  FAULTS=supervisor:seek.record.before=fail:ENOSPC@10
  start 0
  must_say "the seek index takes nothing new"
  has_event '"report.failed","file":"seek index"' || fail "no event"
  same_as without "on a full disk"
  kept full
  FAULTS=""
  start 0 --seek-index "$T/elsewhere"
  [ -n "$(find "$T/elsewhere" -name '*.seek')" ] || fail "no index in $T/elsewhere"
  same_as without "elsewhere"
}

case_refused() {
  make_data
  printf x >"$T/file"
  start 65 --seek-index "$T/file/below"
  must_say "--seek-index"
  "$BIN/imsuper" data index --data-dir "$DATA" --json >"$T/json"
  ln -s /dev/null "$(sed -n 's/.*"seek_index": *"\([^"]*\)".*/\1/p' "$T/json")"
  start 0
  must_say "no seek index"
}

run_case
