#!/usr/bin/env bash
# What measures and checks without a run: doctor, data verify, data stats, bench read, profile reader.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

DATA=$REFERENCE/data
CORPUS=$(dirname "${BASH_SOURCE[0]}")/../fuzz/corpus/decode

# run STATUS COMMAND...: its output goes to $T/out, errors to $T/err.
run() {
  local expected=$1 status=0
  shift
  "$@" >"$T/out" 2>"$T/err" </dev/null || status=$?
  [ "$status" = "$expected" ] || fail "$*: exit status $status, not $expected: $(cat "$T/err")"
}
# row GRADE NAME WORDS: the line of a check.
row() { grep -qE "^$1 +$2 +.*$3" "$T/out" || fail "doctor does not say $1 $2 $3"; }
# value KEY: of the JSON in $T/out.
value() { grep -oE "\"$1\":[^,}]*" "$T/out" | head -1 | cut -d : -f 2; }
must_be() { [ "$(value "$1")" = "$2" ] || fail "$1 is $(value "$1"), not $2"; }

case_doctor() {
  run 0 "$BIN/imsuper" doctor --data-dir "$DATA" --workspace "$T/w"
  row OK rings "can be reserved"
  row OK imsuper-reader "xxhash"
  row OK data "192 training"
  row OK sample "decoded"
  [ "$(awk 'length > 80' "$T/out")" = "" ] || fail "lines of more than 80 columns"
  run 0 "$BIN/imsuper" doctor --json
  must_be schema '"imsuper.doctor/1"'
  must_be failures 0
  # Each fault is seen, says what mends it, and ends with status 69 where no run could start.
  run 0 "$BIN/without_uring" "$BIN/imsuper" doctor && row WARN io_uring "is forbidden" && says "--security-opt seccomp"
  run 69 bash -c "ulimit -n 40 && exec '$BIN/imsuper' doctor" && row FAIL nofile "40 open files"
  run 69 bash -c "ulimit -f 100 && exec '$BIN/imsuper' doctor" && row FAIL limits "ulimit -f" && row FAIL rings "cannot reserve"
  run 0 bash -c "ulimit -t 600 && exec '$BIN/imsuper' doctor" && row WARN limits "600 s"
  run 69 "$BIN/imsuper" doctor --workspace /proc/nothing && row FAIL workspace "0.00 GiB"
  run 69 "$BIN/imsuper" doctor --data-dir "$T/nothing" && row FAIL data "no data set"
  mkdir "$T/programs" && cp "$BIN/imsuper" "$BIN/imsuper-reader" "$T/programs/"
  printf '#!/bin/sh\necho imsuper-augmenter 0.0.1\n' >"$T/programs/imsuper-augmenter" && chmod +x "$T/programs/imsuper-augmenter"
  run 69 "$T/programs/imsuper" doctor
  row FAIL imsuper-augmenter "another build" && row FAIL imsuper-trainer ""
  mkdir -p "$T/broken/train/a" "$T/broken/train/b" && for i in 1 2 3; do echo no image >"$T/broken/train/a/$i.jpg" && echo no >"$T/broken/train/b/$i.png"; done
  run 69 "$BIN/imsuper" doctor --data-dir "$T/broken" && row FAIL sample "6 of 6"
  run 2 "$BIN/imsuper" doctor --data-dirr x
  run 2 "$BIN/imsuper" doctor now
}

# Copies of one image, and images with something about them.
make_bad() {
  local class=$T/data/train/class_000 first
  cp -r "$DATA" "$T/data"
  first=$(find "$class" -name '*.jpg' | sort | head -1)
  head -c 300 "$first" >"$class/cut.jpg"
  : >"$class/empty.jpg"
  echo 'no image <b>' >"$class/text<i>.jpg"
  tail -c +5 "$CORPUS/cmyk.jpg" >"$class/cmyk.jpg" # behind the fuzz target's own bytes
  cp "$first" "$class/again.jpg" && cp "$first" "$T/data/train/class_001/other class.jpg" && cp "$first" "$T/data/val/class_000/leak.jpg"
  cp "$first" "$class/jpeg.png"
  { head -c 2 "$first" && printf '\377\341\000\036Exif\000\000II*\000\010\000\000\000\001\000\022\001\003\000\001\000\000\000\006\000\000\000' && tail -c +3 "$first"; } >"$class/turned.jpg"
}

