#!/usr/bin/env bash
# Bad input and poor surroundings: each with the exit status and the sentence that tells what is wrong and where.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# refused STATUS TEXT FLAG...: start must fail so and leave nothing running.
refused() {
  local status=$1 text=$2
  shift 2
  start "$status" "$@"
  must_say "$text"
  if [ -n "$(ours)" ]; then until_true 10 nobody_left || fail "something runs"; fi
}
own_data() { cp -r "$REFERENCE/data" "$T/data" && TRAIN+=(--data-dir "$T/data"); }
# N-th training file of the copy.
file_number() { find "$T/data/train" -name '*.jpg' | LC_ALL=C sort | sed -n "$1p"; }
relative() { echo "${1#"$T/data/"}"; }
# Runs to its end, leaving out exactly these files, each named with its verdict in events.jsonl and on the screen.
leaves_out() {
  local file verdict
  start 0 --readers 1 --augmenters 2
  [ "$(count_events '"sample.bad"')" = $(($# / 2)) ] || fail "$(count_events '"sample.bad"') bad samples, not $(($# / 2))"
  while [ $# -gt 0 ]; do
    file=$(relative "$1") verdict=$2
    shift 2
    events | grep '"sample.bad"' | grep -F "$file" | grep -q "$verdict" || fail "$file was not left out as $verdict"
    must_say "skipped"
  done
  must_balance
}

case_missing_dir() { refused 65 "$T/nowhere" --data-dir "$T/nowhere"; }
case_empty_dir() {
  mkdir "$T/empty"
  refused 65 "$T/empty" --data-dir "$T/empty"
}
case_file_as_dir() {
  echo >"$T/file"
  refused 65 "$T/file" --data-dir "$T/file"
}
case_no_data_dir() {
  TRAIN=(--model resnet20)
  refused 2 "--data-dir is required"
}
case_empty_class() {
  own_data
  mkdir "$T/data/train/zz_nothing"
  refused 65 zz_nothing
}

case_truncated_jpeg() {
  own_data
  truncate -s 200 "$(file_number 5)"
  leaves_out "$(file_number 5)" truncated
}
case_empty_file() {
  own_data
  truncate -s 0 "$(file_number 9)"
  leaves_out "$(file_number 9)" empty
}
case_text_file() {
  own_data
  echo "this is no image" >"$(file_number 12)"
  leaves_out "$(file_number 12)" not-an-image
}
# A folder with an image's name is no image: it never enters the index.
case_directory_as_image() {
  own_data
  mkdir "$(dirname "$(file_number 1)")/directory.JPEG"
  start 0
  [ "$(count_events '"sample.bad"')" = 0 ] || fail "the folder became a sample"
  must_say "192 train"
}
# Gone, or no file any more, after the index was made.
case_vanished() {
  local gone
  own_data
  gone=$(file_number 20)
  FAULTS="trainer:process.enter.after=sleep:1500@1"
  launch
  until_true 20 says "state=starting" || fail "no start"
  rm "$gone"
  finish 0
  events | grep '"sample.bad"' | grep -qF "$(relative "$gone")" || fail "the missing file is not named"
  must_balance
}
# Formats are told by their first bytes, not by names.
case_png_as_jpg() {
  own_data
  png_file >"$(file_number 3)"
  start 0
  [ "$(count_events '"sample.bad"')" = 0 ] || fail "a PNG under a .jpg name was left out"
  must_balance
}
# 2 x 2 pixels, RGB.
png_file() {
  base64 -d <<<iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGM4IWcDRAwQCgAh9gSJHoU67gAAAABJRU5ErkJggg==
}

# Folders of links are common. What leads out of the data folder takes the restriction of paths away, aloud; what does not,
# does not. Small cells: augmenters read files themselves, too.
case_links_inside() {
  mkdir -p "$T/data/store"
  cp -r "$REFERENCE/data/." "$T/data/store"
  link_all ../../store
  start 0 --readers 1 --augmenters 2 --cell-bytes 4096
  grep -q "role=augmenter id=0 msg=\"sandbox\" calls=[a-z]* landlock=\(0 \|[1-9][0-9]* reads=\"$T/data\"\)" "$RUN/log.txt" || fail "log.txt does not say so"
  nothing_is_missing
}
case_links_outside() {
  link_all "$REFERENCE/data"
  start 0 --readers 1 --augmenters 2 --cell-bytes 4096
  grep -q 'role=augmenter id=0 msg="sandbox" .*reads="anywhere' "$RUN/log.txt" || fail "log.txt does not say so"
  grep -q 'role=reader id=0 msg="sandbox" .*reads="anywhere' "$RUN/log.txt" || fail "log.txt does not say so of readers"
  nothing_is_missing
}
# link_all STORE: data/ in the layout of the reference, each file a link into STORE.
link_all() {
  local file
  while read -r file; do
    mkdir -p "$T/data/$(dirname "$file")"
    ln -s "$1/$file" "$T/data/$file"
  done < <(cd "$REFERENCE/data" && find train val -type f)
  TRAIN+=(--data-dir "$T/data")
}
nothing_is_missing() {
  [ "$(count_events '"sample.bad"')" = 0 ] || fail "an image behind a link was left out"
  check_outcome
}

case_bad_sample_stop() {
  own_data
  truncate -s 0 "$(file_number 9)"
  refused 65 "--on-bad-sample stop" --on-bad-sample stop
  must_say "$(basename "$(file_number 9)")"
}
case_bad_sample_limit() {
  local i
  own_data
  for i in 1 7 30 60 90 120; do truncate -s 10 "$(file_number $i)"; done
  refused 65 "--bad-sample-limit" --bad-sample-limit 4
}

case_unknown_flag() {
  refused 2 "batch-size" --batchsize 3
  # As timm's train.py takes them.
  "$BIN/imsuper" start --mean 0.5 0.5 0.5 >"$T/out" 2>&1 && fail "three words are one value"
  must_say "several values of a flag go together, with commas: --mean 0.5,0.5,"
  "$BIN/imsuper" start --epochs 3 4 >"$T/out" 2>&1 && fail "two words are one value"
  must_say "unexpected argument '4' (see"
  "$BIN/imsuper" start "$T" --model resnet18 >"$T/out" 2>&1 && fail "a folder belongs to no flag"
  must_say "is given with --data-dir $T"
}
case_unknown_verb() {
  local status=0
  "$BIN/imsuper" strat >"$T/out" 2>&1 || status=$?
  [ $status = 2 ] || fail "exit status $status"
  must_say "did you mean 'start'"
  "$BIN/imsuper" train --data-dir x >"$T/out" 2>&1 || status=$?
  must_say "unknown command 'train'; did you mean 'start'?" # not 'trace'
}
case_bad_value() {
  refused 2 "epochs" --epochs many
  echo >"$T/file"
  refused 65 "$T/file is not a folder" --seek-index "$T/file" --dry-run
  start 0 --seek-index "$T/seek/deep" --dry-run
  [ ! -e "$T/seek" ] || fail "a dry run made a folder"
}
case_batch_too_large() { refused 2 "the training set has 192" --batch-size 193; }
case_ranks() {
  refused 2 "--ranks: 65 is out of range (expected 1 to 64)" --ranks 65
}
case_unknown_run() {
  local status=0
  "$BIN/imsuper" status --workspace "$T/w" --run-name nothing >"$T/out" 2>&1 || status=$?
  [ $status = 4 ] || fail "exit status $status"
  must_say "no run in"
}

case_second_start() {
  FAULTS=$PACE
  launch
  wait_step 2
  local status=0
  "$BIN/imsuper" start "${TRAIN[@]}" --workspace "$T/w" --run-name run >"$T/second" 2>&1 || status=$?
  [ $status = 2 ] || fail "exit status $status of the second start"
  grep -q "is going on" "$T/second" || fail "the second start does not say why: $(cat "$T/second")"
  finish 0
  check_outcome
}

# --- surroundings; each needs a mount namespace of its own ------------------------------------------------------------

need_mounts() { unshare -m true 2>/dev/null || skip "no rights to make a mount namespace"; }
# in_mounts COMMANDS: `start` from here on runs in a namespace where these shell commands were run first.
in_mounts() {
  need_mounts
  cat >"$T/imsuper" <<END
#!/bin/sh
exec unshare -m sh -c '$1 && exec "$BIN/imsuper" "\$@"' sh "\$@"
END
  chmod +x "$T/imsuper"
  PROGRAM=$T/imsuper
}

# A container's /dev/shm: the rings do not fit, a memfd takes them; training is the same, and nobody gets SIGBUS.
case_small_dev_shm() {
  in_mounts 'mount -t tmpfs -o size=1m none /dev/shm'
  start 0
  check_outcome
}
case_container_dev_shm() {
  in_mounts 'mount -t tmpfs -o size=64m none /dev/shm'
  start 0 --encoded-cells 512 --cell-bytes 262144
  check_outcome
}
# Another file system is mounted over the data: augmenters, which read these files themselves, may not read there, for it is not
# what they were let into. Others take their place, and no image is left out.
case_remounted() {
  need_mounts
  local pid
  cp -r "$REFERENCE/data" "$T/data" && cp -r "$REFERENCE/data" "$T/again" && TRAIN+=(--data-dir "$T/data")
  in_mounts true
  FAULTS=$PACE
  launch --readers 1 --augmenters 2 --cell-bytes 4096
  wait_step 4
  pid=$(pids supervisor)
  nsenter -t "$pid" -m mount --bind "$T/again" "$T/data" || fail "no mount"
  finish 0
  [ "$(count_events '"sample.bad"')" = 0 ] || fail "an image was left out"
  if grep -q 'landlock=[1-9]' "$RUN/log.txt"; then
    [ "$(deaths_of augmenter)" -ge 1 ] || fail "no augmenter was replaced"
  fi
  check_outcome
}
# Neither can hold it: refused with the number of bytes.
case_no_memory() { refused 1 "bytes" --encoded-cells 4096 --cell-bytes 67108864; }
case_little_locked_memory() {
  (ulimit -l 64 2>/dev/null) || skip "the limit on locked memory cannot be set"
  ulimit -l 64
  start 0 --readers 2
  check_outcome
}
# Named before anything is started, with value, need and command.
case_small_limits() {
  local limit status
  for limit in "-s 64" "-n 12" "-n 40" "-d 4096" "-v 200000" "-f 1" "-f 2000"; do
    status=0
    # shellcheck disable=SC2086 # a flag and a number
    (ulimit $limit && exec "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "$T/w" --run-name run) >"$T/out" 2>&1 </dev/null || status=$?
    [ $status = 69 ] || fail "ulimit $limit: exit status $status: $(cat "$T/out")"
    must_say "ulimit ${limit% *} "
    [ ! -e "$RUN" ] || fail "ulimit $limit: a start that was refused left a run"
  done
  (ulimit -d 200000 && start 1 --model resnet50 --image-size 64)
  must_say "a limit may be the cause: the memory of a process (data segment) (ulimit -d 200000)"
}
case_read_only_workspace() {
  mkdir "$T/w"
  in_mounts "mount --bind $T/w $T/w && mount -o remount,bind,ro $T/w"
  refused 1 "$T/w"
  must_say "ead-only"
}
case_without_uring() {
  PROGRAM="$BIN/without_uring $BIN/imsuper"
  start 0 --readers 2 --io auto
  [ "$(grep -c 'reading with threads instead of io_uring' "$RUN/log.txt")" = 1 ] || fail "not one warning"
  grep -q 'reading with threads.*io_uring' "$T/out" || fail "the warning was not shown"
  check_outcome
}
case_without_uring_but_asked() {
  PROGRAM="$BIN/without_uring $BIN/imsuper"
  refused 69 "io_uring cannot be used" --io uring
}

# AVIF: its library is loaded where names say that there are such images, and by who starts next where only bytes say so.
avif_images() { # NAME: four of them
  local i
  for i in 0 1 2 3; do
    tail -c +5 "$(dirname "${BASH_SOURCE[0]}")/../fuzz/corpus/decode/avif_420" >"$T/data/train/class_00$i/$1"
  done
}
case_avif() {
  local expected
  cp -r "$REFERENCE/data" "$T/data"
  TRAIN+=(--data-dir "$T/data" --augmenters 2 --on-bad-sample stop)
  avif_images hidden.jpg
  start 0
  expected=$(count_events '"process.died","role":"augmenter"')
  case $expected in 1 | 2) ;; *) fail "$expected augmenters started again, not one or two" ;; esac
  must_balance
  rm "$T/data"/train/class_00*/hidden.jpg
  rm -r "$T/w"
  avif_images named.AVIF
  start 0
  [ "$(deaths_of augmenter)" = 0 ] || fail "an augmenter started again for a library that it had"
  must_balance
}

run_case
