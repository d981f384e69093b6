#!/usr/bin/env bash
# Who is left out and who is not: images that end their augmenter, whatever way they do it, and images that were only there.
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

# The one sample that was left out is number 7 of training, after so many deaths, with this reason and verdict.
must_leave_out_sample_7() {
  local deaths=$1 why=$2 verdict=$3
  [ "$(deaths_of augmenter)" = "$deaths" ] || fail "$(deaths_of augmenter) augmenters died of sample 7, not $deaths"
  [ "$(count_events '"sample.quarantined"')" = 1 ] || fail "$(count_events '"sample.quarantined"') samples were left out, not 1"
  events | grep '"sample.quarantined"' | grep '"split":"train"' | grep '"sample":7[,}]' | grep -q "\"why\":\"$why\"" ||
    fail "it was not sample 7 for $why"
  events | grep '"sample.bad"' | grep -q "\"verdict\":\"$verdict\"" || fail "the verdict is not $verdict"
  must_say "is left out from now on"
  must_balance
}
nobody_is_left_out() {
  if has_event '"sample.quarantined"'; then fail "an innocent sample was left out"; fi
  check_outcome
}

# SIGKILL does not say who sent it. Nobody else dies, so in the end it is the sample.
case_killed_each_time() {
  FAULTS="augmenter:augmenter.sample.7=kill@1/every"
  start 0 --readers 1 --augmenters 1 --max-restarts 50
  must_leave_out_sample_7 12 killed killed
}

# Stopped on the same image twice.
case_hangs_twice() {
  FAULTS="augmenter:augmenter.sample.7=stop@1/every"
  start 0 --readers 1 --augmenters 1 --sample-deadline-ms 300
  must_leave_out_sample_7 2 hang deadline
}

# The supervisor dies between the two deaths; the next one has a record of the first.
blamed_once() { has_event '"sample.blamed"'; }
case_supervisor_forgets_nothing() {
  FAULTS="augmenter:augmenter.sample.7=segv@1/every,augmenter:process.enter.after=sleep:1500@1"
  launch --readers 1 --augmenters 1
  until_true "$LIMIT_SECONDS" blamed_once || fail "no death on sample 7"
  # shellcheck disable=SC2046 # a list of numbers
  kill -KILL $(pids supervisor) || fail "no supervisor"
  finish 0
  [ "$(count_events '"sample.blamed"')" = 2 ] || fail "$(count_events '"sample.blamed"') deaths were counted, not 2"
  must_leave_out_sample_7 2 crash killed
}

# Fatal signals that somebody sends, some 20 a second to the two augmenters: not the images' doing.
case_sent_signals() {
  local signals=(SEGV BUS ABRT FPE KILL ILL) sent=0 victims
  FAULTS=$PACE,augmenter:augmenter.render=sleep:5@1/every
  launch --readers 1 --augmenters 2 --max-restarts 1000
  while ! is_over; do
    mapfile -t victims < <(pids augmenter)
    if [ ${#victims[@]} -gt 0 ]; then
      kill "-${signals[$((sent % 6))]}" "${victims[$((RANDOM % ${#victims[@]}))]}" 2>/dev/null && sent=$((sent + 1))
    fi
    sleep 0.03
  done
  finish 0
  echo "$sent signals, $(deaths_of augmenter) deaths, $(count_events '"sample.suspected"') suspicions"
  [ "$(deaths_of augmenter)" -ge 10 ] || fail "too few died"
  if has_event '"sample.blamed"'; then fail "an image was blamed for a signal that was sent"; fi
  nobody_is_left_out
}

# --- memory runs out ---------------------------------------------------------------------------------------------------

# The kernel kills the augmenter and nobody else, twice; then the image is left out for what it took.
case_out_of_memory() {
  local file
  memory_cgroup 400M
  cp -r "$REFERENCE/data" "$T/data" && TRAIN+=(--data-dir "$T/data")
  file=$(find "$T/data/train" -name '*.jpg' | LC_ALL=C sort | sed -n 5p)
  "$BIN/make_jpeg" 13000 2 0 >"$file"
  start 0 --readers 1 --augmenters 2 --decode-memory-mib 4096
  [ "$(deaths_of augmenter)" = 2 ] || fail "$(deaths_of augmenter) augmenters died, not 2"
  [ "$(count_events '"process.died"')" = 2 ] || fail "others died, too"
  events | grep '"sample.quarantined"' | grep -F "${file#"$T/data/"}" | grep -q '"why":"memory"' || fail "the image is not named"
  events | grep '"sample.bad"' | grep -q '"verdict":"memory-limit"' || fail "the verdict is not memory-limit"
  must_balance
}

# With the limit that is derived from the same 400 MiB nobody dies at all, and the same two files have the same verdicts
# whatever else the machine does.
case_bombs() {
  local memory scans
  memory_cgroup 400M
  cp -r "$REFERENCE/data" "$T/data" && TRAIN+=(--data-dir "$T/data")
  memory=$(find "$T/data/train" -name '*.jpg' | LC_ALL=C sort | sed -n 5p)
  scans=$(find "$T/data/train" -name '*.jpg' | LC_ALL=C sort | sed -n 6p)
  "$BIN/make_jpeg" 10000 2 0 >"$memory"
  "$BIN/make_jpeg" 3000 2 3000 >"$scans"
  (while :; do :; done) &
  local busy=$!
  start 0 --readers 1 --augmenters 2 --sample-deadline-ms 1000
  kill $busy
  must_say "an image may take up to 128 MiB to decode"
  [ "$(count_events '"process.died"')" = 0 ] || fail "somebody died"
  events | grep '"sample.bad"' | grep -F "${memory#"$T/data/"}" | grep -q '"memory-limit"' || fail "not memory-limit"
  events | grep '"sample.bad"' | grep -F "${scans#"$T/data/"}" | grep -q '"too-many-scans"' || fail "not too-many-scans"
  must_balance
}

# Augmenters before readers before all others, whatever the run itself was started with.
adj_of() { cat "/proc/$(pids "$1" | head -n 1)/oom_score_adj"; }
case_first_to_go() {
  local given order
  for given in 0 700 1000; do
    FAULTS=$PACE
    rm -rf "$T/w"
    printf '#!/bin/sh\necho %s >/proc/self/oom_score_adj && exec "%s/imsuper" "$@"\n' "$given" "$BIN" >"$T/imsuper"
    chmod +x "$T/imsuper"
    PROGRAM=$T/imsuper
    launch --readers 1 --augmenters 1
    wait_step 2
    order="$(adj_of augmenter) $(adj_of reader) $(adj_of trainer) $(adj_of supervisor) $(cat "/proc/$WARDEN/oom_score_adj")"
    case $given:$order in
    "0:800 600 0 0 0" | "700:900 800 700 700 700" | "1000:1000 1000 1000 1000 1000") ;;
    *) fail "started with $given: augmenter, reader, trainer, supervisor, warden have $order" ;;
    esac
    finish 0
  done
}

run_case
