#!/usr/bin/env bash
# Bits of shared memory change while a run is on, as with faulty memory: the weights are those of the undisturbed run, or the run
# ends with an exit status and a reason; never other weights and success.
#
#   words.sh BIN REFERENCE CASE [seeds]
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../e2e/ranks_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/ranks_lib.sh"
SEEDS=${4:-1}

has_trainer() { [ -n "$(pids trainer)" ] && has_event run.started; }
# flips REGION SEED COUNT PAUSE_MS FLAG...: a run in which so many bits change.
flips() {
  local region=$1 seed=$2 count=$3 pause=$4 status=0 trainer
  shift 4
  rm -rf "$T/w"
  FAULTS=trainer:trainer.step.done=sleep:30@1/every
  launch --stall-timeout-ms 2000 --snapshot-steps 3 "$@"
  until_true 30 has_trainer || fail "no trainer"
  trainer=$(pids trainer | head -1)
  "$BIN/flip_words" "$trainer" "$region" "$seed" "$count" "$pause" >"$T/flips" || [ $? = 2 ] || fail "flip_words: $region"
  until_true 100 is_over || { cat "$T/flips" && fail "$region, seed $seed: the run does not end"; }
  wait "$WARDEN" || status=$?
  if [ $status = 0 ]; then
    [ "$(events | grep -c '"run.finished"')" = 1 ] || fail "it did not finish once"
  else
    grep -qE 'ERROR|^imsuper: |^saved' "$T/out" || { cat "$T/flips" && fail "$region, seed $seed: exit status $status without a reason"; }
    ended=$((ended + 1))
  fi
  echo "$region, seed $seed, $(wc -l <"$T/flips") bits: exit status $status, $(count_events run.reset) resets"
  noticed=$((noticed + $(count_events run.reset)))
  until_true 20 nobody_left || fail "left behind"
  return $status
}
ended=0 noticed=0
# each REGION...: with each seed; COUNT and PAUSE from the environment of the case.
each() {
  local region seed
  for region in "$@"; do
    for ((seed = 1; seed <= SEEDS; seed++)); do
      if flips "$region" "$seed" "${COUNT:-12}" "${PAUSE:-40}"; then check_weights || { cat "$T/flips" && fail "$region, seed $seed: other weights and success"; }; fi
    done
  done
}
check_weights() { (cd "$REFERENCE/w/run/checkpoints" && sha256sum last.safetensors) | (cd "$RUN/checkpoints" && sha256sum --quiet -c -); }

# What is consumed, and which of it: these are put right, and the run goes on to its end.
case_rings() {
  each batch encoded_meta batch_words encoded_words
  [ "$ended" = 0 ] || fail "$ended runs ended early"
  [ "$noticed" -gt 0 ] || fail "none of 48 changed words of the rings was noticed"
}
case_tables() {
  each header conf processes quarantine snapshot
  [ "$ended" = 0 ] || fail "$ended runs ended early"
}
case_everything() { COUNT=30 PAUSE=30 each all; }
case_ranks() {
  local seed
  start 0 "${TWO[@]}"
  mv "$T/w" "$T/two"
  for ((seed = 1; seed <= SEEDS; seed++)); do
    for region in peers all; do
      if flips $region "$seed" 12 60 "${TWO[@]}"; then
        cmp "$T/two/run/checkpoints/last.safetensors" "$RUN/checkpoints/last.safetensors" || { cat "$T/flips" && fail "$region, seed $seed: other weights and success"; }
      fi
    done
  done
}

run_case