case_verify() {
  local verdict
  run 0 "$BIN/imsuper" data verify --data-dir "$DATA" && must_say "every image can be used"
  make_bad
  run 65 "$BIN/imsuper" data verify --data-dir "$T/data" --json --jobs 2 -o "$T/page.html"
  must_be schema '"imsuper.verify/1"'
  must_be bad 3
  must_be cmyk 1
  must_be rotated 1
  must_be misnamed 1
  must_be duplicates 2 # again.jpg, jpeg.png
  must_be contradictions 1
  must_be leaks 1
  for verdict in truncated empty not-an-image; do must_say "\"verdict\":\"$verdict\""; done
  grep -q 'text&#60;i&#62;.jpg' "$T/page.html" || fail "the page lacks a name, or does not escape it"
  if grep -q '<i>' "$T/page.html"; then fail "the page does not escape names"; fi
  # The same for any number of processes.
  sed 's/"seconds":[^,]*,"jobs":[0-9]*//' "$T/out" >"$T/two"
  run 65 "$BIN/imsuper" data verify --data-dir "$T/data" --json --jobs 5
  sed 's/"seconds":[^,]*,"jobs":[0-9]*//' "$T/out" | cmp - "$T/two" || fail "the result depends on the number of processes"
  # What EXIF turns has other bytes and the same pixels.
  run 65 "$BIN/imsuper" data verify --data-dir "$T/data" --json --near-duplicates 4
  grep -qE '"path":"[^"]*turned.jpg"[^}]*"like":"[^"]*","bits":0' "$T/out" || fail "turned.jpg looks like no other image: $(cat "$T/out")"
  run 2 "$BIN/imsuper" data verify --data-dir "$T/data" --near-duplicates 8
  run 65 "$BIN/imsuper" data verify --data-dir "$T/data" && must_say "the file is empty"
  run 0 "$BIN/imsuper" data stats --data-dir "$T/data" --json && must_be schema '"imsuper.stats/1"' && must_be bad 3
  run 65 "$BIN/imsuper" data verify --data-dir "$T/nothing"
  run 2 "$BIN/imsuper" data verify
  run 1 "$BIN/imsuper" data verify --data-dir "$T/data" -o "$T/none/page.html" # before it decodes for hours
  run 2 "$BIN/imsuper" data verify --data-dir "$DATA" --jobs many
}

# A process that decodes is killed: another one looks at its image again, and goes on. The second time the image is named.
# Each image takes a third of a second.
in_an_image() {
  CHILD=$(pgrep -P "$1" -f verify | head -1) && [ -n "$CHILD" ] && [ "$CHILD" != "$LAST" ] &&
    [ "$(awk '{ print $14 + $15 }' "/proc/$CHILD/stat" 2>/dev/null || echo 0)" -ge 3 ]
}
# verify_killed STATUS TIMES
verify_killed() {
  local verify status=0 i LAST=""
  "$BIN/imsuper-augmenter" verify --data-dir "$T/large" --json --jobs 1 >"$T/out" 2>"$T/err" &
  verify=$!
  for ((i = 0; i < $2; i++)); do
    until in_an_image "$verify"; do kill -0 "$verify" || fail "no process decodes"; done
    LAST=$CHILD
    kill -SEGV "$CHILD"
  done
  wait "$verify" || status=$?
  [ "$status" = "$1" ] || fail "exit status $status, not $1: $(cat "$T/err")"
  must_be images 4
}
case_verify_killed() {
  "$BIN/imsuper" data synth --out "$T/large" --classes 2 --per-class 1 --val-per-class 1 --side-min 6000 --side-max 6000 --quiet
  verify_killed 0 1
  must_be bad 0
  verify_killed 65 2
  must_be bad 1
  must_say '"verdict":"killed"'
}

case_read() {
  run 0 "$BIN/imsuper" bench read --data-dir "$DATA" --passes 3 --json
  must_be schema '"imsuper.bench-read/1"'
  must_be files 192
  must_be failed 0
  run 0 "$BIN/imsuper" bench read --data-dir "$DATA" --passes 2 --cold --io pread --sample 50 && must_say "50 files" && must_say pread
  run 0 "$BIN/imsuper" profile reader --data-dir "$DATA" --passes 1 --queue-depth 8 && must_say "cold         8" && must_say "warm         4"
  run 0 "$BIN/imsuper" profile reader --data-dir "$DATA" --passes 1 --queue-depth 2 --json && must_be schema '"imsuper.profile-reader/1"'
  run 0 "$BIN/without_uring" "$BIN/imsuper" bench read --data-dir "$DATA" --passes 1
  grep -q "instead of io_uring" "$T/err" || fail "bench read does not say why it uses no io_uring"
  run 65 "$BIN/imsuper" bench read --data-dir "$T/nothing"
  run 2 "$BIN/imsuper" bench read
  run 2 "$BIN/imsuper" bench reed --data-dir "$DATA" && grep -q "did you mean 'bench read'" "$T/err"
}

