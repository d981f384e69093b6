#!/usr/bin/env bash
# kill -9 of readers and augmenters, at each of their fault points, at random, and all at once: nobody notices but
# events.jsonl, and the weights are those of the undisturbed run.
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WORKERS=(--readers 2 --augmenters 2)

# Every fault point of the sources, so that a new one is tested without a word here.
all_points() {
  (cd "$here/../.." && grep -rhoE 'IM_FAULT(_ERR)?\("[^"]+"\)' --include='*.c' ipc reader augment trainer supervisor fetcher) |
    sed 's/.*"\(.*\)".*/\1/' | sort -u
}

# Which rules make the processes of a point die there. Each process dies at the N-th passing, and the next one again.
rules_of() {
  case $1 in
  # Passed only where parts of a file do not do: seek.sh.
  augmenter.abandon.* | *.parts) ;;
  reader.* | uring.*) echo "reader:$1=kill@30" ;;
  augmenter.* | decode.* | render.*) echo "augmenter:$1=kill@30" ;;
  # Passed only when a buffer grows: the other augmenter carries on.
  augment.memory) echo "augmenter#1:$1=kill@1" ;;
  # One that dies before it can do anything: the others of its role go on without it.
  process.*) echo "reader#1:$1=kill@1,augmenter#1:$1=kill@1" ;;
  # Of other roles and verbs: supervisor.sh, seek.sh, pixels.sh, snapshot.sh, ending.sh; tests/e2e/control.sh, layouts.sh, nodes.sh and remote.sh; the unit test of torch.
  fetcher.* | organise.* | pack.* | torch.* | supervisor.* | reclaim.* | seek.* | pixels.* | trainer.* | checkpoint.* | file.* | shm.* | snapshot.* | ending.* | saver.* | control.* | nodes.*) ;;
  *) fail "whose is the fault point $1? Say it in rules_of" ;;
  esac
}

point_dies() {
  local point=$1 began=$SECONDS deaths
  FAULTS=$2,$QUICK_PACE
  rm -rf "$T/w"
  start 0 "${WORKERS[@]}"
  deaths=$(($(deaths_of reader) + $(deaths_of augmenter)))
  if [[ $point == uring.* ]] && grep -q 'instead of io_uring' "$RUN/log.txt"; then
    echo "$point: not passed, there is no io_uring here" && return
  fi
  [ "$deaths" -ge 2 ] || fail "$point: only $deaths deaths; the point was not passed"
  check_outcome
  echo "$point: $deaths deaths, $((SECONDS - began)) s"
}

case_points() {
  local point rules
  for point in $(all_points); do
    rules=$(rules_of "$point")
    [ -n "$rules" ] || continue
    if is_sampled; then point_dies "$point" "$rules"; fi
  done
  must_be_points 10
}

