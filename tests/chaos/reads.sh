#!/usr/bin/env bash
# Files that cannot be read or whose read hangs, and storage that is away for a while: one file is left out by name, an
# outage is waited for, and nobody else is ended or blamed.
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
WORKERS=(--readers 2 --augmenters 2)
FAULTS=$PACE

# The data of this test, through a file system that hangs or fails when told to (tests/e2e/faulty_reads.c).
cp -r "$REFERENCE/data" "$T/data"
mkdir "$T/data/.faulty" # what the sandbox of readers lets them read, too
TRAIN+=(--data-dir "$T/data")
through_faulty_reads() {
  PROGRAM="env FAULTY_READS=$T/data/.faulty FAULTY_ROOT=$T/data ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0"
  PROGRAM="$PROGRAM LD_PRELOAD=$BIN/faulty_reads.so $BIN/imsuper"
  WORKERS+=(--io pread)
}
hang() { echo "$1" >"$T/data/.faulty/hang"; }
fail_reads() { echo "$1" >"$T/data/.faulty/fail"; }
works_again() { rm -f "$T/data/.faulty/hang" "$T/data/.faulty/fail"; }

nobody_died() {
  local role
  for role in "$@"; do
    [ "$(deaths_of "$role")" = 0 ] || fail "$(deaths_of "$role") processes died: $role"
  done
}
nothing_was_left_out() {
  local event
  for event in sample.bad sample.blamed sample.quarantined; do
    [ "$(count_events "\"$event\"")" = 0 ] || fail "$event: $(events | grep "\"$event\"" | head -n 3)"
  done
}
# waits WHY COMMAND...: the run says that it waits, and why, once; for COMMAND (until then nothing is lost), and goes on.
waits() {
  local why=$1
  shift
  until_true 30 has_event '"outage.began"' || fail "the outage was not told"
  events | grep '"outage.began"' | grep -qF "\"why\":\"$why\"" || fail "the reason is not $why"
  must_say "waiting for $T/data; training goes on when it is back"
  grep -q "waiting for data" < <("$BIN/imsuper" status --workspace "$T/w" --run-name run) || fail "status does not say it"
  nothing_was_left_out
  "$@"
  until_true 30 has_event '"outage.ended"' || fail "its end was not told"
}
came_through() {
  [ "$(count_events '"outage.began"')" = 1 ] || fail "$(count_events '"outage.began"') outages were told"
  nothing_was_left_out
  check_outcome
}
# left_out FILE VERDICT: this file and no other.
left_out() {
  [ "$(count_events '"sample.bad"')" = 1 ] || fail "$(count_events '"sample.bad"') samples were left out, not 1"
  events | grep '"sample.bad"' | grep -F "\"file\":\"$1\"" | grep -qF "\"verdict\":\"$2\"" || fail "not $1 as $2"
  must_balance
}

# A file that hangs: its readers are ended, by name of the file, and nobody else; after the second it is left out.
case_hanging_file() {
  local file=train/class_003/00007.jpg
  through_faulty_reads
  hang "$file"
  start 0 "${WORKERS[@]}" --read-deadline-ms 1000
  [ "$(deaths_of reader)" = 2 ] || fail "$(deaths_of reader) readers were ended, not 2"
  nobody_died augmenter trainer
  [ "$(count_events '"read.hung"')" = "$(events | grep '"read.hung"' | grep -cF "\"file\":\"$file\"")" ] || fail "another file hung"
  must_say "reading $file has taken"
  events | grep '"sample.quarantined"' | grep -qF "\"file\":\"$file\"" || fail "it was not quarantined"
  [ "$(count_events outage)" = 0 ] || fail "one file was taken for an outage"
  left_out "$file" read-hung
}

# All reads hang: nobody is ended, and every sample comes when they end.
case_hanging_mount() {
  through_faulty_reads
  launch "${WORKERS[@]}" --read-deadline-ms 1000 --stall-timeout-ms 2000 --on-bad-sample stop
  wait_step 3
  hang '*'
  waits hang eval 'sleep 3; works_again'
  finish 0
  nobody_died reader augmenter trainer
  came_through
}