# compared PASSES WORDS: with an earlier measurement of these passes.
compared() {
  echo "{\"schema\":\"imsuper.bench-data/1\",\"passes\":[$1]}" >"$T/old.json"
  run 0 "$BIN/imsuper" bench data "${short[@]}" --passes 5 --compare "$T/old.json" && must_say "$2"
}
# Through the real rings: a rate, the stage that limits, a scan with its picture, a comparison.
case_data() {
  local short=(--data-dir "$DATA" --batch-size 16 --image-size 32 --passes 3 --pass-seconds 0.1 --warm-up-seconds 0.1)
  export TMPDIR=$T/tmp && mkdir "$TMPDIR"
  # Of this size augmenting is dearer than reading on any busy machine.
  run 0 "$BIN/imsuper" bench data "${short[@]}" --image-size 192 --readers 1 --augmenters 1 --json
  must_be schema '"imsuper.bench-data/1"'
  must_be augmenters 1
  must_be limit '"augment"'
  # Two trainers of 200 images/s each get 400 and no more, and are what limits.
  run 0 "$BIN/imsuper" bench data "${short[@]}" --gpus 2 --images-per-second 200 --json
  must_be trainers 2
  must_be limit '"train"'
  awk -v rate="$(value median)" 'BEGIN { exit !(rate > 200 && rate < 401) }' || fail "trainers that take 400 images/s got $(value median)"
  # Against measurements that any rate differs from, or none.
  compared 0.9,1,1.1,1,1 "faster (Welch"
  compared 999999999,1000000000,1000000001 "slower (Welch"
  compared 1,1000000000 "no difference shown (Welch"
  run 0 "$BIN/imsuper" bench data "${short[@]}" --cold --passes 2 && must_say "cold" && must_say "2 passes"
  # Measured from the start on, when no process is there yet.
  run 0 "$BIN/imsuper" bench data "${short[@]}" --cold --passes 1 --json
  grep -q '"processes":[1-9]' "$T/out" || fail "no stages: $(cat "$T/out")"
  grep -q '"processes":0' "$T/out" && fail "a stage without processes: $(cat "$T/out")"
  run 0 "$BIN/imsuper" bench data "${short[@]}" --scan augmenters=1..2 -o "$T/scan.png" && must_say "efficiency"
  [ "$(head -c 4 "$T/scan.png" | tail -c 3)" = PNG ] || fail "no picture"
  run 2 "$BIN/imsuper" bench data "${short[@]}" --scan trainers=1..2
  run 2 "$BIN/imsuper" bench data "${short[@]}" --gpus 0,1 && grep -q "number of trainers to simulate" "$T/err"
  run 2 "$BIN/imsuper" bench data "${short[@]}" --compare "$T/scan.png" && grep -q "it holds no JSON" "$T/err"
  run 2 "$BIN/imsuper" bench data
  run 65 "$BIN/imsuper" bench data --data-dir "$T/nothing"
  [ -z "$(ls "$TMPDIR")" ] || fail "left behind: $(ls "$TMPDIR")"
}
has_augmenter() { [ -n "$(pids augmenter)" ]; }
# The CPU time of a process that dies is lost: numbers made of it are not right, and a line says so.
case_data_death() {
  local bench status=0
  "$BIN/imsuper" bench data --data-dir "$DATA" --batch-size 16 --image-size 32 --passes $((20 * SLOWNESS)) --pass-seconds 0.1 --warm-up-seconds 0.1 >"$T/out" 2>"$T/err" &
  bench=$!
  until_true 20 has_augmenter
  while kill -0 "$bench" 2>/dev/null; do
    sleep 0.4
    # shellcheck disable=SC2046 # several numbers
    kill -9 $(pids augmenter) 2>/dev/null || true
  done
  wait "$bench" || status=$?
  [ "$status" = 0 ] || fail "exit status $status: $(cat "$T/err")"
  grep -q "died while it was measured: CPU times" "$T/err" || fail "the deaths are not told"
}
bench_is_stopped_by() { # SIGNAL TO: a process, or -PID for its group
  local status=0 bench
  set -m
  "$BIN/imsuper" bench data --data-dir "$DATA" --batch-size 16 --image-size 32 --passes 1000 >"$T/out" 2>"$T/err" &
  bench=$!
  set +m
  until_true 20 has_augmenter || fail "nothing was started"
  kill "-$1" -- "$2$bench"
  wait "$bench" || status=$?
  [ "$status" = 130 ] || fail "$1: exit status $status"
  [ -z "$(ls "$TMPDIR")" ] || fail "$1: left behind: $(ls "$TMPDIR")"
  until_true 10 nobody_left || fail "$1: still there: $(ours)"
}
case_data_interrupt() {
  export TMPDIR=$T/tmp && mkdir "$TMPDIR"
  bench_is_stopped_by INT -
  bench_is_stopped_by TERM ''
  bench_is_stopped_by HUP ''
}

run_case