# Seeded kills at random times of random processes.
case_random() {
  local seed=${E2E_SEED:-$RANDOM} kills=0 victims role
  echo "seed $seed (E2E_SEED=$seed repeats the order of victims)"
  RANDOM=$seed
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  while ! is_over; do
    role=reader && if [ $((RANDOM % 3)) -gt 0 ]; then role=augmenter; fi
    mapfile -t victims < <(pids $role)
    if [ ${#victims[@]} -gt 0 ]; then
      kill -KILL "${victims[$((RANDOM % ${#victims[@]}))]}" 2>/dev/null && kills=$((kills + 1))
    fi
    sleep "0.0$((RANDOM % 9))"
  done
  finish 0
  echo "$kills kills sent, $(deaths_of reader) readers and $(deaths_of augmenter) augmenters died"
  [ $(($(deaths_of reader) + $(deaths_of augmenter))) -ge 5 ] || fail "too few died"
  check_outcome
}

# All readers at once, then all augmenters at once, several times.
case_all_at_once() {
  local role step
  FAULTS=$PACE
  launch "${WORKERS[@]}"
  for step in 3 6 9 12 15 18; do
    wait_step "$step"
    role=reader && if [ $((step % 2)) = 0 ]; then role=augmenter; fi
    # shellcheck disable=SC2046 # a list of numbers
    kill -KILL $(pids $role) 2>/dev/null || true
  done
  finish 0
  if [ "$(deaths_of reader)" -lt 4 ] || [ "$(deaths_of augmenter)" -lt 4 ]; then fail "too few died"; fi
  check_outcome
}

# Stopped while it holds an image: ended when it has stood still for the deadline, replaced, and the sample delivered once.
case_stopped_augmenter() {
  FAULTS="augmenter#0:decode.before=stop@20,$PACE"
  start 0 "${WORKERS[@]}" --sample-deadline-ms 300
  [ "$(deaths_of augmenter)" -ge 1 ] || fail "nobody was ended"
  has_event '"why":"hang"' || fail "the hang is not in events.jsonl"
  has_event '"sample.quarantined"' && fail "a sample that stood still once was left out"
  check_outcome
}

# Stopped between images or while reading, holding cells: found by the lack of progress.
case_stopped_anywhere() {
  FAULTS="augmenter#0:augmenter.taken=stop@20,reader#1:reader.publish.before=stop@20,$PACE"
  start 0 "${WORKERS[@]}" --stall-timeout-ms 1000
  [ "$(deaths_of augmenter)" -ge 1 ] || fail "the augmenter was not ended"
  [ "$(deaths_of reader)" -ge 1 ] || fail "the reader was not ended"
  check_outcome
}

# left_out VERDICT: the file of the one sample that was left out.
left_out() {
  events | sed -n "/\"sample.bad\"/ { /\"verdict\":\"$1\"/ s/.*\"file\":\"\([^\"]*\)\".*/\1/p }" | sort -u
}

# An image that ends its augmenter each time is quarantined after the second death, by name; the run goes on without it.
case_poison() {
  local blamed file
  FAULTS="augmenter:augmenter.sample.7=segv@1/every,$PACE"
  # One augmenter: a second might take the sample up again after a death and before it is counted.
  start 0 --readers 1 --augmenters 1
  [ "$(deaths_of augmenter)" = 2 ] || fail "$(deaths_of augmenter) augmenters died of sample 7, not 2"
  blamed=$(events | sed -n '/"sample.blamed"/ s/.*"file":"\([^"]*\)".*/\1/p' | sort -u)
  [ -f "$REFERENCE/data/$blamed" ] || fail "the blame is not on one image: '$blamed'"
  [ "$(count_events '"sample.quarantined"')" = 1 ] || fail "$(count_events '"sample.quarantined"') samples were quarantined, not 1"
  events | grep '"sample.quarantined"' | grep '"split":"train"' | grep -q '"sample":7[,}]' || fail "it was not sample 7"
  [ "$(count_events '"sample.bad"')" = 1 ] || fail "$(count_events '"sample.bad"') samples were left out, not 1"
  file=$(left_out killed)
  [ "$file" = "$blamed" ] || fail "$blamed was blamed and '$file' left out"
  must_balance
}

# No memory for one image: it is left out by name, and its augmenter lives on.
case_decode_memory() {
  local file
  FAULTS="augmenter#0:augment.memory=fail:ENOMEM@1,$PACE"
  start 0 "${WORKERS[@]}"
  [ "$(deaths_of augmenter)" = 0 ] || fail "an augmenter died"
  [ "$(count_events '"sample.bad"')" = 1 ] || fail "$(count_events '"sample.bad"') samples were left out, not 1"
  file=$(left_out memory-limit)
  [ -f "$REFERENCE/data/$file" ] || fail "'$file' is none of the images"
  must_say "skipped $file"
  grep -q 'level=warn role=augmenter id=0 msg="no memory to decode an image' "$RUN/log.txt" || fail "log.txt has no warning"
  must_balance
}

# Dead before it is ready, every time: the run gives up and says why, instead of trying for ever.
case_crash_loop() {
  FAULTS="augmenter:process.enter.after=segv@1"
  start 1 "${WORKERS[@]}" --max-restarts 3
  must_say "keeps failing"
}

run_case