# All reads fail, for longer than a file may.
case_failing_mount() {
  through_faulty_reads
  launch "${WORKERS[@]}" --on-bad-sample stop
  wait_step 3
  fail_reads '5 *'
  waits 'Input/output error' eval 'sleep 4; works_again'
  finish 0
  nobody_died reader augmenter trainer
  came_through
}

# Files larger than a cell are read by augmenters, which leave it to readers to say what a failure means.
case_failing_mount_large_files() {
  through_faulty_reads
  launch "${WORKERS[@]}" --cell-bytes 4096 --on-bad-sample stop
  wait_step 3
  fail_reads '5 *'
  waits 'Input/output error' eval 'sleep 1; works_again'
  finish 0
  nobody_died reader augmenter trainer
  came_through
}

come_back() { sleep 2 && mv "$T/gone"/* "$T/data"; }
another_comes() { sleep 1 && cp -r "$T/gone" "$T/coming" && mv "$T/coming" "$T/data"; }

# An unmounted folder is an empty one; by io_uring, where there is one.
case_unmounted() {
  launch "${WORKERS[@]}" --bad-sample-limit 1
  wait_step 3
  mkdir "$T/gone"
  mv "$T/data"/* "$T/gone"
  waits 'No such file or directory' come_back
  finish 0
  nobody_died reader augmenter trainer
  came_through
}

# A copy brings the files back: most at once, others seconds later, one of them in two parts.
case_slow_copy() {
  local late=train/class_003
  launch "${WORKERS[@]}" --on-bad-sample stop
  wait_step 3
  mkdir "$T/gone"
  mv "$T/data"/* "$T/gone"
  until_true 30 has_event '"outage.began"' || fail "the outage was not told"
  mkdir "$T/coming"
  mv "$T/gone/$late" "$T/coming"
  mv "$T/gone"/* "$T/data"
  until_true 30 has_event '"outage.ended"' || fail "its end was not told"
  must_say "files still missing are waited for"
  sleep 4 # at half a second a file would be left out after the third try
  mkdir "$T/data/$late"
  for file in "$T/coming/class_003"/*.jpg; do # written twice, the first time without an end
    head -c 300 "$file" >"$T/data/$late/${file##*/}"
  done
  sleep 1
  cp "$T/coming/class_003"/*.jpg "$T/data/$late"
  finish 0
  nobody_died reader augmenter trainer
  came_through
}

# Readers that start while the folder is away take the one that comes.
case_another_mount() {
  launch "${WORKERS[@]}" --on-bad-sample stop
  wait_step 3
  mv "$T/data" "$T/gone"
  # shellcheck disable=SC2046 # a list of numbers
  kill -KILL $(pids reader)
  waits 'No such file or directory' another_comes
  finish 0
  [ "$(deaths_of reader)" = 2 ] || fail "$(deaths_of reader) readers died, not the 2 that were killed"
  came_through
}

# A folder that is refused to these readers, as one is that replaced the one they were restricted to: others are started.
both_died() { [ "$(deaths_of reader)" -ge 2 ]; }
renewed() { until_true 20 both_died && works_again; }
case_refused() {
  through_faulty_reads
  launch "${WORKERS[@]}" --on-bad-sample stop
  wait_step 3
  fail_reads '13 *'
  waits 'Permission denied' renewed
  finish 0
  [ "$(deaths_of reader)" = 2 ] || fail "$(deaths_of reader) readers were started anew, not 2"
  nobody_died augmenter trainer
  came_through
}

# Every third read fails: none of them counts against its file.
case_flapping() {
  FAULTS="reader:reader.result=fail:EIO@3/every,$QUICK_PACE"
  start 0 "${WORKERS[@]}" --on-bad-sample stop
  nobody_died reader augmenter trainer
  nothing_was_left_out
  check_outcome
}

# One file fails each time it is read while others do not.
case_failing_file() {
  local file=train/class_005/00011.jpg
  through_faulty_reads
  launch "${WORKERS[@]}"
  until_true 20 says "state=starting" || fail "no start"
  fail_reads "5 $file"
  finish 0
  nobody_died reader augmenter trainer
  [ "$(count_events outage)" = 0 ] || fail "one file was taken for an outage"
  left_out "$file" read-error
}

# Ctrl-C while no read comes to an end: saved, soon, and continued to the same weights.
case_interrupted() {
  local began
  through_faulty_reads
  launch "${WORKERS[@]}" --read-deadline-ms 500
  wait_step 3
  hang '*'
  until_true 30 has_event '"outage.began"' || fail "the outage was not told"
  began=$SECONDS
  send INT
  finish 75
  must_have_taken 8 $began "the stop"
  must_say "saved"
  works_again
  start 0 "${WORKERS[@]}"
  check_outcome
}

# A supervisor that dies while the run waits: the next one goes on waiting.
case_supervisor() {
  through_faulty_reads
  launch "${WORKERS[@]}" --read-deadline-ms 1000 --on-bad-sample stop
  wait_step 3
  hang '*'
  until_true 30 has_event '"outage.began"' || fail "the outage was not told"
  kill -KILL "$(pids supervisor)"
  sleep 2
  works_again
  until_true 30 has_event '"outage.ended"' || fail "its end was not told"
  finish 0
  nobody_died reader augmenter trainer
  came_through
}

# --- a mount of its own, whose server does not answer: io_uring too, and processes that cannot be killed -----------------

through_mount() {
  mkdir "$T/mnt"
  TRAIN+=(--data-dir "$T/mnt")
  cat >"$T/imsuper" <<END
#!/bin/sh
exec unshare -m sh -c '
  "$BIN/faulty_mount" "$T/data" "$T/mnt" "$T/data/.faulty" >"$T/mounted" 2>&1 &
  until [ -s "$T/mounted" ]; do sleep 0.05; done
  exec "$BIN/imsuper" "\$@"' sh "\$@"
END
  chmod +x "$T/imsuper"
  PROGRAM=$T/imsuper
  unshare -m true 2>/dev/null || skip "no rights to make a mount namespace"
  timeout 1 unshare -m "$BIN/faulty_mount" "$T/data" "$T/mnt" "$T/data/.faulty" >"$T/tried" 2>&1 || grep -q mounted "$T/tried" \
    || skip "$(cat "$T/tried")"
}

# The server is away during the second epoch, when the kernel has all names in memory.
case_server_away() {
  through_mount
  launch "${WORKERS[@]}" --read-deadline-ms 1000 --on-bad-sample stop
  wait_step 14
  hang '*'
  until_true 30 has_event '"outage.began"' || fail "the outage was not told"
  sleep 2
  works_again
  finish 0
  nobody_died reader augmenter trainer
  came_through
}

# The reader of a file that hangs in the kernel is killed and does not die: others take its files.
case_unkillable() {
  local file=train/class_003/00007.jpg
  through_mount
  hang "$file"
  start 0 "${WORKERS[@]}" --read-deadline-ms 500
  [ "$(count_events '"process.unkillable","role":"reader"')" = 2 ] || fail "no reader was stuck in the kernel"
  nobody_died augmenter trainer
  left_out "$file" read-hung
}

# Stopped while it holds cells: ended, and it alone; no file is blamed for it.
case_stopped_reader() {
  FAULTS="reader#1:reader.publish.before=stop@20,$PACE"
  start 0 "${WORKERS[@]}" --stall-timeout-ms 1500 --read-deadline-ms 400
  [ "$(deaths_of reader)" -ge 1 ] || fail "it was not ended"
  [ "$(count_events '"process.died","role":"reader","index":0')" = 0 ] || fail "the other reader died"
  [ "$(count_events '"process.stalled"')" = "$(deaths_of reader)" ] || fail "a reader was ended for something else"
  nobody_died augmenter trainer
  nothing_was_left_out
  check_outcome
}

# All processes stopped and continued, as by Ctrl-Z and fg: nobody's time ran, nobody is ended.
case_all_stopped() {
  through_faulty_reads
  launch "${WORKERS[@]}" --stall-timeout-ms 1000 --read-deadline-ms 1000
  wait_step 3
  # shellcheck disable=SC2046 # a list of numbers
  kill -STOP $(ours)
  sleep 3
  # shellcheck disable=SC2046
  kill -CONT $(ours)
  finish 0
  nobody_died reader augmenter trainer
  nothing_was_left_out
  check_outcome
}

run_case
