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
  "$BIN/imsuper" data synth --out "$DATA" --classes 4 --per-class 24 --val-per-class 4 --side-min 200 --side-max 260 --jpeg-quality 97 --quiet "$@"
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

  # Begun anew, on a disk that is full soon, and elsewhere. Before that the thread is slow, so that it is asked for more while it fails.
  printf 'something else' >"$(seek_file)"
  FAULTS=$QUICK_PACE,supervisor:seek.slot.after=sleep:300@9,supervisor:seek.record.before=fail:ENOSPC@10
  start 0
  must_say "the seek index takes nothing new"
  has_event '"report.failed","file":"seek index"' || fail "no event"
  [ "$(ledger seek_used)" -lt $((IMAGES / 2)) ] || fail "the index went on after the disk was full"
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

# replace_files SIDE: other pixels in files of the same names and times, sides of SIDE to 460; a run without an index is kept as "others".
replace_files() {
  local file
  "$BIN/imsuper" data synth --out "$T/replacement" --classes 4 --per-class 24 --val-per-class 4 --side-min "$1" --side-max 460 --jpeg-quality 97 --seed 5 --quiet
  for file in "$DATA"/train/*/*; do
    touch -r "$file" "$T/time"
    cat "$T/replacement/${file#"$DATA"/}" >"$file"
    touch -r "$T/time" "$file"
  done
  start 0 --seek-index off
  kept others
}

# Readers that read what a crop needs change no weight: with links that are made and used, with files that are others than when
# theirs was made, and where parts are refused, at every place where someone may die of it.
case_ranges() {
  make_data --side-min 400 --side-max 460
  start 0 --seek-index off
  kept without
  start 0 --read-ranges on
  [ "$(ledger ranges_changed)" = 0 ] || fail "a link was wrong"
  [ "$(ledger ranges_refused)" = 0 ] || fail "ranges were refused"
  same_as without "while links were made"
  kept made
  for io in uring pread; do
    start 0 --read-ranges on --io $io
    [ "$(ledger ranges_read)" -gt $((IMAGES / 2)) ] || fail "$(ledger ranges_read) files were read in part ($io)"
    [ "$(ledger ranges_changed)" = 0 ] || fail "a link was wrong ($io)"
    [ "$(ledger ranges_refused)" = 0 ] || fail "ranges were refused ($io)"
    same_as without "with ranges ($io)"
    kept $io
  done

  FAULTS=$QUICK_PACE,reader:reader.parts=fail:EIO@9,augmenter#0:augmenter.parts=fail:EIO@5,augmenter#1:augmenter.parts=fail:EIO@7
  FAULTS+=,augmenter#0:augmenter.abandon.before=kill@1,augmenter#1:augmenter.abandon.after=kill@1,reader:reader.publish.before=kill@70
  start 0 --read-ranges on
  [ "$(deaths_of augmenter)" -ge 2 ] || fail "$(deaths_of augmenter) augmenters died"
  [ "$(deaths_of reader)" -ge 1 ] || fail "no reader died"
  [ "$(ledger ranges_refused)" -ge 1 ] || fail "no range was refused"
  same_as without "with ranges that were refused, and kills"
}

# Images larger than a cell: what some crops need fits one, one part behind the other, and is read by the augmenter for other crops.
# In files and in shards, changed, and with deaths.
case_ranges_large() {
  local file
  make_data --side-min 400 --side-max 460
  TRAIN+=(--cell-bytes 81920 --epochs 1)
  start 0 --seek-index off
  kept without
  start 0 --read-ranges on
  [ "$(ledger ranges_refused)" = 0 ] || fail "ranges were refused"
  same_as without "while links were made"
  kept made
  start 0 --read-ranges on
  [ "$(ledger ranges_read)" -gt $((IMAGES / 3)) ] || fail "$(ledger ranges_read) files were read in part"
  [ "$(ledger ranges_changed)" = 0 ] || fail "a link was wrong"
  [ "$(ledger ranges_refused)" = 0 ] || fail "ranges were refused"
  same_as without "with ranges"
  kept ranges

  FAULTS=$QUICK_PACE,reader:reader.parts=fail:EIO@9,augmenter#0:augmenter.parts=fail:EIO@5,augmenter#1:augmenter.parts=fail:EIO@7
  FAULTS+=,augmenter#0:augmenter.abandon.before=kill@1,augmenter#1:augmenter.abandon.after=kill@1,reader:reader.publish.before=kill@50
  start 0 --read-ranges on --io pread
  [ "$(deaths_of augmenter)" -ge 2 ] || fail "$(deaths_of augmenter) augmenters died"
  [ "$(deaths_of reader)" -ge 1 ] || fail "no reader died"
  [ "$(ledger ranges_refused)" -ge 1 ] || fail "no range was refused"
  same_as without "with ranges that were refused, and kills"
  kept refused
  FAULTS=""

  # Files above the limit are left out, whoever reads them.
  start 0 --read-ranges off --max-file-bytes 120000
  kept limited
  start 0 --read-ranges on --max-file-bytes 120000
  [ "$(ledger ranges_refused)" -gt 0 ] || fail "no file was too large"
  same_as limited "with a limit of files"
  kept limited_ranges

  "$BIN/imsuper" data pack "$DATA" "$T/shards" --shard-images 20 >"$T/out" || fail "data pack"
  start 0 --data-dir "$T/shards" --read-ranges on
  kept members_made
  start 0 --data-dir "$T/shards" --read-ranges on
  [ "$(ledger ranges_read)" -gt $((IMAGES / 3)) ] || fail "$(ledger ranges_read) members were read in part"
  [ "$(ledger ranges_refused)$(ledger ranges_changed)" = 00 ] || fail "ranges of members were refused"
  "$BIN/compare_states" --tensors "$T/without/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "with ranges of members: the weights are others"
  kept members

  # Files of the same names and times that are others, some of them shorter.
  replace_files 300
  start 0 --read-ranges on
  [ "$(ledger ranges_changed)" -gt 0 ] || fail "the reader found no file to be another"
  [ "$(ledger ranges_refused)" -gt 0 ] || fail "the augmenters found no file to be another"
  # They did so before anything was decoded.
  [ "$(ledger seek_wrong)" = 0 ] || fail "$(ledger seek_wrong) files were decoded with the index of another"
  same_as others "with files that are others"
}

# Members of shards, and images that come several times in an epoch.
case_ranges_shards() {
  make_data --side-min 400 --side-max 460
  "$BIN/imsuper" data pack "$DATA" "$T/shards" --shard-images 20 >"$T/out" || fail "data pack"
  TRAIN+=(--data-dir "$T/shards")
  start 0 --seek-index off
  kept without
  start 0 --read-ranges on
  same_as without "while links were made"
  kept made
  for io in uring pread; do
    start 0 --read-ranges on --io $io
    [ "$(ledger ranges_read)" -gt $((IMAGES / 2)) ] || fail "$(ledger ranges_read) members were read in part ($io)"
    [ "$(ledger ranges_changed)" = 0 ] || fail "a link was wrong ($io)"
    [ "$(ledger ranges_refused)" = 0 ] || fail "ranges were refused ($io)"
    same_as without "with ranges of members ($io)"
    kept $io
  done
  start 0 --sampler balanced --read-ranges off
  kept balanced
  start 0 --sampler balanced --read-ranges on
  [ "$(ledger ranges_read)" -gt $((IMAGES / 2)) ] || fail "$(ledger ranges_read) members were read in part (balanced)"
  [ "$(ledger ranges_refused)" = 0 ] || fail "ranges were refused (balanced)"
  same_as balanced "with ranges and --sampler balanced"
  kept ranges_balanced

  # The same images in another order, and other ones, in shards of the same names.
  rm -r "$T/shards"
  "$BIN/imsuper" data synth --out "$T/replacement" --classes 4 --per-class 24 --val-per-class 4 --side-min 400 --side-max 460 --jpeg-quality 97 --seed 5 --quiet
  "$BIN/imsuper" data pack "$T/replacement" "$T/shards" --shard-images 20 >"$T/out" || fail "data pack"
  start 0 --seek-index off
  kept others
  start 0 --read-ranges on
  same_as others "with shards that are others"
}

# Other pixels in files of the same names and times, which have links.
case_ranges_changed() {
  make_data --side-min 400 --side-max 460
  start 0 --read-ranges on
  kept links
  replace_files 400
  start 0 --read-ranges on
  [ "$(ledger ranges_changed)" -gt 0 ] || fail "no file was found to be another"
  [ "$(ledger ranges_refused)" = 0 ] || fail "augmenters got parts of files that are others"
  same_as others "with files that are others"
  kept changed
  # Their links are new ones now.
  start 0 --read-ranges on
  [ "$(ledger ranges_changed)" = 0 ] || fail "$(ledger ranges_changed) links are old ones"
  [ "$(ledger ranges_read)" -gt $((IMAGES / 2)) ] || fail "$(ledger ranges_read) files were read in part"
  same_as others "with new links"
}

# index_ahead STATUS [FAULTS]: answers in $T/json.
index_ahead() {
  local status=0
  IMSUPER_FAULT=${2:-} "$BIN/imsuper" data index --data-dir "$DATA" --json --seek --augmenters 2 >"$T/json" 2>"$T/out" || status=$?
  [ "$status" = "$1" ] || fail "data index --seek: exit status $status, not $1"
}
answer() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$T/json"; }
must_answer() { [ "$(answer "$1")" = "$2" ] || fail "data index --seek: $1 is $(answer "$1"), not $2"; }

# The whole index before the run, by workers that die and an owner that is killed; then the run makes none.
case_ahead() {
  local all=$((IMAGES + 16)) made
  make_data
  start 0 --seek-index off
  kept without

  index_ahead 1 "seek.record.after=kill@40" # an index and a link of each
  must_say "the same command goes on"
  index_ahead 0 "seek.index=kill@30"
  must_say "a process died on it"
  [ "$(answer failed)" -ge 2 ] || fail "no process died"
  [ "$(answer present)" -ge 18 ] || fail "$(answer present) indexes were kept"
  made=$(($(answer made) + $(answer present)))
  index_ahead 0
  must_answer present "$made"
  must_answer made $((all - made))
  must_answer failed 0
  index_ahead 0
  must_answer present "$all"

  start 0 --read-ranges on
  [ "$(ledger seek_made)" = 0 ] || fail "$(ledger seek_made) indexes were made again"
  [ "$(ledger seek_used)" -ge $((2 * IMAGES)) ] || fail "$(ledger seek_used) images were decoded with an index"
  same_as without "with an index that was made ahead"
  kept ahead

  # Files of the same names and times that are others: they get indexes and links of their own.
  replace_files 200
  index_ahead 0
  must_answer present 16
  must_answer made $IMAGES
  start 0 --read-ranges on
  [ "$(ledger ranges_changed)" = 0 ] || fail "$(ledger ranges_changed) links are old ones"
  # Links that are made in the first epoch serve in the second one only.
  [ "$(ledger ranges_read)" -gt "$IMAGES" ] || fail "$(ledger ranges_read) files were read in part: there are no links"
  same_as others "with files that are others, and an index that was made ahead"

  # Two owners; files that are no images; a folder that is none.
  printf 'no image' >"$DATA/train/class_000/none.jpg"
  exec 9<"$(seek_file)"
  flock -n 9
  index_ahead 1
  must_say "is written by another process"
  exec 9<&-
  index_ahead 0
  must_answer without 1
  "$BIN/imsuper" data index --data-dir "$DATA" --seek --seek-index off >"$T/out" 2>&1 && fail "--seek without an index"
  must_say "which --seek-index off turns off"
}

run_case
